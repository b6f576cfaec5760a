"""Adapters in every variant: what they start from, that they merge into what was trained, and that a run can be resumed."""

import importlib.util

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from curate.errors import InputError
from curate.training.adapters import add_adapters
from curate.training.checkpoints import read_adapted, read_optimizer
from curate.training.config import TrainConfig
from curate.training.trainer import save_model, train

VARIANTS = ["lora", "rslora", "dora", "pissa", "olora", "eva", "corda"]
IDS = torch.arange(3, 20)[None]
ROWS = {"shortest": 12, "longest": 20}


def small(variant, **more):
    return TrainConfig(lora_variant=variant, lora_r=4, lora_alpha=8, steps=6, batch_tokens=120, learning_rate=1e-2, **more)


def batch(rows):
    """All rows as one batch padded on the right."""
    longest = rows.lengths.max()
    pad = lambda arrays, value: torch.tensor(  # noqa: E731
        np.array([[*array, *[value] * (longest - len(array))] for array in arrays])
    )
    labels = [np.where(mask, ids, -100) for ids, mask in zip(rows.input_ids, rows.loss_mask, strict=True)]
    ones = [np.ones(n, int) for n in rows.lengths]
    return {"input_ids": pad(rows.input_ids, 0), "attention_mask": pad(ones, 0), "labels": pad(labels, -100)}


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("variant", VARIANTS)
def test_adapters_begin_as_the_model_itself(make_model, make_encodings, variant):
    model = add_adapters(make_model(), small(variant), [batch(make_encodings(20, **ROWS))]).eval()
    assert (model.peft_config["default"].init_lora_weights == variant) == (variant in VARIANTS[3:])
    torch.testing.assert_close(logits(model), logits(make_model()), atol=1e-4, rtol=1e-4)
    learned = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert learned and all("lora_" in name for name in learned)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_ends_with_the_same_bits(make_model, make_encodings, same_weights, tmp_path, variant):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 4:
            raise Stop

    config, rows = small(variant, checkpoint_steps=3), make_encodings(20, **ROWS)
    whole = train(make_model(), None, rows, config, output=tmp_path / "whole")
    with pytest.raises(Stop):
        train(make_model(), None, rows, config, output=tmp_path / "cut", progress=stop)
    resumed = train(make_model(), None, rows, config, output=tmp_path / "cut", resume=True)
    assert same_weights(resumed.model, whole.model) and resumed.losses == whole.losses


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_saved_is_what_was_trained(make_model, make_encodings, tmp_path, variant):
    keep = {} if variant == "corda" else {"save_optimizer": True}
    config = small(variant, save_checkpoints=2, **keep)
    result = train(make_model(), None, make_encodings(20, **ROWS), config, output=tmp_path)
    trained = logits(result.model)
    assert (trained - logits(make_model())).abs().max() > 1e-3
    save_model(result, tmp_path / "model")
    assert isinstance(result.model, PeftModel)
    for folder in (tmp_path / "model", result.checkpoints[-1]):
        torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(folder)), trained, atol=1e-4, rtol=1e-4)
    if keep:
        again = read_adapted(make_model(), result.checkpoints[-1]).eval()
        torch.testing.assert_close(logits(again), trained, atol=1e-4, rtol=1e-4)
        learned = {name: weight.shape for name, weight in again.named_parameters() if weight.requires_grad}
        moments = read_optimizer(result.checkpoints[-1])
        assert {name: of["exp_avg"].shape for name, of in moments.items()} == learned
    torch.testing.assert_close(logits(result.merged()), trained, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_adapters_are_in_float32_on_weights_in_half_precision(make_model, make_encodings, variant):
    model = add_adapters(make_model().bfloat16(), small(variant, dtype="bfloat16"), [batch(make_encodings(20, **ROWS))])
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}
    assert {weight.dtype for weight in model.parameters() if not weight.requires_grad} == {torch.bfloat16}


def test_pissa_begins_with_the_principal_part_of_each_weight(make_model):
    model, plain = add_adapters(make_model(), small("pissa"), []), make_model()
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    u, s, v = np.linalg.svd(plain.model.layers[0].self_attn.q_proj.weight.detach().double().numpy())
    principal = u[:, :4] * s[:4] @ v[:4]
    np.testing.assert_allclose(layer.get_delta_weight("default").detach().numpy(), principal, atol=1e-5)


def test_eva_looks_where_the_replies_lie(make_model, make_encodings):
    """Its first direction is the first principal direction of what the layer reads at reply tokens, over all batches."""
    rows = make_encodings(60, **ROWS)
    model = add_adapters(make_model(), small("eva"), [batch(rows)])
    read = []
    plain = make_model()
    layer = plain.model.layers[1].mlp.down_proj
    layer.register_forward_hook(lambda module, given, out: read.append(given[0][0].detach().double().numpy()))
    for ids in rows.input_ids:
        logits_of = plain(torch.tensor(ids[None].astype(np.int64)))
        assert logits_of is not None
    seen = np.concatenate([states[mask] for states, mask in zip(read, rows.loss_mask, strict=True)])
    unseen = np.concatenate([states[~mask] for states, mask in zip(read, rows.loss_mask, strict=True)])

    def first(states):
        return np.linalg.svd(states - states.mean(axis=0))[2][0]

    found = model.base_model.model.model.layers[1].mlp.down_proj.lora_A["default"].weight.detach().double().numpy()[0]
    assert abs(found @ first(seen)) > 0.99
    assert abs(found @ first(unseen)) < 0.99


def test_corda_is_the_decomposition_in_the_rows_own_context(make_model, make_encodings):
    """W C = U S V', with C the mean of the rows' scaled second moments, damped; B A is U S V' C^-1, cut to the rank."""
    rows = make_encodings(8, **ROWS)
    model, plain, moments = add_adapters(make_model(), small("corda"), [batch(rows)]), make_model(), []

    def note(module, given, out):
        states = given[0][0].detach().double().numpy()
        states = states / states.max()
        moments.append(states.T @ states)

    layer = plain.model.layers[0].self_attn.q_proj
    layer.register_forward_hook(note)
    for ids in rows.input_ids:
        plain(torch.tensor(ids[None].astype(np.int64)))
    context = np.mean(moments, axis=0)
    context += 0.01 * np.diag(context).mean() * np.eye(32)
    u, s, v = np.linalg.svd(layer.weight.detach().double().numpy() @ context)
    expected = u[:, :4] * s[:4] @ v[:4] @ np.linalg.inv(context)
    adapted = model.base_model.model.model.layers[0].self_attn.q_proj
    np.testing.assert_allclose(adapted.get_delta_weight("default").detach().numpy(), expected, atol=1e-3)
    assert not any(hasattr(module, "eigens") for module in model.modules())


@pytest.mark.parametrize("variant", ["eva", "corda"])
def test_other_rows_are_other_adapters(make_model, make_encodings, same_weights, variant):
    def run(seed):
        return add_adapters(make_model(), small(variant), [batch(make_encodings(20, seed=seed, **ROWS))])

    assert same_weights(run(0), run(0))
    assert run(0).state_dict().keys() != run(1).state_dict().keys() or not same_weights(run(0), run(1))


def test_what_cannot_be_found_out_is_said(make_model, make_encodings):
    rows = make_encodings(20, **ROWS)
    for variant in ("pissa", "olora", "corda", "eva"):
        with pytest.raises(InputError, match="lora_r"):
            train(make_model(), None, rows, TrainConfig(lora_variant=variant, lora_r=40, steps=1))
    with pytest.raises(InputError, match="eva needs 16 reply tokens"):
        train(make_model(), None, rows, TrainConfig(lora_variant="eva", lora_r=4, steps=1, batch_tokens=12))
    with pytest.raises(InputError, match="target_modules"):
        train(make_model(), None, rows, TrainConfig(lora_variant="corda", lora_r=4, target_modules=("nowhere",)))
    few = train(make_model(), None, rows, TrainConfig(lora_variant="corda", lora_r=4, target_modules=("q_proj",), steps=1)).model
    assert len([name for name, weight in few.named_parameters() if weight.requires_grad]) == 2 * 2


# 4 bits ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def four_bits(make_model, tmp_path):
    """A function that gives a model whose weights are in 4 bits; the CPU can do that too."""
    pytest.importorskip("bitsandbytes", reason="the extra curate[qlora] is not installed")
    from curate.lm.models import load_model

    make_model(hidden_size=64, intermediate_size=128, initializer_range=0.1).save_pretrained(tmp_path / "start")
    return lambda: load_model(tmp_path / "start", device="cpu", dtype="float32", quantization="4bit")


@pytest.mark.parametrize("variant", ["lora", "dora", "eva"])
def test_qlora_trains_and_is_saved_as_it_is(four_bits, make_encodings, tmp_path, variant):
    rows, config = make_encodings(20, **ROWS), small(variant, quantization="4bit", save_checkpoints=1)
    result = train(four_bits(), None, rows, config, output=tmp_path / "run")
    assert "Linear4bit" in type(result.model.base_model.model.model.layers[0].mlp.up_proj.base_layer).__name__
    trained, plain = logits(result.model), AutoModelForCausalLM.from_pretrained(result.checkpoints[0])
    assert (trained - logits(four_bits())).abs().max() > 1e-3
    assert getattr(plain.config, "quantization_config", None) is None
    torch.testing.assert_close(logits(plain), trained, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits(result.merged()), trained, atol=1e-4, rtol=1e-4)
    whole = train(AutoModelForCausalLM.from_pretrained(tmp_path / "start"), None, rows, small(variant))
    assert result.flops == pytest.approx(whole.flops, rel=0.05)


def test_four_bits_are_asked_of_the_model_too(make_model, make_encodings, tmp_path):
    with pytest.raises(InputError, match="quantization"):
        train(make_model(), None, make_encodings(3), TrainConfig(quantization="4bit"))
    if importlib.util.find_spec("bitsandbytes") is None:
        from curate.lm.models import load_model

        make_model().save_pretrained(tmp_path / "start")
        with pytest.raises(InputError, match=r"curate\[qlora\]"):
            load_model(tmp_path / "start", device="cpu", dtype="float32", quantization="4bit")
