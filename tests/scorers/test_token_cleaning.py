"""Token cleaning: known answers, the chain of references, and what comes out of real fits."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

import curate
from curate.budget import Budget
from curate.comparison.arms import Arm
from curate.comparison.choosing import at_second_rate, length_matched
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.preparation import generator
from curate.requests import Fit, FittedModel, Observe, Rows, Subset
from curate.signals import RowScore, RowTokens
from curate.store import Store
from curate.training.config import TrainConfig
from scorers.lobass import LoBaSS
from scorers.random import Random
from scorers.rho_1 import Rho1
from scorers.sstoken import SsToken
from scorers.token_cleaning import TokenCleaning, token_scores
from scorers.warm_up import warm_up

RECIPE = TrainConfig(epochs=4, learning_rate=1e-3, seed=99, token_policy="rho-1", keep_tokens=0.5, reference="elsewhere")
# Losses of three rows with 4, 2 and 1 reply tokens: less than the base by 1, -0.5, 2.5, 0 | 3, 0 | 0.1.
BASE = [[2.0, 1.0, 4.0, 3.0], [5.0, 1.5], [0.4]]
REFERENCE = [[1.0, 1.5, 1.5, 3.0], [2.0, 1.5], [0.3]]


def data(n=3, **more):
    return Data(pool=Rows("pool", "p" * 32, n), model=ModelSpec("org/base"), recipe=RECIPE, seed=7, **more)


def logprobs(losses, reasons=None):
    values = [None if row is None else -np.array(row, dtype=np.float32) for row in losses]
    given = np.full(len(values), None, dtype=object)
    for i, reason in (reasons or {}).items():
        given[i] = reason
    return RowTokens(values, given)


def answered(method, known, answer):
    """What the method has seen when it asks for nothing new: answer(request) for every request of every round."""
    seen = {}
    for _ in range(20):
        new = [request for request in method.requests(known, seen) if request not in seen]
        if not new:
            return seen
        seen |= {request: answer(request) for request in new}
    raise AssertionError("it asks without end")


def fixed(method, known, base, reference):
    return answered(method, known, lambda r: base if r.model == known.model else reference)


def choose(method, known, seen, budget, lengths):
    signal = method.signal(known, seen, np.random.default_rng(0))
    ids = [f"{i:032x}" for i in range(known.pool.size)]
    table = pl.DataFrame({"row_id": ids, "source": ["s"] * len(ids), "tokens": lengths, "response_tokens": lengths})
    return method.choose(signal, table, Budget.parse(budget).limit(lengths), np.random.default_rng(0))


def by_row(picks):
    return {i: np.flatnonzero(row).tolist() for i, row in zip(picks.index.tolist(), picks.tokens, strict=True)}


def test_known_answer():
    """floor(0.6 * 7) = 4 tokens of the three rows; by sample the row of one token loses it."""
    known, lengths = data(), np.array([4, 2, 1])
    seen = fixed(TokenCleaning(), known, logprobs(BASE), logprobs(REFERENCE))
    picks = choose(TokenCleaning(), known, seen, 1.0, lengths)
    assert by_row(picks) == {0: [0, 2], 1: [0], 2: [0]}
    assert picks.tokens[0].dtype == np.float32 and picks.shortfall is None
    assert sorted(picks.reason)[-1] == "drawn at random, 2 of 4 reply tokens kept"
    sample = choose(TokenCleaning(threshold="sample"), known, seen, 1.0, lengths)
    assert by_row(sample) == {0: [0, 2], 1: [0]}
    assert sample.shortfall == "1 row drawn left out: no token among those that are kept."
    assert by_row(choose(TokenCleaning(keep=1.0), known, seen, 1.0, lengths)) == {0: [0, 1, 2, 3], 1: [0, 1], 2: [0]}
    # The influence itself, reference less base, would keep what fine-tuning makes worse.
    other = choose(TokenCleaning(), known, fixed(TokenCleaning(), known, logprobs(REFERENCE), logprobs(BASE)), 1.0, lengths)
    assert by_row(other) != by_row(picks)


def test_the_threshold_is_of_the_rows_that_are_picked():
    """Of the two rows of a budget, floor(0.6 * their tokens), however good those of the third are."""
    known, lengths = data(), np.array([4, 2, 1])
    seen = fixed(TokenCleaning(), known, logprobs(BASE), logprobs(REFERENCE))
    picks = choose(TokenCleaning(), known, seen, 2, lengths)
    total = lengths[picks.index].sum()
    assert sum(row.sum() for row in picks.tokens) == int(0.6 * total)


def test_no_token_at_all_is_refused():
    seen = fixed(TokenCleaning(keep=0.1), data(), logprobs(BASE), logprobs(REFERENCE))
    with pytest.raises(InputError, match="keeps no token of 3 rows"):
        choose(TokenCleaning(keep=0.1), data(), seen, 1.0, np.array([4, 2, 1]))
    assert len(choose(TokenCleaning(keep=0.1), data(), seen, 0, np.array([4, 2, 1]))) == 0


def test_rows_are_those_of_random():
    known, n = data(40), 40
    losses = logprobs([[1.0, 2.0]] * n)
    seen = fixed(TokenCleaning(), known, losses, logprobs([[0.5, 0.1]] * n))
    lengths = np.full(n, 2)
    for method, saw in ((TokenCleaning(keep=1.0), seen), (SsToken(), {}), (Rho1(), {})):
        picks = choose(method, known, saw, 10, lengths)
        drawn = Random().signal(known, {}, generator(7, Random(), "signal")).values
        assert picks.index.tolist() == np.argsort(-drawn, kind="stable")[:10].tolist()
        assert method.by_chance


def test_nulls_are_left_out_with_their_reason():
    base = logprobs([[1.0], None, [2.0]], {1: "no base"})
    reference = logprobs([[0.5], [1.0], None], {2: "no reference"})
    found = token_scores(base, reference)
    assert found.reasons.tolist() == [None, "no base", "no reference"] and found.values[0].tolist() == [0.5]
    seen = fixed(TokenCleaning(keep=1.0), data(), base, reference)
    signal = TokenCleaning(keep=1.0).signal(data(), seen, np.random.default_rng(0))
    scored = TokenCleaning().score(signal)
    assert scored.is_null.all() and scored.reasons[1] == "no base" and "draws rows at random" in scored.reasons[0]
    assert choose(TokenCleaning(keep=1.0), data(), seen, 1.0, np.array([1, 1, 1])).index.tolist() == [0]


def test_tokens_of_another_model_are_refused():
    seen = fixed(TokenCleaning(), data(), logprobs(BASE), logprobs(REFERENCE))
    with pytest.raises(InputError, match="other tokens than the one that is trained"):
        choose(TokenCleaning(), data(), seen, 1.0, np.array([4, 7, 1]))


# ---- the references


def test_the_reference_is_warmed_up_on_some_rows_with_all_tokens():
    known = data(50)
    asked = TokenCleaning(warmup=0.1, epochs=2).requests(known, {})
    assert asked[0] == Observe(known.model, known.pool, "token_logprobs") and len(asked) == 2
    fit = asked[1].model
    assert (asked[1].rows, asked[1].observable) == (known.pool, "token_logprobs")
    assert fit.rows.size == 5 and fit.rows.rows == known.pool and fit.tokens is None
    assert fit.recipe == TrainConfig(epochs=2, learning_rate=1e-3, seed=7)  # and no token policy
    assert TokenCleaning(warmup=7).requests(known, {})[1].model.rows.size == 7
    assert TokenCleaning(warmup=999).requests(known, {})[1].model.rows.size == 50
    other = Data(pool=known.pool, model=known.model, recipe=RECIPE, seed=8)
    assert TokenCleaning(warmup=7).requests(other, {})[1].model.rows != TokenCleaning(warmup=7).requests(known, {})[1].model.rows
    assert (
        TokenCleaning.model_validate({"warmup": "7"}).warmup == 7
        and TokenCleaning.model_validate({"warmup": "0.5"}).warmup == 0.5
    )


def test_the_warm_up_may_be_the_best_of_another_method():
    """In rounds: what that method asks for comes first. Nulls are never among the best."""
    known = data(4)
    asked, rows = warm_up(known, {}, 2, "lobass")
    assert asked == LoBaSS().requests(known, {}) and rows is None
    answers = {r: RowScore.of(np.ones(4)) for r in asked}
    [reference] = [r for r in asked if isinstance(r.model, Fit)]
    answers[reference] = RowScore(np.array([0.9, 0.2, np.nan, 0.5]), np.array([None, None, "broken", None], dtype=object))
    asked, rows = warm_up(known, answers, 2, "lobass")
    assert rows == Subset(known.pool, [1, 3])
    assert warm_up(known, answers, 4, "lobass")[1] == Subset(known.pool, [0, 1, 3])
    cleaning = TokenCleaning(warmup=2, warmup_by="lobass")
    assert not any(isinstance(r.rows, Subset) for r in cleaning.requests(known, {}))
    assert cleaning.requests(known, answers)[-1].model.rows == Subset(known.pool, [1, 3])
    with pytest.raises(InputError, match="no method is called 'lobas'"):
        warm_up(known, {}, 2, "lobas")


def test_the_chain_of_references():
    """Each goes on from the one before it, on its part, with the best tokens of that part alone."""
    known, n = data(11), 11
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, n)
    losses = [rng.uniform(0, 5, k) for k in lengths]
    learned = {}  # the losses under a reference by how many fits are behind it

    def answer(request):
        if request.model == known.model:
            return logprobs(losses)
        depth = 1 + (isinstance(request.model.model, Fit) and 1 + isinstance(request.model.model.model, Fit))
        learned[depth] = {i: rng.uniform(0, 5, lengths[i]) for i in request.rows.index.tolist()}
        return logprobs(list(learned[depth].values()))

    method = TokenCleaning(mode="self-evolving", parts=4, keep=0.5)
    seen = answered(method, known, answer)
    observed = [r for r in seen if r.model != known.model]
    first, second, third = observed
    parts = [r.rows.index.tolist() for r in observed]
    whole = first.model.rows.index.tolist()
    assert [len(part) for part in (whole, *parts)] == [2, 2, 2, 5]  # what is left over is not dropped
    assert sorted(np.concatenate([whole, *parts]).tolist()) == list(range(n))
    assert first.model.model == known.model and first.model.tokens is None and first.model.recipe.token_policy == "none"
    assert second.model.model == first.model and third.model.model == second.model
    for number, fit in ((1, second.model), (2, third.model)):
        scores = {(i, t): losses[i][t] - learned[number][i][t] for i in parts[number - 1] for t in range(lengths[i])}
        best = sorted(scores, key=lambda at: (-scores[at], at))[: len(scores) // 2]
        kept = {(i, t) for i, row in zip(fit.rows.index.tolist(), fit.tokens.weights, strict=True) for t in np.flatnonzero(row)}
        assert kept == set(best)
    picks = choose(method, known, seen, 1.0, lengths)
    rows = by_row(picks)
    assert all(len(rows[i]) == lengths[i] for i in whole)  # all tokens of the first part
    for number, part in enumerate(parts, 1):
        scores = {(i, t): losses[i][t] - learned[number][i][t] for i in part for t in range(lengths[i])}
        best = sorted(scores, key=lambda at: (-scores[at], at))[: len(scores) // 2]
        assert {(i, t) for i in part for t in rows.get(i, [])} == set(best)


def test_more_parts_than_rows():
    with pytest.raises(InputError, match="3 rows cannot be cut into 5 parts"):
        TokenCleaning(mode="self-evolving").requests(data(3), {})


# ---- the recipe of those that choose while the model learns


def test_the_recipe_of_rho():
    known = data(20)
    asked = Rho1(warmup=4).requests(known, {})
    [fit] = [r for r in asked if isinstance(r, Fit)]
    assert fit.rows.size == 4 and Observe(fit, known.pool, "token_logprobs") in asked
    assert fit == TokenCleaning(warmup=4).requests(known, {})[1].model  # one fit serves both
    answers = {r: None for r in asked} | {fit: FittedModel(Path("store/fits/abc/model"), "abc", {})}
    plain = TrainConfig(tokens=500, seed=3, loss="dft")
    policy = {"token_policy": "rho-1", "keep_tokens": 0.7, "reference": str(Path.cwd() / "store/fits/abc/model")}
    assert Rho1(warmup=4, keep=0.7).training(known, answers, plain) == plain.model_copy(update=policy)
    of_another = TrainConfig(tokens=500, seed=3, loss="dft", token_policy="sstoken", gamma=0.1)
    assert Rho1(warmup=4, keep=0.7).training(known, answers, of_another) == plain.model_copy(update=policy)


def test_the_recipe_of_sstoken():
    plain = TrainConfig(tokens=500, seed=3)
    policy = {"token_policy": "sstoken", "keep_tokens": 0.8, "gamma": 0.3, "attention_layer": 1, "drop_sink": True,
              "policy_warmup_steps": 2, "history_decay": 0.9}  # fmt: skip
    method = SsToken(keep=0.8, gamma=0.3, layer=1, drop_sink=True, warmup_steps=2, history_decay=0.9)
    assert method.training(data(), {}, plain) == plain.model_copy(update=policy)
    assert SsToken().training(data(), {}, plain) == plain.model_copy(update={"token_policy": "sstoken"})
    assert LoBaSS().training(data(), {}, plain) is plain


def test_the_length_matched_control_of_such_an_arm_is_a_plain_training():
    """Of the method it has only how long the replies are; at the second rate the method is all there."""
    plain = TrainConfig(tokens=500)
    table = pl.DataFrame({"response_tokens": [4, 4, 5, 5, 6, 6]})
    setup = SimpleNamespace(
        prepared=SimpleNamespace(table=table),
        bench=SimpleNamespace(width=lambda: 192),
        design=SimpleNamespace(recipe=plain, second_rate=0.5),
    )
    arm = Arm("sstoken", "2", 3, (0, 2), SsToken().training(data(6), {}, plain.model_copy(update={"seed": 3})))
    [control] = length_matched(setup, [arm])
    assert control.recipe == TrainConfig(tokens=500, seed=3) and control.kind == "length-matched"
    [slower] = at_second_rate(setup, [arm])
    assert slower.recipe.token_policy == "sstoken" and slower.recipe.learning_rate == pytest.approx(1e-3)


# ---- the rows that the reference was trained on


@pytest.mark.parametrize("method", [TokenCleaning, Rho1])
def test_picks_of_the_warm_up_are_counted_or_left_out(method):
    known, n = data(20), 20
    lengths, losses = np.full(n, 2), logprobs([[1.0, 2.0]] * n)
    _, rows = warm_up(known, {}, 0.5, "random")
    warm = set(rows.index.tolist())
    order = np.argsort(-Random().signal(known, {}, generator(7, Random(), "signal")).values, kind="stable").tolist()

    def of(budget, **more):
        asked = method(warmup=0.5, keep=0.5, **more, **({"threshold": "sample"} if method is TokenCleaning else {}))
        return choose(asked, known, fixed(asked, known, losses, losses), budget, lengths)

    number = sum(i in warm for i in order[:8])
    said = f"the reference was trained on {number} of the 8 rows picked, and may know their tokens by heart"
    picks = of(8)
    assert picks.index.tolist() == order[:8] and [said in remark for remark in picks.remarks] == [True] and number
    left = of(8, exclude_warmup=True)
    assert left.index.tolist() == [i for i in order if i not in warm][:8] and left.remarks == ()
    assert len(of(20, exclude_warmup=True)) == 10
    with pytest.raises(InputError, match="exclude_warmup leaves no row"):
        asked = method(warmup=1.0 if method is Rho1 else 20, exclude_warmup=True)
        choose(asked, known, fixed(asked, known, losses, losses), 3, lengths)


# ---- with real fits

QUICK = TrainConfig(adapter="none", learning_rate=1e-2, batch_tokens=256)


@pytest.fixture
def engine(tmp_path):
    return Engine(store=Store(tmp_path / "store"))


@pytest.mark.parametrize("mode", ["fixed", "self-evolving"])
def test_a_selection_is_cleaned(small_pool, tiny, engine, tmp_path, mode):
    method = TokenCleaning(mode=mode, parts=3)
    picked = curate.select(small_pool, method, budget=12, model=tiny, engine=engine, recipe=QUICK)
    random = curate.select(small_pool, "random", budget=12, model=tiny, engine=engine)
    drawn = random.frame["row_id"].to_list()
    assert [row for row in drawn if row in set(picked.frame["row_id"])] == picked.frame["row_id"].to_list()
    assert len(picked) >= 6
    counts = picked.summary
    assert 0 < counts["kept_reply_tokens"] < counts["reply_tokens"]
    if mode == "fixed" and len(picked) == 12:
        assert counts["kept_reply_tokens"] == int(0.6 * counts["reply_tokens"])
    assert [remark for remark in counts["remarks"] if "the reference was trained on" in remark] or mode != "fixed"
    picked.write(tmp_path / "picked")
    account = curate.train(tmp_path / "picked", out=tmp_path / "out", model=tiny, recipe=QUICK, engine=engine)
    assert account["loss_tokens"] == counts["kept_reply_tokens"]
    table = pq.read_table(tmp_path / "picked" / "tokens.parquet").to_pylist()
    assert all(sum(label != -100 for label in row["labels"]) for row in table)


def test_a_comparison_of_all_three(small_pool, make_pool, tiny, engine):
    """Arms of one seed train on the same rows; they differ in which tokens count."""
    held_out = make_pool(range(100, 110), "held_out.jsonl")
    methods = [TokenCleaning(keep=0.5), Rho1(keep=0.5), SsToken(keep=0.5)]
    asked = {"budgets": [8], "evals": held_out, "seeds": 2, "tokens": 500, "model": tiny, "engine": engine, "recipe": QUICK}
    verdict = curate.compare(small_pool, methods, full=False, **asked)
    rows = {row["method"]: row for row in verdict.frame.iter_rows(named=True)}
    picks = verdict.selections
    for name in ("token-cleaning:keep=0.5", "rho-1:keep=0.5", "sstoken:keep=0.5"):
        assert 0.4 < rows[name]["loss_tokens"] / rows["random"]["loss_tokens"] < 0.65
    for name in ("rho-1:keep=0.5", "sstoken:keep=0.5"):
        both = [picks.filter((pl.col("method") == m) & (pl.col("seed") == 0))["row_id"].to_list() for m in (name, "random")]
        assert both[0] == both[1]
    fits = len([s for s in engine.stages if s.kind == "train" and s.name.startswith("fit")])
    assert fits == 2  # of each seed, and shared by the two methods
    assert not any(" of the rows by " in s.name for s in engine.stages)  # trainings find the reference's losses in the store
    again = curate.compare(small_pool, methods, full=False, **{**asked, "engine": Engine(store=engine.store)})
    assert again.frame.equals(verdict.frame)
