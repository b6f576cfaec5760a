"""Log-probabilities against an oracle in float64 that runs one row at a time and holds all logits."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.lm import forward
from curate.lm.encode import encode_rows
from curate.lm.encodings import Encodings
from curate.lm.models import load_model, load_tokenizer
from curate.pool import read_pool

VOCABULARY = 61
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
GROUPED = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
ARCHITECTURES = {
    "GPT2": ("GPT2Config", "GPT2LMHeadModel", {**GPT2, "bos_token_id": 1, "eos_token_id": 2}),
    "Llama": ("LlamaConfig", "LlamaForCausalLM", GROUPED),
    "Qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**GROUPED, "head_dim": 8}),
    "Mistral": ("MistralConfig", "MistralForCausalLM", {**GROUPED, "sliding_window": 6}),
    "Gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {**GROUPED, "head_dim": 8, "final_logit_softcapping": 2.0}),
    "Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {**GROUPED, "head_dim": 8, "sliding_window": 6}),
    "Granite": ("GraniteConfig", "GraniteForCausalLM", {**GROUPED, "logits_scaling": 4.0}),
    "Cohere": ("CohereConfig", "CohereForCausalLM", {**GROUPED, "logit_scale": 0.25}),
}


def make(name, **changes):
    config, model, keys = ARCHITECTURES[name]
    torch.manual_seed(0)
    return getattr(transformers, model)(getattr(transformers, config)(**{**keys, **changes})).eval()


@pytest.fixture(scope="module")
def random_rows():
    """Rows of 4 to 24 tokens in no order of length; replies in one piece or in two."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, VOCABULARY, rng.integers(4, 25)).astype(np.int32) for _ in range(17)]
    masks = [np.arange(len(row)) >= len(row) // 2 for row in ids]
    for mask in masks[::3]:
        mask[1] = True
    return Encodings([str(i) for i in range(len(ids))], ids, masks, np.zeros(len(ids), bool))


def oracle(model, encodings):
    """float64 log-probabilities of each row's reply tokens."""
    model = model.double()
    rows = []
    for ids, mask in zip(encodings.input_ids, encodings.loss_mask, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(ids[None].astype(np.int64))).logits[0]
        logp = torch.log_softmax(logits, dim=-1)
        rows.append(np.array([logp[t - 1, ids[t]].item() for t in range(1, len(ids)) if mask[t]]))
    return rows


def check(model, encodings, want, **settings):
    found = list(forward.token_logprobs(model, encodings, **settings))
    assert sorted(position for position, _ in found) == list(range(len(encodings)))
    for position, logp in found:
        assert logp.dtype == np.float32 and logp.shape == want[position].shape
        np.testing.assert_allclose(logp, want[position], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tokens_agree_with_float64_one_row_at_a_time(name, random_rows):
    want = oracle(make(name), random_rows)
    assert min(len(row) for row in want) > 1 and np.std(np.concatenate(want)) > 0.3
    model = make(name)
    for batch_tokens in (1, 60, 10_000):
        check(model, random_rows, want, batch_tokens=batch_tokens)


@pytest.fixture(scope="module")
def embedded(base4m):
    tokenizer, pool = load_tokenizer(base4m), read_pool(base4m.parents[1] / "sample" / "dev.parquet", limit=24)
    rows = encode_rows(tokenizer, [(pool.messages(i), None) for i in range(len(pool))], 256)
    return Encodings(pool.row_ids, [r.input_ids for r in rows], [r.loss_mask for r in rows], np.zeros(len(rows), bool))


@pytest.mark.parametrize("name", ["tiny", "base4m"])
def test_the_models_of_the_project_agree_with_float64(name, embedded, request, monkeypatch):
    folder = request.getfixturevalue(name)
    want = oracle(load_model(folder, device="cpu", dtype="float32"), embedded)
    model = load_model(folder, device="cpu", dtype="float32")
    longest = int(embedded.lengths.max())
    for batch_tokens in (1, longest, 3 * longest, 1_000_000):
        check(model, embedded, want, batch_tokens=batch_tokens)
    for chunk in (1, 7, sum(map(len, want)) - 1, sum(map(len, want))):
        monkeypatch.setattr(forward, "HEAD_CHUNK", chunk)
        check(model, embedded, want, batch_tokens=1_000_000)
    means, counts = forward.mean_losses(model, embedded)
    assert means.dtype == np.float64 and counts.tolist() == [len(row) for row in want]
    np.testing.assert_allclose(means, [-row.mean() for row in want], rtol=0, atol=1e-4)


def test_bfloat16_keeps_the_order_of_rows(base4m, embedded):
    exact, _ = forward.mean_losses(load_model(base4m, device="cpu", dtype="float32"), embedded)
    rough, _ = forward.mean_losses(load_model(base4m, device="cpu", dtype="bfloat16"), embedded)
    assert not np.array_equal(exact, rough)
    assert np.abs(exact - rough).max() < 0.05 and abs(exact.mean() - rough.mean()) < 1e-2
    assert np.corrcoef(exact.argsort().argsort(), rough.argsort().argsort())[0, 1] > 0.99


def test_a_token_is_predicted_from_the_one_before_it():
    """A model whose head says `next token = this token + 1`: only the right alignment finds it certain."""
    model = make("Llama", hidden_size=64, num_attention_heads=4, num_hidden_layers=1, tie_word_embeddings=False)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(VOCABULARY, 64))
        model.lm_head.weight.copy_(10 * torch.roll(torch.eye(VOCABULARY, 64), 1, dims=0))
    counting = [np.arange(start, start + n, dtype=np.int32) for start, n in ((5, 8), (20, 3), (30, 12))]
    masks = [np.arange(len(row)) >= 2 for row in counting]
    rows = Encodings(["a", "b", "c"], counting, masks, np.zeros(3, bool))
    for position, logp in forward.token_logprobs(model, rows):
        assert len(logp) == len(counting[position]) - 2
        assert (logp > -1e-6).all()
    still = Encodings(["a"], [np.full(6, 9, np.int32)], [np.arange(6) >= 2], np.zeros(1, bool))
    [(_, logp)] = forward.token_logprobs(model, still)
    assert (logp < -10).all()


@pytest.fixture(scope="module")
def llama(random_rows):
    return make("Llama"), oracle(make("Llama"), random_rows)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(17)), st.integers(1, 200))
def test_the_order_of_the_rows_does_not_matter(random_rows, llama, order, batch_tokens):
    model, want = llama
    check(model, random_rows.take(order), [want[i] for i in order], batch_tokens=batch_tokens)


def test_equal_runs_give_equal_bits(random_rows):
    model = make("Qwen3")
    one, two = (dict(forward.token_logprobs(model, random_rows, batch_tokens=60)) for _ in range(2))
    assert all(np.array_equal(one[i], two[i]) for i in range(len(random_rows)))


def test_progress_counts_tokens_without_padding(random_rows):
    seen = []
    list(forward.token_logprobs(make("GPT2"), random_rows, batch_tokens=60, progress=seen.append))
    assert sum(seen) == random_rows.lengths.sum() and len(seen) > 3


def test_a_row_without_reply_tokens_has_no_mean(random_rows):
    masks = list(random_rows.loss_mask)
    masks[3] = np.zeros_like(masks[3])
    masks[4] = np.arange(len(masks[4])) == 0  # the first token is predicted from nothing
    rows = Encodings(random_rows.row_ids, random_rows.input_ids, masks, random_rows.truncated)
    means, counts = forward.mean_losses(make("Llama"), rows)
    assert np.flatnonzero(np.isnan(means)).tolist() == [3, 4] == np.flatnonzero(counts == 0).tolist()


def test_weights_that_are_not_numbers_give_no_numbers(random_rows):
    model = make("Llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.fill_(float("nan"))
    means, counts = forward.mean_losses(model, random_rows)
    assert np.isnan(means).all() and (counts > 0).all()


def test_a_model_with_another_kind_of_head_is_refused(random_rows):
    """Its logits would be wrong without a word: here the model halves them in a way that no setting tells."""
    model = make("Llama")
    own = model.forward

    def halved(*args, **keys):
        output = own(*args, **keys)
        output.logits = output.logits / 2
        return output

    model.forward = halved
    with pytest.raises(InputError, match="models of type llama"):
        next(forward.token_logprobs(model, random_rows))
