"""Chains of stages: refined, selected, cleaned of tokens, trained on, and judged against random rows of the whole pool."""

import json

import polars as pl
import pytest
import yaml

import curate
import curate.chain
from curate.errors import InputError
from curate.preparation import as_pool
from curate.recipe import find_recipe, overridden, read_recipe, shipped

HALF = "{method: token-cleaning, settings: {keep: 0.5, threshold: sample, warmup: 0.5}, budget: 100%}"


@pytest.fixture
def engine(tmp_path):
    return curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")


@pytest.fixture
def go(engine, tiny, make_pool, tmp_path):
    """Runs stages on 30 conversations, of which the last six are near-duplicates; gives what they did and their folder."""
    make_pool(range(24))
    rows = [json.loads(line) for line in (tmp_path / "pool.jsonl").read_text().splitlines()]
    for row in rows[:6]:
        row["messages"] = [
            {**m, "content": m["content"] + " Indeed, as was said and as all of us know."} for m in row["messages"]
        ]
    twice = [{**row, "messages": [{**m, "content": m["content"] + " Yes."} for m in row["messages"]]} for row in rows[:6]]
    make_pool(range(100, 106), name="dev.jsonl")

    def run(stages, out="out", more="", added=()):
        (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *twice, *added]))
        text = f"pool: pool.jsonl\nmodel: {tiny}\n{more}stages:\n" + "".join(f"  - {stage}\n" for stage in stages)
        (tmp_path / "recipe.yaml").write_text(text)
        found = curate.run_recipe(read_recipe(tmp_path / "recipe.yaml"), out=tmp_path / out, engine=engine)
        return found, tmp_path / out

    return run


@pytest.fixture
def uncompared(monkeypatch):
    """Comparisons are asked for and not run; what they were asked, one after the other."""
    asked = []

    def compare(pool, methods, **more):
        asked.append({**more, "pool": pool, "methods": methods})
        return type("Verdict", (), {"headline": "", "write": lambda self, folder: None, "to_json": lambda self: {}})()

    monkeypatch.setattr(curate.chain, "compare", compare)
    return asked


def test_a_stage_refines_what_is_there(go, tmp_path):
    [_, second, third], out = go(
        [
            "select: {method: longest, budget: 29}",
            "refine: {near_duplicates: 0.6, cap: {s0: 5}, decontaminate: dev.jsonl}",
            "select: {method: longest, budget: 100%}",
        ]
    )
    assert (second["rows_in"], second["stage"]) == (29, "refine") and second["rows_near_duplicate"] > 0 < second["rows_over_cap"]
    left = second["rows_in"] - second["rows_near_duplicate"] - second["rows_over_cap"] - second["rows_contaminated"]
    assert second["rows_pool"] == left == third["rows_in"] == third["selected"]
    assert second["text"].startswith(f"2 refine: 29 rows in = {left} in the pool")

    folder = out / "2-refine"
    kept = as_pool(folder)  # as `curate train out/2-refine` reads it
    assert len(kept) == left and sum(source == "s0" for source in kept.sources) <= 5
    assert set(kept.row_ids) == set(pl.read_parquet(out / "3-select" / "selection.parquet")["row_id"])
    order = pl.read_parquet(out / "1-select" / "selection.parquet")["row_id"].to_list()
    assert pl.read_parquet(folder / "data.parquet")["row_id"].to_list() == [row_id for row_id in order if row_id in kept.row_ids]
    assert len((folder / "near_duplicates.jsonl").read_text().splitlines()) == second["rows_near_duplicate"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["refine"] == {"near_duplicates": 0.6, "cap": {"s0": 5}, "decontaminate": ["dev.jsonl"]}
    from datasets import load_dataset

    assert len(load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))) == left


def test_it_is_refined_beside_the_pool_as_well(go):
    """The same function, before the first stage; what both leave out is accounted for."""
    beside, _ = go(["select: {method: longest, budget: 100%}"], "one", "near_duplicates: 0.6\n")
    stages, _ = go(["refine: {near_duplicates: 0.6}", "select: {method: longest, budget: 100%}"], "two")
    assert beside[0]["selected"] == stages[1]["selected"] < 30
    both, _ = go(["refine: {cap: 5}", "select: {method: longest, budget: 100%}"], "three", "near_duplicates: 0.6\n")
    assert both[0]["rows_in"] == 30 and both[0]["rows_near_duplicate"] > 0 < both[0]["rows_over_cap"]


def test_trainings_count_the_chosen_tokens_alone(go):
    """After further stages too."""
    [first, _, last, trained], out = go(
        [
            f"select: {HALF}",
            "refine: {near_duplicates: 0.6}",
            "select: {method: longest, budget: 10}",
            "train: {epochs: 1, adapter: none, batch_tokens: 256}",
        ]
    )
    assert first["kept_reply_tokens"] < 0.6 * first["reply_tokens"]
    assert last["selected"] == 10 and last["kept_reply_tokens"] < 0.6 * last["reply_tokens"]
    assert trained["loss_tokens"] == last["kept_reply_tokens"] and trained["rows"] == 10
    said = f"of their {first['reply_tokens']:,} reply tokens"
    assert said in first["text"]
    before, after = (as_pool(out / name).labels for name in ("1-select", "2-refine"))
    for stage in ("1-select", "2-refine", "3-select"):  # no file of theirs would learn from whole replies
        assert yaml.safe_load((out / stage / "axolotl.yaml").read_text())["datasets"][0]["path"] == "tokens.axolotl.parquet"
        assert not (out / stage / "dataset_info.json").exists()
    assert after.rows.keys() < before.rows.keys() and after.fingerprint == before.of(after.rows).fingerprint


JUDGE = "evals: {dev: dev.jsonl}, seeds: 1, tokens: 300, full: false, train: {adapter: none, batch_tokens: 256}"


def test_a_chain_is_judged_against_random_rows_of_the_whole_pool(go):
    [_, picked, cleaned, verdict], out = go(
        [
            "refine: {near_duplicates: 0.6}",
            "select: {method: perplexity, budget: 8}",
            f"select: {HALF}",
            f"compare: {{chain: true, {JUDGE}}}",
        ]
    )
    arms = {arm["method"]: arm for arm in verdict["arms"]}
    chain, random = arms["the chain"], arms["random"]
    assert verdict["config"]["pool_rows"] == 30 and verdict["config"]["budgets"] == [str(cleaned["selected"])]
    assert (chain["kind"], chain["in_family"], chain["rows"]) == ("method", True, random["rows"])
    chosen = pl.read_parquet(out / "4-compare" / "selections.parquet")
    kept = pl.read_parquet(out / "3-select" / "selection.parquet")["row_id"]
    assert set(chosen.filter(pl.col("method") == "the chain")["row_id"]) == set(kept)
    assert chain["train_tokens"] == pytest.approx(random["train_tokens"], rel=0.3)
    share = chain["loss_tokens"] / chain["train_tokens"]
    assert share < 0.7 * random["loss_tokens"] / random["train_tokens"]  # its tokens, not only its rows
    took = picked["select_flops"] + cleaned["select_flops"]
    assert chain["select_flops"] == pytest.approx(took) and picked["select_flops"] > 0 < cleaned["select_flops"]
    assert "the chain" in verdict["headline"]


def test_a_chain_beside_methods_at_budgets(go):
    """The best of the last selection first; the whole pool is what methods choose from."""
    go(["select: {method: longest, budget: 9}"], "out0")
    compared = f"compare: {{chain: two steps, methods: [longest, given:folder=out0/1-select], budgets: [4], {JUDGE}}}"
    [_, verdict], out = go(["select: {method: longest, budget: 10}", compared])
    arms = {arm["method"]: arm for arm in verdict["arms"]}
    assert arms["two steps"]["rows"] == 4 and arms["two steps"]["mean"] == arms["longest"]["mean"]
    assert arms["given:folder=out0/1-select"]["mean"] == arms["longest"]["mean"]  # its folder is beside the recipe
    chosen = pl.read_parquet(out / "2-compare" / "selections.parquet")
    best = pl.read_parquet(out / "1-select" / "selection.parquet")["row_id"][:4]
    assert set(chosen.filter(pl.col("method") == "two steps")["row_id"]) == set(best)


@pytest.mark.parametrize("stages, more", [(["refine: {decontaminate: '@evals'}"], ""), ([], "decontaminate: ['@evals']\n")])
def test_what_is_judged_on_may_be_what_is_left_out(go, tmp_path, uncompared, stages, more):
    """The recipe's own evaluation sets, whatever they are measured by."""
    words = [f"w{i}" for i in range(40)]
    row = {"messages": [{"role": "user", "content": " ".join(words)}, {"role": "assistant", "content": " ".join(words[::-1])}]}
    (tmp_path / "held.jsonl").write_text(json.dumps(row) + "\n")
    compared = "compare: {chain: true, evals: {dev: dev.jsonl, 'held:exact_match:gsm8k': held.jsonl}}"
    found, _ = go([*stages, "select: {method: longest, budget: 5}", compared], more=more, added=[row])
    assert (found[0]["rows_in"], found[0]["rows_contaminated"]) == (31, 1)


def test_a_target_that_overlaps_is_said_at_once(go, tmp_path, make_pool, engine, uncompared):
    """Or left out where the pool is decontaminated; not after hours of scoring."""
    (tmp_path / "target.jsonl").write_text(
        (make_pool([200, 201, 300], "own.jsonl")).read_text() + (tmp_path / "dev.jsonl").read_text()
    )
    stages = ["select: {method: longest, budget: 5}", "compare: {chain: true, evals: {dev: dev.jsonl}}"]
    with pytest.raises(InputError, match="6 rows of the target are in the evaluation set dev"):
        go(stages, more="target: target.jsonl\n")
    assert engine.stages == []
    go(stages, more="target: target.jsonl\ndecontaminate: '@evals'\n")
    assert [note for note in engine.notes if "6 rows of the target overlap" in note]


def test_an_evaluation_set_that_is_not_there_is_said_at_once(go, engine):
    with pytest.raises(InputError, match="gone.jsonl: no such file"):
        go(["select: {method: longest, budget: 5}", "compare: {chain: true, evals: {dev: gone.jsonl}}"])
    assert engine.stages == []


def test_every_comparison_s_sets_are_left_out(go, tmp_path, make_pool, uncompared):
    """Two stages may give one name to different files."""
    compared = [f"compare: {{chain: true, evals: {{dev: {file}}}}}" for file in ("one.jsonl", "two.jsonl")]
    rows = []
    for number, name in enumerate(("one", "two")):
        words = [f"{name}{i}" for i in range(40)]
        texts = {"user": " ".join(words), "assistant": " ".join(words[::-1])}
        rows.append({"messages": [{"role": role, "content": text} for role, text in texts.items()]})
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(rows[number]) + "\n")
    found, _ = go(["refine: {decontaminate: '@evals'}", *compared], added=rows)
    assert (found[0]["rows_in"], found[0]["rows_contaminated"]) == (32, 2)


# What ships --------------------------------------------------------------------------------------------------------------


def test_recipes_that_ship_say_what_they_are():
    found = shipped()
    assert {"cleaned", "quick", "targeted", "tokens"} <= set(found)
    assert all(said.endswith(".") and 40 < len(said) < 130 for said in found.values())
    with pytest.raises(InputError, match="there is no recipe nope: no such file, and what ships is called cleaned"):
        find_recipe("nope")


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe("quick").parent.name == "recipes"
    (tmp_path / "quick").write_text("pool: x\nstages: [{train: {}}]\n")
    assert read_recipe(find_recipe("quick")).pool == ("x",)


@pytest.fixture
def ship(go, engine, make_pool, tiny, tmp_path, monkeypatch):
    """Runs a recipe that ships on the small pool; gives the recipe and what its stages did."""
    go(["select: {method: longest, budget: 1}"], "unused")
    make_pool(range(200, 204), name="target.jsonl")
    monkeypatch.chdir(tmp_path)

    def run(name, *replaced):
        text = find_recipe(name).read_text()
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "smaller.yaml").write_text(text)
        recipe = read_recipe(tmp_path / "smaller.yaml")
        evals = ["dev.jsonl"] if recipe.evals else []
        recipe = overridden(recipe, pool=["pool.jsonl"], model=str(tiny), target="target.jsonl", evals=evals)
        assert not [path for path in recipe.inputs if path.startswith("@")]
        return recipe, curate.run_recipe(recipe, out=tmp_path / "out", engine=engine)

    return run


@pytest.mark.parametrize("name", sorted(shipped()))
def test_recipes_that_ship_choose(name, ship, uncompared, tmp_path):
    """And ask for their comparisons as they should."""
    less = ("method: less", "method: 'less:warmup=0.5:batch_tokens=16:dimensions=16'")  # a twentieth of this pool is one step
    recipe, found = ship(name, *([less] if name == "targeted" else []))
    selected = [stage["selected"] for stage in found if stage["stage"] == "select"]
    assert selected and 0 < selected[-1] < 30
    assert len(uncompared) == len([stage for stage in recipe.stages if stage.compare]) == (name != "quick")
    for asked in uncompared:
        assert asked["budgets"] == (selected[-1],) and asked["evals"] == {"dev": str(tmp_path / "dev.jsonl")}
        assert set(asked["methods"][0].picks.row_ids) <= set(asked["pool"].row_ids)


def test_a_recipe_that_ships_is_judged(ship, tmp_path):
    """One of them to the end: the comparison itself, with fewer seeds and tokens."""
    _, [picked, verdict] = ship("tokens", ("seeds: 3", "seeds: 1, tokens: 100, full: false, train: {batch_tokens: 100}"))
    arms = {arm["method"]: arm for arm in verdict["arms"]}
    assert arms["cleaned tokens"]["rows"] == picked["selected"] == arms["random"]["rows"]
    assert arms["cleaned tokens"]["loss_tokens"] < arms["random"]["loss_tokens"]
    assert "cleaned tokens" in verdict["headline"] and (tmp_path / "out" / "2-compare" / "verdict.md").is_file()


# In place of a recipe's own ------------------------------------------------------------------------------------------------


def test_paths_of_the_command_line_are_relative_to_it(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "recipe.yaml").write_text(
        "pool: a\ntarget: t\nmodel: m\ndecontaminate: '@evals'\n"
        "stages: [{compare: {methods: [longest], evals: {one: b, two: c}}}, {train: {epochs: 2}}]\n"
    )
    for name in ("mine.jsonl", "held_out.jsonl"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe("deep/recipe.yaml")
    changed = overridden(
        recipe, pool=["mine.jsonl"], evals=["sums:exact_match:gsm8k=held_out.jsonl", "held_out.jsonl"], model="org/name"
    )
    assert changed.path(changed.pool[0]) == str(tmp_path / "mine.jsonl") and changed.model == "org/name"
    assert changed.path("t") == str(tmp_path / "deep" / "t") == changed.path(changed.target)
    held_out = str(tmp_path / "held_out.jsonl")
    assert changed.evals == [("sums:exact_match:gsm8k", held_out), ("held_out", held_out)]
    assert changed.stages[1] == recipe.stages[1] and overridden(recipe) == recipe
    assert overridden(recipe, limit=7).limit == 7 and overridden(recipe.model_copy(update={"limit": 9})).limit == 9
    assert overridden(recipe, pool=["hub:org/name"]).pool == overridden(recipe, pool=["org/name"]).pool == ("hub:org/name",)
    for wrong, said in (
        ({"pool": ["gone.jsonl"]}, "gone.jsonl: no such file"),
        ({"evals": ["one=mine.jsonl", "one=held_out.jsonl"]}, "two evaluation sets are called 'one'"),
    ):
        with pytest.raises(InputError, match=said):
            overridden(recipe, **wrong)


def test_one_s_own_pool_is_not_judged_on_the_sample(make_pool, tmp_path):
    pool = str(make_pool(range(3)))
    recipe = read_recipe(find_recipe("targeted"))
    with pytest.raises(InputError, match="looks at @sample/test of the embedded sample; name your own with --eval and --target"):
        overridden(recipe, pool=[pool])
    with pytest.raises(InputError, match="looks at @sample/dev of the embedded sample; name your own with --target"):
        overridden(recipe, pool=[pool], evals=[pool])
    assert overridden(recipe, pool=[pool], evals=[pool], target=pool).target == pool
    assert overridden(recipe, pool=["@sample/dev"]).pool == ("@sample/dev",)
    with pytest.raises(InputError, match="--eval: the recipe has no compare stage"):
        overridden(read_recipe(find_recipe("quick")), evals=[pool])
