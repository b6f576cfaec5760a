"""What one step on the output head would change, in closed form, against a step that is really made."""

import numpy as np
import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from curate.errors import InputError
from curate.lm import head_gradient
from curate.lm.encodings import Encodings
from curate.lm.forward import Head, traces
from curate.lm.observables import OBSERVABLES

V, H, T = 23, 8, 7
SIZES = {
    "vocab_size": V, "hidden_size": H, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "initializer_range": 0.5, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "tie_word_embeddings": False,
}  # fmt: skip


def build(config, model, **more):
    torch.manual_seed(0)
    return model(config(**SIZES, **more)).double().eval()


MODELS = {
    "llama": lambda: build(LlamaConfig, LlamaForCausalLM),
    "granite": lambda: build(GraniteConfig, GraniteForCausalLM, logits_scaling=3.0),
    "cohere": lambda: build(CohereConfig, CohereForCausalLM, logit_scale=0.25),
}


def rows():
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, V, n).astype(np.int32) for n in (T, 3, 5)]
    return Encodings(list("abc"), ids, [np.arange(len(row)) >= 2 for row in ids], np.zeros(3, bool))


def stepped(model, ids, mask, rate):
    """(DON, NOD) of the head's weights by one step of gradient descent on a row's mean loss."""
    weight = model.get_output_embeddings().weight
    batch = torch.tensor(ids[None].astype(np.int64))
    logp = torch.log_softmax(model(input_ids=batch, use_cache=False).logits[0], dim=-1)
    at = [t for t in range(1, len(ids)) if mask[t]]
    loss = -torch.stack([logp[t - 1, int(ids[t])] for t in at]).mean()
    [gradient] = torch.autograd.grad(loss, [weight])
    after = weight - rate * gradient
    return tuple(float(x.detach()) for x in (weight.norm() - after.norm(), (weight - after).norm(), weight.norm()))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("chunk", [V, 5])
def test_it_is_what_a_step_does(name, chunk, monkeypatch):
    monkeypatch.setattr(head_gradient, "NUMBERS", {"cpu": chunk * T, "gpu": chunk * T})
    model, encodings, rate = MODELS[name](), rows(), 1e-3
    found = dict(traces(model, encodings, ("don", "nod")))
    for i in range(3):
        don, nod, norm = stepped(model, encodings.input_ids[i], encodings.loss_mask[i], rate)
        a, b = float(found[i]["don"][0]) * norm, float(found[i]["nod"][0]) ** 2
        assert rate * np.sqrt(b) == pytest.approx(nod, rel=1e-6)
        assert norm - np.sqrt(norm**2 - 2 * rate * a + rate**2 * b) == pytest.approx(don, rel=1e-5)
        assert OBSERVABLES["don"].reduce(found[i]) == pytest.approx(a / norm)


def test_float64_to_the_last_digits():
    """Without the rounding of traces: relative error below 1e-6 of a step in float64."""
    model, encodings, rate = MODELS["llama"](), rows(), 1e-4
    head = Head(model)
    for ids, mask in zip(encodings.input_ids, encodings.loss_mask, strict=True):
        don, nod, norm = stepped(model, ids, mask, rate)
        with torch.no_grad():
            states = model.base_model(input_ids=torch.tensor(ids[None].astype(np.int64))).last_hidden_state[0]
        at = [t for t in range(1, len(ids)) if mask[t]]
        labels = torch.tensor([int(ids[t]) for t in at])
        gradient = head_gradient.of_row(head, states[[t - 1 for t in at]], labels)
        a, b = gradient.along, gradient.squared
        assert rate * np.sqrt(b) == pytest.approx(nod, rel=1e-6)
        assert norm - np.sqrt(norm**2 - 2 * rate * a + rate**2 * b) == pytest.approx(don, rel=1e-6)


def test_a_prediction_without_fault_changes_nothing():
    """A head that is certain of the token that comes: both are 0, with the digits that a difference of sums would lose."""
    model = MODELS["llama"]()
    head = Head(model)
    with torch.no_grad():
        head.module.weight.copy_(torch.eye(V, H, dtype=torch.float64) * 200)
    gradient = head_gradient.of_row(head, torch.eye(H, dtype=torch.float64)[:4], torch.arange(4))
    assert gradient.squared < 1e-12 and abs(gradient.along) < 1e-12
    wrong = head_gradient.of_row(head, torch.eye(H, dtype=torch.float64)[:4], torch.arange(4) + 1)
    assert wrong.squared > 0.1 and wrong.along == pytest.approx(200)


def test_the_padding_does_not_enter():
    model, encodings = MODELS["llama"](), rows()
    alone = dict(traces(model, encodings, ("don", "nod"), batch_tokens=1))
    for side in ("left", "right"):
        together = dict(traces(model, encodings, ("don", "nod"), batch_tokens=1000, padding_side=side))
        for i in range(3):
            assert [float(together[i][name][0]) for name in ("don", "nod")] == pytest.approx(
                [float(alone[i][name][0]) for name in ("don", "nod")], rel=1e-5
            )


def test_capped_logits_are_refused():
    model = build(Gemma2Config, Gemma2ForCausalLM, head_dim=4, final_logit_softcapping=2.0)
    with pytest.raises(InputError, match="cap their logits"):
        list(traces(model, rows(), ("don",)))
