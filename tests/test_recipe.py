"""Recipes: stages of a YAML file, each on what the one before kept."""

import json

import polars as pl
import pytest

import curate
from curate.chain import run_recipe
from curate.errors import InputError
from curate.recipe import read_recipe


@pytest.fixture
def engine(tmp_path):
    return curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")


@pytest.fixture
def write(tmp_path):
    def make(text, name="recipe.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return make


def test_select_select_train_on_the_sample(engine, write, tmp_path):
    recipe = read_recipe(
        write(
            """
            pool: "@sample/pool"
            limit: 40
            stages:
              - select: {method: perplexity, settings: {window: low}, budget: 50%}
              - select: {method: longest, budget: 5}
              - train: {tokens: 300, batch_tokens: 150}
            """
        )
    )
    first, second, third = run_recipe(recipe, out=tmp_path / "out", engine=engine)
    assert (first["rows_in"], first["rows_pool"], first["selected"]) == (40, 40, 20)
    assert (second["rows_in"], second["rows_pool"], second["selected"]) == (20, 20, 5)
    assert third["rows"] == 5 and third["tokens"] >= 300
    assert [stage["stage"] for stage in (first, second, third)] == ["select", "select", "train"]
    assert first["text"] == "1 select: perplexity:window=low kept 20 of 40 rows"
    assert third["text"].startswith("3 train: ")

    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["1-select", "2-select", "3-train"]
    kept = [pl.read_parquet(out / name / "selection.parquet") for name in ("1-select", "2-select")]
    scores = pl.read_parquet(out / "1-select" / "scores.parquet").sort("score", "row_id")
    assert set(kept[0]["row_id"]) == set(scores["row_id"][:20])
    assert set(kept[1]["row_id"]) < set(kept[0]["row_id"])
    trained = json.loads((out / "3-train" / "training.json").read_text())
    assert trained["rows"] == 5 and (out / "3-train" / "model.safetensors").is_file()

    # What was computed once is not computed again.
    again = run_recipe(recipe, out=tmp_path / "again", engine=curate.Engine(store=engine.store, device="cpu"))
    assert [stage["computed_rows"] for stage in again[:2]] == [0, 0]


def test_a_comparison_of_what_was_kept(engine, write, make_pool, tiny, tmp_path):
    make_pool(range(40))
    make_pool(range(100, 106), name="dev.jsonl")
    recipe = read_recipe(
        write(
            f"""
            pool: pool.jsonl
            model: {tiny}
            stages:
              - select: {{method: longest, budget: 30}}
              - compare:
                  methods: [perplexity]
                  budgets: [20%]
                  evals: {{dev: dev.jsonl}}
                  seeds: 1
                  tokens: 200
                  full: false
                  train: {{batch_tokens: 100}}
            """
        )
    )
    verdict = run_recipe(recipe, out=tmp_path / "out", engine=engine)[1]
    assert verdict["config"]["pool_rows"] == 30 and verdict["config"]["train_tokens"] == 200
    methods = {arm["method"] for arm in verdict["arms"] if arm["kind"] != "length-matched"}
    assert methods == {"random", "balanced", "longest", "perplexity", "untrained"}
    assert {arm["task"] for arm in verdict["arms"]} == {"dev"}
    assert json.loads((tmp_path / "out" / "2-compare" / "verdict.json").read_text())["arms"] == verdict["arms"]


def test_paths_are_relative_to_the_recipe(write, make_pool, tmp_path, monkeypatch):
    path = write("pool: ../pool.jsonl\ntarget: /abs/target.jsonl\nstages: [{train: {}}]\n", "deep/recipe.yaml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    recipe = read_recipe("recipe.yaml")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert recipe.pool == ("../pool.jsonl",)
    assert recipe.path(recipe.pool[0]) == str(path.parent / "../pool.jsonl")
    assert recipe.path("/abs/target.jsonl") == "/abs/target.jsonl"
    assert recipe.path("hub:org/name") == "hub:org/name"
    assert recipe.path("@sample/pool").endswith("sample/pool.parquet")


def test_the_pool_is_read_beside_the_recipe(engine, write, make_pool, tiny, tmp_path, monkeypatch):
    make_pool(range(6))
    write(f"pool: ../pool.jsonl\nmodel: {tiny}\nstages: [{{select: {{method: longest, budget: 2}}}}]\n", "deep/recipe.yaml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    [done] = run_recipe(read_recipe("../deep/recipe.yaml"), out="out", engine=engine)
    assert done["selected"] == 2 and (tmp_path / "elsewhere" / "out" / "1-select" / "data.jsonl").is_file()


@pytest.mark.parametrize("path", ["@sample/../../../etc/passwd", "@sample//etc/passwd"])
def test_the_embedded_sample_is_no_way_out(write, path):
    recipe = read_recipe(write("pool: x\nstages: [{train: {}}]\n"))
    assert recipe.path(path).endswith("sample/passwd.parquet")


def test_a_recipe_that_fails_leaves_nothing(engine, write, make_pool, tiny, tmp_path, monkeypatch):
    make_pool(range(6))
    recipe = read_recipe(
        write(f"pool: pool.jsonl\nmodel: {tiny}\nstages: [{{select: {{method: longest, budget: 2}}}}, {{train: {{}}}}]\n")
    )

    def fail(*args, **options):
        raise OSError("no space")

    monkeypatch.setattr(curate.Engine, "train", fail)
    with pytest.raises(OSError, match="no space"):
        run_recipe(recipe, out=tmp_path / "out", engine=engine)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    "text, words",
    [
        ("pool: x\nstages: [{prune: {}}]\n", "no key 'stages.0.prune'"),
        ("pool: x\nstages: [{train: {epochz: 1}}]\n", "no key 'stages.0.train.epochz'"),
        ("pool: x\nstages: [{train: {epochs: -1}}]\n", "'stages.0.train.epochs'"),
        ("pool: x\nstages: [{train: {}, compare: {methods: [longest], evals: {a: b}}}]\n", "exactly one of"),
        ("pool: x\nstages: [{}]\n", "exactly one of"),
        ("pool: x\nstages: []\n", "'stages'"),
        ("pool: x\nlimit: 0\nstages: [{train: {}}]\n", "'limit'"),
        ("pool: x\nstages: [{select: {method: longest, budget: 120%}}]\n", "120%"),
        ("pool: x\nstages: [{select: {method: longest, budget: 5, settings: {a: 1}}}]\n", "no setting 'a'"),
        ("pool: x\nstages: [{compare: {methods: [longset], evals: {a: b}}}]\n", "did you mean longest"),
        ("pool: x\nstages: [{compare: {methods: [longest], budgets: [0], evals: {a: b}}}]\n", "'0'"),
        ("pool: x\nstages: [{compare: {methods: [longest], evals: {'a:accuracy': b}}}]\n", "metric 'accuracy'"),
        ("pool: x\nstages: [{refine: {}}]\n", "say what to refine"),
        ("pool: x\nstages: [{refine: {seed: 3}}]\n", "say what to refine"),
        ("pool: x\nstages: [{refine: {near_duplicates: 2}}]\n", "'stages.0.refine.near_duplicates'"),
        ("pool: x\nstages: [{refine: {near: 0.8}}]\n", "no key 'stages.0.refine.near'"),
        ("pool: x\nstages: [{compare: {evals: {a: b}}}]\n", "name methods, or say chain: true"),
        ("pool: x\nstages: [{compare: {chain: true, evals: {a: b}}}]\n", "stage 1 judges a chain, but no select or refine stage"),
        (
            "pool: x\nstages: [{select: {method: longest, budget: 5}}, {compare: {chain: random, evals: {a: b}}}]\n",
            "'random' stands for",
        ),
        (
            "pool: x\nstages: [{refine: {repeat: {a: 2}}}, {compare: {chain: true, evals: {a: b}}}]\n",
            "write repeat beside the pool",
        ),
        ("pool: x\ndecontaminate: '@evals'\nstages: [{train: {}}]\n", "stands for the evaluation sets of compare stages"),
        ("just text\n", "not a mapping"),
        ("pool: [x\n", "is not YAML, line"),
    ],
)
def test_what_is_wrong_is_named(write, text, words):
    with pytest.raises(InputError) as caught:
        read_recipe(write(text))
    assert words in str(caught.value) and "recipe.yaml" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir [pwned]", "!!python/name:os.system", "!!python/tuple [1]"])
def test_yaml_runs_nothing(write, tmp_path, monkeypatch, tag):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is not YAML, line 1: could not determine a constructor"):
        read_recipe(write(f"pool: {tag}\nstages: [{{train: {{}}}}]\n"))
    assert not (tmp_path / "pwned").exists()


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not YAML"):
        read_recipe(tmp_path / "recipe.yaml")


def test_an_embedder_for_all_stages(engine, write, tmp_path):
    stage = "{pool: '@sample/pool', limit: 20, embedder: %s, stages: [{select: {method: longest, budget: 5}}]}"
    run_recipe(read_recipe(write(stage % "tfidf")), out=tmp_path / "out", engine=engine)
    assert json.loads((tmp_path / "out" / "1-select" / "manifest.json").read_text())["embedder"] == "tfidf:256"
    with pytest.raises(InputError, match="embedder '.*gone' is not one of hidden"):
        run_recipe(read_recipe(write(stage % "./gone")), out=tmp_path / "other", engine=engine)
