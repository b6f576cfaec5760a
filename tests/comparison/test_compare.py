"""A comparison from end to end on a tiny model, and its conclusions on results made by hand."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

import curate
from curate.budget import Budget
from curate.cli import _main
from curate.comparison.arms import Arm, ArmResult, Bench
from curate.comparison.run import Design, _conclude
from curate.comparison.statistics import holm
from curate.errors import InputError
from curate.evaluation.tasks import Task
from curate.preparation import as_model, as_pool
from curate.training.config import TrainConfig

CONTRACT = {
    "method", "budget", "metric", "mean", "diff_from_random", "ci_low", "ci_high", "p_holm", "answer", "train_tokens",
    "loss_tokens", "epochs", "select_seconds", "train_seconds",
}  # fmt: skip


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, make_pool, tiny):
    """`curate compare` on 60 rows, in an empty folder with a store of its own; gives the exit code and what was printed."""
    make_pool(range(60))
    make_pool(range(100, 115), name="dev.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*more, out="out"):
        words = [
            "compare", "pool.jsonl", "--methods", "perplexity", "--budget", "10%,20%", "--seeds", "2", "--tokens", "600",
            "--batch-tokens", "200", "--model", str(tiny), "--eval", "dev.jsonl", "--store", "store", "--out", out, *more,
        ]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["curate", *words])
        capsys.readouterr()
        return _main(words), *capsys.readouterr()

    return call


def test_compare_from_end_to_end(run, tmp_path, monkeypatch, tiny):
    code, out, err = run("--json")
    assert (code, err) == (0, "") and out.count("\n") == 1
    verdict = json.loads(out)
    arms = {(arm["method"], arm["budget"]): arm for arm in verdict["arms"]}
    methods = ("random", "balanced", "longest", "perplexity")
    outside = {("full", "100%"), ("full, 1 epoch", "100%"), ("untrained", "0")}
    assert set(arms) == {(method, budget) for method in methods for budget in ("10%", "20%")} | outside
    assert all(set(arm) >= CONTRACT for arm in arms.values())

    # random is what others are measured against, and neither it nor the ceiling is in the tests.
    for name, arm in arms.items():
        tested = name[0] not in ("random", "full, 1 epoch", "untrained")
        assert arm["in_family"] == tested
        for key in ("diff_from_random", "ci_low", "ci_high", "p_holm", "answer"):
            assert (arm[key] is not None) == tested, (name, key)
        if tested:
            control = arms["random", arm["budget"] if arm["method"] != "full" else "20%"]
            assert arm["diff_from_random"] == pytest.approx(arm["mean"] - control["mean"])
            assert arm["ci_low"] < arm["diff_from_random"] < arm["ci_high"]
            assert arm["answer"] in ("better", "worse", "equivalent", "undecided")
    family = [arm for arm in verdict["arms"] if arm["in_family"]]
    assert [arm["p_holm"] for arm in family] == pytest.approx(holm([arm["p_value"] for arm in family]).tolist())
    assert [arms[m, b]["rows"] for m, b in (("random", "10%"), ("perplexity", "20%"), ("full", "100%"))] == [6, 12, 60]
    assert arms["random", "10%"]["selections"] == 2 and arms["longest", "10%"]["selections"] == 1

    # Equal tokens, up to the row that reaches them.
    longest = curate.score("pool.jsonl", "random", model=tiny).frame["tokens"].max()
    spent = [arm["train_tokens"] for name, arm in arms.items() if name not in outside or name[0] == "full"]
    assert len(spent) == 9 and min(spent) >= 600 and max(spent) - min(spent) <= longest
    assert all(0 < arm["loss_tokens"] < arm["train_tokens"] for name, arm in arms.items() if name[0] != "untrained")
    assert arms["full, 1 epoch", "100%"]["epochs"] == 1 and arms["random", "10%"]["epochs"] > 1
    assert arms["untrained", "0"]["train_tokens"] == 0 == arms["untrained", "0"]["rows"]
    assert arms["perplexity", "10%"]["select_seconds"] > 0 and arms["random", "10%"]["select_seconds"] == 0

    # What is written is what was printed.
    folder = tmp_path / "out"
    assert json.loads((folder / "verdict.json").read_text()) == verdict
    frame = pl.read_parquet(folder / "verdict.parquet")
    assert frame["mean"].to_list() == [arm["mean"] for arm in verdict["arms"]]
    picks = pl.read_parquet(folder / "selections.parquet")
    counts = {key: len(part) for key, part in picks.group_by("method", "budget", "seed")}
    assert counts == {
        (method, budget, seed): n for method in methods for budget, n in (("10%", 6), ("20%", 12)) for seed in (0, 1)
    }
    page = (folder / "verdict.md").read_text()
    assert verdict["headline"] in page and all(remark in page for remark in verdict["remarks"])
    assert "2 seeds" in page and "15 evaluation items" in page

    # The same again trains nothing and comes to the same numbers.
    monkeypatch.setattr(curate.Engine, "train", lambda *a, **k: pytest.fail("nothing is to be trained"))
    code, out, _ = run("--json", out="again")
    assert code == 0 and json.loads(out) == verdict
    # So does a comparison of fewer methods, whose arms are a part of these; and people can read it.
    code, out, _ = run("--methods", "longest", "--no-full", out="fewer")
    assert code == 0 and "written fewer" in out and "full, 1 epoch" not in out
    assert all(len(line) <= 100 for line in out.splitlines())
    [line] = [line for line in out.splitlines() if line.startswith("longest") and "20%" in line]
    assert f"{arms['longest', '20%']['mean']:.3f}" in line and "undecided" in line


@pytest.fixture
def engine(tmp_path):
    return curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")


@pytest.fixture
def options(make_pool, tiny, engine):
    """A comparison of the controls that takes a second or two."""
    return {
        "pool": make_pool(range(30)),
        "methods": [],
        "budgets": ["20%"],
        "evals": {"dev": make_pool(range(100, 106), name="dev.jsonl")},
        "seeds": 1,
        "tokens": 150,
        "model": tiny,
        "recipe": TrainConfig(batch_tokens=150),
        "engine": engine,
        "full": False,
    }


def test_seeds_pair_the_arms(options):
    """Seed s of one comparison is seed s of another: same picks, same training, same losses."""
    two = curate.compare(**{**options, "seeds": 2, "budgets": ["10%"], "methods": ["longest"]})
    second = curate.compare(**{**options, "seed": 1, "budgets": ["10%"]})
    both = two.selections.filter(seed=1, method="random")["row_id"].to_list()
    assert both == second.selections.filter(method="random")["row_id"].to_list()
    assert set(both) != set(two.selections.filter(seed=0, method="random")["row_id"])
    assert two.config["embedder"] == "hidden:mean" and two.config["seeds"] == [0, 1] and second.config["seeds"] == [1]


def test_one_seed_decides_nothing(options):
    verdict = curate.compare(**options)
    assert {arm["answer"] for arm in verdict.arms} == {None, "undecided"}
    assert any("1 seed " in remark for remark in verdict.remarks)
    assert verdict.frame.filter(pl.col("in_family"))["p_holm"].null_count() == 2


def test_a_second_evaluation_set_is_outside_the_tests(options, make_pool):
    other = make_pool(range(200, 204), name="other.jsonl")
    verdict = curate.compare(**{**options, "evals": {**options["evals"], "other": other}, "seeds": 2})
    primary, secondary = verdict.frame.filter(task="dev"), verdict.frame.filter(task="other")
    assert len(primary) == len(secondary) == 4
    assert primary["in_family"].sum() == 2 and secondary["in_family"].sum() == 0
    assert secondary["p_holm"].null_count() == 4 == secondary["answer"].null_count()
    assert secondary["diff_from_random"].null_count() == 2
    assert any("2 seeds and 6 evaluation items" in remark for remark in verdict.remarks)


def test_equal_budgets_are_one(options):
    verdict = curate.compare(**{**options, "budgets": ["20%", 0.2]})
    assert len(verdict.arms) == 4


def test_the_whole_pool_as_a_budget(options):
    verdict = curate.compare(**{**options, "budgets": ["100%"], "full": True})
    arms = {(arm["method"], arm["budget"]): arm for arm in verdict.arms}
    assert arms["random", "100%"]["rows"] == 30 == arms["full", "100%"]["rows"]
    assert arms["random", "100%"]["mean"] == arms["full", "100%"]["mean"]  # the same rows in the same order
    assert len(verdict.selections.filter(method="random")) == 30


def test_held_out_rows_in_the_pool_are_said(options):
    held_out = as_pool([options["evals"]["dev"], options["pool"]])
    verdict = curate.compare(**{**options, "evals": {"dev": held_out}})
    assert f"30 of {len(held_out)} conversations of the evaluation set dev are in the pool too." == verdict.remarks[0]
    with pytest.raises(InputError, match="every conversation of the evaluation set dev is in the pool"):
        curate.compare(**{**options, "evals": {"dev": options["pool"]}})


def test_a_budget_that_holds_the_whole_pool_is_said(options):
    verdict = curate.compare(**{**options, "budgets": [1000]})
    assert verdict.remarks[0] == "A budget of 1000 holds the whole pool: its arms train on the same rows."


def test_evaluation_rows_the_model_cannot_use_are_left_out(options, make_pool):
    def cut(i):
        text = "word " * 400 if i == 300 else f"Question {i}?"
        return [{"role": "user", "content": text}, {"role": "assistant", "content": f"Answer {i}."}]

    verdict = curate.compare(**{**options, "evals": {"dev": make_pool(range(300, 304), name="cut.jsonl", messages=cut)}})
    assert any("3 evaluation items" in remark for remark in verdict.remarks)


def test_tokens_from_epochs_of_the_largest_budget(options):
    del options["tokens"]
    options["recipe"] = TrainConfig(batch_tokens=100)
    verdict = curate.compare(**{**options, "budgets": ["10%", "20%"], "epochs": 0.5})
    assert verdict.config["train_tokens"] == round(0.5 * 0.2 * verdict.config["pool_tokens"])


@pytest.mark.parametrize(
    "more, words",
    [
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"tokens": 0}, "tokens must be above 0"),
        ({"tokens": None, "epochs": -1.0}, "epochs must be above 0"),
        ({"epochs": 1.0}, "tokens or epochs, not both"),
        ({"budgets": []}, "at least one budget"),
        ({"evals": {}}, "at least one evaluation set"),
        ({"margin": -0.1}, "margin"),
        ({"methods": ["longset"]}, "did you mean longest"),
        ({"budgets": ["1%"]}, "random picks no row at a budget of 1%"),
    ],
)
def test_input_at_fault(options, more, words, monkeypatch):
    monkeypatch.setattr(curate.Engine, "train", lambda *a, **k: pytest.fail("nothing is to be trained"))
    with pytest.raises(InputError, match=words):
        curate.compare(**{**options, **more})


def test_a_target_must_not_show_the_evaluation_set(options, make_pool):
    target = make_pool([*range(400, 403), 100, 101], name="target.jsonl")
    with pytest.raises(InputError, match="2 rows of the target are in the evaluation set dev"):
        curate.compare(**{**options, "target": target})


def test_two_tasks_of_one_name(options):
    pool = as_pool(options["pool"])
    with pytest.raises(InputError, match="same name"):
        curate.compare(**{**options, "evals": [Task("a", pool), Task("a", pool)]})


# Conclusions from results by hand -------------------------------------------------------------------------------------

SOURCES = ["a"] * 6 + ["b"] * 2
WEIGHTS = np.array([1.0, 2, 3, 1, 2, 3, 10, 10])


def concluded(means, metric="response_loss", spread=0.02, seeds=5, margin=0.01):
    """The verdict for methods whose every item lies about a mean; the noise of seeds and items is small and fixed."""
    rng = np.random.default_rng(0)
    noise = spread * (rng.standard_normal((len(means), seeds, 1)) + rng.standard_normal((len(means), seeds, 8)))
    results = {}
    for number, (method, mean) in enumerate(means.items()):
        for seed in range(seeds):
            items = {"task": "eval", "source": SOURCES, "value": mean + noise[number, seed], "weight": WEIGHTS}
            account = {"tokens": 100, "loss_tokens": 50, "epochs": 1.5, "seconds": 2.0}
            results[Arm(method, "10%", seed, (seed, seed + 1), TrainConfig())] = ArmResult(account, pl.DataFrame(items))
    ids = [f"{i:032x}" for i in range(10)]
    engine = SimpleNamespace(encodings=lambda model, rows: SimpleNamespace(row_ids=ids))
    task = Task("eval", None, metric)
    bench = SimpleNamespace(engine=engine, model=None, rows=None, tasks=[(task, SimpleNamespace(size=8))])
    design = Design((), (Budget.parse("10%"),), tuple(range(seeds)), TrainConfig(), margin, 0.95)
    verdict = _conclude(design, bench, results, {}, [], {"train_tokens": 100})
    return verdict, {arm["method"]: arm for arm in verdict.arms}, results


def test_the_mean_over_sources_of_token_weighted_losses():
    _, arms, results = concluded({"random": 2.0, "m": 1.0})
    by_seed = []
    for arm, result in results.items():
        if arm.method == "m":
            v = result.values("eval")
            by_seed.append((np.average(v[:6], weights=WEIGHTS[:6]) + np.average(v[6:], weights=WEIGHTS[6:])) / 2)
    assert arms["m"]["mean"] == pytest.approx(np.mean(by_seed))
    assert arms["m"]["diff_from_random"] == pytest.approx(-1, abs=0.1)


def test_lower_loss_is_better():
    verdict, arms, _ = concluded({"random": 2.0, "good": 1.5, "bad": 2.5, "same": 2.0})
    assert [arms[name]["answer"] for name in ("good", "bad")] == ["better", "worse"]
    assert arms["same"]["answer"] in ("equivalent", "undecided")
    assert "good at 10% beats random" in verdict.headline


def test_higher_exact_match_is_better():
    verdict, arms, _ = concluded({"random": 0.3, "good": 0.8, "bad": 0.1}, metric="exact_match")
    assert [arms[name]["answer"] for name in ("good", "bad")] == ["better", "worse"]
    assert "good at 10% beats random: exact match" in verdict.headline and "higher than random" in verdict.headline


def test_equivalent_is_within_the_margin_of_random_s_loss():
    means = {"random": 2.0, "same": 2.0005}
    assert concluded(means, spread=0.001)[1]["same"]["answer"] == "equivalent"  # the margin is 0.02
    assert concluded(means, spread=0.001, margin=0.0)[1]["same"]["answer"] == "undecided"


def test_undecided_says_what_it_would_take():
    verdict, arms, _ = concluded({"random": 2.0, "m": 1.99}, spread=0.3)
    assert arms["m"]["answer"] == "undecided"
    assert sum(remark.startswith("m at 10%: ") for remark in verdict.remarks) == 1


def test_holm_counts_the_tested_arms_alone():
    _, arms, _ = concluded({"random": 2.0, "a": 1.8, "b": 2.1, "full": 1.5, "full, 1 epoch": 1.0, "untrained": 3.0}, spread=0.2)
    names = ["a", "b", "full"]
    assert [arms[name]["p_holm"] for name in names] == pytest.approx(holm([arms[name]["p_value"] for name in names]).tolist())
    for name in ("random", "full, 1 epoch", "untrained"):
        assert [arms[name][key] for key in ("p_value", "p_holm", "answer")] == [None] * 3
    assert "ceiling" in arms["full, 1 epoch"]["note"]


def test_repeated_rows_are_trained_on_repeatedly(options, engine):
    model = as_model(options["model"])
    usable, rows, _ = engine.add("pool", as_pool(options["pool"]), model)
    times = np.ones(len(usable), dtype=np.int64)
    once = Bench(engine, model, rows, (), times)
    often = Bench(engine, model, rows, (), np.where(np.arange(len(usable)) == 4, 3, times))
    arm = Arm("random", "10%", 0, (2, 4), TrainConfig(tokens=100))
    assert once.trained_on(arm).tolist() == [2, 4] and often.trained_on(arm).tolist() == [2, 4, 4, 4]
    assert once.spec(arm) != often.spec(arm)
    other = Arm("random", "10%", 0, (2, 3), TrainConfig(tokens=100))
    assert once.spec(other) == often.spec(other)
