"""Scoring and selecting through the library: accounts that add up, and nothing computed twice."""

import json

import numpy as np
import polars as pl
import pytest

import curate
from curate.errors import InputError
from curate.evaluation.tasks import Task
from curate.method import Method
from curate.preparation import as_model, as_pool, as_tasks, generator, selected_data
from curate.signals import RowScore


@pytest.fixture
def engine(tmp_path):
    def make(name="store", **options):
        return curate.Engine(store=curate.Store(tmp_path / name), device="cpu", **options)

    return make


class Numbered(Method):
    """The position as the score; every third row has none."""

    name = "numbered"
    paper = "none"
    cost = "free"

    def signal(self, data, seen, rng):
        score = RowScore.of(np.arange(data.pool.size, dtype=float))
        return score.null(np.arange(data.pool.size) % 3 == 0, "a multiple of three")


class Short(Numbered):
    """A faulty method: a score too few."""

    name = "short"

    def signal(self, data, seen, rng):
        return RowScore.of(np.zeros(data.pool.size - 1))


# select


def test_a_method_of_ones_own(engine, small_pool, tiny):
    picked = curate.select(small_pool, Numbered(), budget=5, model=tiny, engine=engine())
    ids = picked.pool.row_ids
    assert picked.frame["row_id"].to_list() == [ids[i] for i in (23, 22, 20, 19, 17)]
    assert picked.frame["score"].to_list() == [23, 22, 20, 19, 17] == picked.frame["gain"].to_list()
    assert picked.positions.tolist() == [23, 22, 20, 19, 17] and len(picked) == 5
    assert picked.scores["score"].null_count() == 8 and picked.summary["rows_null"] == 8
    assert picked.scores.filter(pl.col("score").is_null())["null_reason"].unique().to_list() == ["a multiple of three"]


def test_a_faulty_method_is_no_fault_of_the_input(engine, small_pool, tiny):
    with pytest.raises(ValueError, match="short gave 23 values for 24 rows") as caught:
        curate.select(small_pool, Short(), budget=5, model=tiny, engine=engine())
    assert not isinstance(caught.value, InputError)


@pytest.mark.parametrize("budget, rows", [(0, 0), (7, 7), (0.5, 12), ("25%", 6), (24, 24), (1000, 24), ("1M tokens", 24)])
def test_budgets(engine, small_pool, tiny, budget, rows):
    picked = curate.select(small_pool, "longest", budget=budget, model=tiny, engine=engine())
    assert len(picked) == picked.summary["selected"] == rows
    tokens = picked.scores.join(picked.frame, on="row_id")
    assert len(tokens) == rows and picked.frame["row_id"].n_unique() == rows
    assert (picked.summary["shortfall"] is not None) == (budget in (1000, "1M tokens"))


def test_a_larger_budget_begins_with_the_smaller(engine, small_pool, tiny):
    shared = engine()
    for method in ("random", "longest", "perplexity:window=high"):
        few, more = (curate.select(small_pool, method, budget=n, model=tiny, engine=shared).frame for n in (4, 12))
        assert more["row_id"].to_list()[:4] == few["row_id"].to_list()


def test_ties_go_to_the_smaller_row_id(engine, make_pool, tiny):
    pool = make_pool([4, 8, 12, 16])  # replies of one sentence, all of the same length but for the number
    picked = curate.select(pool, "longest", budget=4, model=tiny, engine=engine())
    by_length = picked.frame.group_by("score", maintain_order=True).agg("row_id")
    assert any(len(ids) > 1 for ids in by_length["row_id"])
    assert all(list(ids) == sorted(ids) for ids in by_length["row_id"])


def test_only_new_rows_are_computed(engine, make_pool, tiny):
    first = curate.select(make_pool(range(20)), "perplexity", budget=5, model=tiny, engine=engine())
    assert (first.summary["computed_rows"], first.summary["reused_rows"]) == (20, 0)
    grown = curate.select(make_pool(range(26)), "perplexity", budget=5, model=tiny, engine=engine())
    assert (grown.summary["computed_rows"], grown.summary["reused_rows"]) == (6, 20)
    fresh = curate.select(make_pool(range(26)), "perplexity", budget=5, model=tiny, engine=engine("other"))
    assert fresh.summary["computed_rows"] == 26 and fresh.frame.equals(grown.frame)


def test_rows_the_model_cannot_use_are_rejected_with_a_reason(engine, make_pool, tiny, tmp_path):
    def cut(i):  # a prompt that fills the model's context leaves no room for the reply
        text = "word " * 400 if i == 3 else f"Question {i}?"
        return [{"role": "user", "content": text}, {"role": "assistant", "content": f"Answer {i}."}]

    pool = make_pool(range(8), messages=cut)
    picked = curate.select(pool, "perplexity", budget=8, model=tiny, engine=engine())
    assert (picked.summary["rows_in"], picked.summary["rows_pool"], picked.summary["rows_rejected"]) == (8, 7, 1)
    picked.write(tmp_path / "out")
    [line] = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    left_out = json.loads(line)
    assert left_out["row_id"] in as_pool(pool).row_ids and "reply" in left_out["reason"]
    assert (left_out["file"], left_out["line"]) == (str(pool), 4)


def test_two_models_score_and_train(engine, small_pool, tiny, base4m):
    picked = curate.select(small_pool, "perplexity", budget=5, model=tiny, scorer_model=base4m, engine=engine())
    alone = curate.select(small_pool, "perplexity", budget=5, model=base4m, engine=engine("other"))
    assert picked.frame["row_id"].to_list() == alone.frame["row_id"].to_list()
    assert picked.summary["scorer_model"] == "base-4m" and picked.summary["model"] == "tiny"
    assert picked.manifest["model"]["fingerprint"] != picked.manifest["scorer_model"]["fingerprint"]


def test_a_part_of_a_pool_accounts_for_itself(engine, make_pool, tiny):
    path = make_pool(range(20))
    path.write_text(path.read_text() + "{bad\n")
    pool = as_pool(path)
    part = curate.select(pool.take(range(10)), "longest", budget=3, model=tiny, engine=engine())
    counts = [part.summary[key] for key in ("rows_in", "rows_rejected", "rows_duplicate", "rows_pool")]
    assert counts == [10, 0, 0, 10]
    whole = curate.select(pool, "longest", budget=3, model=tiny, engine=engine())
    assert [whole.summary[key] for key in ("rows_in", "rows_rejected", "rows_pool")] == [21, 1, 20]


def test_a_fill_keeps_to_a_budget_of_tokens(engine, small_pool, tiny):
    options = {"budget": "600 tokens", "model": tiny, "engine": engine()}
    short = curate.select(small_pool, Numbered(), **options)
    full = curate.select(small_pool, Numbered(), fill="random", **options)
    assert len(short) == 16 and short.summary["shortfall"]
    assert len(full) > 16 and full.summary["selected_tokens"] <= 600
    assert full.frame["row_id"].to_list()[:16] == short.frame["row_id"].to_list()
    again = curate.select(small_pool, Numbered(), fill="random", **options)
    assert again.frame.equals(full.frame)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"method": "longset"}, "did you mean longest"),
        ({"budget": -1}, "-1"),
        ({"budget": 1.5}, "1.5"),
        ({"fill": "zeros"}, "fill 'zeros'"),
        ({"model": "./gone"}, "no model folder"),
        ({"method": "lobass", "settings": {"epoch": 1}}, "no setting 'epoch'"),
    ],
)
def test_input_at_fault(engine, small_pool, options, words):
    with pytest.raises(InputError, match=words):
        curate.select(small_pool, **{"method": "longest", "budget": 5, "engine": engine(), **options})


def test_no_usable_row(engine, make_pool, tiny):
    long = make_pool(range(3), messages=lambda i: [{"role": "user", "content": f"{i} word " * 400}, *_reply()])
    with pytest.raises(InputError, match="no row of the pool can be used by tiny"):
        curate.select(long, "longest", budget=1, model=tiny, engine=engine())


def _reply():
    return [{"role": "assistant", "content": "Yes."}]


# score


def test_scores_share_a_pass(engine, small_pool, tiny):
    shared = engine()
    scores = curate.score(small_pool, ["perplexity", "perplexity:window=low", "random", "longest"], model=tiny, engine=shared)
    assert scores.methods == ["perplexity", "perplexity:window=low", "random", "longest"]
    assert scores.frame["perplexity"].equals(scores.frame["perplexity:window=low"].rename("perplexity"))
    assert [stage.kind for stage in scores.stages] == ["encode", "pass"]
    assert scores.frame["row_id"].to_list() == sorted(scores.frame["row_id"])


def test_a_method_named_twice_is_scored_once(engine, small_pool, tiny):
    scores = curate.score(small_pool, ["longest", "longest"], model=tiny, engine=engine())
    assert scores.methods == ["longest"]


def test_nulls_come_with_reasons(engine, small_pool, tiny):
    frame = curate.score(small_pool, Numbered(), model=tiny, engine=engine()).frame
    assert frame["numbered"].null_count() == 8
    assert frame.filter(pl.col("numbered").is_null())["numbered_null"].unique().to_list() == ["a multiple of three"]


# What stands for what


def test_pools_models_and_tasks_by_name(small_pool, base4m, tmp_path):
    pool = as_pool(small_pool)
    assert as_pool(pool) is pool and as_pool([small_pool]).row_ids == pool.row_ids
    assert as_model(None).folder() == base4m == as_model(base4m).folder() and as_model(base4m).label == "base-4m"
    assert [task.name for task in as_tasks(pool)] == ["eval"]
    assert [task.name for task in as_tasks({"a": pool, "b": small_pool})] == ["a", "b"]
    tasks = [Task("t", pool, "exact_match")]
    assert as_tasks(tasks) == tasks
    assert selected_data(tmp_path) == tmp_path


def test_random_numbers_are_of_the_seed_the_method_and_the_purpose():
    random, longest = Numbered(), Short()
    draws = [generator(seed, method, what).random() for seed in (0, 1) for method in (random, longest) for what in "ab"]
    assert len(set(draws)) == 8
    assert generator(1, random, "a").random() == generator(1, random, "a").random()
