"""Picks that were made before, from a folder, a selection or row ids: the rows, their order, their tokens, their cost."""

import json

import numpy as np
import polars as pl
import pytest

import curate
from curate.budget import Limit
from curate.engine import Engine
from curate.errors import InputError
from curate.method import Method
from curate.registry import by_label, label, make_method
from curate.selectors.top_k import top_k
from curate.signals import RowScore
from curate.store import Store
from curate.training.config import TrainConfig
from scorers.given import Given

QUICK = TrainConfig(adapter="none", learning_rate=1e-2, batch_tokens=256)


class FirstHalf(Method):
    """Rows from the last to the first, and of each reply its first half (rounded up)."""

    name = "first-half"
    paper = "a test"
    cost = "free"

    def signal(self, data, seen, rng):
        return RowScore.of(np.arange(data.pool.size, dtype=float))

    def choose(self, signal, table, limit, rng):
        picks = top_k(signal.values, limit)
        lengths = table["response_tokens"].to_numpy()[picks.index]
        return type(picks)(**{**vars(picks), "tokens": [np.float32(np.arange(n) < (n + 1) // 2) for n in lengths]})


@pytest.fixture
def engine(tmp_path):
    return Engine(store=Store(tmp_path / "store"))


def table(ids, tokens=None):
    lengths = tokens or [10] * len(ids)
    return pl.DataFrame({"row_id": ids, "source": [None] * len(ids), "tokens": lengths, "response_tokens": [3] * len(ids)})


def chosen(method, ids, limit):
    rows = table(ids, limit.costs.astype(int).tolist())
    signal = method.signal(type("Data", (), {"pool": type("Rows", (), {"size": len(ids)})})(), {}, None)
    assert signal.is_null.all() and all(signal.reasons)
    return method.choose(signal, rows, limit, None)


def test_the_rows_in_their_order_as_far_as_the_budget_goes():
    method = curate.given(["d", "b", "a"])
    picks = chosen(method, list("abcd"), Limit(np.ones(4), 2))
    assert picks.index.tolist() == [3, 1] and np.isnan(picks.gain).all() and picks.shortfall is None
    assert picks.reason == ["number 1 of 3 picked before", "number 2 of 3 picked before"] and picks.tokens is None
    assert chosen(method, list("abcd"), Limit(np.ones(4), 3)).index.tolist() == [3, 1, 0]
    tight = chosen(method, list("abcd"), Limit(np.array([1.0, 5, 1, 4]), 5, "tokens"))
    assert tight.index.tolist() == [3]  # the next costs too much, and later ones do not jump the queue
    more = chosen(method, list("abcd"), Limit(np.ones(4), 4))
    assert more.index.tolist() == [3, 1, 0] and "only 3 of 4 rows" in more.shortfall
    assert chosen(method, list("abcd"), Limit(np.ones(4), 0)).index.tolist() == []


def test_rows_that_the_pool_lacks_are_counted():
    with pytest.raises(InputError, match=r"2 of the 3 rows of the selection given are not in this pool.*the first: x"):
        chosen(curate.given(["x", "b", "y"]), list("abcd"), Limit(np.ones(4), 1))


def test_what_is_no_selection(tmp_path):
    with pytest.raises(InputError, match="holds no row"):
        curate.given([])
    with pytest.raises(InputError, match="holds row a 2 times"):
        curate.given(["a", "b", "a"])
    with pytest.raises(InputError, match=r"is not a folder that curate select wrote: there is no selection\.parquet"):
        curate.given(tmp_path)
    (tmp_path / "selection.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"the selection in .*selection\.parquet cannot be read"):
        curate.given(tmp_path)
    pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "selection.parquet")
    with pytest.raises(InputError, match="cannot be read"):
        curate.given(tmp_path)
    with pytest.raises(InputError, match="given:folder=picked/"):
        make_method("given").picks  # noqa: B018


def test_a_missing_folder_is_said_before_anything_runs(small_pool, tiny, engine):
    with pytest.raises(InputError, match="gone is not a folder that curate select wrote"):
        curate.select(small_pool, "given:folder=gone", budget=3, model=tiny, engine=engine)
    assert engine.stages == []


def test_what_it_is_called():
    assert label(make_method("given:folder=picked/")) == "given:folder=picked/"
    assert label(make_method("given:folder=picked/:title=mine")) == "mine"
    one, other = curate.given(["a", "b"]), curate.given(["a", "c"])
    assert label(one).startswith("given: 2 rows ") and label(one) != label(other)
    assert label(curate.given(["a", "b"])) == label(one)
    with pytest.raises(InputError, match="'random' stands for something else"):
        make_method("given:folder=picked/:title=random")
    with pytest.raises(InputError, match="'full' stands for something else"):
        make_method("given", {"title": "full"})
    with pytest.raises(InputError, match="two different methods are called 'mine'"):
        by_label([curate.given(["a"], "mine"), curate.given(["b"], "mine")])
    assert list(by_label([one, make_method("longest"), one])) == [label(one), "longest"]


def test_a_selection_of_tokens_out_of_its_folder(small_pool, tiny, engine, tmp_path):
    """The same rows, order and tokens; a part of it is its beginning."""
    first = curate.select(small_pool, FirstHalf(), budget=6, model=tiny, engine=engine)
    first.write(tmp_path / "picked")
    again = curate.select(small_pool, f"given:folder={tmp_path / 'picked'}", budget=6, model=tiny, engine=engine)
    assert again.frame["row_id"].to_list() == first.frame["row_id"].to_list() != sorted(first.frame["row_id"])
    assert again.labels.fingerprint == first.labels.fingerprint
    assert again.summary["kept_reply_tokens"] == first.summary["kept_reply_tokens"] < first.summary["reply_tokens"]
    at_hand = curate.select(small_pool, curate.given(first), budget=4, model=tiny, engine=engine)
    assert at_hand.frame["row_id"].to_list() == first.frame["row_id"].to_list()[:4]
    assert at_hand.labels.rows.keys() == set(at_hand.frame["row_id"])
    assert at_hand.summary["method"] == "given: first-half 6"


def test_tokens_of_another_tokenizer_are_refused(small_pool, tiny, engine, tmp_path):
    """Here the same tokenizer that cuts rows shorter."""
    picked = curate.select(small_pool, FirstHalf(), budget=6, model=tiny, engine=engine)
    short = Engine(store=Store(tmp_path / "other"), max_length=16)
    with pytest.raises(InputError, match="chosen by another tokenizer"):
        curate.select(small_pool, curate.given(picked), budget=6, model=tiny, engine=short)


def test_a_pool_without_its_rows_is_refused(make_pool, tiny, engine):
    picked = curate.select(make_pool(range(10)), "longest", budget=6, model=tiny, engine=engine)
    with pytest.raises(InputError, match="6 of the 6 rows of the selection given are not in this pool"):
        curate.select(make_pool(range(50, 60), "other.jsonl"), curate.given(picked), budget=3, model=tiny, engine=engine)


def test_what_choosing_took_comes_along(small_pool, tiny, engine, tmp_path):
    """Out of the folder too, and whichever run it was in; what was not taken down is not known, which is not 0."""
    first = curate.select(small_pool, "perplexity", budget=6, model=tiny, engine=engine)
    took = first.summary["select_seconds"], first.summary["select_flops"]
    assert min(took) > 0
    first.write(tmp_path / "picked")
    assert curate.given(first).spent() == took == curate.given(tmp_path / "picked").spent()
    again = curate.select(small_pool, curate.given(tmp_path / "picked"), budget=6, model=tiny, engine=engine)
    assert (again.summary["select_seconds"], again.summary["select_flops"]) == took
    assert np.isnan(curate.given(first.frame["row_id"]).spent()).all()
    (tmp_path / "picked" / "manifest.json").write_text("{}")
    assert np.isnan(curate.given(tmp_path / "picked").spent()).all()
    ids = curate.select(small_pool, curate.given(first.frame["row_id"]), budget=6, model=tiny, engine=engine)
    ids.write(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "manifest.json").read_text())["counts"]["select_flops"] is None
    assert np.isnan(curate.given(tmp_path / "again").spent()).all()


def test_a_comparison_judges_it_like_a_method(small_pool, make_pool, tiny, engine, tmp_path):
    """It trains on exactly these rows and tokens, at every seed."""
    first = curate.select(small_pool, FirstHalf(), budget=6, model=tiny, engine=engine)
    held_out = make_pool(range(100, 110), "held_out.jsonl")
    asked = {"budgets": [6], "evals": held_out, "seeds": 2, "tokens": 300, "model": tiny, "engine": engine, "recipe": QUICK}
    verdict = curate.compare(small_pool, [curate.given(first, "mine"), FirstHalf()], full=False, **asked)
    arms = {arm["method"]: arm for arm in verdict.arms}
    assert arms["mine"]["kind"] == "method" and arms["mine"]["in_family"] and arms["mine"]["mean"] == arms["first-half"]["mean"]
    assert arms["mine"]["loss_tokens"] == arms["first-half"]["loss_tokens"] < 0.75 * arms["random"]["loss_tokens"]
    chosen = verdict.selections.filter(pl.col("method") == "mine")
    assert [set(part["row_id"]) for _, part in chosen.group_by("seed")] == [set(first.frame["row_id"])] * 2
    assert arms["mine"]["select_flops"] == 0  # first-half asks for nothing
    unknown = curate.compare(small_pool, [curate.given(first.frame["row_id"], "ids")], full=False, **asked)
    [row] = [arm for arm in unknown.arms if arm["method"] == "ids"]
    assert row["select_seconds"] is row["select_flops"] is row["pays_after"] is None
    assert "| ids | 6 |  |" in unknown.to_markdown()


def test_it_reads_nothing_until_it_is_asked():
    assert Given(folder="gone").requests(None, {}) == [] and Given().inputs() == () and Given(folder="gone").inputs() == ("gone",)
