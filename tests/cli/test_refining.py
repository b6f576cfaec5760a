"""--near-duplicates, --decontaminate, --cap and --repeat, in every verb that reads a pool."""

import json

import polars as pl
import pytest

from curate.pool import read_pool


def said(i):
    """Every fourth row is near to the one before it."""
    words = " ".join(f"w{i - (i % 4 == 3)}x{k}" for k in range(20))
    return [{"role": "user", "content": words + " please" * (i % 4 == 3)}, {"role": "assistant", "content": f"Yes, {i // 4}."}]


@pytest.fixture
def pool(make_pool):
    """40 rows, 10 of them near-duplicates; sources s0, s1, s2 of 14, 13 and 13 rows; a line that is no JSON."""
    path = make_pool(range(40), messages=said)
    path.write_text(path.read_text() + "{no json\n")
    make_pool([0, 1, 60], name="eval.jsonl", messages=said)
    return path


REFINED = ("--near-duplicates", "0.8", "--decontaminate", "eval.jsonl", "--cap", "s0=5", "--cap", "s1=4", "--repeat", "s2=3")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_select_accounts_for_every_row_and_repeats(run, pool, tmp_path):
    command = ("select", pool, "-m", "longest", "-b", "100%", "--out", "out", *REFINED, "--seed", 7)
    code, out, err = run(*command, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    left_out = {name: found[f"rows_{name}"] for name in ("rejected", "duplicate", "near_duplicate", "contaminated", "over_cap")}
    assert left_out == {"rejected": 1, "duplicate": 0, "near_duplicate": 10, "contaminated": 2, "over_cap": left_out["over_cap"]}
    assert found["rows_in"] == 41 == found["rows_pool"] + sum(left_out.values()) and left_out["over_cap"] > 0
    folder = tmp_path / "out"
    for name, rows in (
        ("rejected", 1),
        ("duplicates", 0),
        ("near_duplicates", 10),
        ("contaminated", 2),
        ("over_cap", left_out["over_cap"]),
    ):
        assert len(lines(folder / f"{name}.jsonl")) == rows
    assert {row["evaluation"] for row in lines(folder / "contaminated.jsonl")} == {"eval.jsonl"}

    picks, data = pl.read_parquet(folder / "selection.parquet"), lines(folder / "data.jsonl")
    assert len(picks) == picks["row_id"].n_unique() == found["rows_pool"]
    counts = {source: sum(row["source"] == source for row in data) for source in ("s0", "s1", "s2")}
    kept = {source: len({row["row_id"] for row in data if row["source"] == source}) for source in ("s0", "s1", "s2")}
    assert (counts["s0"], counts["s1"], counts["s2"]) == (5, 4, 3 * kept["s2"]) and found["written"] == len(data)

    manifest = json.loads((folder / "manifest.json").read_text())
    refined = manifest["pool"]["refined"]
    assert refined["near_duplicates"] == 0.8 and refined["repeat"] == {"s2": 3} and manifest["counts"]["rows_over_cap"]
    assert refined["over_cap"] == {"most": {"s0": 5, "s1": 4}, "seed": 7}
    [overlap] = refined["contaminated"]["sets"]
    assert (overlap["name"], overlap["rows"], overlap["prompts"]) == ("eval.jsonl", 3, 2)

    code, out, _ = run(*command, "--overwrite")
    assert code == 0 and "41 rows in = " in out and "10 near-duplicate + 2 contaminated + " in out and "over the cap" in out
    assert f"{len(data)} rows are written" in out


def test_train_on_a_selection_keeps_its_repeats(run, pool, tiny, tmp_path):
    assert run("select", pool, "-m", "longest", "-b", "100%", "--out", "out", "--repeat", "s2=3")[0] == 0
    options = ("--model", tiny, "--steps", 1, "--json")
    code, out, err = run("train", "out", *options, "--out", "m")
    account = json.loads(out)
    assert (code, err) == (0, "") and account["rows"] == 40 + 2 * 13
    assert (account["rows_in"], account["rows_pool"], account["rows_duplicate"]) == (40, 40, 0)
    assert {path.name for path in (tmp_path / "m").iterdir()} >= {"rejected.jsonl", "duplicates.jsonl", "model.safetensors"}
    code, out, _ = run("train", pool, *options, "--out", "n", "--repeat", "s2=3")
    assert code == 0 and json.loads(out)["rows"] == 66
    assert (
        json.loads((tmp_path / "m" / "training.json").read_text())["pool"]
        == json.loads((tmp_path / "n" / "training.json").read_text())["pool"]
    )
    code, out, _ = run("train", pool, "--model", tiny, "--steps", 1, "--out", "p", "--cap", 2)
    assert (
        code == 0
        and "41 rows in = 6 in the pool + 1 rejected + 0 duplicate + 34 over the cap" in out
        and "trained on 6 rows" in out
    )


def test_the_other_verbs_take_them_too(run, pool, tiny):
    code, out, _ = run("inspect", pool, "--json", *REFINED)
    assert code == 0 and json.loads(out)["rows_near_duplicate"] == 10
    code, out, _ = run("score", pool, "-m", "longest", "--out", "scores", *REFINED)
    assert code == 0 and "10 near-duplicate" in out
    options = (
        "--model",
        tiny,
        "--methods",
        "longest",
        "-b",
        "50%",
        "--seeds",
        1,
        "--tokens",
        200,
        "--no-full",
        "--eval",
        "eval.jsonl",
    )
    code, out, err = run("compare", pool, *options, "--out", "verdict", "--json", *REFINED)
    assert (code, err) == (0, "") and json.loads(out)["config"]["pool_rows"] < 28


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--near-duplicates", "1.5"), "must be above 0 and at most 1, not 1.5"),
        (("--decontaminate", "gone.jsonl"), "gone.jsonl: no such file"),
        (("--cap", "many"), "--cap 'many': 'many' is not a whole number"),
        (("--cap", "s0=0"), "--cap 's0=0': '0' is not a whole number of at least 1"),
        (("--cap", "5", "--cap", "6"), "--cap '6': there is a cap for every source already, 5; write SOURCE=N"),
        (("--cap", "s0=5", "--cap", "s0=6"), "--cap 's0=6': there is a number for 's0' already"),
        (("--cap", "=5"), "--cap '=5': write N or SOURCE=N"),
        (("--cap", "x=5"), "cap: no row has the source 'x'; there are: s0, s1, s2"),
        (("--repeat", "s0"), "--repeat 's0': write SOURCE=K, such as maths=3"),
        (("--repeat", "3"), "--repeat '3': write SOURCE=K, such as maths=3"),
        (
            ("--near-duplicates", "80"),
            "--near-duplicates '80': the similarity must be above 0 and at most 1, not 80; write 0.8 or 80%",
        ),
        (("--near-duplicates", "120%"), "--near-duplicates '120%': the similarity must be above 0 and at most 1, not 1.2"),
        (("--near-duplicates", "some"), "--near-duplicates 'some': write a similarity, such as 0.8 or 80%"),
        (("--repeat", "x=2"), "repeat: no row has the source 'x'"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(run, pool, options, words):
    code, out, err = run("select", pool, "-m", "longest", "-b", "5", "--out", "out", *options)
    [line] = [line for line in err.splitlines() if not line.startswith(("done: ", "note: "))]
    assert (code, out) == (2, "") and line.startswith("curate: ") and words in line


def test_a_similarity_may_be_a_percentage(run, pool):
    found = {}
    for text in ("80%", "0.8", "100%"):
        code, out, _ = run("inspect", pool, "--json", "--near-duplicates", text)
        found[text] = json.loads(out)["rows_near_duplicate"]
        assert code == 0
    assert found == {"80%": 10, "0.8": 10, "100%": 0}


def test_a_general_cap_has_exceptions(run, pool):
    code, out, _ = run("inspect", pool, "--json", "--cap", "4", "--cap", "s0=9", "--cap", "s2=2")
    found = json.loads(out)
    assert code == 0 and {name: source["rows"] for name, source in found["sources"].items()} == {"s0": 9, "s1": 4, "s2": 2}
    code, out, _ = run("inspect", pool, "--json", "--cap", "s2=2")
    assert {name: source["rows"] for name, source in json.loads(out)["sources"].items()} == {"s0": 14, "s1": 13, "s2": 2}


def test_overwriting_spares_the_evaluation_set(run, pool, tmp_path):
    assert run("select", pool, "-m", "longest", "-b", "5", "--out", "out")[0] == 0
    (tmp_path / "eval.jsonl").rename(tmp_path / "out" / "eval.jsonl")
    code, _, err = run(
        "select", pool, "-m", "longest", "-b", "5", "--out", "out", "--overwrite", "--decontaminate", "out/eval.jsonl"
    )
    assert code == 2 and "--overwrite would remove out/eval.jsonl" in err
    assert len(read_pool(tmp_path / "out" / "eval.jsonl")) == 3
