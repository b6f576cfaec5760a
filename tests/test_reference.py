"""The model whose losses the token policy rho-1 subtracts: by name, in every training, and in what identifies one."""

import json
import shutil

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

import curate
from curate.cli import _main
from curate.engine import Engine
from curate.errors import InputError
from curate.estimate import Calibration, full_flops
from curate.lm.forward import traces
from curate.lm.models import ModelSpec
from curate.plan import merge
from curate.preparation import as_pool
from curate.requests import Fit, Observe
from curate.store import Store
from curate.training.config import TrainConfig
from curate.training.trainer import train

RECIPE = TrainConfig(adapter="none", learning_rate=1e-2, batch_tokens=256, steps=3)


@pytest.fixture
def engine(tmp_path):
    return Engine(store=Store(tmp_path / "store"))


@pytest.fixture
def encoded(engine, small_pool, tiny):
    _, rows, _ = engine.add("pool", as_pool(small_pool), ModelSpec(str(tiny)))
    return rows, engine.encodings(ModelSpec(str(tiny)), rows)


@pytest.fixture(scope="session")
def other(tiny, tmp_path_factory):
    """A folder with the tokenizer of the tiny model and weights of its own."""
    folder = tmp_path_factory.mktemp("other") / "other"
    shutil.copytree(tiny, folder)
    model = AutoModelForCausalLM.from_pretrained(tiny)
    for weight in model.parameters():
        weight.data *= 1.3
    model.save_pretrained(folder)
    return folder


def losses_of(folder, encodings):
    found = {}
    for at, trace in traces(AutoModelForCausalLM.from_pretrained(folder).eval(), encodings):
        found[at] = -trace["logp"]
    return [found[i] for i in range(len(encodings))]


def test_losses_of_every_row_in_the_order_asked(engine, encoded, tiny, other):
    _, encodings = encoded
    some = encodings.take([5, 0, 5, 23])  # a row that is trained on twice
    found = engine.reference_losses(ModelSpec(str(tiny)), ModelSpec(str(other)), some)
    for one, want in zip(found, losses_of(other, some), strict=True):
        np.testing.assert_allclose(one, want, atol=1e-5)
    stages = len(engine.stages)
    engine.reference_losses(ModelSpec(str(tiny)), ModelSpec(str(other)), encodings.take([0, 23]))
    assert len(engine.stages) == stages  # they are kept


def test_a_fit_named_by_its_folder_is_that_fit(engine, encoded, tiny):
    rows, encodings = encoded
    spec = ModelSpec(str(tiny))
    fit = Fit(spec, rows, RECIPE)
    asked = Observe(fit, rows, "token_logprobs")
    engine.execute(merge([asked]))
    stages, folder = len(engine.stages), str(engine.fitted(fit).folder)
    found = engine.reference_losses(spec, ModelSpec(folder), encodings)
    assert len(engine.stages) == stages
    for one, want in zip(found, engine.answer(asked).values, strict=True):
        assert np.array_equal(one, -want)


def test_a_training_by_name_is_that_by_losses(engine, encoded, small_pool, tiny, other, tmp_path):
    _, encodings = encoded
    recipe = RECIPE.model_copy(update={"token_policy": "rho-1", "reference": str(other)})
    account = curate.train(small_pool, out=tmp_path / "out", model=tiny, recipe=recipe, engine=engine)
    model = AutoModelForCausalLM.from_pretrained(tiny).eval()
    run = train(model, engine.tokenizer(ModelSpec(str(tiny))), encodings, recipe, reference=losses_of(other, encodings))
    assert account["loss_tokens"] == run.loss_tokens < encodings.response_lengths.sum()
    assert account["last_loss"] == pytest.approx(run.losses[-1], abs=1e-4)
    plain = curate.train(small_pool, out=tmp_path / "plain", model=tiny, recipe=RECIPE, engine=engine)
    assert plain["loss_tokens"] > account["loss_tokens"]


def test_trainings_are_kept_by_what_the_reference_is(engine, tiny, other, tmp_path):
    def spec(reference):
        return engine.recipe_spec(RECIPE.model_copy(update={"token_policy": "rho-1", "reference": str(reference)}))

    shutil.copytree(other, tmp_path / "copy")
    assert spec(other) == spec(tmp_path / "copy") != spec(tiny)
    assert engine.recipe_spec(RECIPE) == RECIPE.identity()


def test_a_training_with_a_reference_is_timed_without_it(engine, encoded, tiny):
    recipe = RECIPE.model_copy(update={"token_policy": "rho-1", "reference": "not/there"})
    assert Calibration(engine).training(ModelSpec(str(tiny)), encoded[0], recipe).per_unit > 0
    spec, plain = ModelSpec(str(tiny)), full_flops(ModelSpec(str(tiny)), RECIPE, 100)
    assert full_flops(spec, recipe, 100) == pytest.approx(plain * 8 / 6)


def test_other_tokens_are_refused(engine, encoded, tiny, other, tmp_path):
    folder = tmp_path / "renamed"
    shutil.copytree(other, folder)
    words = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (folder / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(InputError, match="renamed has other tokens than tiny"):
        engine.reference_losses(ModelSpec(str(tiny)), ModelSpec(str(folder)), encoded[1])


def test_on_the_command_line(small_pool, tiny, other, tmp_path, capsys):
    words = ["train", str(small_pool), "--model", str(tiny), "--steps", "2", "--token-policy", "rho-1", "--json"]
    assert _main([*words, "--keep-tokens", "0.5", "--reference", str(other), "--out", str(tmp_path / "rho")]) == 0
    said = json.loads((tmp_path / "rho" / "training.json").read_text())
    assert said["recipe"]["reference"] == str(other) and said["recipe"]["keep_tokens"] == 0.5
    assert said["loss_tokens"] == json.loads(capsys.readouterr().out)["loss_tokens"]
    assert _main([*words, "--out", str(tmp_path / "none")]) == 2
    assert "needs the losses of a reference model" in capsys.readouterr().err
