"""Methods that look at a target: known answers, and what they share."""

import math

import numpy as np
import polars as pl
import pytest

from curate.budget import Limit
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.lm.views import CONVERSATION, INSTRUCTION, RESPONSE
from curate.method import Data
from curate.plan import merge
from curate.pool import read_pool
from curate.preparation import prepare
from curate.registry import make_method
from curate.requests import Embed, HiddenStates, Rows, Texts
from curate.selection import select
from curate.selectors.transport import duals
from curate.signals import RowValues, RowVector
from curate.store import Store
from scorers.bm25 import bm25

MODEL = ModelSpec("org/base")


def data(n, m, **more):
    return Data(pool=Rows("pool", "p" * 32, n), target=Rows("target", "t" * 32, m), model=MODEL, **more)


def texts(*values):
    return RowValues(list(values), np.array([None if v else "nothing" for v in values], dtype=object))


def vectors(values):
    return RowVector(np.asarray(values, np.float32), np.full(len(values), None, dtype=object))


def rows(n, k):
    return Limit(np.ones(n), k)


def played(method, given, pool, target, view=CONVERSATION):
    """The signal on vectors or texts."""
    made = make_method(method)
    if isinstance(pool, RowValues):
        seen = {Texts(given.pool, view): pool, Texts(given.target, view): target}
    else:
        seen = {request: part for request, part in zip(made.requests(given, {}), (pool, target))}
    return made, made.signal(given, seen, np.random.default_rng(0))


def picks(made, signal, k):
    n = len(signal)
    table = pl.DataFrame({"row_id": [f"{i:04}" for i in range(n)], "source": ["s"] * n})
    return made.choose(signal, table, rows(n, k), np.random.default_rng(0))


POOL = vectors([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.8], [-1, 0]])


def test_rows_nearest_to_target_rows_in_turn():
    made, signal = played("nearest", data(5, 2), POOL, vectors([[2, 0], [0, 3]]))
    np.testing.assert_allclose(
        made.score(signal).values, [1, 0.9 / math.hypot(0.9, 0.1), 1, 0.8 / math.hypot(0.1, 0.8), 0], atol=1e-6
    )
    found = picks(made, signal, 3)
    assert found.index.tolist() == [0, 2, 1] and found.stratum == ["target row 1", "target row 2", "target row 1"]
    by_max = picks(make_method("nearest:rule=max"), signal, 3)
    assert by_max.index.tolist() == [0, 2, 1] and by_max.stratum == [None] * 3


def test_tasks_take_turns_by_their_best_target_row():
    aims = vectors([[1, 0], [0.9, 0.1], [0, 1]])
    made, signal = played("nearest:rule=tasks", data(5, 3, target_sources=("a", "a", None)), POOL, aims)
    found = picks(made, signal, 4)
    assert found.index.tolist() == [0, 2, 1, 3]  # with target rows in turn, "a" would have two of three
    assert found.stratum == ["a", "rows without a source"] * 2


def test_the_pools_mean_can_be_taken_off():
    shift = np.array([100.0, 100.0])
    far = [vectors(part.values + shift) for part in (POOL, vectors([[2, 0], [0, 3]]))]
    made, signal = played("nearest", data(5, 2), *far)
    assert np.ptp(made.score(signal).values) < 1e-3
    made, signal = played("nearest:centre=true", data(5, 2), *far)
    middle = POOL.values.mean(axis=0)
    want = [
        np.dot(p - middle, t - middle) / np.linalg.norm(p - middle) / np.linalg.norm(t - middle)
        for p in POOL.values
        for t in ([2, 0], [0, 3])
    ]
    np.testing.assert_allclose(signal.values.ravel(), want, atol=1e-4)


def test_rds_plus_asks_for_states_weighted_by_position():
    given = data(5, 2)
    [own, aimed] = make_method("rds-plus").requests(given, {})
    assert own == Embed(HiddenStates(MODEL, "weighted"), given.pool) and aimed.rows == given.target
    plan = merge(make_method("rds-plus").requests(given, {}))
    assert [step.observables for step in plan.passes] == [("hidden_weighted",)] * 2


@pytest.mark.parametrize("method", ["nearest", "rds-plus", "bm25", "dsir", "sift", "got-d"])
def test_a_target_is_needed(method):
    with pytest.raises(InputError, match=f"{method} needs --target"):
        make_method(method).requests(Data(pool=Rows("pool", "p" * 32, 5), model=MODEL), {})


@pytest.mark.parametrize("method", ["nearest", "sift", "got-d"])
def test_a_target_without_a_direction_is_said(method):
    with pytest.raises(InputError, match="no row of the target has a vector to compare with"):
        played(method, data(5, 2), POOL, vectors(np.zeros((2, 2))))


def test_bm25_by_hand():
    pool = texts("red fox", "red red fox runs", "blue dog", None)
    found, lengths = bm25(pool, texts("Red dog dog"), k1=1.2, b=0.75)
    mean = (2 + 4 + 2) / 3
    idf = {"red": math.log1p((3 - 2 + 0.5) / 2.5), "dog": math.log1p((3 - 1 + 0.5) / 1.5)}

    def weight(tf, length):
        return tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / mean))

    want = [idf["red"] * weight(1, 2), idf["red"] * weight(2, 4), 2 * idf["dog"] * weight(1, 2), 0]
    np.testing.assert_allclose(found[:, 0], want, rtol=1e-6)
    assert lengths.tolist() == [2, 4, 2, 0]


def test_bm25_serves_target_rows_in_turn_and_says_where_there_are_no_words():
    pool = texts("red fox", "red red fox runs", "blue dog", None)
    made, signal = played("bm25", data(4, 2), pool, texts("fox", "dog"))
    assert picks(made, signal, 2).index.tolist() == [0, 2] and signal.reasons[3] == "nothing"
    with pytest.raises(InputError, match="no text of the target has a word"):
        played("bm25", data(4, 1), pool, texts("!!"))


def log_weights(method, pool, target, view=CONVERSATION):
    return played(method, data(len(pool), len(target)), pool, target, view)[1].values


def test_dsir_by_hand():
    """Buckets so many that nothing collides: each feature adds count x log ratio of its frequencies."""
    pool, target = texts("a b", "b c"), texts("a b", "a b")
    found = log_weights("dsir:buckets=1000000", pool, target)
    p = {"a": 2 / 6, "b": 2 / 6, "a b": 2 / 6}
    q = {"a": 1 / 6, "b": 2 / 6, "c": 1 / 6, "a b": 1 / 6, "b c": 1 / 6}

    def weight(features):
        return sum(math.log(p.get(f, 0) + 1e-8) - math.log(q[f] + 1e-8) for f in features)

    np.testing.assert_allclose(found, [weight(["a", "b", "a b"]), weight(["b", "c", "b c"])], rtol=1e-6)
    mean = log_weights("dsir:buckets=1000000:length=mean", pool, target)
    np.testing.assert_allclose(mean, found / 3)


def test_dsir_of_a_target_that_is_the_pool_says_nothing():
    pool = texts("red fox runs", "blue dog", "red dog sits")
    np.testing.assert_allclose(log_weights("dsir", pool, pool), 0, atol=1e-9)


def test_a_pair_of_words_planted_in_the_target_raises_the_rows_that_have_it():
    pool = texts(*["a b c d"] * 5, *["b a d c"] * 5)  # the same words
    target = texts("a b c d", "b a d c", "a b")
    found = log_weights("dsir:buckets=100000", pool, target)
    assert found[:5].min() > found[5:].max()
    assert np.ptp(log_weights("dsir:buckets=100000:ngrams=1", pool, target)) < 1e-9


def test_dsir_can_hash_instruction_and_reply_apart():
    given = data(2, 1)
    made = make_method("dsir:parts=separate")
    assert [r.view for r in made.requests(given, {})] == [INSTRUCTION, RESPONSE] * 2
    seen = {Texts(given.pool, INSTRUCTION): texts("a", "b"), Texts(given.pool, RESPONSE): texts("b", "a")}
    seen |= {Texts(given.target, INSTRUCTION): texts("a"), Texts(given.target, RESPONSE): texts("b")}
    found = made.signal(given, seen, np.random.default_rng(0)).values
    assert found[0] > found[1] + 10  # together the two rows have the same words


def test_dsir_draws_in_proportion_to_the_weight():
    made = make_method("dsir")
    _, signal = played("dsir", data(2, 1), texts("a", "b"), texts("a"))
    signal = type(signal)(np.array([math.log(3.0), 0.0]), signal.reasons)
    table = pl.DataFrame({"row_id": ["0", "1"]})
    first = [made.choose(signal, table, rows(2, 1), np.random.default_rng(seed)).index[0] for seed in range(1500)]
    assert np.mean(np.array(first) == 0) == pytest.approx(0.75, abs=0.03)


def test_sift_passes_over_copies_that_nearest_takes():
    copies = vectors([[1, 0.1, 0]] * 4 + [[0.6, 0, 0.8], [0, 0, 1]])
    target = vectors([[1, 0, 0.3]])
    near, far = (played(name, data(6, 1), copies, target) for name in ("nearest", "sift"))
    assert picks(*near, 3).index.tolist() == [0, 1, 2]
    assert picks(*far, 2).index.tolist() == [0, 4]


def test_sift_looks_at_a_shortlist_of_the_best_scores(monkeypatch):
    rng = np.random.default_rng(0)
    made, signal = played("sift:shortlist=1", data(300, 2), vectors(rng.normal(size=(300, 5))), vectors(rng.normal(size=(2, 5))))
    found = picks(made, signal, 250)
    best = np.argsort(-made.score(signal).values, kind="stable")[:250]
    assert sorted(found.index.tolist()) == sorted(best.tolist()) and found.nulls == 0
    assert len(picks(made, signal, 300)) == 300 and picks(made, signal, 301).shortfall.endswith(
        "only 300 of 300 rows could be used."
    )


def test_got_d_keeps_what_the_pool_has_too_little_of():
    """The target is half of each of two kinds, the pool nearly all of one: the rare kind comes first, which no likeness says."""
    rng = np.random.default_rng(0)
    a, b = np.array([1.0, 0, 0, 0]), np.array([0, 1.0, 0, 0])
    pool = np.concatenate([a + 0.05 * rng.normal(size=(90, 4)), b + 0.05 * rng.normal(size=(10, 4))])
    target = np.concatenate([a + 0.05 * rng.normal(size=(10, 4)), b + 0.05 * rng.normal(size=(10, 4))])
    made, signal = played("got-d:epsilon=0.02", data(100, 20), vectors(pool), vectors(target))
    assert picks(made, signal, 10).index.min() >= 90 and not made.remarks(None, signal)
    made, signal = played("got-d:epsilon=0.02:iterations=1", data(100, 20), vectors(pool), vectors(target))
    assert "the transport was not done after 1 iterations" in made.remarks(None, signal)[0]


def test_got_d_calibration_keeps_the_order_of_the_duals():
    rng = np.random.default_rng(0)
    pool, target = rng.normal(size=(40, 3)), rng.normal(size=(6, 3))
    _, signal = played("got-d", data(40, 6), vectors(pool), vectors(target))
    units = [(part / np.linalg.norm(part, axis=1, keepdims=True)) for part in (pool, target)]
    raw = duals(*units, epsilon=0.1).rows
    assert np.argsort(signal.values).tolist() == np.argsort(raw).tolist()
    np.testing.assert_allclose(signal.values, raw - (raw.sum() - raw) / 39, atol=1e-5)


@pytest.fixture(scope="module")
def shared(tiny, tmp_path_factory):
    """An engine on a small model, and a pool and a target on disk."""
    import json

    folder = tmp_path_factory.mktemp("aimed")
    for name, numbers in (("pool", range(16)), ("target", range(40, 44))):
        lines = [
            {
                "messages": [
                    {"role": "user", "content": f"What is {i}?"},
                    {"role": "assistant", "content": f"It is {i} " * (1 + i % 3)},
                ]
            }
            for i in numbers
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder, tiny


def test_one_pass_over_the_pool_serves_them_all(shared):
    """Tokens that go through the model: those of the pool once and those of the target once, whatever is asked."""
    folder, tiny = shared
    engine = Engine(store=Store(folder / "one-pass"), device="cpu")
    names = [
        "rds-plus", "prototypes", "semdedup", "deita:quality=perplexity", "sift", "nearest", "deft-ucs", "got-d",
        "mmssr", "instag:tags=clusters", "perplexity",
    ]  # fmt: skip
    methods = [make_method(name) for name in names]
    pool, target = (read_pool(folder / f"{name}.jsonl") for name in ("pool", "target"))
    prepared = prepare(engine, pool, model=ModelSpec(str(tiny)), target=target, methods=methods)
    engine.gather(methods, prepared.data)
    passed = [stage for stage in engine.stages if stage.kind == "pass"]
    lengths = [
        int(engine.encodings(prepared.data.model, part).lengths.sum()) for part in (prepared.data.pool, prepared.data.target)
    ]
    assert sorted(stage.tokens for stage in passed) == sorted(lengths)


def test_a_row_is_weighed_by_position_and_cut_padding_counts_nothing(shared):
    """RDS+'s score out of the model's own states, one row at a time in float64."""
    import torch
    from transformers import AutoModelForCausalLM

    folder, tiny = shared
    engine = Engine(store=Store(folder / "store"), device="cpu")
    found = select(folder / "pool.jsonl", "rds-plus", budget=16, model=tiny, target=folder / "target.jsonl", engine=engine)
    network = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float64).eval()

    def embedded(name):
        spec = ModelSpec(str(tiny))
        encodings = engine.encodings(spec, engine.add(name, read_pool(folder / f"{name}.jsonl"), spec)[1])
        out = []
        for ids in encodings.input_ids:
            with torch.no_grad():
                states = network.model(torch.tensor(np.array(ids, dtype=np.int64))[None]).last_hidden_state[0].numpy()
            weights = np.arange(1, len(states) + 1) / np.arange(1, len(states) + 1).sum()
            vector = weights @ states
            out.append(vector / np.linalg.norm(vector))
        return np.array(out)

    want = (embedded("pool") @ embedded("target").T).max(axis=1)
    np.testing.assert_allclose(found.scores["score"].to_numpy(), want, atol=1e-5)
