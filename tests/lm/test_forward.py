"""Log-probabilities against an oracle in float64 that runs one row at a time and holds all logits."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError, InputError
from curate.lm import forward
from curate.lm.encode import encode_rows
from curate.lm.encodings import Encodings
from curate.lm.halving import HOPELESS
from curate.lm.models import load_model, load_tokenizer
from curate.lm.observables import PER_TOKEN, POOLED
from curate.pool import read_pool

ALL = (*PER_TOKEN, *POOLED)
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
    """Each row's trace in float64, from all logits of that row alone, by the definitions."""
    model = model.double()
    rows = []
    for ids, mask in zip(encodings.input_ids, encodings.loss_mask, strict=True):
        with torch.no_grad():
            out = model(input_ids=torch.tensor(ids[None].astype(np.int64)), output_hidden_states=True)
        at = [t for t in range(1, len(ids)) if mask[t]]
        p = torch.softmax(out.logits[0], dim=-1).numpy()[[t - 1 for t in at]]
        hot = np.eye(p.shape[1])[ids[at]]
        states = out.hidden_states[-1][0].numpy()
        best = np.sort(p, axis=1)
        position = np.arange(1, len(ids) + 1)
        rows.append(
            {
                "logp": np.log((p * hot).sum(axis=1)),
                "entropy": -(p * np.log(p)).sum(axis=1),
                "margin": best[:, -1] - best[:, -2],
                "el2n": np.sqrt(((p - hot) ** 2).sum(axis=1)),
                "hidden_mean": states.mean(axis=0),
                "hidden_last": states[-1],
                "hidden_weighted": (position[:, None] * states).sum(axis=0) / position.sum(),
            }
        )
    return rows


def check(model, encodings, want, **settings):
    found = list(forward.traces(model, encodings, ALL, **settings))
    assert sorted(position for position, _ in found) == list(range(len(encodings)))
    for position, trace in found:
        assert set(trace) == set(ALL)
        for name, values in trace.items():
            assert values.dtype == np.float32 and values.shape == want[position][name].shape
            np.testing.assert_allclose(values, want[position][name], rtol=1e-5, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_traces_agree_with_float64_one_row_at_a_time(name, random_rows):
    want = oracle(make(name), random_rows)
    assert min(len(row["logp"]) for row in want) > 1 and np.std(np.concatenate([row["logp"] for row in want])) > 0.3
    model = make(name)
    for batch_tokens, side in ((1, "right"), (60, "right"), (60, "left"), (10_000, "left"), (10_000, "right")):
        check(model, random_rows, want, batch_tokens=batch_tokens, padding_side=side)


@pytest.fixture(scope="module")
def embedded(base4m):
    tokenizer, pool = load_tokenizer(base4m), read_pool(base4m.parents[1] / "sample" / "dev.parquet", limit=16)
    rows = encode_rows(tokenizer, [(pool.messages(i), None) for i in range(len(pool))], 256)
    return Encodings(pool.row_ids, [r.input_ids for r in rows], [r.loss_mask for r in rows], np.zeros(len(rows), bool))


@pytest.mark.parametrize("name", ["tiny", "base4m", "base28m"])
def test_the_models_of_the_project_agree_with_float64(name, embedded, request, monkeypatch):
    folder = request.getfixturevalue(name)
    want = oracle(load_model(folder, device="cpu", dtype="float32"), embedded)
    model = load_model(folder, device="cpu", dtype="float32")
    longest = int(embedded.lengths.max())
    for batch_tokens in (1, longest, 3 * longest, 1_000_000):
        check(model, embedded, want, batch_tokens=batch_tokens)
    scored = sum(len(row["logp"]) for row in want)
    for chunk in (100, scored - 1, scored):
        monkeypatch.setitem(forward.HEAD_NUMBERS, "cpu", chunk * model.config.vocab_size)
        check(model, embedded, want, batch_tokens=1_000_000)
    means, counts = forward.mean_losses(model, embedded)
    assert means.dtype == np.float64 and counts.tolist() == [len(row["logp"]) for row in want]
    np.testing.assert_allclose(means, [-row["logp"].mean() for row in want], rtol=0, atol=1e-4)


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
    for position, trace in forward.traces(model, rows):
        assert len(trace["logp"]) == len(counting[position]) - 2
        assert (trace["logp"] > -1e-6).all()
    still = Encodings(["a"], [np.full(6, 9, np.int32)], [np.arange(6) >= 2], np.zeros(1, bool))
    [(_, trace)] = forward.traces(model, still)
    assert (trace["logp"] < -10).all()


@pytest.fixture(scope="module")
def llama(random_rows):
    return make("Llama"), oracle(make("Llama"), random_rows)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(17)), st.integers(1, 200), st.sampled_from(["left", "right"]))
def test_the_order_of_the_rows_does_not_matter(random_rows, llama, order, batch_tokens, side):
    model, want = llama
    check(model, random_rows.take(order), [want[i] for i in order], batch_tokens=batch_tokens, padding_side=side)


def test_equal_runs_give_equal_bits(random_rows):
    model = make("Qwen3")
    one, two = (dict(forward.traces(model, random_rows, ALL, batch_tokens=60)) for _ in range(2))
    assert all(np.array_equal(one[i][name], two[i][name]) for i in range(len(random_rows)) for name in ALL)


def test_progress_counts_tokens_without_padding(random_rows):
    seen = []
    list(forward.traces(make("GPT2"), random_rows, batch_tokens=60, progress=seen.append))
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
        next(forward.traces(model, random_rows))


# What a model does when memory or the model itself fails --------------------------------------------------------------


def fail_when(model, condition, error):
    """The model's body raises when the ids it is given meet the condition; gives the sizes of the batches it refused."""
    body, refused = model.base_model, []
    real = body.forward

    def forward(input_ids, **keys):
        if condition(input_ids):
            refused.append(input_ids.numel())
            raise error
        return real(input_ids=input_ids, **keys)

    body.forward = forward
    return refused


def test_out_of_memory_halves_the_batch_and_goes_on(random_rows):
    want = oracle(make("Llama"), random_rows)
    model = make("Llama")
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    refused = fail_when(model, lambda ids: ids.numel() > 60, error)
    check(model, random_rows, want, batch_tokens=10_000)
    assert refused[0] > 240 and len(refused) <= 3  # it learns the size, and does not try every batch in full again


def test_a_row_too_large_for_memory_is_left_out_with_its_reason(random_rows):
    model, longest = make("Llama"), int(random_rows.lengths.max())
    rows = random_rows.take([int(random_rows.lengths.argmax()), *np.flatnonzero(random_rows.lengths < longest)])
    error = RuntimeError(
        "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    )
    fail_when(model, lambda ids: ids.shape[1] >= longest, error)
    found = dict(forward.traces(model, rows, batch_tokens=10_000))
    assert found.pop(0) == f"out of memory on this row alone, {longest} tokens"
    want = oracle(make("Llama"), rows)
    for position, trace in found.items():
        np.testing.assert_allclose(trace["logp"], want[position]["logp"], rtol=0, atol=1e-4)
    assert sorted(found) == list(range(1, len(rows)))


def test_a_row_on_which_the_model_fails_is_left_out_with_its_reason(random_rows):
    model = make("Llama")
    rows = list(random_rows.input_ids)
    rows[5] = rows[5].copy()
    rows[5][2] = VOCABULARY + 3  # no such embedding
    spoiled = Encodings(random_rows.row_ids, rows, random_rows.loss_mask, random_rows.truncated)
    found = dict(forward.traces(model, spoiled, batch_tokens=10_000))
    assert found.pop(5) == "the model failed on this row: index out of range in self"
    assert len(found) == 16 and all(not isinstance(trace, str) for trace in found.values())
    with pytest.raises(CurateError, match=f"^row {random_rows.row_ids[5]}: the model failed on this row"):
        forward.mean_losses(model, spoiled)


def test_a_model_that_always_fails_ends_the_pass(random_rows):
    model = make("Llama")
    fail_when(model, lambda ids: ids.shape[1] > 2, RuntimeError("no kernel for this device\nand more"))
    with pytest.raises(
        CurateError, match="^the model fails on every row: the model failed on this row: no kernel for this device$"
    ):
        list(forward.traces(model, random_rows))


def test_a_device_that_is_lost_ends_the_pass_at_once(random_rows, monkeypatch):
    """After a failed assertion on the device every call fails; rows without a value would pass for rows at fault."""
    calls = breaks_after(
        1, RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported"), monkeypatch
    )
    with pytest.raises(CurateError, match="^the device fails, .*: CUDA error: device-side assert triggered$"):
        list(forward.traces(make("Llama"), random_rows, batch_tokens=30))
    assert len(calls) == 2


def test_a_model_that_fails_from_some_row_on_ends_the_pass(random_rows, monkeypatch):
    breaks_after(3, RuntimeError("no luck"), monkeypatch)
    found = []
    with pytest.raises(CurateError, match="^the model fails on every row from here on, .*: no luck$"):
        for one in forward.traces(make("Llama"), random_rows, batch_tokens=1):
            found.append(one)
    assert sum(not isinstance(trace, str) for _, trace in found) == 3 and len(found) == 3 + HOPELESS - 1


def breaks_after(times, error, monkeypatch):
    """No batch but the first few goes well."""
    real, calls = forward._batch, []

    def broken(*given):
        calls.append(1)
        if len(calls) > times:
            raise error
        return real(*given)

    monkeypatch.setattr(forward, "_batch", broken)
    return calls


def test_many_rows_at_fault_one_after_another_are_left_out(random_rows):
    """The model still does what it did before, so they are at fault themselves."""
    model = make("Llama")
    many = random_rows.take(np.concatenate([np.arange(len(random_rows)), np.full(20, random_rows.lengths.argmax())]))
    longest = int(random_rows.lengths.max())
    fail_when(model, lambda ids: ids.shape[1] >= longest, IndexError("index out of range in self"))
    found = dict(forward.traces(model, many, batch_tokens=30))
    assert sorted(found) == list(range(len(many)))
    assert sum(isinstance(trace, str) for trace in found.values()) == 20 + (random_rows.lengths == longest).sum()


# The statistics of one token ------------------------------------------------------------------------------------------


def test_statistics_of_distributions_that_are_known():
    v = 8
    uniform, certain = torch.zeros(v), torch.full((v,), -1e9)
    certain[3] = 0.0
    half = torch.full((v,), -torch.inf)
    half[0] = half[1] = 0.0
    logits, labels = torch.stack([uniform, certain, certain, half]), torch.tensor([2, 3, 5, 1])
    found = {name: values.numpy() for name, values in forward.token_statistics(logits, labels, PER_TOKEN).items()}
    np.testing.assert_allclose(found["logp"], [-np.log(v), 0, -1e9, -np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(found["entropy"], [np.log(v), 0, 0, np.log(2)], atol=1e-6)
    np.testing.assert_allclose(found["margin"], [0, 1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(found["el2n"], [np.sqrt(1 - 1 / v), 0, np.sqrt(2), np.sqrt(0.5)], atol=1e-6)


def test_el2n_keeps_its_digits_where_the_model_is_nearly_certain():
    """sqrt(sum p^2 - 2 p_y + 1) in float32 is wrong by more than 1e-4 here."""
    logits = torch.randn(200, 5000, generator=torch.Generator().manual_seed(0)) * 0.5
    logits[:, 7] += torch.linspace(14, 24, 200)
    p = torch.softmax(logits.double(), dim=1)
    p[:, 7] -= 1
    exact = p.norm(dim=1)
    found = forward.token_statistics(logits, torch.full((200,), 7), ("el2n",))["el2n"]
    assert exact.min() < 1e-4
    np.testing.assert_allclose(found.numpy(), exact.numpy(), rtol=0, atol=1e-5)
    q = torch.softmax(logits, dim=1)
    expanded = ((q * q).sum(dim=1) - 2 * q[:, 7] + 1).clamp(min=0).sqrt()
    assert (expanded - exact).abs().max() > 1e-4


def test_logits_of_all_tokens_are_never_held_at_once(random_rows, monkeypatch):
    model, sizes = make("Llama"), []
    real = forward.Head.__call__
    monkeypatch.setitem(forward.HEAD_NUMBERS, "cpu", 5 * VOCABULARY)
    monkeypatch.setattr(forward.Head, "__call__", lambda head, hidden: sizes.append(len(hidden)) or real(head, hidden))
    list(forward.traces(model, random_rows, batch_tokens=10_000))
    assert max(sizes) == 5 and sum(sizes) == 1 + sum(int(mask.sum()) for mask in random_rows.loss_mask) + 1


@given(st.integers(2, 700), st.integers(0, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_two_largest(width, seed, ties):
    values = np.random.default_rng(seed).standard_normal((9, width)).astype(np.float32)
    values = np.round(values) if ties else values
    want = np.sort(values, axis=1)[:, ::-1][:, :2]
    assert np.array_equal(forward.two_largest(torch.from_numpy(values)).numpy(), want)


def test_statistics_of_logits_that_are_far_apart_or_missing():
    logits = torch.tensor([[100.0, -80.0, 3.0], [-torch.inf, 0.0, 0.0], [-1e4, -1e4, -1e4]])
    found = forward.token_statistics(logits, torch.tensor([1, 2, 0]), PER_TOKEN)
    assert found["logp"].numpy() == pytest.approx([-180, np.log(0.5), np.log(1 / 3)], rel=1e-6)
    assert found["entropy"].numpy() == pytest.approx([0, np.log(2), np.log(3)], abs=1e-3)
    assert found["margin"].numpy() == pytest.approx([1, 0, 0], abs=1e-6)
    assert found["el2n"].numpy() == pytest.approx([np.sqrt(2), np.sqrt(0.5), np.sqrt(4 / 9 + 2 / 9)], rel=1e-6)
