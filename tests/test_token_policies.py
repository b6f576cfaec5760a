"""A selection whose tokens are chosen in training: what is trained on it, judged, exported and refused."""

import json
import shutil

import pytest

import curate
from curate.errors import InputError
from curate.pool import read_pool
from curate.preparation import as_pool
from curate.recipe import read_recipe
from curate.training.config import TrainConfig
from scorers.given import Given
from scorers.rho_1 import Rho1
from scorers.sstoken import SsToken

QUICK = TrainConfig(adapter="none", learning_rate=1e-2, batch_tokens=256, steps=2)
SNIPPETS = {"train_trl.py", "axolotl.yaml", "dataset_info.json"}


@pytest.fixture
def engine(tmp_path):
    return curate.Engine(store=curate.Store(tmp_path / "store"), device="cpu")


@pytest.fixture
def picked(small_pool, tiny, engine, tmp_path):
    """Selects by a method and writes the folder; gives the folder."""

    def pick(method, name="picked", pool=small_pool, **more):
        found = curate.select(pool, method, budget=8, model=tiny, engine=engine, recipe=QUICK, **more)
        found.write(tmp_path / name)
        return tmp_path / name

    return pick


def trained(folder, tiny, engine, tmp_path, recipe=QUICK, name="tuned"):
    account = curate.train(folder, out=tmp_path / name, model=tiny, recipe=recipe, engine=engine)
    return account, json.loads((tmp_path / name / "training.json").read_text())["recipe"]


@pytest.mark.parametrize("method", [SsToken(keep=0.5, gamma=0.3), Rho1(keep=0.5, warmup=4)])
def test_a_training_on_the_folder_is_the_method(picked, tiny, engine, tmp_path, method):
    folder = picked(method)
    account, recipe = trained(folder, tiny, engine, tmp_path)
    assert (recipe["token_policy"], recipe["keep_tokens"]) == (method.name, 0.5)
    if method.name == "sstoken":
        assert recipe["gamma"] == 0.3
    plain, other = trained(folder, tiny, engine, tmp_path, QUICK.model_copy(update={"token_policy": "none"}), "plain")
    assert other["token_policy"] == "none" and 0.4 < account["loss_tokens"] / plain["loss_tokens"] < 0.62
    own = TrainConfig(**QUICK.model_dump(exclude_unset=True), token_policy="sstoken", keep_tokens=0.9)
    assert trained(folder, tiny, engine, tmp_path, own, "own")[1]["keep_tokens"] == 0.9


def test_a_reference_that_is_gone_is_said_before_anything_runs(picked, tiny, engine, tmp_path):
    folder = picked(Rho1(warmup=4))
    reference = json.loads((folder / "manifest.json").read_text())["recipe"]["reference"]
    assert reference.startswith("/")
    shutil.rmtree(reference)
    before = len(engine.stages)
    for call in (
        lambda: trained(folder, tiny, engine, tmp_path),
        lambda: curate.select(read_pool(tmp_path / "pool.jsonl"), Given(folder=str(folder)), budget=8, model=tiny, engine=engine),
    ):
        with pytest.raises(InputError, match=r"selected for rho-1, and its reference model .* is gone; name one"):
            call()
    assert len(engine.stages) == before


def test_what_is_selected_from_it_goes_on_with_it(picked, small_pool, tiny, engine, tmp_path):
    """As a pool, and as picks that are given; the manifest of what comes of that names the policy again."""
    first = picked(SsToken(keep=0.5))
    assert as_pool(first).policy == TrainConfig(token_policy="sstoken", keep_tokens=0.5).policy
    for method, pool, name in (("longest", first, "again"), (Given(folder=str(first)), small_pool, "given")):
        folder = picked(method, name, pool)
        assert trained(folder, tiny, engine, tmp_path, name=f"tuned-{name}")[1]["keep_tokens"] == 0.5
    with pytest.raises(InputError, match="were selected for different token policies"):
        as_pool([first, picked(SsToken(keep=0.7), "third")])


def test_no_trainer_is_told_to_learn_from_all_tokens(picked):
    """The card says why, and there is no file that would."""
    folder = picked(SsToken())
    assert not SNIPPETS & {path.name for path in folder.iterdir()}
    card = (folder / "README.md").read_text()
    assert "chosen while the model learns, by sstoken: `curate train` on this folder does so" in card
    assert "nothing here for TRL, LLaMA-Factory and Axolotl" in card and "in the order in which they were drawn" in card
    other = picked("longest", "longest")
    assert {path.name for path in other.iterdir()} >= SNIPPETS and "best first" in (other / "README.md").read_text()
    assert "best first" not in (picked("random", "random") / "README.md").read_text()


# ---- in a recipe


@pytest.fixture
def go(small_pool, make_pool, engine, tiny, tmp_path):
    make_pool(range(100, 106), name="dev.jsonl")

    def run(*stages):
        text = f"pool: pool.jsonl\nmodel: {tiny}\nstages:\n" + "".join(f"  - {stage}\n" for stage in stages)
        (tmp_path / "recipe.yaml").write_text(text)
        return curate.run_recipe(read_recipe(tmp_path / "recipe.yaml"), out=tmp_path / "out", engine=engine), tmp_path / "out"

    return run


POLICY = "select: {method: sstoken, settings: {keep: 0.5}, budget: 50%}"
TRAIN = "steps: 1, adapter: none, batch_tokens: 1000"


def test_later_stages_train_by_the_policy(go):
    stages, out = go(
        "select: {method: longest, budget: 20}", POLICY, "refine: {cap: 4}", f"train: {{{TRAIN}}}",
        f"train: {{{TRAIN}, token_policy: none}}",
    )  # fmt: skip
    recipes = [json.loads((out / name / "training.json").read_text())["recipe"] for name in ("4-train", "5-train")]
    assert [recipe["token_policy"] for recipe in recipes] == ["sstoken", "none"]
    assert stages[3]["loss_tokens"] < 0.6 * stages[4]["loss_tokens"]
    assert as_pool(out / "3-refine").policy["keep_tokens"] == 0.5
    assert not SNIPPETS & {path.name for path in (out / "3-refine").iterdir()}


JUDGE = "evals: {dev: dev.jsonl}, seeds: 1, tokens: 300, full: false, train: {adapter: none, batch_tokens: 256}"


def test_a_comparison_judges_the_chain_by_the_policy(go):
    stages, _ = go(POLICY, f"compare: {{chain: true, {JUDGE}}}", f"compare: {{methods: [], budgets: [5], {JUDGE}}}")
    arms = {arm["method"]: arm for arm in stages[1]["arms"]}
    share = {name: arm["loss_tokens"] / arm["train_tokens"] for name, arm in arms.items() if arm["train_tokens"]}
    assert share["the chain"] < 0.65 * share["random"] and arms["the chain"]["mean"] != arms["random"]["mean"]
    inside = {arm["method"]: arm["loss_tokens"] / arm["train_tokens"] for arm in stages[2]["arms"] if arm["train_tokens"]}
    assert all(value < 0.65 * share["random"] for value in inside.values())  # all of them train on what was kept, by its policy


# ---- what does not go together


@pytest.mark.parametrize("method", [SsToken(), Rho1()])
@pytest.mark.parametrize(
    "setting, said",
    [
        ({"masked_thought": 0.2}, "masked_thought: what is hidden from the model has no loss that token_policy could compare"),
        ({"token_policy": "sstoken"}, "chooses the tokens of a training itself, and so would the token policy sstoken"),
    ],
)
def test_recipes_that_they_cannot_follow(method, setting, said, small_pool, tiny, engine):
    with pytest.raises(InputError, match=said) as error:
        curate.select(small_pool, method, budget=5, model=tiny, engine=engine, recipe=TrainConfig(**setting))
    assert engine.stages == [] and "\n" not in str(error.value)


def test_a_layer_that_the_model_does_not_have(small_pool, tiny, engine):
    for layer in (2, -3, 99):
        with pytest.raises(InputError, match=f"the model has 2 layers of attention, and no layer {layer}"):
            curate.select(small_pool, SsToken(layer=layer), budget=5, model=tiny, engine=engine)
    assert engine.stages == []
    assert len(curate.select(small_pool, SsToken(layer=-2), budget=5, model=tiny, engine=engine)) == 5
