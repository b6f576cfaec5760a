"""The engine: passes are shared, nothing is computed twice, and a killed run goes on where it was."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import curate.fitting
import curate.lm.forward
import curate.models
import curate.passes
from curate.engine import Engine
from curate.errors import CurateError, InputError
from curate.lm.encodings import ENCODING_TYPE, from_arrow, scored_positions
from curate.lm.models import ModelSpec
from curate.lm.observables import OBSERVABLES, Observable
from curate.method import Method
from curate.plan import base_model, fit_name, merge, pass_name
from curate.pool import read_pool
from curate.preparation import prepare
from curate.registry import make_method
from curate.report.plans import plan_scores
from curate.requests import Checkpoint, Fit, Observe, Rows, Subset, TokenWeights
from curate.scoring import plan, score
from curate.selection import select
from curate.store import Store
from curate.training.config import TrainConfig

QUICK = TrainConfig(adapter="none", learning_rate=1e-2, batch_tokens=256)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def run(store, tiny):
    """Scores a pool file with a fresh engine on the store; the engine comes back in `.engine`."""

    def run(pool, *methods, model=tiny, recipe=QUICK, seed=0, budget=None, **settings):
        engine = Engine(store=store, **settings)
        scores = score(pool, list(methods), model=model, engine=engine, recipe=recipe, seed=seed, budget=budget)
        scores.engine = engine
        return scores

    return run


def values(scores, name):
    return dict(zip(scores.frame["row_id"], scores.frame[name], strict=True))


def stages(scores, kind):
    return [(stage.computed_rows, stage.reused_rows, stage.tokens) for stage in scores.stages if stage.kind == kind]


@pytest.fixture
def forwarded(monkeypatch):
    """The row ids of each call of the forward pass."""
    real, calls = curate.lm.forward.traces, []

    def watched(model, encodings, *needs, **keys):
        calls.append(list(encodings.row_ids))
        return real(model, encodings, *needs, **keys)

    monkeypatch.setattr(curate.lm.forward, "traces", watched)
    return calls


def forbid_models(monkeypatch):
    def refuse(*args, **keys):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(curate.models, "load_model", refuse)


# One pass, many scores ------------------------------------------------------------------------------------------------


def test_methods_share_the_pass_of_the_base(run, small_pool):
    both = run(small_pool, "perplexity", "lobass")
    tokens = int(both.frame["tokens"].sum())
    assert stages(both, "pass") == [(24, 0, tokens)] * 2  # the base once, the reference once
    assert stages(both, "train") == [(24, 0, tokens)]
    assert all(stage.flops > 0 and stage.seconds > 0 for stage in both.stages if stage.kind != "encode")


def test_one_method_after_the_other_shares_it_too(run, small_pool):
    first = run(small_pool, "perplexity")
    tokens = int(first.frame["tokens"].sum())
    assert stages(first, "pass") == [(24, 0, tokens)]
    then = run(small_pool, "lobass")
    assert sorted(stages(then, "pass")) == [(0, 24, 0), (24, 0, tokens)]
    assert then.frame["lobass"].null_count() == 0 and then.frame["lobass"].n_unique() > 5


def test_scores_are_the_losses_of_the_model(run, small_pool, tiny):
    from curate.lm.forward import mean_losses
    from curate.lm.models import load_model

    scores = run(small_pool, "perplexity", "longest")
    engine = scores.engine
    _, rows, _ = engine.add("pool", scores.pool, ModelSpec(str(tiny)))
    want, _ = mean_losses(load_model(tiny, device="cpu", dtype="float32"), engine.encodings(ModelSpec(str(tiny)), rows))
    np.testing.assert_allclose(scores.frame["perplexity"].to_numpy(), want, rtol=0, atol=1e-6)
    assert scores.frame["longest"].to_list() == scores.frame["response_tokens"].to_list()


def test_what_the_tokens_tell_loads_no_model(run, small_pool, monkeypatch):
    forbid_models(monkeypatch)
    scores = run(small_pool, "longest", "random", "balanced")
    assert [stage.kind for stage in scores.stages] == ["encode"]


class Logprobs(Method):
    """Asks for several observables in two rounds."""

    name = "logprobs"
    paper = "none"
    cost = "forward"

    def requests(self, data, seen):
        ask = [Observe(data.model, data.pool, name) for name in ("token_logprobs", "sum_loss")]
        return [*ask, Observe(data.model, data.pool, "mean_loss")] if ask[0] in seen else ask

    def signal(self, data, seen, rng):
        logp, total, _ = (seen[request] for request in self.requests(data, seen))
        np.testing.assert_allclose([-row.sum() for row in logp.values], total.values, rtol=1e-5)
        return seen[Observe(data.model, data.pool, "mean_loss")]


def test_rounds_and_lists(run, small_pool):
    scores = run(small_pool, Logprobs())
    assert [stage.name.split(" of ")[0] for stage in scores.stages if stage.kind == "pass"] == [
        "token_logprobs, sum_loss",
        "mean_loss",
    ]
    assert scores.frame["logprobs"].null_count() == 0


def test_what_a_method_did_not_ask_for_is_not_there(run, small_pool, tiny):
    engine = run(small_pool, "perplexity").engine
    prepared = prepare(engine, read_pool(small_pool), model=ModelSpec(str(tiny)))
    seen = engine.gather([make_method("perplexity")], prepared.data)
    assert list(seen) == [Observe(prepared.data.model, prepared.rows, "mean_loss")] and len(seen) == 1
    with pytest.raises(KeyError):
        seen[Observe(prepared.data.model, prepared.rows, "sum_loss")]
    with pytest.raises(CurateError, match="was asked about before it was made"):
        engine.fitted(Fit(prepared.data.model, prepared.rows, QUICK))


MANY = ["lobass", "token-cleaning", "perplexity", "longest", "kmq:clusters=3", "facility-location"]


@pytest.fixture
def through_base(monkeypatch, tiny):
    """(row id, tokens) of everything that goes through the base model itself; not through fits, nor in trainings."""
    real, rows = curate.lm.forward._batch, []

    def watched(model, head, encodings, *rest):
        if model.name_or_path == str(tiny):
            rows.extend(zip(encodings.row_ids, encodings.lengths.tolist(), strict=True))
        return real(model, head, encodings, *rest)

    monkeypatch.setattr(curate.lm.forward, "_batch", watched)
    return rows


def test_every_row_goes_through_the_base_model_once_for_all_methods(run, small_pool, through_base, store, tiny):
    """Losses, losses of tokens and hidden states of six methods: one pass of the base, one line of the plan."""
    planned, _ = plan(small_pool, MANY, model=tiny, engine=Engine(store=store), recipe=QUICK)
    assert [step.model for step in planned.passes].count(ModelSpec(str(tiny))) == 1 and not planned.embeds
    [shared] = [step for step in planned.passes if step.model == ModelSpec(str(tiny))]
    assert set(shared.observables) >= {"mean_loss", "token_logprobs", "hidden_mean"}
    lines = plan_scores(read_pool(small_pool), MANY, engine=Engine(store=store), model=tiny, recipe=QUICK)["plan"]
    [line] = [line for line in lines if "of 24 rows of pool by tiny" in line["name"]]
    assert line["rows"] == 24
    through_base.clear()  # of the batches by which the plan measures time

    together = run(small_pool, *MANY, budget=6)  # token-cleaning has no scores, only picks
    each_once = sorted(together.frame.select("row_id", "tokens").rows())
    assert sorted(through_base) == each_once and line["tokens"] == together.frame["tokens"].sum()
    fits = len([step for step in planned.passes if step != shared])
    assert fits == 2 == len(stages(together, "pass")) - 1  # one pass for each of the two references
    run(small_pool, *MANY, budget=6)
    assert sorted(through_base) == each_once  # and none for the same again
    assert values(together, "perplexity") == values(run(small_pool, "perplexity"), "perplexity")


# Nothing computed twice -----------------------------------------------------------------------------------------------


def test_a_second_run_computes_nothing(run, small_pool, monkeypatch):
    first = run(small_pool, "perplexity", "lobass")
    forbid_models(monkeypatch)
    again = run(small_pool, "perplexity", "lobass")
    assert again.frame.equals(first.frame)
    assert stages(again, "pass") == [(0, 24, 0)] * 2 and not stages(again, "train") and not stages(again, "encode")


def test_a_second_run_does_not_import_the_libraries_of_models(run, small_pool, store, tiny):
    run(small_pool, "perplexity")
    code = """
import sys
from curate.engine import Engine
from curate.scoring import score
from curate.store import Store
engine = Engine(store=Store(sys.argv[1]))
assert len(score(sys.argv[2], "perplexity", model=sys.argv[3], engine=engine).frame) == 24
print(sorted({"transformers", "tokenizers", "peft", "scipy", "sklearn", "prefect"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code, store.root, small_pool, tiny], capture_output=True, text=True, timeout=60)
    assert (found.stdout, found.stderr) == ("[]\n", "")


def test_another_budget_loads_no_model(store, small_pool, tiny, monkeypatch):
    def pick(budget, method="lobass"):
        return select(small_pool, method, budget=budget, model=tiny, engine=Engine(store=store), recipe=QUICK)

    first = pick("25%")
    assert (first.summary["computed_rows"], first.summary["reused_rows"]) == (24, 0)
    forbid_models(monkeypatch)
    more = pick("50%")
    assert (more.summary["computed_rows"], more.summary["reused_rows"], more.summary["selected"]) == (0, 24, 12)
    assert more.frame["row_id"][:6].to_list() == first.frame["row_id"].to_list()
    assert pick(3, "perplexity:window=low").summary["selected"] == 3


def test_appended_rows_alone_are_computed(run, make_pool, tiny, forwarded):
    before = run(make_pool(range(24)), "perplexity")
    forwarded.clear()
    after = run(make_pool(range(30)), "perplexity")
    old, new = values(before, "perplexity"), values(after, "perplexity")
    assert {row_id: new[row_id] for row_id in old} == old
    fresh = after.frame.filter(~after.frame["row_id"].is_in(list(old)))
    assert [sorted(call) for call in forwarded] == [fresh["row_id"].to_list()]
    assert len(fresh) == 6 and stages(after, "pass") == [(6, 24, int(fresh["tokens"].sum()))]
    assert [(s.computed_rows, s.reused_rows) for s in after.stages if s.kind == "encode"] == [(6, 24)]
    _, rows, _ = after.engine.add("pool", after.pool, ModelSpec(str(tiny)))
    assert after.engine.computed_rows(rows) == 6


def test_another_setting_of_one_scorer_computes_that_scorer_alone(run, small_pool, forwarded, monkeypatch):
    first = run(small_pool, "perplexity", "lobass")
    tokens = int(first.frame["tokens"].sum())
    forwarded.clear()
    after = run(small_pool, "perplexity", "lobass:epochs=2")
    # One more fit and one pass of it over the rows; the base model is not run again.
    assert stages(after, "train") == [(24, 0, 2 * tokens)] and sorted(stages(after, "pass")) == [(0, 24, 0), (24, 0, tokens)]
    assert sum(len(call) for call in forwarded) == 24
    assert after.frame["perplexity"].equals(first.frame["perplexity"])
    assert not after.frame[after.methods[1]].equals(first.frame["lobass"])
    forbid_models(monkeypatch)
    run(small_pool, "perplexity:window=low", "lobass")  # what only the choice depends on computes nothing


def test_removed_rows_cost_nothing(run, make_pool, monkeypatch):
    before = values(run(make_pool(range(24)), "perplexity"), "perplexity")
    forbid_models(monkeypatch)
    after = values(run(make_pool(range(5, 20)), "perplexity"), "perplexity")
    assert len(after) == 15 and after.items() <= before.items()


def test_the_same_rows_under_other_columns_are_the_same(run, make_pool, monkeypatch):
    before = values(run(make_pool(range(24)), "perplexity"), "perplexity")
    forbid_models(monkeypatch)
    shuffled = make_pool(list(reversed(range(24))), "other.jsonl", source=lambda i: "elsewhere", note=lambda i: i)
    assert values(run(shuffled, "perplexity"), "perplexity") == before


def test_what_makes_a_result_is_in_its_address(store, small_pool, tiny, base4m, tmp_path, monkeypatch):
    other = shutil.copytree(tiny, tmp_path / "other")
    (other / "chat_template.jinja").write_text((tiny / "chat_template.jinja").read_text() + " ")
    same = shutil.copytree(tiny, tmp_path / "same")
    pool = read_pool(small_pool)

    def address(model=tiny, observable="mean_loss", **settings):
        engine, spec = Engine(store=store, **settings), ModelSpec(str(model))
        _, rows, _ = engine.add("pool", pool, spec)
        return engine.work(Observe(spec, rows, observable)).artifact(observable).folder.name

    changed = [
        address(),
        address(base4m),
        address(other),
        address(observable="sum_loss"),
        address(dtype="bfloat16"),
        address(max_length=100),
    ]
    assert len(set(changed)) == 6
    assert address(same) == address() == address(batch_tokens=77, refit="never")
    for module, name in (
        (curate.fitting, "FORWARD_VERSION"),
        (curate.fitting, "VIEW_VERSION"),
        (curate.models, "ENCODE_VERSION"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, 99)
            assert address() not in changed
    newer = Observable(**{**vars(OBSERVABLES["mean_loss"]), "version": 99})
    monkeypatch.setitem(OBSERVABLES, "mean_loss", newer)
    assert address() not in changed


def test_rows_that_a_second_tokeniser_takes_stay_counted(store, small_pool, tiny, base4m):
    """Tokenising for the model to be trained and for the one that scores are both work on the same rows."""
    engine = Engine(store=store)
    prepared = prepare(engine, read_pool(small_pool), model=ModelSpec(str(tiny)), scorer_model=ModelSpec(str(base4m)))
    assert engine.computed_rows(prepared.rows) == 24
    again = Engine(store=store)
    prepared = prepare(again, read_pool(small_pool), model=ModelSpec(str(tiny)), scorer_model=ModelSpec(str(base4m)))
    assert again.computed_rows(prepared.rows) == 0


def test_a_first_pass_over_known_tokens_is_work(run, store, small_pool, tiny):
    run(small_pool, "longest")
    picked = select(small_pool, "perplexity", budget=3, model=tiny, engine=Engine(store=store))
    assert (picked.summary["computed_rows"], picked.summary["reused_rows"]) == (24, 0)


# Killed and resumed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("survive", [0, 1, 11, 23, 35])
def test_a_killed_pass_goes_on_with_the_same_bits(run, make_pool, tmp_path, tiny, monkeypatch, survive):
    pool = make_pool(range(36))
    monkeypatch.setattr(curate.passes, "SHARD_TOKENS", 150)
    undisturbed = Engine(store=Store(tmp_path / "undisturbed"), batch_tokens=128)
    want = score(pool, Logprobs(), model=tiny, engine=undisturbed)
    real = curate.lm.forward.traces

    def killed(*args, **keys):
        nonlocal survive
        for item in real(*args, **keys):
            if survive == 0:
                raise KeyboardInterrupt
            survive -= 1
            yield item

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(curate.lm.forward, "traces", killed)
        run(pool, Logprobs(), batch_tokens=128)
    resumed = run(pool, Logprobs(), batch_tokens=128)
    assert resumed.frame.equals(want.frame)
    [(computed, reused, _), _] = stages(resumed, "pass")
    assert computed + reused == 36
    assert shards(resumed.engine.store) == shards(undisturbed.store)


def shards(store):
    """What every shard holds, without the seconds that it took."""
    found = {}
    for path in store.root.glob("rows/*/part-*"):
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        found[path.parent.name, path.name.split("-")[1]] = table.replace_schema_metadata().to_pylist()
    return found


def test_a_killed_pass_keeps_its_whole_shards(run, make_pool, monkeypatch):
    pool = make_pool(range(24))
    monkeypatch.setattr(curate.passes, "SHARD_TOKENS", 200)
    real = curate.lm.forward.traces
    calls = []

    def killed(*args, **keys):
        calls.append(len(args[1]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **keys)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(curate.lm.forward, "traces", killed)
        run(pool, "perplexity")
    resumed = run(pool, "perplexity")
    [(computed, reused, _)] = stages(resumed, "pass")
    assert reused == calls[0] + calls[1] > 0 and computed == 24 - reused


def test_a_killed_fit_leaves_nothing_behind(run, small_pool, store, monkeypatch):
    import curate.training.trainer

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def killed(*args, **keys):
            raise KeyboardInterrupt

        patch.setattr(curate.training.trainer, "save_model", killed)
        run(small_pool, "lobass")
    assert list(store.root.glob("fits/*")) == []
    assert run(small_pool, "lobass").frame["lobass"].null_count() == 0


# Fits that are kept ---------------------------------------------------------------------------------------------------


@pytest.fixture
def fits(store):
    return lambda: len(list(store.root.glob("fits/*")))


@pytest.mark.parametrize(
    ("refit", "grown", "made"),
    [("drift", 22, 1), ("drift", 26, 2), ("never", 26, 1), ("never", 40, 1), ("always", 21, 2), ("always", 20, 1)],
)
def test_when_a_fit_is_made_again(run, make_pool, fits, refit, grown, made):
    run(make_pool(range(20)), "lobass")
    after = run(make_pool(range(grown)), "lobass", refit=refit)
    assert fits() == made and len(stages(after, "train")) == made - 1
    assert after.frame["lobass"].null_count() == 0
    kept = made == 1 and grown > 20
    assert [("was kept although" in note) for note in after.engine.notes] == [True] * kept
    if kept:
        assert f"{(grown - 20) / grown:.1%} of the rows have changed" in after.engine.notes[0]
        # New rows are scored by the kept fit, the others stay as they were.
        assert stages(after, "pass")[1][:2] == (grown - 20, 20)


def test_removed_rows_are_drift_too(run, make_pool, fits):
    run(make_pool(range(20)), "lobass")
    run(make_pool(range(19)), "lobass")
    assert fits() == 1
    run(make_pool(range(15)), "lobass")
    assert fits() == 2


def test_the_closest_fit_serves(run, make_pool, fits):
    run(make_pool(range(20)), "lobass")
    run(make_pool(range(30)), "lobass")
    near = run(make_pool(range(29)), "lobass", refit="never")
    assert fits() == 2 and "3.4% of the rows" in near.engine.notes[0]


@pytest.mark.parametrize("refit", ["never", "drift"])
def test_a_fit_on_part_of_a_pool_serves_that_part_alone(store, small_pool, tiny, refit):
    """One row more or less is another part, and not the pool as it was; the whole pool is not served by a part either."""
    engine = Engine(store=store, refit=refit)
    data = add(engine, small_pool, tiny)
    parts = [Subset(data.pool, index) for index in (range(20), range(21), [*range(19), 23])]
    fits = [Fit(data.model, rows, QUICK) for rows in parts]
    engine.execute(merge(fits[:1]))
    assert [engine.kept(fit) is None for fit in (*fits, Fit(data.model, data.pool, QUICK))] == [False, True, True, True]
    engine.execute(merge(fits))
    assert len({engine.fitted(fit).address for fit in fits}) == 3 and engine.notes == []
    again = Engine(store=store, refit=refit)
    assert [again.fitted(Fit(add(again, small_pool, tiny).model, rows, QUICK)).address for rows in parts] == [
        engine.fitted(fit).address for fit in fits
    ]


def test_each_round_of_iterative_kmq_has_its_own_model(store, small_pool, tiny):
    """Fits of the rounds hold the rows of those before, and yet none stands for another."""
    made = {}
    for refit in ("always", "never"):
        engine = Engine(store=Store(store.root / refit), refit=refit)
        picked = select(
            small_pool, "iterative-kmq:clusters=3:rounds=3", budget=12, model=tiny, engine=engine, recipe=QUICK, seed=1
        )
        made[refit] = len(list(engine.store.root.glob("fits/*"))), picked.frame["row_id"].to_list()
    assert made["never"] == made["always"] and made["always"][0] == 2


def test_a_whole_pool_s_fit_of_old_serves_its_own_rows_alone(run, make_pool, store, fits):
    """It does not say whether its rows were all of a pool."""
    run(make_pool(range(20)), "lobass")
    [folder] = store.folders("fits")
    (folder / "whole.txt").unlink()
    assert not [note for note in run(make_pool(range(20)), "lobass").engine.notes] and fits() == 1
    run(make_pool(range(21)), "lobass", refit="never")
    assert fits() == 2


def test_what_serves_a_chain_of_fits_is_looked_up_once_for_each(store, small_pool, tiny, monkeypatch):
    """And again when another fit was made, which may serve better."""
    engine = Engine(store=store)
    data = add(engine, small_pool, tiny)
    quick = QUICK.model_copy(update={"epochs": None, "steps": 1, "learning_rate": 1e-4})
    chain = [Fit(data.model, Subset(data.pool, [0, 1]), quick)]
    for _ in range(9):
        chain.append(Fit(chain[-1], Subset(data.pool, [0, 1]), quick))
    engine.execute(merge(chain[-1:]))
    looked, real = [], curate.fitting.kept_fit
    monkeypatch.setattr(curate.fitting, "kept_fit", lambda *given, **how: looked.append(1) or real(*given, **how))
    again = Engine(store=store)
    again.add("pool", read_pool(small_pool), data.model)
    assert again.kept(chain[-1]) == engine.kept(chain[-1]) and again.fitted(chain[-1]).account["steps"] == 1
    assert 0 < len(looked) <= 2 * len(chain)


def test_another_recipe_seed_or_model_is_another_fit(run, small_pool, fits, base4m):
    run(small_pool, "lobass", refit="never")
    run(small_pool, "lobass:epochs=2", refit="never")
    run(small_pool, "lobass", refit="never", seed=1)
    run(small_pool, "lobass", refit="never", recipe=QUICK.model_copy(update={"learning_rate": 2e-2}))
    assert fits() == 4
    run(small_pool, "lobass", refit="never", max_length=100)  # other tokens
    assert fits() == 5


def test_what_a_fit_took_is_kept(run, small_pool, store, tiny):
    first = run(small_pool, "lobass", "perplexity")
    again = run(small_pool, "lobass", "perplexity")
    data = prepare(again.engine, again.pool, model=ModelSpec(str(tiny)), recipe=QUICK).data
    methods = [make_method(name) for name in ("lobass", "perplexity", "longest")]
    seen = again.engine.gather(methods, data)
    took = [again.engine.cost(seen, method)[0] for method in methods]
    assert took[0] > took[1] > 0 and took[2] == 0
    [account] = [json.loads(path.read_text()) for path in store.root.glob("fits/*/fit.json")]
    assert account["tokens"] == stages(first, "train")[0][2] and took[0] > account["seconds"] > 0


class Late(Method):
    """Asks in its second round for what `perplexity` asked for in its first."""

    name = "late"
    paper = "none"
    cost = "forward"

    def requests(self, data, seen):
        first = Observe(data.model, data.pool, "tokens")
        return [first, Observe(data.model, data.pool, "mean_loss")] if first in seen else [first]

    def signal(self, data, seen, rng):
        return seen[Observe(data.model, data.pool, "mean_loss")]


def test_what_another_asked_for_first_counts_for_both(store, small_pool, tiny):
    engine = Engine(store=store)
    data = prepare(engine, read_pool(small_pool), model=ModelSpec(str(tiny)), recipe=QUICK).data
    methods = [make_method("perplexity"), Late()]
    seen = engine.gather(methods, data)
    assert engine.cost(seen, methods[1]) == engine.cost(seen, methods[0]) > (0, 0)


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_a_refit_rule_is_one_of_three():
    with pytest.raises(InputError, match="'sometimes' is not one of never, drift, always"):
        Engine(refit="sometimes")


def test_weights_that_are_not_numbers_give_null_and_not_0(run, small_pool, tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    scores = run(small_pool, "perplexity", model=broken)
    assert scores.frame["perplexity"].null_count() == 24
    assert set(scores.frame["perplexity_null"]) == {"the model gave a number that is not finite"}
    picked = select(small_pool, "perplexity", budget=5, model=broken, engine=scores.engine)
    assert len(picked) == 0 and picked.summary["rows_null"] == 24 and "only 0 of 24 rows" in picked.summary["shortfall"]


def test_a_reply_that_is_cut_off_is_left_out_with_a_reason(store, make_pool, tiny, tmp_path):
    def with_long_question(i):
        return [
            {"role": "user", "content": "so " * (200 if i < 3 else 1) + str(i)},
            {"role": "assistant", "content": f"Yes {i}."},
        ]

    pool = make_pool(range(10), messages=with_long_question)
    engine = Engine(store=store, max_length=64)
    usable, rows, failed = engine.add("pool", read_pool(pool), ModelSpec(str(tiny)))
    assert len(usable) == rows.size == 7 and set(failed.values()) == {"the reply is cut off entirely at 64 tokens"}
    assert len(engine.encodings(ModelSpec(str(tiny)), rows)) == 7
    picked = select(pool, "longest", budget=1.0, model=tiny, engine=Engine(store=store, max_length=64))
    assert (
        picked.summary["rows_rejected"] == 3
        and len(picked) == 7
        and {row.row_id: row.reason for row in picked.unusable} == failed
    )
    with pytest.raises(InputError, match="no row of the pool can be used by tiny: the reply is cut off entirely at 5"):
        Engine(store=store, max_length=5).add("pool", read_pool(pool), ModelSpec(str(tiny)))


def test_a_limit_beyond_the_context_is_refused(store, small_pool, tiny):
    with pytest.raises(InputError, match="--max-length 300 exceeds the context of tiny, 256 tokens"):
        Engine(store=store, max_length=300).add("pool", read_pool(small_pool), ModelSpec(str(tiny)))


def test_encodings_come_back_as_they_went(store):
    rng = np.random.default_rng(0)
    rows = [
        {"input_ids": rng.integers(0, 9, n), "loss_mask": rng.random(n) < 0.5, "truncated": bool(n % 2)} for n in (3, 1, 6, 2)
    ]
    artifact = store.rows({"kind": "encoding"}, ENCODING_TYPE)
    artifact.put(["b", "x", "d"], [rows[0], None, rows[1]], [None, "why", None])
    artifact.put(["a", "c"], [rows[2], rows[3]], [None, None])
    order = {"a": 2, "b": 0, "c": 3, "d": 1}
    found = from_arrow(list(order), artifact.get(list(order))["value"])
    for i, number in enumerate(order.values()):
        assert found.input_ids[i].tolist() == rows[number]["input_ids"].tolist() and found.input_ids[i].dtype == np.int32
        assert found.loss_mask[i].tolist() == rows[number]["loss_mask"].tolist()
    assert found.truncated.tolist() == [False, True, False, True]
    assert len(from_arrow([], artifact.get([])["value"])) == 0


def test_a_fit_keeps_its_checkpoints(store, small_pool, tiny, monkeypatch):
    """The models on the way, with what the optimizer knew; the last is the model itself."""
    import torch
    from transformers import AutoModelForCausalLM

    from curate.training.checkpoints import read_adapted, read_optimizer

    def fitted(recipe):
        engine = Engine(store=store)
        data = prepare(engine, read_pool(small_pool), model=ModelSpec(str(tiny)), recipe=recipe).data
        fit = Fit(data.model, data.pool, recipe)
        engine.execute(merge([fit]))
        return engine.fitted(fit)

    kept = TrainConfig(lora_r=2, batch_tokens=64, save_checkpoints=3, save_optimizer=True, checkpoint_steps=2)
    found = fitted(kept)
    steps = [int(path.name.removeprefix("checkpoint-")) for path in found.checkpoints]
    assert len(steps) == 3 and steps == sorted(steps) and steps[-1] == found.account["steps"]
    assert not (found.folder.parent / "states").exists()
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        outputs = [AutoModelForCausalLM.from_pretrained(path)(ids).logits for path in (*found.checkpoints, found.folder)]
    assert torch.equal(outputs[2], outputs[3]) and not torch.equal(outputs[0], outputs[2])
    names = {
        name for name, weight in read_adapted(AutoModelForCausalLM.from_pretrained(tiny), found.checkpoints[0]).named_parameters()
    }
    moments = read_optimizer(found.checkpoints[0])
    assert moments and set(moments) <= names
    assert {float(of["step"]) for of in moments.values()} == {steps[0]}
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "train", None)
        assert fitted(kept) == found  # out of the store
    without = fitted(kept.model_copy(update={"save_checkpoints": 0}))
    assert without.checkpoints == () and without.address != found.address


def add(engine, pool, tiny, recipe=QUICK):
    return prepare(engine, read_pool(pool), model=ModelSpec(str(tiny)), recipe=recipe).data


def weights(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_a_fit_on_a_subset_is_the_fit_on_a_pool_of_those_rows(store, small_pool, tiny):
    add(Engine(store=store), small_pool, tiny)  # tokenises
    engine = Engine(store=store)
    data, whole = add(engine, small_pool, tiny), read_pool(small_pool)
    part = Subset(data.pool, [1, 4, 5, 9])
    fit = Fit(data.model, part, QUICK)
    engine.execute(merge([fit, Observe(fit, part, "mean_loss")]))
    assert engine.computed_rows(data.pool) == 4
    other = Engine(store=store)
    _, rows, _ = other.add("pool", whole.take([1, 4, 5, 9]), data.model)
    alone = Fit(data.model, rows, QUICK)
    assert other.fitted(alone).address == engine.fitted(fit).address
    assert not len(other.work(Observe(alone, rows, "mean_loss")).missing())
    assert np.array_equal(
        other.answer(Observe(alone, rows, "mean_loss")).values, engine.answer(Observe(fit, part, "mean_loss")).values
    )


@pytest.mark.parametrize("index", [[], [3, 3], [4, 2], [-1, 2], [0, 24], [[1, 2]]])
def test_a_subset_is_of_positions_of_the_rows(index):
    with pytest.raises(ValueError, match="ascending and none twice"):
        Subset(Rows("pool", "f", 24), index)


def test_a_fit_may_go_on_from_another(store, small_pool, tiny):
    """What came of the first fit, trained on: the same as loading its folder as a model of its own."""
    engine = Engine(store=store)
    data = add(engine, small_pool, tiny)
    first = Fit(data.model, Subset(data.pool, range(12)), QUICK)
    second = Fit(first, Subset(data.pool, range(12, 24)), QUICK)
    plan = merge([Observe(second, data.pool, "mean_loss"), Fit(data.model, data.pool, QUICK)])
    assert plan.fits[:2] == (first, second) and base_model(second) == data.model
    assert "after 1 fit before it" in fit_name(second)
    engine.execute(plan)
    by_hand = ModelSpec(str(engine.fitted(first).folder))
    again = Engine(store=store)
    _, rows, _ = again.add("pool", read_pool(small_pool).take(range(12, 24)), by_hand)
    again.execute(merge([Fit(by_hand, rows, QUICK)]))
    got = weights(engine.fitted(second).folder)
    assert same(got, weights(again.fitted(Fit(by_hand, rows, QUICK)).folder))
    assert not same(got, weights(engine.fitted(first).folder))


def test_each_checkpoint_of_a_fit_can_be_observed(store, small_pool, tiny):
    engine = Engine(store=store)
    recipe = QUICK.model_copy(update={"save_checkpoints": 2})
    data = add(engine, small_pool, tiny, recipe)
    fit = Fit(data.model, data.pool, recipe)
    requests = [Observe(model, data.pool, "mean_loss") for model in (Checkpoint(fit, 1), Checkpoint(fit, 2), fit)]
    plan = merge(requests)
    assert plan.fits == (fit,) and len(plan.passes) == 3 and "checkpoint 1 of the fit" in pass_name(plan.passes[0])
    engine.execute(plan)
    first, last, model = (engine.answer(request).values for request in requests)
    assert np.array_equal(last, model) and not np.allclose(first, last)
    for number in (0, 3):
        with pytest.raises(ValueError, match="no checkpoint"):
            Checkpoint(fit, number)


def test_tokens_of_a_fit_can_be_left_out(store, small_pool, tiny):
    """All at 1 is the fit without; a token at 0 is one that the loss mask does not have."""
    engine = Engine(store=store)
    data = add(engine, small_pool, tiny)
    encodings = engine.encodings(data.model, data.pool)
    ones = [np.ones(len(scored_positions(mask)), np.float32) for mask in encodings.loss_mask]
    halves = [np.where(np.arange(len(row)) % 2, row, 0) for row in ones]
    plain, full, half = (Fit(data.model, data.pool, QUICK, t) for t in (None, TokenWeights(ones), TokenWeights(halves)))
    engine.execute(merge([plain, full, half]))
    assert same(weights(engine.fitted(plain).folder), weights(engine.fitted(full).folder))
    assert not same(weights(engine.fitted(plain).folder), weights(engine.fitted(half).folder))
    assert engine.fitted(half).account["loss_tokens"] == sum(np.count_nonzero(row) for row in halves)
    masked = replace(encodings, loss_mask=[thinned(mask, row) for mask, row in zip(encodings.loss_mask, halves, strict=True)])
    by_hand = engine.train(data.model, masked, QUICK, "by hand").model.state_dict()
    assert all(np.array_equal(array, by_hand[name].numpy()) for name, array in weights(engine.fitted(half).folder).items())
    with pytest.raises(ValueError, match="scored tokens and"):
        encodings.with_token_weights([row[:-1] for row in ones])
    with pytest.raises(ValueError, match="none negative"):
        TokenWeights([np.array([1.0, -1.0])])


def thinned(mask, kept):
    found = np.zeros_like(mask)
    found[scored_positions(mask)] = kept > 0
    return found
