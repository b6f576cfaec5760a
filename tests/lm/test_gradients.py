"""Gradients of rows, by one backward pass of a batch, against a backward pass of each row alone in float64."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from curate.errors import CurateError, InputError
from curate.lm import gradients as module
from curate.lm.encodings import Encodings
from curate.lm.gradients import NOT_FINITE, NOTHING_TO_LEARN, gradients, layout

VOCABULARY = 64
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, VOCABULARY, length).astype(np.int32) for length in (5, 17, 9, 9, 30, 12, 6, 21)]
    masks = [rng.random(len(row)) < 0.5 for row in ids]
    for mask in masks:
        mask[-1] = True
    masks[2][0] = True  # no token comes before the first: it does not count
    return Encodings([f"{i:032x}" for i in range(len(ids))], ids, masks, np.zeros(len(ids), bool))


def adapted(dtype=torch.float32, b=0.05, targets=ATTENTION, **settings):
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=64, initializer_range=0.2, **sizes))
    model = get_peft_model(
        model, LoraConfig(**{"r": 3, "lora_alpha": 7.0, "lora_dropout": 0.5, "target_modules": targets, **settings})
    )
    for name, weight in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=b or 1e-30)
            weight.data *= bool(b)
    return model.to(dtype).train()


def oracle(model, rows, parameters="lora"):
    """float64 [n, P]: one row at a time, through the model's own logits and autograd, in the order of the names."""
    model = model.eval()
    wanted = {n: p for n, p in model.named_parameters() if ".lora_B." in n or (parameters == "lora" and ".lora_A." in n)}
    found = []
    for ids, mask in zip(rows.input_ids, rows.loss_mask, strict=True):
        ids = torch.tensor(ids, dtype=torch.int64)[None]
        logp = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0, :-1], dim=-1)
        places = np.flatnonzero(mask[1:])
        loss = -sum(logp[t, ids[0, t + 1]] for t in places) / len(places)
        by_name = dict(zip(wanted, torch.autograd.grad(loss, list(wanted.values())), strict=True))
        found.append(torch.cat([by_name[name].flatten() for name in sorted(by_name)]))
    return torch.stack(found).double().numpy()


def collect(model, rows, *args, **keys):
    """{position: float64 [P] or reason}; every row exactly once."""
    found = {}
    for positions, what in gradients(model, rows, *args, **keys):
        assert isinstance(what, str) or what.shape == (len(positions), layout(model, *args[:1]).size)
        for i, position in enumerate(positions.tolist()):
            assert position not in found
            found[position] = what if isinstance(what, str) else what[i].double().numpy()
    return found


def stacked(found):
    return np.stack([found[i] for i in range(len(found))])


@pytest.mark.parametrize("parameters", ["lora", "lora_b"])
@pytest.mark.parametrize("b", [0.05, 0.0], ids=["trained", "fresh"])
def test_a_batch_has_the_gradient_of_each_row(rows, parameters, b):
    want = oracle(adapted(torch.float64, b), rows, parameters)
    found = stacked(collect(adapted(torch.float64, b), rows, parameters, batch_tokens=10_000))
    scale = np.abs(want).max(axis=1, keepdims=True)
    assert (scale > 1e-3).all()
    np.testing.assert_allclose(found / scale, want / scale, rtol=0, atol=1e-10)
    single = stacked(collect(adapted(torch.float32, b), rows, parameters, batch_tokens=10_000))
    np.testing.assert_allclose(single / scale, want / scale, rtol=0, atol=1e-5)


def test_it_is_the_mean_over_scored_tokens_and_neither_sum_nor_mean_over_all(rows):
    """What a toy would give is far off, so the comparison above can fail."""
    want = oracle(adapted(torch.float64), rows)
    counts = np.array([mask[1:].sum() for mask in rows.loss_mask])[:, None]
    scale = np.abs(want).max()
    assert np.abs(want * counts - want).max() > 0.1 * scale
    assert np.abs(want * counts / rows.lengths[:, None] - want).max() > 0.1 * scale
    shifted = Encodings(rows.row_ids, rows.input_ids, [np.roll(mask, -1) for mask in rows.loss_mask], rows.truncated)
    assert np.abs(oracle(adapted(torch.float64), shifted) - want).max() > 0.1 * scale


@pytest.mark.parametrize("batch_tokens", [1, 40, 70])
def test_how_rows_are_batched_changes_nothing(rows, batch_tokens):
    whole = stacked(collect(adapted(torch.float64), rows, batch_tokens=10_000))
    np.testing.assert_allclose(
        stacked(collect(adapted(torch.float64), rows, batch_tokens=batch_tokens)), whole, rtol=0, atol=1e-13
    )


def test_no_more_gradients_are_held_than_fit(rows, monkeypatch):
    model = adapted(torch.float64)
    whole = stacked(collect(model, rows, batch_tokens=10_000))
    monkeypatch.setitem(module.HELD_NUMBERS, "cpu", 3 * layout(model).size)
    sizes = [len(positions) for positions, _ in gradients(model, rows, batch_tokens=10_000)]
    assert max(sizes) == 3 and sum(sizes) == len(rows)
    np.testing.assert_allclose(stacked(collect(model, rows, batch_tokens=10_000)), whole, rtol=0, atol=1e-13)


class Sums:
    """Folds each part of a gradient into two numbers that tell which entries it was of."""

    dimensions = 2

    def __init__(self):
        self.seen = []

    def add(self, found, part, start):
        self.seen.append((start, start + part.shape[1]))
        places = torch.arange(start, start + part.shape[1], dtype=part.dtype)
        found += torch.stack([(part * torch.sin(places)).sum(dim=1), (part**2 * torch.cos(places)).sum(dim=1)], dim=1).float()


@pytest.mark.parametrize("parameters", ["lora", "lora_b"])
@pytest.mark.parametrize("twice", [False, True], ids=["", "a layer called twice"])
def test_what_is_folded_is_each_entry_once(rows, parameters, twice):
    model = adapted(torch.float64)
    if twice:  # two layers of the model become one, which is called twice
        layers = model.get_base_model().model.layers
        layers[1].self_attn.q_proj = layers[0].self_attn.q_proj
    whole, fold, want = collect(model, rows, parameters), Sums(), []
    found = {}
    for positions, what in gradients(model, rows, parameters, fold, batch_tokens=60):
        found |= dict(zip(positions.tolist(), what.numpy(), strict=True))
    for i in range(len(rows)):
        sums = torch.zeros(1, 2)
        Sums().add(sums, torch.tensor(whole[i])[None], 0)
        want.append(sums[0].numpy())
    np.testing.assert_allclose(stacked(found), want, rtol=1e-4, atol=1e-5 * np.abs(want).max())
    batches = len(fold.seen) // len(layout(model, parameters).spans)
    assert sorted(fold.seen) == sorted(layout(model, parameters).spans * batches)
    if twice:
        np.testing.assert_allclose(stacked(whole), oracle(model, rows, parameters), rtol=0, atol=1e-10)


def test_the_layout_is_by_name():
    model = adapted()
    where = layout(model)
    weights = dict(model.named_parameters())
    assert list(where.names) == sorted(where.names) and len(where.names) == 2 * 2 * 4
    assert [b - a for a, b in where.spans] == [weights[name].numel() for name in where.names]
    assert where.size == sum(weights[name].numel() for name in where.names) == where.spans[-1][1]
    flat = where.flat({name: torch.full_like(weights[name], i) for i, name in enumerate(where.names)})
    assert [flat[a].item() for a, _ in where.spans] == list(range(16)) and flat.shape == (where.size,)
    half = layout(model, "lora_b")
    assert half.names == tuple(name for name in where.names if ".lora_B." in name) and 0 < half.size < where.size
    with pytest.raises(InputError, match="the optimizer state has nothing for base_model"):
        where.flat({})


def test_the_model_comes_back_as_it_was(rows):
    model = adapted()
    before = {name: (weight.clone(), weight.requires_grad) for name, weight in model.named_parameters()}
    collect(model, rows)
    assert model.training and all(weight.grad is None for weight in model.parameters())
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name][0]) and weight.requires_grad == before[name][1]
    assert not any(m._forward_hooks for m in model.modules())


def test_the_head_takes_its_states_in_chunks(rows, monkeypatch):
    whole = stacked(collect(adapted(torch.float64), rows))
    monkeypatch.setitem(module.HEAD_NUMBERS, "cpu", 3 * VOCABULARY)
    np.testing.assert_allclose(stacked(collect(adapted(torch.float64), rows)), whole, rtol=0, atol=1e-13)


def test_rows_without_a_gradient_say_why(rows):
    masks = [mask.copy() for mask in rows.loss_mask]
    masks[1][:] = False
    masks[3][:] = False
    masks[3][0] = True  # the first token alone: nothing predicts it
    found = collect(adapted(), Encodings(rows.row_ids, rows.input_ids, masks, rows.truncated))
    assert found[1] == found[3] == NOTHING_TO_LEARN
    assert [i for i in found if isinstance(found[i], str)] == [1, 3] and len(found) == len(rows)
    none = Encodings(rows.row_ids[:1], rows.input_ids[:1], [np.zeros(5, bool)], np.zeros(1, bool))
    assert collect(adapted(), none) == {0: NOTHING_TO_LEARN}


def test_a_gradient_that_is_not_finite_is_none_and_leaves_the_others_alone(rows):
    model = adapted()
    want = stacked(collect(model, rows, batch_tokens=10_000))
    bad = int(rows.input_ids[4][3])
    others = [i for i in range(len(rows)) if bad not in rows.input_ids[i]]
    assert 2 <= len(others) < len(rows)
    model.get_base_model().get_input_embeddings().weight.data[bad] = torch.inf
    found = collect(model, rows, batch_tokens=10_000)
    assert {i for i in found if isinstance(found[i], str)} == set(range(len(rows))) - set(others) and found[4] == NOT_FINITE
    np.testing.assert_allclose([found[i] for i in others], want[others], rtol=0, atol=1e-5)


def test_out_of_memory_halves_the_batch(rows):
    model = adapted(torch.float64)
    want = stacked(collect(model, rows, batch_tokens=10_000))
    body, refused = model.get_base_model().base_model, []
    real = body.forward

    def forward(input_ids, **keys):
        if input_ids.numel() > 60:
            refused.append(input_ids.numel())
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(input_ids=input_ids, **keys)

    body.forward = forward
    np.testing.assert_allclose(stacked(collect(model, rows, batch_tokens=10_000)), want, rtol=0, atol=1e-13)
    assert refused


def test_a_model_that_always_fails_ends_it(rows):
    model = adapted()

    def fail(input_ids, **keys):
        if input_ids.shape[1] > 2:
            raise RuntimeError("no kernel")

        return real(input_ids=input_ids, **keys)

    real, model.get_base_model().base_model.forward = model.get_base_model().base_model.forward, fail
    with pytest.raises(CurateError, match="^the model fails on every row: the model failed on this row: no kernel$"):
        collect(model, rows)


def test_another_architecture(rows):
    """GPT-2: a fused attention projection, transposed weights, learned positions."""

    def make(dtype):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.2)
        )
        config = LoraConfig(r=3, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True, init_lora_weights=False)
        return get_peft_model(model, config).to(dtype)

    want = oracle(make(torch.float64), rows)
    found = stacked(collect(make(torch.float64), rows, batch_tokens=10_000))
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-10 * np.abs(want).max())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "the model has base_model.model.model.layers.0.self_attn.k_proj.lora_magnitude_vector"),
        ({"targets": ["embed_tokens"]}, "lora_embedding_A"),
        ({"targets": ["lm_head", "q_proj"]}, "not taken at adapters of the output head"),
    ],
)
def test_adapters_that_it_does_not_know(rows, settings, said):
    model = adapted(**settings)
    with pytest.raises(InputError, match=said):
        next(gradients(model, rows))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_frozen_model_in_half_precision(rows, dtype):
    """Its adapters stay in float32."""
    want = oracle(adapted(torch.float64), rows)
    model = adapted()
    for name, weight in model.named_parameters():
        if ".lora_" not in name:
            weight.data = weight.data.to(dtype)
    found = stacked(collect(model, rows, batch_tokens=10_000))
    cosines = (found * want).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(want, axis=1)
    assert cosines.min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(want, axis=1), rtol=0.03)
