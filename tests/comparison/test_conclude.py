"""Verdicts from the evidence of several comparisons: equal to that of one comparison of all, or refused."""

import json
import sys

import numpy as np
import polars as pl
import pytest

import curate
from curate.budget import Budget
from curate.cli import _main
from curate.comparison.arms import Arm, ArmResult
from curate.comparison.choosing import Cost
from curate.comparison.concluding import verdict_of
from curate.comparison.design import Design
from curate.comparison.evidence import Evidence, Measure
from curate.errors import InputError
from curate.training.config import TrainConfig

ROWS, ITEMS = 40, 12
RECIPE = TrainConfig(tokens=100)
SETTINGS = {
    "model": "tiny", "scorer_model": "tiny", "embedder": "hidden", "pool_rows": ROWS, "pool_tokens": 900, "train_tokens": 100,
    "budgets": ["10%"], "recipe": RECIPE.model_dump(mode="json"), "margin": 0.01, "confidence": 0.95, "second_rate": None,
    "matched": "all",
}  # fmt: skip


def write(
    folder, seeds, methods=("m",), *, config=None, fingerprints=None, shift=0.0, full=True, metric="response_loss", again=None
):
    """The folder of a verdict on results that depend on method and seed alone, whatever else is in the comparison."""
    results, costs, picks = {}, {}, []
    for seed in seeds if again else ():
        for name in ("random", again):
            rng = np.random.default_rng([sum(name.encode()), seed, 1])
            arm = Arm(f"{name}, rate 0.001", "10%", seed, (), RECIPE, "second rate", name)
            results[arm] = result(2.5 - 0.3 * (name != "random") + 0.01 * rng.standard_normal(ITEMS))
    for method in ("random", *methods):
        for seed in seeds:
            rng = np.random.default_rng([sum(method.encode()), seed])
            values = 2 + shift - 0.3 * (method[0] == "m") + 0.02 * rng.standard_normal(ITEMS) + 0.02 * rng.standard_normal()
            rows = tuple(sorted(rng.choice(ROWS, 4, replace=False).tolist()))
            arm = Arm(method, "10%", seed, rows, RECIPE, "random" if method == "random" else "method")
            results[arm] = result(values, seconds=10.0 + seed)
            costs[method, "10%", seed] = Cost(2.0 + seed, 1e9)
            picks += [(method, arm.kind, "10%", seed, f"row{position:02}") for position in rows]
    for seed in seeds if full else ():
        results[Arm("full", "100%", seed, tuple(range(ROWS)), RECIPE, "full")] = result(np.full(ITEMS, 1.9) + seed / 100)
    results[Arm("untrained", "0", seeds[0], (), None, "untrained")] = result(np.full(ITEMS, 3.0))
    evidence = Evidence(
        (Measure("eval", metric),),
        ROWS,
        results,
        costs,
        {"pool": "p", "model": "m", **(fingerprints or {})},
        ("9 rows left out.",),
    )
    selections = pl.DataFrame(picks, schema=["method", "kind", "budget", "seed", "row_id"], orient="row")
    design = Design((), (Budget.parse("10%"),), tuple(seeds), RECIPE, 0.01, 0.95, full, None, "all")
    found = {**SETTINGS, "seeds": list(seeds), "methods": ["random", *methods], **(config or {})}
    verdict = verdict_of(design, evidence, found, selections)
    verdict.write(folder, overwrite=True)
    return verdict


def result(values, seconds=10.0):
    account = {"tokens": 100.0, "loss_tokens": 50.0, "epochs": 1.5, "steps": 3.0, "seconds": seconds, "flops": 6e9}
    names = [f"item{number}" for number in range(ITEMS)]
    sources, weights = ["a"] * 8 + ["b"] * 4, np.arange(1.0, ITEMS + 1)
    return ArmResult(
        account, pl.DataFrame({"task": "eval", "row_id": names, "source": sources, "value": values, "weight": weights})
    )


def test_one_folder_is_judged_again(tmp_path):
    verdict = write(tmp_path / "one", [0, 1, 2], ["m", "n"])
    again = curate.conclude(tmp_path / "one")
    assert (again.arms, again.headline, again.remarks) == (verdict.arms, verdict.headline, verdict.remarks)
    assert again.selections.equals(verdict.selections)
    answers = [
        {arm["method"]: arm["answer"] for arm in curate.conclude(tmp_path / "one", margin=margin).arms}["n"]
        for margin in (0.0, 0.5)
    ]
    assert answers == ["undecided", "equivalent"]
    narrow = next(arm for arm in curate.conclude(tmp_path / "one", confidence=0.5).arms if arm["method"] == "m")
    [before] = [arm for arm in verdict.arms if arm["method"] == "m"]
    assert before["ci_low"] < narrow["ci_low"] < narrow["ci_high"] < before["ci_high"]


def test_seeds_apart_are_seeds_together(tmp_path):
    whole = write(tmp_path / "whole", [0, 1, 2])
    for seed in (2, 0, 1):
        write(tmp_path / str(seed), [seed])
    found = curate.conclude([tmp_path / "2", tmp_path / "0", tmp_path / "1"])
    key = lambda arm: arm["method"]  # noqa: E731
    for mine, theirs in zip(sorted(found.arms, key=key), sorted(whole.arms, key=key), strict=True):
        for name, value in theirs.items():
            assert mine[name] == (pytest.approx(value) if isinstance(value, float) else value), (mine["method"], name)
    assert found.headline == whole.headline and "m at 10% beats random" in found.headline
    assert set(found.remarks) == set(whole.remarks) and found.config["seeds"] == [0, 1, 2]
    assert found.selections.sort(found.selections.columns).equals(whole.selections.sort(whole.selections.columns))


def test_methods_apart_are_methods_together(tmp_path):
    whole = write(tmp_path / "whole", [0, 1, 2], ["m", "n"])
    write(tmp_path / "m", [0, 1, 2], ["m"])
    write(tmp_path / "n", [0, 1, 2], ["n"])
    found = curate.conclude([tmp_path / "m", tmp_path / "n"])
    assert {arm["method"]: arm["p_holm"] for arm in found.arms} == {arm["method"]: arm["p_holm"] for arm in whole.arms}
    assert found.config["methods"] == ["random", "m", "n"]
    [said] = [remark for remark in found.remarks if "more than once" in remark]
    assert said.startswith("6 arms measured more than once") and "lie at most 0 apart" in said
    assert len(found.selections) == len(whole.selections)


def test_arms_that_were_measured_twice_with_another_outcome_are_said(tmp_path):
    write(tmp_path / "a", [0, 1], ["m"])
    write(tmp_path / "b", [0, 1], ["n"], shift=0.25)
    first, other = curate.conclude([tmp_path / "a", tmp_path / "b"]), curate.conclude([tmp_path / "b", tmp_path / "a"])
    means = [{arm["method"]: arm["mean"] for arm in verdict.arms}["random"] for verdict in (first, other)]
    assert means[1] - means[0] == pytest.approx(0.25)
    assert any("at most 0.25 apart" in remark for remark in first.remarks)


def test_what_lacks_a_seed_is_left_out(tmp_path):
    write(tmp_path / "a", [0, 1, 2], ["m", "n"])
    write(tmp_path / "b", [3, 4], ["m"], full=False)
    found = curate.conclude([tmp_path / "a", tmp_path / "b"])
    assert [arm["method"] for arm in found.arms] == ["random", "m", "untrained"]
    assert {arm["seeds"] for arm in found.arms if arm["method"] != "untrained"} == {5}
    assert "n at 10% left out: it was not run for seeds 3, 4." in found.remarks
    assert "full at 100% left out: it was not run for seeds 3, 4." in found.remarks
    assert found.config["methods"] == ["random", "m"] and set(found.selections["method"]) == {"random", "m"}


def test_two_winners_at_a_second_rate(tmp_path):
    """Comparisons that were led by different methods: the headline speaks of the best one's own second rate."""
    for name, method in (("a", "m"), ("b", "mm")):
        write(tmp_path / name, [0, 1, 2], [method], again=method)
    found = curate.conclude([tmp_path / "a", tmp_path / "b"])
    assert {arm["of"] for arm in found.arms if arm["kind"] == "second rate"} == {"m", "mm", "random"}
    best = min((arm for arm in found.arms if arm["kind"] == "method"), key=lambda arm: arm["mean"])
    [own] = [arm for arm in found.arms if arm["of"] == best["method"]]
    assert f"at a second learning rate, 0.001 ({own['diff_from_random']:+.3f})" in found.headline


@pytest.mark.parametrize(
    "other, words",
    [
        ({"config": {"train_tokens": 200}}, r"b has other train tokens than .*a \(200, not 100\)"),
        ({"config": {"budgets": ["20%"]}}, "budgets"),
        ({"config": {"recipe": TrainConfig(tokens=100, lora_r=3).model_dump(mode="json")}}, "recipe"),
        ({"fingerprints": {"pool": "q"}}, "b has another pool than .*a: their arms cannot be compared"),
        ({"fingerprints": {"target": "t"}}, "another target"),
        ({"metric": "perplexity"}, "other measures"),
    ],
)
def test_what_differs_is_refused(tmp_path, other, words):
    write(tmp_path / "a", [0])
    write(tmp_path / "b", [1], **other)
    with pytest.raises(InputError, match=words):
        curate.conclude([tmp_path / "a", tmp_path / "b"])


def test_items_that_differ_are_refused(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        write(tmp_path / name, [seed])
    path = tmp_path / "b" / "evidence" / "items.parquet"
    pl.read_parquet(path).with_columns(pl.col("row_id").reverse()).write_parquet(path)
    with pytest.raises(InputError, match="evaluated on other rows"):
        curate.conclude([tmp_path / "a", tmp_path / "b"])


def test_folders_at_fault(tmp_path):
    write(tmp_path / "a", [0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: not the folder of a verdict"):
        curate.conclude([tmp_path / "a", tmp_path / "empty"])
    (tmp_path / "a" / "evidence" / "arms.parquet").write_bytes(b"PAR1 not so PAR1")
    with pytest.raises(InputError, match="cannot be|can be concluded from"):
        curate.conclude(tmp_path / "a")
    with pytest.raises(InputError, match="at least one"):
        curate.conclude([])
    with pytest.raises(InputError, match="confidence"):
        curate.conclude(tmp_path / "a", confidence=1.0)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1, 2):
        write(tmp_path / f"v{seed}", [seed])

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["curate", *words])
        code = _main(list(words))
        return code, *capsys.readouterr()

    code, out, err = run("conclude", "v0", "v1", "v2", "--out", "all", "--json")
    assert (code, err) == (0, "") and json.loads(out)["config"]["seeds"] == [0, 1, 2]
    assert json.loads((tmp_path / "all" / "verdict.json").read_text()) == json.loads(out)
    # What was concluded can be concluded from.
    code, out, _ = run("conclude", "all", "--out", "again")
    assert code == 0 and "beats random" in out and "written again" in out
    code, _, err = run("conclude", "v0", "nothing", "--out", "none")
    assert code == 2 and err.count("\n") == 1 and "nothing" in err and not (tmp_path / "none").exists()
    code, _, err = run("conclude", "v0", "--out", "v0", "--overwrite")
    assert code == 2 and (tmp_path / "v0" / "verdict.json").exists()


def test_a_comparison_by_seeds_is_that_of_all(tmp_path, tiny, make_pool):
    engine = curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")
    given = {
        "pool": make_pool(range(40)), "methods": ["perplexity"], "budgets": ["10%"], "evals": make_pool(range(100, 110), name="dev.jsonl"),
        "tokens": 300, "model": tiny, "engine": engine, "recipe": TrainConfig(batch_tokens=100), "matched": "all", "full": False,
    }  # fmt: skip
    whole = curate.compare(**given, seeds=2)
    for seed in (0, 1):
        curate.compare(**given, seeds=1, seed=seed).write(tmp_path / str(seed))
    found = curate.conclude([tmp_path / "0", tmp_path / "1"])
    expected = {arm["method"]: arm for arm in whole.arms}
    assert {f"as long as {name}" for name in ("balanced", "longest", "perplexity")} <= set(expected)
    assert {arm["method"] for arm in found.arms} == set(expected)
    for arm in found.arms:
        for name, value in expected[arm["method"]].items():
            assert arm[name] == (pytest.approx(value) if isinstance(value, float) else value), (arm["method"], name)
    assert found.headline == whole.headline and set(found.remarks) == set(whole.remarks)
