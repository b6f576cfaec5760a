"""Every output folder says how to make it again; what is no longer as it was is named."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

import curate
from curate.errors import InputError
from curate.replaying import replay
from curate.store import Store
from curate.training.config import TrainConfig

SHORT = TrainConfig(adapter="none", steps=2, batch_tokens=200)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def engine(store):
    return curate.Engine(store=store)


@pytest.fixture
def picked(small_pool, tiny, engine, tmp_path):
    """A selection by perplexity, in a folder."""
    curate.select(small_pool, "perplexity", budget="25%", model=tiny, engine=engine, seed=3).write(tmp_path / "picked")
    return tmp_path / "picked"


@pytest.fixture
def changed(store):
    """Replays a folder after its manifest was made to say that something was otherwise then."""

    def call(folder, change, **options):
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        return replay(folder, store=store, **options)

    return call


# Every verb -----------------------------------------------------------------------------------------------------------


def test_a_selection_is_made_again_from_nothing(picked, store, monkeypatch):
    """In another working folder, and without what the store holds."""
    monkeypatch.chdir("/")
    found = replay(picked, fresh=True)
    assert (found.answer, found.compared, found.since, found.reused) == ("same", ["6 picks", "24 scores"], [], 0)
    again = replay(picked, store=store)
    assert (again.answer, again.computed) == ("same", 0) and again.reused == 24


@pytest.mark.parametrize("method", ["random", "token-cleaning", "rho-1", "given"])
def test_other_kinds_of_methods(method, picked, small_pool, tiny, engine, store, tmp_path, monkeypatch):
    """Those that draw, that choose tokens, that train, and one that reads a folder by a relative name."""
    monkeypatch.chdir(tmp_path)
    settings = {"folder": "picked"} if method == "given" else None
    recipe = SHORT if method != "rho-1" else None
    made = curate.select(
        small_pool, method, settings=settings, budget=5, model=tiny, engine=engine, recipe=recipe, embedder="tfidf:8", seed=1
    )
    made.write(tmp_path / "out", shape="messages")
    monkeypatch.chdir("/")
    found = replay(tmp_path / "out", store=store, out=tmp_path / "again")
    assert found.answer == "same" and found.compared[0] == "5 picks" and found.out == str(tmp_path / "again")
    kept = [pl.read_parquet(tmp_path / name / "data.parquet") for name in ("out", "again")]
    assert kept[0].equals(kept[1]) and "messages" in kept[0].columns


def test_refined_pools_and_columns_by_hand(run_cli, make_pool, tiny, store, tmp_path):
    """All that the command line can ask of a pool is taken down."""
    make_pool(range(40), name="big.jsonl")
    make_pool(range(30, 34), name="dev.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "big.jsonl").read_text().splitlines()]
    mapped = [{"ask": r["messages"][0]["content"], "say": r["messages"][1]["content"], "source": r["source"]} for r in rows]
    (tmp_path / "mapped.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mapped))
    words = ["select", "mapped.jsonl", "--map", "prompt=ask", "--map", "completion=say", "--limit", "36", "--decontaminate",
             "dev.jsonl", "--near-duplicates", "0.9", "--cap", "s1=4", "--repeat", "s2=2", "--seed", "5", "-m", "balanced",
             "-b", "9", "--model", tiny, "--out", "out", "--max-length", "64", "--store", store.root]  # fmt: skip
    assert run_cli(*words)[0] == 0
    found = replay(tmp_path / "out", store=store)
    assert found.answer == "same" and found.compared[0] == "9 picks"


def test_scores_and_their_picks(small_pool, tiny, engine, store, tmp_path):
    made = curate.score(small_pool, ["perplexity", "random"], model=tiny, engine=engine, budget=5, seeds=2)
    made.write(tmp_path / "out")
    found = replay(tmp_path / "out", store=store)
    assert (found.answer, found.compared) == ("same", ["24 scores", "20 picks"])


def test_observables_and_vectors(small_pool, tiny, engine, store, tmp_path):
    curate.observe(small_pool, ["mean_loss", "token_logprobs", "hidden_mean"], model=tiny, engine=engine).write(tmp_path / "seen")
    curate.embed(small_pool, "tfidf:8", view="response", engine=engine).write(tmp_path / "embedded")
    assert replay(tmp_path / "seen", fresh=True).answer == "same"
    assert replay(tmp_path / "embedded", store=store).answer == "same"


def test_a_training(picked, tiny, engine, store, tmp_path):
    """The weights too; its pool is the folder of a selection."""
    curate.train(picked, out=tmp_path / "tuned", model=tiny, recipe=SHORT, engine=engine)
    found = replay(tmp_path / "tuned", store=store)
    assert found.answer == "same" and any("model.safetensors" in text for text in found.compared)
    made = json.loads((tmp_path / "tuned" / "training.json").read_text())
    (tmp_path / "tuned" / "training.json").write_text(json.dumps({**made, "last_loss": made["last_loss"] + 1}))
    file = tmp_path / "tuned" / "model.safetensors"
    save_file({name: value + 0.5 for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    differences = replay(tmp_path / "tuned", store=store).differences
    assert [text.split()[0] for text in differences] == ["last_loss", "the"] and differences[1].endswith("differ by up to 0.5")


def test_an_evaluation(small_pool, tiny, engine, store, tmp_path):
    curate.evaluate({"sums:exact_match:max_new_tokens=3": small_pool, "dev": small_pool}, model=tiny, engine=engine).write(
        tmp_path / "e"
    )
    found = replay(tmp_path / "e", store=store)
    assert (found.answer, found.compared) == ("same", ["48 items"])


def test_a_comparison_and_its_conclusion(make_pool, small_pool, tiny, engine, store, tmp_path):
    dev = make_pool(range(100, 106), name="dev.jsonl")
    asked = {"budgets": ["25%"], "evals": dev, "seeds": 2, "tokens": 200, "model": tiny, "recipe": SHORT.trained_for(1, 0)}
    curate.compare(small_pool, ["perplexity"], **asked, engine=engine, full=False).write(tmp_path / "verdict")
    found = replay(tmp_path / "verdict", store=store)
    assert found.answer == "same" and found.compared[0].endswith("picks") and found.compared[1].endswith("arms")
    curate.conclude([tmp_path / "verdict"], margin=0.02).write(tmp_path / "all")
    assert replay(tmp_path / "all", store=store).answer == "same"


def test_a_recipe_with_all_its_stages(make_pool, small_pool, tiny, engine, store, tmp_path):
    make_pool(range(100, 106), name="dev.jsonl")
    (tmp_path / "recipe.yaml").write_text(
        f"pool: pool.jsonl\nmodel: {tiny}\nstages:\n- refine: {{cap: 6, decontaminate: '@evals'}}\n"
        "- select: {method: longest, budget: 8}\n- train: {adapter: none, steps: 1}\n"
        "- compare: {chain: true, evals: {dev: dev.jsonl}, seeds: 1, tokens: 60, full: false, train: {adapter: none}}\n"
    )
    curate.run_recipe(curate.read_recipe(tmp_path / "recipe.yaml"), out=tmp_path / "out", engine=engine)
    found = replay(tmp_path / "out", store=store)
    assert found.answer == "same" and {text.rpartition(" of ")[2] for text in found.compared} == {
        "1-refine", "2-select", "3-train", "4-compare",
    }  # fmt: skip
    with pytest.raises(InputError, match="2-select is a stage of a recipe, and is replayed with the whole of it"):
        replay(tmp_path / "out" / "2-select", store=store)


# What differs ---------------------------------------------------------------------------------------------------------


def test_another_pick_and_another_score_are_differences(picked, store):
    """A comparison that finds nothing would pass all of the above."""
    picks, scores = (pl.read_parquet(picked / name) for name in ("selection.parquet", "scores.parquet"))
    ids = picks["row_id"].to_list()
    picks.with_columns(row_id=pl.Series([ids[1], ids[0], *ids[2:]])).write_parquet(picked / "selection.parquet")
    moved = scores["score"].to_numpy().copy()
    moved[4] += 0.5
    moved[5] = np.nan
    scores.with_columns(score=pl.Series(moved).fill_nan(None)).head(23).write_parquet(picked / "scores.parquet")
    found = replay(picked, store=store)
    assert found.answer == "differs"
    assert found.differences == [
        "row_id differs for 2 picks: 1, 2",
        f"1 score new: {scores['row_id'][23]}",
        f"score differs by up to 0.5 for 2 scores: {scores['row_id'][4]}, {scores['row_id'][5]}",
    ]
    assert replay(picked, store=store, tolerance=1.0).differences[-1].endswith(f"for 1 score: {scores['row_id'][5]}")


# What cannot be done again, and what is no longer as it was -----------------------------------------------------------


def test_a_changed_row_is_named(picked, small_pool, store):
    lines = small_pool.read_text().splitlines()
    lines[3] = lines[3].replace("What is", "What was")
    small_pool.write_text("\n".join(lines) + "\n")
    found = replay(picked, store=store)
    assert found.answer == "cannot" and found.computed == 0 and len(found.problems) == 3
    assert "pool.jsonl has changed: 24 conversations of fingerprint " in found.problems[0]
    assert found.problems[1].startswith("gone from the pool: ") and found.problems[2].endswith("(pool.jsonl line 4)")
    again = replay(picked, store=store, changed=True)
    assert again.answer == "differs" and "1 score gone" in " ".join(again.differences)
    assert again.since[: len(found.problems)] == found.problems


def test_other_columns_of_the_same_conversations_are_said(picked, small_pool, store):
    small_pool.write_text(small_pool.read_text().replace('"s1"', '"s9"'))
    found = replay(picked, store=store)
    assert found.answer == "same" and found.since == [f"{small_pool} has changed, but holds the same conversations"]


def test_a_file_that_is_gone_and_where_it_lies_now(picked, small_pool, store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    shutil.move(small_pool, tmp_path / "elsewhere")
    found = replay(picked, store=store)
    assert (found.answer, found.problems) == ("cannot", [f"{small_pool}: no such file or folder"])
    moved = {str(tmp_path): str(tmp_path / "elsewhere")}
    assert replay(picked, store=store, moved=moved).answer == "same"


def test_other_weights_and_another_tokenizer(small_pool, tiny, engine, store, tmp_path):
    model = shutil.copytree(tiny, tmp_path / "model")
    curate.select(small_pool, "longest", budget=5, model=model, engine=engine).write(tmp_path / "out")
    weights = load_file(model / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, model / "model.safetensors", metadata={"format": "pt"})
    (model / "tokenizer_config.json").write_text((model / "tokenizer_config.json").read_text() + " ")
    found = replay(tmp_path / "out", store=store)
    assert [text.partition(f" of {model} ")[0] for text in found.problems] == ["the weights", "the tokenizer or chat template"]
    shutil.rmtree(model)
    assert "no model folder" in replay(tmp_path / "out", store=store).problems[0]


def test_versions_and_machines(picked, changed):
    def older(manifest):
        manifest["curate"]["transformers"] = "5.0.1"
        manifest["replay"]["code"]["forward passes"] = 2
        manifest["replay"]["ran_on"]["threads"] = 96
        manifest["fits"] = [{"asked": "fit tiny", "rows": {"fitted_on": 30, "scored": 24, "scored_and_fitted_on": 20}}]

    found = changed(picked, older)
    assert found.answer == "same"  # these need not matter
    said = "; ".join(found.since)
    assert "transformers: 5.0.1 then, " in said and "version of forward passes: 2 then, 3 now" in said
    assert "threads: 96 then, 1 now" in said and "fit tiny had served from before, fitted on 10 rows" in said


def test_a_default_that_has_changed(picked, changed):
    """Then as now the setting that was used is used again."""

    def otherwise(manifest):
        manifest["replay"]["arguments"]["method"]["settings"]["window"] = "low"  # which was the default, it says

    found = changed(picked, otherwise)
    assert found.answer == "differs"
    assert found.since == ["the default of the setting window of perplexity is 'mid' now; done again with 'low', as then"]


def test_a_setting_that_is_gone_and_one_that_is_new(picked, changed):
    def more(manifest):
        manifest["replay"]["arguments"]["method"]["settings"] = {"width": 3}

    assert "perplexity no longer takes its settings: there is no setting 'width'" in changed(picked, more).problems[0]

    def fewer(manifest):
        manifest["replay"]["arguments"]["method"]["settings"] = {}

    assert changed(picked, fewer).since == ["the method perplexity has a setting now that it had not: window, by default 'mid'"]


def test_a_method_that_is_not_installed(picked, changed):
    def another(manifest):
        manifest["replay"]["arguments"]["method"] |= {"name": "mine", "class": "__main__:Mine"}

    assert "the method mine (__main__:Mine) is not installed here" in changed(picked, another).problems[0]


def test_rows_in_memory(tiny, engine, store, tmp_path):
    rows = [{"prompt": f"What is {i}?", "completion": f"It is {i}."} for i in range(9)]
    curate.select(rows, "longest", budget=3, model=tiny, engine=engine).write(tmp_path / "out")
    found = replay(tmp_path / "out", store=store)
    assert "a pool of 9 conversations was given in memory" in found.problems[0]


def test_a_part_of_what_was_read(small_pool, tiny, engine, store, tmp_path):
    part = curate.read_pool(small_pool).take(range(10))
    curate.select(part, "longest", budget=3, model=tiny, engine=engine).write(tmp_path / "out")
    assert "or changed after it was read" in replay(tmp_path / "out", store=store).problems[0]


def test_folders_without_a_record(tmp_path, picked):
    with pytest.raises(InputError, match="there is no folder"):
        replay(tmp_path / "gone")
    with pytest.raises(InputError, match=r"there is no manifest\.json or training\.json in it"):
        replay(tmp_path)
    (picked / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="does not say how to make its folder again"):
        replay(picked)
    (picked / "auto.json").write_text("{}")
    with pytest.raises(InputError, match="is of a search, which is not replayed"):
        replay(picked)
    (picked / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        replay(picked)


def test_what_a_method_reads_by_itself(picked, small_pool, tiny, engine, store, tmp_path):
    given = curate.given(picked)
    curate.select(small_pool, given, budget=4, model=tiny, engine=engine).write(tmp_path / "out")
    picks = pl.read_parquet(picked / "selection.parquet")
    picks.head(5).write_parquet(picked / "selection.parquet")
    found = replay(tmp_path / "out", store=store)
    assert found.problems == [f"{picked / 'selection.parquet'}, which the method given reads, has changed"]
    assert replay(tmp_path / "out", store=store, changed=True).answer == "same"
    moved = {str(picked): str(tmp_path / "elsewhere")}
    shutil.move(picked, tmp_path / "elsewhere")
    assert "elsewhere" in replay(tmp_path / "out", store=store, moved=moved).problems[0]


def test_a_folder_of_a_stranger(picked, changed):
    """Its manifest names what is called: only verbs, and no code of a model's own without being told."""

    def otherwise(**values):
        return lambda manifest: manifest["replay"].update(values)

    def code(manifest):
        manifest["replay"]["engine"]["trust_remote_code"] = True

    for change, said in (
        (code, "pass --trust-remote-code"),
        (otherwise(verb="Store"), "not of a verb that can be done again: 'Store'"),
        (otherwise(verb="select", engine={}, arguments={"pool": {"kind": "path"}}), "a kind that this curate does not know"),
        (otherwise(arguments={"pool": {"kind": "pool"}}), "is damaged: KeyError 'origin'"),
        (otherwise(record=2), "a record of version 2"),
    ):
        with pytest.raises(InputError, match=said):
            changed(picked, change)


# The command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run_cli(capsys, monkeypatch, tmp_path):
    from curate.cli import _main

    monkeypatch.chdir(tmp_path)

    def call(*words):
        capsys.readouterr()
        return _main([str(word) for word in words]), *capsys.readouterr()

    return call


def test_exit_codes(run_cli, picked, small_pool, store):
    words = ("replay", "picked", "--store", "store")
    code, out, _ = run_cli(*words)
    assert code == 0 and out.startswith("same: curate select makes picked again\n  compared: 6 picks, 24 scores\n")
    code, out, _ = run_cli(*words, "--json")
    assert code == 0 and json.loads(out)["answer"] == "same"
    picks = pl.read_parquet(picked / "selection.parquet")
    picks.with_columns(score=pl.col("score") + 1).write_parquet(picked / "selection.parquet")
    code, out, _ = run_cli(*words)
    assert code == 1 and "score differs by up to 1 for 6 picks" in out
    small_pool.unlink()
    code, out, _ = run_cli(*words)
    assert code == 2 and "pool.jsonl: no such file or folder" in out and "--moved OLD=NEW" in out
    code, out, err = run_cli("replay", "nowhere")
    assert (code, out, err) == (2, "", "curate: there is no folder nowhere\n")
