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
from curate.comparison.choosing import Cost
from curate.comparison.design import Design
from curate.comparison.evidence import Evidence, Measure
from curate.comparison.judging import judge
from curate.comparison.remarks import headline, remarks
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
    matched = {name for name, arm in arms.items() if arm["kind"] == "length-matched"}
    assert set(arms) == {(method, budget) for method in methods for budget in ("10%", "20%")} | outside | matched
    assert all(set(arm) >= CONTRACT for arm in arms.values())

    # The best arm at each budget is held against random rows with replies as long.
    for budget in ("10%", "20%"):
        best = min((arms[m, budget] for m in methods[1:]), key=lambda arm: arm["mean"])
        control = arms[f"as long as {best['method']}", budget]
        assert best["vs_matched"] == pytest.approx(best["mean"] - control["mean"])
        assert best["vs_matched_low"] < best["vs_matched"] < best["vs_matched_high"] and best["vs_matched_answer"]
        assert control["rows"] == best["rows"] and control["selections"] == 2
    assert len(matched) == 2 == sum(arm["vs_matched"] is not None for arm in arms.values())

    # random is what others are measured against, and neither it nor the ceiling is in the tests.
    for name, arm in arms.items():
        differs = name[0] not in ("random", "full, 1 epoch", "untrained")
        tested = differs and name not in matched
        assert arm["in_family"] == tested
        for key in ("diff_from_random", "ci_low", "ci_high"):
            assert (arm[key] is not None) == differs, (name, key)
        for key in ("p_holm", "answer"):
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

    # How much two seeds agree, of what is chosen anew; of two random selections of 6 of 60 rows a twentieth is expected.
    for name, arm in arms.items():
        assert (arm["agree"] is None) == (arm["agree_random"] is None) == (arm["selections"] == 1), name
    written = pl.read_parquet(tmp_path / "out" / "selections.parquet").filter(method="random", budget="10%")
    one, other = (set(written.filter(seed=seed)["row_id"]) for seed in (0, 1))
    assert arms["random", "10%"]["agree"] == len(one & other) / len(one | other)
    assert arms["random", "10%"]["agree_random"] == pytest.approx(6 / (120 - 6), abs=0.005)
    [said] = [remark for remark in verdict["remarks"] if remark.startswith("Of the rows that two seeds pick")]
    assert "balanced at 10%" in said and "longest" not in said and "random at" not in said

    # Equal tokens, up to the row that reaches them.
    longest = curate.score("pool.jsonl", "random", model=tiny).frame["tokens"].max()
    spent = [arm["train_tokens"] for name, arm in arms.items() if name not in outside or name[0] == "full"]
    assert len(spent) == 11 and min(spent) >= 600 and max(spent) - min(spent) <= longest
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
    rows = {"10%": 6, "20%": 12}
    assert counts == {(*name, seed): rows[name[1]] for name in set(arms) - outside for seed in (0, 1)}
    page = (folder / "verdict.md").read_text()
    assert verdict["headline"] in page and all(remark in page for remark in verdict["remarks"])
    assert "2 seeds" in page and "15 evaluation items" in page

    # The same again trains nothing and comes to the same numbers.
    trained, train = [], curate.Engine.train
    monkeypatch.setattr(curate.Engine, "train", lambda self, *a, **k: trained.append(a[3]) or train(self, *a, **k))
    code, out, _ = run("--json", out="again")
    assert code == 0 and json.loads(out) == verdict and trained == []
    # A comparison of fewer methods, whose arms are a part of these, may have another leader; and people can read it.
    code, out, _ = run("--methods", "longest", "--no-full", out="fewer")
    assert code == 0 and "written fewer" in out and "full, 1 epoch" not in out
    assert all(name.startswith("train as long as") for name in trained)
    assert all(len(line) <= 100 for line in out.splitlines())
    line = next(line for line in out.splitlines() if line.startswith("longest") and "20%" in line)
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
    assert len(primary) == len(secondary) == 5
    assert primary["in_family"].sum() == 2 and secondary["in_family"].sum() == 0
    assert secondary["p_holm"].null_count() == 5 == secondary["answer"].null_count() == secondary["vs_matched"].null_count()
    assert secondary["diff_from_random"].null_count() == 2
    assert any("2 seeds and 6 evaluation items" in remark for remark in verdict.remarks)


def test_equal_budgets_are_one(options):
    verdict = curate.compare(**{**options, "budgets": ["20%", 0.2]})
    assert len(verdict.arms) == 5


def test_the_whole_pool_as_a_budget(options):
    verdict = curate.compare(**{**options, "budgets": ["100%"], "full": True})
    arms = {(arm["method"], arm["budget"]): arm for arm in verdict.arms}
    assert arms["random", "100%"]["rows"] == 30 == arms["full", "100%"]["rows"]
    assert arms["random", "100%"]["mean"] == arms["full", "100%"]["mean"]  # the same rows in the same order
    assert len(verdict.selections.filter(method="random")) == 30


def test_held_out_rows_in_the_pool_are_said(options):
    held_out = as_pool([options["evals"]["dev"], options["pool"]])
    verdict = curate.compare(**{**options, "evals": {"dev": held_out}})
    assert verdict.remarks[0].startswith(f"30 replies and 30 prompts of the {len(held_out)} conversations of dev overlap")
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
    left_out = "1 row of the evaluation set dev left out, the first: the reply is cut off entirely at 256 tokens."
    assert left_out in verdict.remarks


def test_evaluation_rows_that_have_no_answer_are_left_out(options, make_pool):
    """Before anything is trained, and from all arms alike."""

    def said(i):
        return [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "none" if i == 300 else f"It is {i}."}]

    evals = {"sums:exact_match:gsm8k:max_new_tokens=3": make_pool(range(300, 304), name="sums.jsonl", messages=said)}
    verdict = curate.compare(**{**options, "evals": evals})
    assert "1 row of the evaluation set sums left out, the first: has no gsm8k answer in its reply." in verdict.remarks
    assert any("3 evaluation items" in remark for remark in verdict.remarks)
    assert {arm["metric"] for arm in verdict.arms} == {"exact_match"}


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
KINDS = {
    "random": ("random", None), "full": ("full", None), "full, 1 epoch": ("ceiling", None), "untrained": ("untrained", None),
    "as long as good": ("length-matched", "good"), "good, rate 0.001": ("second rate", "good"),
    "random, rate 0.001": ("second rate", "random"),
}  # fmt: skip
WEIGHTS = np.array([1.0, 2, 3, 1, 2, 3, 10, 10])


def concluded(means, metric="response_loss", spread=0.02, seeds=5, margin=0.01):
    """The verdict for methods whose every item lies about a mean; the noise of seeds and items is small and fixed."""
    rng = np.random.default_rng(0)
    noise = spread * (rng.standard_normal((len(means), seeds, 1)) + rng.standard_normal((len(means), seeds, 8)))
    results = {}
    for number, (method, mean) in enumerate(means.items()):
        for seed in range(seeds):
            items = {"task": "eval", "source": SOURCES, "value": mean + noise[number, seed], "weight": WEIGHTS}
            account = {"tokens": 100, "loss_tokens": 50, "epochs": 1.5, "steps": 3, "seconds": 2.0, "flops": 6e9}
            kind, of = KINDS.get(method, ("method", None))
            arm = Arm(method, "10%", seed, (seed, seed + 1), TrainConfig(), kind, of)
            results[arm] = ArmResult(account, pl.DataFrame(items))
    evidence = Evidence((Measure("eval", metric),), 40, results)
    design = Design((), (Budget.parse("10%"),), tuple(range(seeds)), TrainConfig(tokens=100), margin, 0.95)
    judged = judge(design, evidence)
    verdict = SimpleNamespace(
        arms=judged.rows, headline=headline(judged.rows, seeds), remarks=remarks(design, evidence, judged), judged=judged
    )
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
    assert verdict.judged.winner == ("good", "10%") and verdict.judged.leaders == (("good", "10%"),)


@pytest.mark.parametrize("mean, word, said", [(1.7, "better", "also beats"), (1.3, "worse", "worse than"), (1.5, None, "no")])
def test_a_winner_is_held_against_random_rows_as_long(mean, word, said):
    verdict, arms, _ = concluded({"random": 2.0, "good": 1.5, "as long as good": mean})
    good = arms["good"]
    assert good["vs_matched"] == pytest.approx(good["mean"] - arms["as long as good"]["mean"])
    assert good["vs_matched_answer"] == word if word else good["vs_matched_answer"] in ("equivalent", "undecided")
    sentence = verdict.headline.partition("). ")[2]
    assert said in sentence and "random rows with replies as long" in sentence
    # That control is not one of the tests against random.
    assert not arms["as long as good"]["in_family"] and arms["as long as good"]["answer"] is None
    assert good["p_holm"] == good["p_value"]


@pytest.mark.parametrize("mean, word, said", [(2.1, "better", "It held at"), (2.9, "worse", "turned round"), (2.5, None, "not")])
def test_a_winner_is_tried_at_a_second_rate(mean, word, said):
    verdict, arms, _ = concluded({"random": 2.0, "good": 1.5, "random, rate 0.001": 2.5, "good, rate 0.001": mean})
    again = arms["good, rate 0.001"]
    assert again["diff_from_random"] == pytest.approx(again["mean"] - arms["random, rate 0.001"]["mean"])
    assert again["answer"] == word if word else again["answer"] in ("equivalent", "undecided")
    assert said in verdict.headline and "0.001" in verdict.headline and not again["in_family"]
    assert arms["random, rate 0.001"]["diff_from_random"] is None and arms["good"]["p_holm"] == arms["good"]["p_value"]


def test_leaders_are_the_best_and_the_better():
    verdict, _, _ = concluded({"random": 2.0, "a": 1.5, "b": 1.4, "c": 2.5})
    assert set(verdict.judged.leaders) == {("a", "10%"), ("b", "10%")} and verdict.judged.winner == ("b", "10%")
    verdict, _, _ = concluded({"random": 2.0, "a": 2.6, "c": 2.5, "full": 1.0})
    assert verdict.judged.leaders == (("c", "10%"),) and verdict.judged.winner is None


def test_the_survey_s_indicators():
    _, arms, _ = concluded({"random": 2.0, "m": 1.6, "full, 1 epoch": 1.2})
    assert arms["m"]["sdf"] == 2 / 40 and arms["m"]["efficiency"] is None
    assert arms["m"]["pir"] == pytest.approx(arms["full, 1 epoch"]["mean"] / arms["m"]["mean"])
    assert arms["full, 1 epoch"]["pir"] is None
    _, arms, _ = concluded({"random": 0.4, "m": 0.6, "full, 1 epoch": 0.7}, metric="exact_match")
    assert arms["m"]["pir"] == pytest.approx(arms["m"]["mean"] / arms["full, 1 epoch"]["mean"])
    # 5.4667 PIR - 4.0407, and its signed distance from y = 1.2286 x + 1.3693
    above = 5.4667 * arms["m"]["pir"] - 4.0407 - (1.2286 * 2 / 40 + 1.3693)
    assert arms["m"]["efficiency"] == pytest.approx(above / np.hypot(1, 1.2286), abs=2e-3)


def test_when_a_selection_pays():
    """Training on everything takes 100 times the FLOPs of training on a selection in this one."""
    assert concluded({"random": 2.0, "m": 1.9, "full, 1 epoch": 1.0})[1]["m"]["pays_after"] is None  # it is worse
    _, arms, results = concluded({"random": 2.0, "m": 1.9, "full, 1 epoch": 2.5})
    assert arms["m"]["pays_after"] is None  # it is as expensive as everything
    for arm, result in results.items():
        if arm.kind == "ceiling":
            result.account["flops"] = 6e11
    design = Design((), (Budget.parse("10%"),), tuple(range(5)), TrainConfig(tokens=100), 0.01, 0.95)
    costs = {("m", "10%", 0): Cost(8.0, 5e12), ("m", "10%", 1): Cost(10.0, 7e12), ("m", "20%", 0): Cost(99.0, 9e12)}
    evidence = Evidence((Measure("eval", "response_loss"),), 40, results, costs)
    [m] = [r for r in judge(design, evidence).rows if r["method"] == "m"]
    assert m["pays_after"] == 11  # 6e12 / (6e11 - 6e9) is 10.1
    assert (m["select_seconds"], m["select_flops"], m["train_flops"], m["steps"]) == (9.0, 6e12, 6e9, 3)


def test_higher_exact_match_is_better():
    verdict, arms, _ = concluded({"random": 0.3, "good": 0.8, "bad": 0.1}, metric="exact_match")
    assert [arms[name]["answer"] for name in ("good", "bad")] == ["better", "worse"]
    assert "good at 10% beats random: exact match" in verdict.headline and "higher than random" in verdict.headline


def test_equivalent_is_within_the_margin_of_random_s_loss():
    means = {"random": 2.0, "same": 2.0005}
    assert concluded(means, spread=0.001)[1]["same"]["answer"] == "equivalent"  # the margin is 0.02
    assert concluded(means, spread=0.001, margin=0.0)[1]["same"]["answer"] == "undecided"


def test_a_set_that_no_arm_gets_right_tells_nothing():
    """Every answer is wrong, the untrained model's too: that two arms are equal on such items is no finding."""
    verdict, arms, _ = concluded({"random": 0.0, "m": 0.0, "untrained": 0.0}, metric="exact_match", spread=0.0)
    assert arms["m"]["answer"] == "undecided" and "Use random" not in verdict.headline
    assert "Every arm has the value 0 on every item of eval: this set cannot tell arms apart." in verdict.remarks
    _, arms, _ = concluded({"random": 0.0, "m": 0.0, "untrained": 1.0}, metric="exact_match", spread=0.0)
    assert arms["m"]["answer"] == "equivalent"  # here the items do tell arms apart


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
