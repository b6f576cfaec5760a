"""The command line: what it prints, what it writes, and how it refuses."""

import json
import os
import re

import polars as pl
import pytest

from curate.errors import InputError
from curate.files import MARKER
from curate.pool import read_pool


@pytest.fixture
def messy(make_pool):
    """60 lines: 58 conversations, one of them again, and a line that is no JSON."""
    path = make_pool(range(58), name="messy.jsonl", id=lambda i: f"row-{i}", note=lambda i: {"deep": [i, None]})
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[3], "{no json"]) + "\n")
    return path


# Bad usage and bad input ----------------------------------------------------------------------------------------------


def refused(result, *words):
    """Exit code 2, one line on standard error that holds the words, beside it only notes and what was done before."""
    code, out, err = result
    assert (code, out) == (2, "")
    [said] = [line for line in err.splitlines() if not line.startswith(("done: ", "note: "))]
    assert said.startswith("curate: ")
    for word in words:
        assert word in said


@pytest.fixture
def select(run, small_pool, tmp_path):
    """`curate select` that would work, but for the options given."""

    def call(*more, budget="10%", pool=small_pool, out=tmp_path / "out"):
        return run("select", pool, "--out", out, f"--budget={budget}", "--method", "longest", *more)

    return call


@pytest.fixture
def compare(run, make_pool, small_pool, tmp_path):
    make_pool(range(100, 105), name="dev.jsonl")

    def call(*more):
        return run("compare", small_pool, "--out", tmp_path / "out", "--methods", "longest", "--eval", "dev.jsonl", *more)

    return call


def test_a_missing_file(select, tmp_path):
    refused(select(pool="gone.jsonl"), "gone.jsonl: no such file")
    assert not (tmp_path / "out").exists()


def test_nothing_but_malformed_lines(select, tmp_path):
    (tmp_path / "bad.jsonl").write_text("{a\nnope\n")
    refused(select(pool="bad.jsonl"), "bad.jsonl, line 1", "not JSON")


def test_no_rows(select, tmp_path):
    (tmp_path / "zero.jsonl").write_text("")
    refused(select(pool="zero.jsonl"), "zero.jsonl: no rows")


@pytest.mark.parametrize("budget", ["0", "0%", "101%", "-5", "abc", "1.5", "nan", ""])
def test_budgets_that_make_no_sense(select, compare, tmp_path, budget):
    refused(select(budget=budget), repr(budget), "budget")
    refused(compare(f"--budget=5%,{budget}"), repr(budget))
    assert not (tmp_path / "out").exists()


def test_an_unknown_method_names_close_ones(select, compare):
    refused(select("--method", "longset"), "'longset'", "did you mean longest")
    refused(select("--method", "zzzz"), "there are: balanced, bids, bm25")
    refused(compare("--methods", "lobas,longest"), "'lobas'", "did you mean lobass")
    refused(compare("--methods", "longest,"), "no method is called ''")


def test_settings(select):
    refused(select("--method", "perplexity", "--set", "windw=low"), "perplexity: there is no setting 'windw'", "window")
    refused(select("--method", "perplexity", "--set", "window=deep"), "perplexity: setting 'window'", "'low', 'mid' or 'high'")
    refused(select("--method", "perplexity", "--set", "window"), "--set 'window': write key=value")
    refused(select("--method", "perplexity", "--set", "=low"), "--set '=low'")
    refused(select("--method", "lobass", "--set", "epochs=-1"), "setting 'epochs'", "greater than 0")


def test_models(select, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(select("--model", "empty"), "empty is not a model folder")
    refused(select("--model", "./gone"), "no model folder ./gone")
    refused(select("--model", "pool.jsonl"), "pool.jsonl is not a model folder")
    refused(select("--scorer-model", "empty"), "empty is not a model folder")


def test_output_folders(select, compare, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    refused(select(), "out is not empty", "--overwrite")
    refused(compare(), "out is not empty")
    refused(select(out="pool.jsonl"), "pool.jsonl is a file")
    refused(select(out="pool.jsonl/deep"), "pool.jsonl is a file")
    refused(select("--overwrite"), "out", "curate", "--overwrite")
    assert (tmp_path / "out" / "mine").read_text() == "1" and (tmp_path / "pool.jsonl").exists()


def test_strict(run, messy, tmp_path):
    refused(run("select", messy, "--strict", "--out", "out", "--budget", "5"), "--strict: 1 row rejected", "line 60", "not JSON")
    assert not (tmp_path / "out").exists()


def test_strict_counts_what_inspect_counts(run, messy, tmp_path):
    """Rows that were never read and rows that the model cannot use are one account, the first of either named."""
    lines = messy.read_text().splitlines()
    lines[10] = json.dumps({"messages": [{"role": "user", "content": "word " * 600}, {"role": "assistant", "content": "Yes."}]})
    messy.write_text("\n".join(lines) + "\n")
    _, out, _ = run("inspect", messy, "--json")
    assert json.loads(out)["rows_rejected"] == 2
    refused(run("inspect", messy, "--strict"), "--strict: 2 rows rejected", "messy.jsonl line 11: the reply is cut off")


def test_evaluation_sets(compare, run, make_pool, tmp_path):
    (tmp_path / "zero.jsonl").write_text("")
    (tmp_path / "deep").mkdir()
    refused(compare("--eval", "zero.jsonl"), "zero.jsonl: no rows")
    refused(compare("--eval", "dev.jsonl"), "two evaluation sets are called 'dev'")
    refused(compare("--eval", "deep/dev.jsonl"), "two evaluation sets are called 'dev'")
    refused(compare("--eval", "x=gone.jsonl"), "gone.jsonl: no such file")
    refused(compare("--target", "dev.jsonl"), "rows of the target are in the evaluation set")
    refused(compare("--eval", "x:accuracy=dev.jsonl"), "metric 'accuracy' is not one of response_loss, perplexity, exact_match")
    refused(compare("--eval", "x:exact_match:poem=dev.jsonl"), "extractor 'poem'")
    refused(run("evaluate", "--eval", "a=dev.jsonl", "--eval", "a=pool.jsonl"), "two evaluation sets are called 'a'")


def test_devices_and_dtypes(select, run):
    refused(select("--dtype", "nonsense"), "dtype 'nonsense' is not one of auto, float32, bfloat16, float16")
    refused(select("--device", "nonsense"), "device 'nonsense' is not one of")
    refused(run("train", "pool.jsonl", "--out", "out", "--device", "gpu"), "device 'gpu' is not one of")
    refused(run("evaluate", "--eval", "pool.jsonl", "--device", "gpu"), "device 'gpu' is not one of")


def test_a_device_that_is_not_there(select):
    import torch

    count = torch.cuda.device_count()
    code, out, err = select("--method", "perplexity", "--device", f"cuda:{count}")
    assert (code, out) == (2, "") and f"device 'cuda:{count}' cannot be used here" in err


def test_limits_and_choices(select, compare, run):
    refused(select("--max-length", "99999"), "--max-length 99999 exceeds the context of base-4m, 512 tokens")
    refused(select("--fill", "zeros"), "fill 'zeros' is not one of none, random")
    refused(select("--shape", "round"), "shape 'round'")
    refused(select("--refit", "maybe"), "refit 'maybe'")
    refused(select("--runner", "slurm"), "runner 'slurm'")
    refused(select("--workers", "2"), "--workers goes with --runner dask")
    refused(select("--runner", "prefect", "--cluster", "tcp://host:8786"), "--cluster goes with --runner dask")
    refused(select("--runner", "dask", "--workers", "2", "--cluster", "tcp://host:8786"), "not both")
    refused(select("--map", "messages"), "--map 'messages'")
    refused(select("--map", "messages=zzz"), "pool.jsonl: 'messages' is mapped to zzz, which no usable row has")
    refused(select("--store", "pool.jsonl"), "the store pool.jsonl cannot be made")
    refused(compare("--tokens", "5", "--epochs", "1"), "tokens or epochs, not both")
    refused(compare("--epochs", "0"), "epochs must be above 0")
    refused(compare("--margin", "-1"), "margin")
    refused(compare("--adapter", "qlora"), "'adapter'")
    refused(compare("--lr", "-1"), "'learning_rate'")
    refused(compare("--loss", "hinge"), "'loss'")
    refused(compare("--lora-variant", "lola"), "'lora_variant'")
    refused(compare("--masked-thought", "1.5"), "'masked_thought'")
    refused(compare("--quantization", "4bit", "--adapter", "none"), "needs adapter lora")
    refused(compare("--budget", "1%"), "random picks no row at a budget of 1%")
    refused(compare("--truth", "zzz"), "there is no column zzz")
    refused(compare("--truth", "messages"), "the column messages does not name defects")
    refused(
        run("train", "pool.jsonl", "--out", "out", "--epochs", "1", "--steps", "2"), "give only one of epochs, steps and tokens"
    )
    refused(run("score", "pool.jsonl", "--out", "out", "--methods", "longest", "--truth", "zzz"), "there is no column zzz")


def test_usage(run, select):
    refused(run("select"), "Missing argument 'POOL...'", "curate select --help")
    refused(run("select", "pool.jsonl", "--out", "out"), "Missing option '--budget'")
    refused(run("chose"), "No such command 'chose'", "curate --help")
    refused(select("--nonsense"), "No such option: --nonsense")
    refused(select("--max-length", "1"), "--max-length", "greater than or equal to 2")
    refused(select("--limit", "0"), "--limit")
    refused(select("--threads", "two"), "--threads")


def test_the_version_is_said(run):
    from importlib.metadata import version

    code, out, _ = run("--version")
    assert code == 0 and out.strip() == f"curate {version('curate')}"


def test_no_arguments_print_the_help(run):
    code, out, err = run()
    assert code == 2 and "Usage: curate" in out + err


@pytest.mark.parametrize(
    "text, words",
    [
        ("pool: [a\n- b: {", ["is not YAML", "line 2"]),
        ("- a\n", ["not a mapping"]),
        ("pool: pool.jsonl\nstages: [{select: {method: longest, budget: 10}}]\nfoo: 1\n", ["there is no key 'foo'"]),
        ("pool: pool.jsonl\nstages: [{choose: {}}]\n", ["there is no key 'stages.0.choose'"]),
        ("pool: pool.jsonl\nstages: []\n", ["'stages'"]),
        ("stages: [{train: {}}]\n", ["'pool'"]),
        ("pool: pool.jsonl\nstages: [{train: {}, select: {method: longest, budget: 10}}]\n", ["exactly one of"]),
        ("pool: pool.jsonl\nstages: [{train: {}}, {select: {method: longset, budget: 10}}]\n", ["did you mean longest"]),
        ("pool: pool.jsonl\nstages: [{select: {method: longest, budget: 0}}]\n", ["'0'"]),
        ("pool: gone.jsonl\nstages: [{train: {}}]\n", ["gone.jsonl: no such file"]),
    ],
)
def test_recipes(run, small_pool, tmp_path, text, words):
    (tmp_path / "recipe.yaml").write_text(text)
    refused(run("run", "recipe.yaml", "--out", "out"), *words)
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_is_not_there(run):
    refused(run("run", "gone.yaml", "--out", "out"), "there is no recipe gone.yaml: no such file")


# Faults and interruptions ---------------------------------------------------------------------------------------------


def failing(monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr("curate.selection.select", fail)


def test_ctrl_c_says_that_nothing_is_lost(select, monkeypatch):
    failing(monkeypatch, KeyboardInterrupt())
    code, out, err = select()
    assert (code, out) == (130, "") and "what was computed is in the store" in err and "Traceback" not in err


def test_a_fault_of_ours_exits_with_1(select, monkeypatch):
    failing(monkeypatch, RuntimeError("boom"))
    code, out, err = select()
    assert (code, out) == (1, "") and err == "curate: a fault in curate: RuntimeError: boom (--debug shows where)\n"


def test_a_full_disk_exits_with_1(select, monkeypatch):
    failing(monkeypatch, OSError(28, "No space left on device", "/data/x"))
    code, _, err = select()
    assert code == 1 and err.startswith("curate: /data/x: No space left on device")


def test_debug_raises(select):
    with pytest.raises(InputError, match=r"gone\.jsonl"):
        select("--debug", pool="gone.jsonl")


# select ---------------------------------------------------------------------------------------------------------------

FILES = {
    "selection.parquet", "scores.parquet", "data.parquet", "data.jsonl", "dataset_info.json", "train_trl.py", "axolotl.yaml",
    "rejected.jsonl", "duplicates.jsonl", "manifest.json", "README.md", "overview.json", MARKER,
}  # fmt: skip


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_select_from_end_to_end(run, messy, tmp_path):
    command = ["select", messy, "--method", "perplexity", "--budget", "10%", "--store", "store", "--threads", 1, "--json"]
    code, out, err = run(*command, "--out", "a")
    assert (code, err) == (0, "") and out.count("\n") == 1
    summary = json.loads(out)
    counts = {key: summary[key] for key in ("rows_in", "rows_rejected", "rows_duplicate", "rows_pool", "selected")}
    assert counts == {"rows_in": 60, "rows_rejected": 1, "rows_duplicate": 1, "rows_pool": 58, "selected": 5}
    assert (summary["computed_rows"], summary["reused_rows"], summary["method"]) == (58, 0, "perplexity")
    assert summary["seconds"] > 0 and summary["shortfall"] is None

    folder = tmp_path / "a"
    assert {path.name for path in folder.iterdir()} == FILES
    own = {row["id"]: row for row in map(json.loads, messy.read_text().splitlines()[:-1])}
    picks, data = pl.read_parquet(folder / "selection.parquet"), lines(folder / "data.jsonl")
    assert picks.columns == ["row_id", "rank", "score", "gain", "stratum", "reason"]
    assert picks["rank"].to_list() == [1, 2, 3, 4, 5] and picks["row_id"].n_unique() == 5
    assert [row.pop("row_id") for row in data] == picks["row_id"].to_list()
    assert data == [own[row["id"]] for row in data]
    ids = dict(zip(read_pool(messy).row_ids, [row["id"] for row in read_pool(messy).records()], strict=True))
    assert [ids[row_id] for row_id in picks["row_id"]] == [row["id"] for row in data]

    scores = pl.read_parquet(folder / "scores.parquet")
    assert len(scores) == 58 and scores["score"].null_count() == 0 and scores["null_reason"].null_count() == 58
    ranked = scores.sort("score")["row_id"].to_list()
    median = [*ranked[27:31], min(ranked[26], ranked[31])]  # of the two that are equally far the smaller row id
    assert set(picks["row_id"]) == set(median)

    [rejected], [duplicate] = lines(folder / "rejected.jsonl"), lines(folder / "duplicates.jsonl")
    assert rejected["line"] == 60 and rejected["reason"].startswith("not JSON") and rejected["record_text"] == "{no json"
    assert (duplicate["line"], duplicate["kept_line"], duplicate["id"], duplicate["source"]) == (59, 4, "row-3", "s0")

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["counts"] == {key: value for key, value in summary.items() if key != "out"}
    assert manifest["command"].startswith(f"curate select {messy} --method perplexity --budget 10% --store store")
    assert manifest["method"] == {"name": "perplexity", "settings": {"window": "mid"}, "paper": "2309.04564"}
    assert {stage["kind"] for stage in manifest["stages"]} == {"encode", "pass"}
    [forward] = [stage for stage in manifest["stages"] if stage["kind"] == "pass"]
    assert forward["tokens"] == summary["pool_tokens"] and forward["flops"] > 0 and forward["seconds"] > 0
    assert len(manifest["model"]["fingerprint"]) == 32 and manifest["pool"]["files"] == [str(messy)]
    assert {"python", "torch", "transformers", "curate"} <= set(manifest["curate"])

    # At another budget nothing is computed again, and in another order of rows nothing changes.
    code, out, _ = run(*command, "--out", "b", "--budget", "20")
    again = json.loads(out)
    assert (again["computed_rows"], again["reused_rows"], again["selected"]) == (0, 58, 20)
    shuffled = tmp_path / "shuffled.jsonl"
    shuffled.write_text("\n".join(reversed(messy.read_text().splitlines())) + "\n")
    code, out, _ = run("select", shuffled, *command[2:], "--out", "c")
    assert json.loads(out)["computed_rows"] == 0
    assert pl.read_parquet(tmp_path / "c" / "selection.parquet").equals(picks)


def test_what_was_selected_loads_elsewhere(run, messy, tmp_path):
    from datasets import load_dataset

    assert run("select", messy, "-m", "longest", "-b", "7", "--out", "out", "--json")[0] == 0
    cache = str(tmp_path / "cache")
    table = load_dataset("parquet", data_files=str(tmp_path / "out" / "data.parquet"), cache_dir=cache)["train"]
    rows = load_dataset("json", data_files=str(tmp_path / "out" / "data.jsonl"), cache_dir=cache)["train"]
    assert len(table) == len(rows) == 7 and table["messages"] == rows["messages"] and table["row_id"] == rows["row_id"]
    assert all(messages[-1]["content"].count("It is") == 4 for messages in table["messages"])  # the longest replies

    # The folder of a selection is itself a pool.
    code, out, _ = run("select", "out", "-m", "longest", "-b", "3", "--out", "less", "--json")
    assert code == 0 and json.loads(out)["rows_in"] == 7
    less = pl.read_parquet(tmp_path / "less" / "selection.parquet")["row_id"].to_list()
    assert less == pl.read_parquet(tmp_path / "out" / "selection.parquet")["row_id"].to_list()[:3]


def test_select_as_messages(run, messy, tmp_path):
    assert run("select", messy, "-m", "longest", "-b", "5", "--out", "out", "--shape", "messages", "--json")[0] == 0
    for row in lines(tmp_path / "out" / "data.jsonl"):
        assert set(row) == {"row_id", "source", "messages"} and row["messages"][0]["role"] == "user"


def test_select_for_people(run, messy):
    code, out, _ = run("select", messy, "-m", "longest", "-b", "10%", "--out", "out")
    assert code == 0
    assert "60 rows in = 58 in the pool + 1 rejected + 1 duplicate" in out
    assert "5 rows (8.6%)" in out and "by longest with base-4m" in out and "written   out" in out


def test_a_budget_of_tokens(run, messy, tmp_path):
    code, out, _ = run("select", messy, "-m", "longest", "-b", "300 tokens", "--out", "out", "--json")
    summary = json.loads(out)
    assert code == 0 and summary["budget"] == "300 tokens"
    code, out, _ = run("score", messy, "-m", "longest", "--out", "scores", "--json")
    frame = pl.read_parquet(tmp_path / "scores" / "scores.parquet").sort("longest", "row_id", descending=[True, False])
    spent = frame["tokens"].cum_sum().to_list()
    fits = sum(total <= 300 for total in spent)
    assert fits > 1 and summary["selected"] == fits and summary["selected_tokens"] == spent[fits - 1]
    assert pl.read_parquet(tmp_path / "out" / "selection.parquet")["row_id"].to_list() == frame["row_id"].to_list()[:fits]


def test_a_budget_too_small_for_one_row_says_so(run, messy):
    for budget in ("2 tokens", "0.001%"):
        code, out, err = run("select", messy, "-m", "longest", "-b", budget, "--out", "out", "--json")
        assert (code, out) == (2, "") and f"a budget of {budget} picks none of the 58 rows" in err
        why = re.search("the first row that does not fit. The first row needs ([0-9]+) tokens, more than the budget of 2;", err)
        assert (why is not None and int(why[1]) > 2) == ("tokens" in budget)


def test_rows_without_a_score_leave_the_selection_short_or_filled(run, messy, tmp_path):
    base = ["select", messy, "-m", "lobass", "--set", "min_response_tokens=20", "-b", "50", "--json"]
    short = json.loads(run(*base, "--out", "short")[1])
    scores = pl.read_parquet(tmp_path / "short" / "scores.parquet")
    scored = 58 - scores["score"].null_count()
    assert 0 < scored < 50 and short["selected"] == scored and short["rows_null"] == 58 - scored
    assert f"allows 50 rows, but only {scored} of 58" in short["shortfall"]
    reasons = scores.filter(pl.col("score").is_null())["null_reason"].unique().to_list()
    assert reasons == ["fewer than 20 reply tokens"]

    full = json.loads(run(*base, "--out", "full", "--fill", "random")[1])
    picks = pl.read_parquet(tmp_path / "full" / "selection.parquet")
    assert full["selected"] == 50 and picks["row_id"].n_unique() == 50
    assert f"{50 - scored} were filled in at random" in full["shortfall"]
    assert picks["reason"].to_list()[scored:] == ["filled at random"] * (50 - scored)
    assert picks["score"].null_count() == 50 - scored
    assert picks["row_id"].to_list()[:scored] == pl.read_parquet(tmp_path / "short" / "selection.parquet")["row_id"].to_list()


def test_the_seed_decides_what_random_picks(run, messy, tmp_path):
    def picked(seed, out):
        assert run("select", messy, "-m", "random", "-b", "10", "--seed", seed, "--out", out, "--json")[0] == 0
        return pl.read_parquet(tmp_path / out / "selection.parquet")["row_id"].to_list()

    first = picked(1, "a")
    assert picked(1, "b") == first and set(picked(2, "c")) != set(first)


def test_plan_writes_nothing(run, messy, tmp_path, tiny):
    base = ["--model", tiny, "--store", "store", "--plan", "--json"]
    # A full output folder does not matter to a plan.
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    code, out, err = run("select", messy, "-m", "lobass", "-b", "10%", "--out", "out", *base)
    planned = json.loads(out)
    assert (code, err) == (0, "") and os.listdir("out") == ["mine"]
    assert [step["name"].split(" on ")[0] for step in planned["plan"]] == [
        "fit tiny", "mean_loss of 58 rows of pool by tiny", "mean_loss of 58 rows of pool by the fit tiny",
    ]  # fmt: skip
    assert all(step["rows"] == 58 and step["tokens"] > 0 and step["flops"] > 0 for step in planned["plan"])
    assert planned["worth"]["trainings"] == 3 and not list((tmp_path / "store").glob("fits/*"))
    [scored] = json.loads(run("score", messy, "-m", "perplexity", *base)[1])["plan"]
    [observed] = json.loads(run("observe", messy, "--observables", "el2n,hidden_mean", "--view", "response", *base)[1])["plan"]
    assert scored["tokens"] > observed["tokens"] and observed["name"].startswith(
        "el2n, hidden_mean of 58 rows of pool, response by tiny"
    )
    assert not (tmp_path / "store" / "arms").exists()


def test_a_folder_is_asked_for_unless_a_plan_is(run, small_pool):
    for command in (["select", small_pool, "-b", "5"], ["score", small_pool, "-m", "longest"], ["observe", small_pool]):
        refused(run(*command), "name a folder for the results with --out, or pass --plan")


def test_observe(run, messy, tmp_path, tiny):
    base = ["observe", messy, "--model", tiny, "--store", "store", "--out", "out"]
    code, out, _ = run(*base, "--observables", "mean_loss,token_margins,hidden_last", "--json")
    columns = ["row_id", "source", "tokens", "response_tokens", "file", "line", "id", "mean_loss", "token_margins", "hidden_last"]
    assert code == 0 and {key: json.loads(out)[key] for key in ("rows", "columns")} == {"rows": 58, "columns": columns}
    frame = pl.read_parquet(tmp_path / "out" / "observed.parquet")
    own = messy.read_text().splitlines()
    assert all(json.loads(own[line - 1])["id"] == id_ for line, id_ in frame.select("line", "id").rows())
    assert frame["file"].unique().to_list() == [str(messy)]
    assert frame.columns == columns and len(lines(tmp_path / "out" / "rejected.jsonl")) == 1
    code, out, _ = run(*base, "--observables", "mean_loss,token_margins,hidden_last", "--overwrite")
    assert code == 0 and "a number a token" in out and "32 numbers a row" in out
    refused(run(*base, "--observables", "loss", "--overwrite"), "observable loss: there are mean_loss")
    refused(run(*base, "--view", "reply", "--overwrite"), "view 'reply' is not one of conversation, response")


def test_overwrite_replaces_the_folder(run, messy, tmp_path):
    command = ["select", messy, "-m", "longest", "--out", "out", "--json"]
    assert run(*command, "-b", "5")[0] == 0
    (tmp_path / "out" / "old").write_text("1")
    refused(run(*command, "-b", "6"), "not empty")
    assert run(*command, "-b", "6", "--overwrite")[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert len(lines(tmp_path / "out" / "data.jsonl")) == 6
    # An input in it would be gone.
    refused(run("select", "out/data.jsonl", "-b", "2", "--out", "out", "--overwrite"), "--overwrite would remove out/data.jsonl")


# The other verbs ------------------------------------------------------------------------------------------------------


def test_score(run, messy, tmp_path):
    code, out, err = run("score", messy, "-m", "random,longest,longest", "--truth", "planted", "--out", "out", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "") and found["rows_pool"] == 58 and found["methods"] == ["random", "longest"]
    assert {(line["method"], line["defect"]) for line in found["truth"]} == {("random", "wrong"), ("longest", "wrong")}
    frame = pl.read_parquet(tmp_path / "out" / "scores.parquet")
    assert frame.columns == ["row_id", "source", "tokens", "response_tokens", "file", "line", "id", "random", "longest"]
    assert frame["longest"].to_list() == frame["response_tokens"].to_list()
    code, out, _ = run("score", messy, "-m", "longest", "--out", "people")
    assert code == 0 and "longest" in out and "+1.00" in out


def test_score_judges_picks_too(run, messy, tmp_path):
    asked = [
        "score",
        messy,
        "-m",
        "random,longest,s2l:checkpoints=1:clusters=4:epochs=1",
        "--truth",
        "planted",
        "--budget",
        "20%",
    ]
    code, out, err = run(*asked, "--seeds", "2", "--out", "out", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "") and [line["method"] for line in found["picks"]] == found["methods"]
    assert [line["seeds"] for line in found["picks"]] == [2, 2, 2] and found["picks"][1]["agree"] is None
    assert found["truth"][2]["auroc"] is None
    for name, key in (("auroc", "truth"), ("enrichment", "picks")):
        kept = pl.read_parquet(tmp_path / "out" / f"{name}.parquet").fill_nan(None)
        assert kept.to_dicts() == found[key]
    assert pl.read_parquet(tmp_path / "out" / "picks.parquet").group_by("method", "seed").len()["len"].to_list() == [11] * 6
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["budget"], manifest["seeds"], len(manifest["fits"])) == ("20%", 2, 2)
    code, out, _ = run(*asked, "--out", "people")
    assert code == 0 and "same picks" in out and "Rare values of source" in out
    auroc = next(line for line in out.split("AUROC")[1].splitlines() if line.startswith("s2l"))
    assert auroc.split()[-1] == "-"
    refused(run("score", messy, "-m", "longest", "--budget", "20%", "--out", "x"), "--budget judges picks by planted defects")
    refused(run("score", messy, "-m", "longest", "--groups", "source", "--out", "x"), "--groups judges picks")
    refused(run(*asked, "--groups", "zzz", "--out", "x"), "there is no column zzz")
    refused(run("score", messy, "-m", "iterative-kmq", "--out", "x"), "name a budget, or use select")


def test_inspect(run, messy):
    code, out, err = run("inspect", messy, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "") and found["rows_in"] == found["rows_pool"] + found["rows_rejected"] + found["rows_duplicate"]
    assert found["problems"] == {"not JSON": 1} and found["shapes"] == {"messages": 58}
    assert sum(source["rows"] for source in found["sources"].values()) == 58
    code, out, _ = run("inspect", messy, "--examples", "1")
    assert code == 0 and "not JSON" in out and "What is" in out


def test_every_setting_of_a_training_has_an_option(run, messy, tiny, tmp_path):
    flags = {
        "--lora-dropout": "0.1", "--target-modules": "q_proj, v_proj", "--schedule": "linear", "--warmup-ratio": "0.5",
        "--weight-decay": "0.2", "--max-grad-norm": "0.3", "--gradient-accumulation": "2", "--masked-thought": "0.1",
        "--masked-thought-warmup": "0.4", "--report-to": "none",
    }  # fmt: skip
    given = [text for pair in flags.items() for text in pair]
    code, _, err = run("train", messy, "--model", tiny, "--steps", 1, "--batch-tokens", 64, "--out", "m", *given, "--json")
    assert (code, err) == (0, "")
    recipe = json.loads((tmp_path / "m" / "training.json").read_text())["recipe"]
    assert recipe["target_modules"] == ["q_proj", "v_proj"] and recipe["schedule"] == "linear"
    numbers = ("lora_dropout", "warmup_ratio", "weight_decay", "max_grad_norm", "masked_thought_warmup", "gradient_accumulation")
    assert [recipe[name] for name in numbers] == [0.1, 0.5, 0.2, 0.3, 0.4, 2]
    refused(run("train", messy, "--out", "n", "--schedule", "sine"), "'schedule'")
    refused(run("train", messy, "--out", "n", "--report-to", "nobody", "--model", tiny), "report_to: ")


def test_inspect_lets_no_row_drive_the_terminal(run, tmp_path):
    messages = [{"role": "user", "content": "a\x1b[2Jb"}, {"role": "assistant", "content": "c\x07d"}]
    row = {"messages": messages, "source": "[red]s\x1b[31m"}
    (tmp_path / "odd.jsonl").write_text(json.dumps(row) + "\n")
    code, out, _ = run("inspect", "odd.jsonl")
    assert code == 0 and "[red]s" in out and "\x1b[2J" not in out and "\x1b[31m" not in out and "\x07" not in out


def test_train_and_evaluate(run, make_pool, messy, tiny, tmp_path):
    make_pool(range(100, 110), name="dev.jsonl")
    code, out, err = run(
        "train", messy, "--model", tiny, "--tokens", 400, "--batch-tokens", 200, "--lr", "0.01", "--out", "m", "--json"
    )
    account = json.loads(out)
    assert (code, err) == (0, "") and account["rows"] == 58 and account["steps"] == 2 and account["tokens"] >= 400
    assert json.loads((tmp_path / "m" / "training.json").read_text())["recipe"]["tokens"] == 400

    def loss(model):
        code, out, err = run("evaluate", "--eval", "dev.jsonl", "--model", model, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)["results"]

    before, after = loss(tiny), loss("m")
    assert [line["source"] for line in after] == [None, "s0", "s1", "s2"] and after[0]["items"] == 10
    assert after[0]["value"] == pytest.approx(sum(line["value"] for line in after[1:]) / 3)
    assert after[0]["value"] != before[0]["value"]
    code, out, _ = run("evaluate", "--eval", "dev.jsonl", "--model", "m")
    assert code == 0 and "mean over sources" in out


def test_json_has_no_nan(run, make_pool):
    """One spoiled row, and no untouched one: there is no AUROC, which JSON calls null."""
    make_pool(range(4), name="spoiled.jsonl", planted=lambda i: "wrong")
    code, out, _ = run("score", "spoiled.jsonl", "-m", "random", "--truth", "planted", "--out", "out", "--json")
    assert code == 0 and "NaN" not in out and json.loads(out)["truth"][0]["auroc"] is None


def test_the_command_that_a_token_policy_needs_is_printed_and_works(run, small_pool, tiny, tmp_path):
    words = ["select", small_pool, "-m", "sstoken:keep=0.5", "-b", "8", "--model", tiny, "--store", "store", "--out", "out"]
    code, out, err = run(*words)
    assert code == 0, err
    [line] = [line for line in out.splitlines() if line.startswith("train     ")]
    assert line == f"train     curate train out --model {tiny} --store store --out out-tuned"
    code, out, err = run(*line.split()[2:])
    assert code == 0 and "in the loss, chosen by sstoken)" in out, err
    assert json.loads((tmp_path / "out-tuned" / "training.json").read_text())["recipe"]["keep_tokens"] == 0.5
    assert "train     " not in run(*words[:-1], "other", "-m", "longest")[1]


def test_a_training_that_a_token_policy_cannot_follow_is_refused(run, small_pool, tiny):
    words = ["select", small_pool, "-b", "8", "--model", tiny, "--out", "out", "--store", "store", "-m"]
    refused(run(*words, "rho-1", "--masked-thought", "0.2"), "masked_thought: what is hidden from the model")
    refused(run(*words, "rho-1", "--token-policy", "sstoken"), "rho-1 chooses the tokens of a training itself")
    refused(run(*words, "sstoken:layer=99"), "the model has 2 layers of attention, and no layer 99")


# Embeddings -----------------------------------------------------------------------------------------------------------


def test_embed(run, messy, tmp_path):
    code, out, err = run("embed", messy, "--embedder", "tfidf:8", "--view", "response", "--plan", "--json")
    [line] = json.loads(out)["plan"]
    assert (code, line["name"], line["rows"]) == (0, "embed 58 rows of pool, response by tfidf:8", 58)
    assert "58" in run("embed", messy, "--embedder", "tfidf:8", "--plan")[1]
    code, out, err = run("embed", messy, "--embedder", "tfidf:8", "--view", "response", "--out", "vectors", "--json")
    assert (code, err) == (0, "")
    found = {key: value for key, value in json.loads(out).items() if not key.startswith("rows_")}
    assert found == {"embedder": "tfidf:8", "rows": 58, "null": 0, "dimensions": 8, "out": "vectors"}
    found = pl.read_parquet(tmp_path / "vectors" / "embeddings.parquet")
    assert found.columns == ["row_id", "source", "file", "line", "id", "embedding"]
    assert found["embedding"].dtype == pl.Array(pl.Float32, 8)
    assert "line" in (tmp_path / "vectors" / "rejected.jsonl").read_text()
    manifest = json.loads((tmp_path / "vectors" / "manifest.json").read_text())
    assert (manifest["embedder"], manifest["view"]) == ("tfidf:8", "response") and manifest["pool"]["files"]
    code, out, _ = run("embed", messy, "--limit", "20", "--out", "hidden")
    assert code == 0 and "20 rows, 192 dimensions by hidden:mean" in out and "written hidden" in out


def test_embed_says_what_is_null_and_what_is_kept(run, make_pool):
    numbers, others = list(range(20)), ["qu", "zz"]

    def chat(i):
        words = others if i == 21 else [str(i), "plus"]
        return [{"role": role, "content": word} for role, word in zip(("user", "assistant"), words)]

    run("embed", make_pool(numbers, messages=chat), "--embedder", "tfidf:8", "--refit", "never", "--out", "one")
    _, out, _ = run(
        "embed", make_pool([*numbers, 21], messages=chat), "--embedder", "tfidf:8", "--refit", "never", "--out", "two"
    )
    assert "21 rows, 1 of them null, 8 dimensions by tfidf:8" in out and "was kept although 4.8% of the rows have changed" in out


def test_the_embedder_reaches_the_verbs(run, select, compare, small_pool, tmp_path):
    assert select("--embedder", "tfidf")[0] == 0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["embedder"] == "tfidf:256"
    for verb in (select, compare):
        refused(verb("--embedder", "tfdif", "--overwrite"), "embedder 'tfdif' is not one of hidden")
    refused(run("score", small_pool, "-m", "longest", "--out", "s", "--embedder", "tfdif"), "embedder 'tfdif'")
    refused(run("embed", small_pool, "--out", "e", "--embedder", "./gone"), "embedder './gone' is not one of hidden")
    refused(run("embed", small_pool, "--out", "e", "--view", "reply"), "view 'reply' is not one of conversation")
    assert not (tmp_path / "e").exists()


def test_embed_and_observe_account_for_every_row(run, messy, tiny):
    account = "60 rows in = 58 in the pool + 1 rejected + 1 duplicate"
    options = ("--model", tiny, "--store", "store", "--out", "out", "--overwrite")
    for command in (("embed", messy, "--embedder", "tfidf:8"), ("embed", messy), ("observe", messy)):
        code, out, _ = run(*command, *options)
        assert code == 0 and account in out
        found = json.loads(run(*command, *options, "--json")[1])
        assert (found["rows_in"], found["rows_pool"], found["rows_rejected"], found["rows_duplicate"]) == (60, 58, 1, 1)
        assert found["rows"] == 58


def test_one_row_is_a_row(run, make_pool, tiny):
    pool = make_pool([1])
    code, out, err = run("embed", pool, "--model", tiny, "--store", "store", "--out", "out")
    assert code == 0 and "1 row, 32 dimensions" in out and "of 1 row of pool" in err and "1 rows" not in out + err


def test_a_selection_is_compared_by_its_folder(run, small_pool, make_pool, tmp_path, tiny):
    make_pool(range(100, 106), "dev.jsonl")
    assert run("select", small_pool, "--method", "longest", "--budget", "6", "--model", tiny, "--out", "picked")[0] == 0
    asked = ["compare", small_pool, "--methods", "given:folder=picked", "--eval", "dev.jsonl", "--model", tiny, "--seeds", "1"]
    asked += ["--budget", "6", "--tokens", "200", "--no-full"]
    refused(run(*asked, "--out", "picked", "--overwrite"), "--overwrite would remove picked, which lies in the output folder")
    refused(
        run(*asked, "--out", "out", "--budget", "6", "--methods", "given:folder=gone"),
        "gone is not a folder that curate select wrote",
    )
    code, out, err = run(*asked, "--out", "out", "--json")
    assert err == ""
    assert run(*asked, "--out", "again")[2].startswith("note: with one seed every answer will be undecided")
    arms = {arm["method"]: arm for arm in json.loads(out)["arms"]}
    assert code == 0 and arms["given:folder=picked"]["mean"] == arms["longest"]["mean"]


def test_options_that_have_no_effect_are_said(run, small_pool, make_pool, tiny):
    make_pool(range(100, 106), "other.jsonl")
    asked = ["--model", tiny, "--store", "store", "--target", "other.jsonl"]
    code, out, _ = run("select", small_pool, "--method", "longest", "--budget", "6", *asked, "--out", "one")
    assert code == 0 and "note      the target has no effect: longest does not look at it" in out
    gain = [
        "select",
        small_pool,
        "--method",
        "facility-location:objective=cg",
        "--budget",
        "6",
        *asked,
        "--existing",
        "other.jsonl",
    ]
    code, out, _ = run(*gain, "--out", "two")
    assert code == 0 and "the target has no effect: facility-location:objective=cg does not look at it" in out
    assert "existing data has no effect" not in out
    code, out, _ = run("score", small_pool, "--methods", "longest,random", *asked, "--existing", "other.jsonl", "--out", "three")
    assert code == 0 and "the target has no effect: none of longest, random looks at it" in out
    assert "existing data has no effect: none of longest, random looks at it" in out
    refused(run("score", small_pool, "--methods", "longest", "--seeds", "3", "--out", "x"), "--seeds is of --budget")


def test_recipes_that_ship(run, small_pool, make_pool, tmp_path, tiny):
    code, out, _ = run("run", "--list")
    assert code == 0 and all(name in out for name in ("cleaned", "quick", "targeted", "tokens"))
    listed = json.loads(run("run", "--list", "--json")[1])
    assert "near-duplicates" in listed["quick"]
    refused(run("run", "--out", "out"), "name a recipe: a YAML file, or one that `curate run --list` lists")
    refused(run("run", "quick"), "name a folder for the results with --out")
    refused(run("run", "slow", "--out", "out"), "there is no recipe slow")
    refused(run("run", "cleaned", "--pool", small_pool, "--out", "out"), "looks at @sample/test", "--eval")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".curate").write_text("")
    inside = make_pool(range(9), "mine/pool.jsonl")
    refused(run("run", "quick", "--pool", inside, "--out", "mine", "--overwrite"), "--overwrite would remove")
    code, out, _ = run("run", "quick", "--pool", "pool.jsonl", "--model", tiny, "--out", "out", "--json")
    stages = json.loads(out)["stages"]
    assert code == 0 and [stage["stage"] for stage in stages] == ["refine", "select", "select"]
    assert stages[0]["rows_in"] == 24 and stages[2]["selected"] >= 1 and (tmp_path / "out" / "3-select" / "data.jsonl").is_file()
