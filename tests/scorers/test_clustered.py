"""Methods on clusters, tags and several scores: known answers and laws."""

import json

import numpy as np
import polars as pl
import pytest

from curate.budget import Limit
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.lm.views import INSTRUCTION
from curate.method import Data
from curate.registry import make_method
from curate.requests import Embed, Observe, Rows, Texts
from curate.selection import select
from curate.signals import RowScore, RowValues, RowVector
from curate.store import Store
from scorers.clustered import clustered

MODEL = ModelSpec("org/base")


def data(n):
    return Data(pool=Rows("pool", "p" * 32, n), model=MODEL)


def vectors(values):
    return RowVector(np.asarray(values, np.float32), np.full(len(values), None, dtype=object))


def rows(n, k):
    return Limit(np.ones(n), k)


def table(n, sources=None):
    return pl.DataFrame({"row_id": [f"{i:04}" for i in range(n)], "source": sources or ["s"] * n})


def played(method, values, lengths=None, seed=0):
    """(the method, its signal) on these vectors."""
    made, given = make_method(method), data(len(values))
    seen = {r: vectors(values) for r in made.requests(given, {}) if isinstance(r, Embed)}
    seen[Observe(MODEL, given.pool, "response_tokens")] = RowScore.of(
        np.ones(len(values)) if lengths is None else np.array(lengths)
    )
    return made, made.signal(given, seen, np.random.default_rng(seed))


def picks(made, signal, k, sources=None):
    n = len(signal)
    return made.choose(signal, table(n, sources), rows(n, k), np.random.default_rng(0))


def unit(n, d, seed):
    found = np.random.default_rng(seed).normal(size=(n, d))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_distances_are_to_the_middle_of_the_cluster_by_direction():
    values = np.array([[1, 0], [1, 0.2], [1, -0.2], [0, 5], [0.3, 5]])
    found = clustered(vectors([*values, [0, 0]]), 2, np.random.default_rng(0))
    assert found.rows.tolist() == [0, 1, 2, 3, 4] and found.strata[5] is None and "zero" in found.reasons[5]
    assert len(set(found.clusters[:3].tolist())) == len(set(found.clusters[3:].tolist())) == 1
    np.testing.assert_allclose(found.distances[0], 0, atol=1e-6)
    np.testing.assert_allclose(found.distances[1], 1 - 1 / np.hypot(1, 0.2), atol=1e-6)


def test_copies_leave_one_survivor_each():
    values = np.repeat(unit(6, 8, 0), 4, axis=0)
    for first in ("far", "near", "random"):
        made, signal = played(f"semdedup:clusters=3:eps=0.001:first={first}", values)
        found = picks(made, signal, 24)
        assert len(found) == 6 and len({i // 4 for i in found.index.tolist()}) == 6 and found.nulls == 18
        if first != "random":
            assert all(i % 4 == 0 for i in found.index.tolist())  # of equal rows the smaller id stays


def test_a_larger_eps_keeps_no_more_and_one_cluster_is_all_pairs():
    values = unit(80, 3, 1)
    kept = []
    for eps in (0.01, 0.1, 0.3, 1.0):
        _, signal = played(f"semdedup:clusters=1:eps={eps}", values)
        kept.append(int((~signal.is_null).sum()))
    assert kept == sorted(kept, reverse=True) and kept[0] > kept[-1]
    _made, signal = played("semdedup:clusters=1", values)
    middle = values.mean(axis=0) / np.linalg.norm(values.mean(axis=0))
    order = np.argsort(-np.round(1 - values @ middle, 6), kind="stable")
    for place, i in enumerate(order.tolist()):
        want = max((float(values[i] @ values[j]) for j in order[:place].tolist()), default=-1.0)
        assert signal.values[i] == pytest.approx(want, abs=1e-5)


def test_without_eps_the_budget_is_the_threshold():
    values = np.concatenate([np.repeat(unit(4, 8, 0), 5, axis=0), unit(4, 8, 9)])
    made, signal = played("semdedup:clusters=2", values)
    assert {i // 5 for i in picks(made, signal, 8).index.tolist() if i < 20} == {0, 1, 2, 3}
    assert len(picks(made, signal, 24)) == 24


def test_deita_walks_by_quality_and_passes_over_what_is_near():
    values = np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1], [-1, 0]])
    made, signal = played("deita", values, lengths=[5, 9, 3, 4, 1])
    found = picks(made, signal, 5)
    assert found.index.tolist() == [1, 3, 4] and "only 3 lie apart" in found.shortfall
    assert picks(*played("deita:threshold=1", values, lengths=[5, 9, 3, 4, 1]), 5).index.tolist() == [1, 0, 3, 2, 4]
    assert picks(*played("deita:threshold=-1", np.abs(values) + 0.1, lengths=[5, 9, 3, 4, 1]), 5).index.tolist() == [1]


def test_deita_can_take_off_the_mean():
    values = np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1], [-1, 0]]) + 50
    assert len(picks(*played("deita", values, lengths=[5, 9, 3, 4, 1]), 5)) == 1
    assert len(picks(*played("deita:centre=true", values, lengths=[5, 9, 3, 4, 1]), 5)) == 3


def test_prototypes_far_and_near_with_a_part_for_each_cluster():
    rng = np.random.default_rng(0)
    tight, loose = np.array([1.0, 0, 0]) + 0.01 * rng.normal(size=(10, 3)), np.array([0, 0, 1.0]) + 0.2 * rng.normal(size=(10, 3))
    values = np.concatenate([tight, loose])
    far = picks(*played("prototypes:clusters=2:balance=0", values), 6)
    assert far.index.min() >= 10 and (np.diff(far.gain) <= 0).all()
    both = picks(*played("prototypes:clusters=2:balance=1", values), 6)
    assert (both.index < 10).sum() == 3
    near = picks(*played("prototypes:clusters=2:balance=0:keep=near", values), 6)
    assert near.index.max() < 10
    made, signal = played("prototypes:clusters=2:trim=0.1", values)
    assert signal.reasons[far.index[0]] == "among the farthest 10.0% from the middle of their clusters"
    assert len(picks(made, signal, 20)) == 18


def test_deft_ucs_takes_both_ends_of_every_cluster():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.eye(3)[j] + 0.1 * rng.normal(size=(12, 3)) for j in range(2)])
    made, signal = played("deft-ucs:clusters=2", values)
    found, distance = picks(made, signal, 8), signal.values.values
    for group in (range(12), range(12, 24)):
        ranked = sorted(group, key=lambda i: distance[i])
        assert sorted(i for i in found.index.tolist() if i in group) == sorted([*ranked[:2], *ranked[-2:]])


def words(method, texts):
    made, given = make_method(method), data(len(texts))
    found = RowValues(list(texts), np.array([None if t else "nothing" for t in texts], dtype=object))
    return made, made.signal(given, {Texts(given.pool, INSTRUCTION): found}, np.random.default_rng(0))


def test_tags_from_the_words_of_the_instruction():
    texts = [f"the {word} thing" for word in ("red", "blue") for _ in range(5)] + ["the odd one", None] + ["the rest"] * 188
    made, signal = words("instag", texts)
    assert signal.tags[0] == {"red", "thing"} and signal.tags[5] == {"blue", "thing"}
    assert signal.reasons[10] == "it has no tag that counts" and signal.reasons[11] == "nothing"
    found = picks(made, signal, 4)
    assert found.index.tolist() == [0, 5, 1, 6] and found.stratum == ["pass 1"] * 2 + ["pass 2"] * 2


def test_settings_that_make_no_sense():
    with pytest.raises(InputError, match="tags must be words, clusters or column:NAME, not word"):
        make_method("instag:tags=word")
    with pytest.raises(InputError, match="no method is called 'lobas'"):
        make_method("mmssr:axes=tokens,lobas")
    with pytest.raises(InputError, match="no method is called 'lobas'"):
        make_method("deita:quality=lobas")


def test_axes_are_read_as_a_list_of_methods_is():
    asked = make_method("mmssr", {"axes": "perplexity:window=low,tokens,column:score"}).requests(data(4), {})
    assert {getattr(r, "observable", None) or r.name for r in asked} == {"mean_loss", "response_tokens", "score"}


@pytest.fixture
def own(tmp_path, tiny):
    """Selects by columns of the user's own."""
    lines = [
        {
            "messages": [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": f"{i}."}],
            "tags": "Maths, maths" if i % 2 else "code, sql",
            "score": None if i == 3 else i,
            "word": "x",
            "source": "rare" if i == 0 else "common",
        }
        for i in range(8)
    ]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def chosen(method, budget=3):
        return select(tmp_path / "pool.jsonl", method, budget=budget, model=tiny, engine=Engine(store=Store(tmp_path / "store")))

    return chosen


def test_columns_of_ones_own(own):
    best = own("deita:quality=column:score:threshold=1")
    assert best.frame["score"].to_list() == [7, 6, 5] and best.summary["rows_null"] == 1
    assert "the column score has no value for it" in best.scores["null_reason"].to_list()
    rare = own("mmssr:axes=column:score", budget=2)
    assert sorted(rare.data["source"].to_list()) == ["common", "rare"] and set(rare.frame["stratum"]) == {"column:score"}
    tagged = own("instag:tags=column:tags:min_rows=1", budget=2)
    assert tagged.frame["score"].to_list() == [2, 1]  # two tags, then one: "Maths" and "maths" are the same
    with pytest.raises(InputError, match="a quality is a number, and the column holds 'x'"):
        own("deita:quality=column:word")
    with pytest.raises(InputError, match="nowhere"):
        own("deita:quality=column:nowhere")
