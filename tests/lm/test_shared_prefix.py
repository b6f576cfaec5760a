"""Rows behind examples: the shared run against the plain one on the whole ids, and what is forwarded."""

import numpy as np
import pytest
import torch
import transformers

from curate.errors import CurateError
from curate.lm import forward
from curate.lm.encodings import Encodings
from curate.lm.models import load_model
from curate.lm.shared_prefix import goes_on, traces_of_view
from curate.lm.views import PairView, RowView

VOCABULARY = 61
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
GROUPED = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
ARCHITECTURES = {
    "GPT2": ("GPT2Config", "GPT2LMHeadModel", {**GPT2, "bos_token_id": 1, "eos_token_id": 2}),
    "Llama": ("LlamaConfig", "LlamaForCausalLM", GROUPED),
    "Qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**GROUPED, "head_dim": 8}),
    "Mistral": ("MistralConfig", "MistralForCausalLM", {**GROUPED, "sliding_window": 6}),
    "Gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {**GROUPED, "head_dim": 8, "sliding_window": 6}),
    "Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {**GROUPED, "head_dim": 8, "sliding_window": 6}),
}
PLAIN = forward.traces
MAMBA = ("MambaConfig", "MambaForCausalLM", {**SIZES, "state_size": 4, "expand": 2})


def make(config, model, keys):
    torch.manual_seed(0)
    return getattr(transformers, model)(getattr(transformers, config)(**keys)).eval()


def rows(n, low, high, seed, vocabulary=VOCABULARY):
    rng = np.random.default_rng(seed)
    ids = [rng.integers(3, vocabulary, rng.integers(low, high)).astype(np.int32) for _ in range(n)]
    masks = [np.arange(len(row)) >= len(row) // 2 for row in ids]
    for mask in masks[::3]:
        mask[1] = True
    return Encodings([f"{seed}.{i}" for i in range(n)], ids, masks, np.zeros(n, bool))


def pairs(limit=60, once=None, vocabulary=VOCABULARY):
    """Every row behind every example, but one example that has a single row; in no order."""
    own, examples = rows(7, 4, 20, 1, vocabulary), rows(5, 2, 25, 2, vocabulary)
    index = np.array([(i, j) for i in range(7) for j in range(5) if j != 4 or i == 3])
    return PairView.of(own, examples, np.random.default_rng(0).permutation(index), limit, once)


def naive(model, view, needs=("logp", "entropy")):
    """One pair at a time, on the whole ids."""
    found = {}
    for k in range(len(view)):
        [(_, found[k])] = PLAIN(model, view.take(np.array([k])), needs)
    return found


def check(found, want):
    assert sorted(found) == sorted(want)
    for k, trace in found.items():
        assert set(trace) == set(want[k])
        for name in trace:
            assert trace[name].dtype == np.float32
            np.testing.assert_allclose(trace[name], want[k][name], rtol=1e-5, atol=1e-5)


@pytest.fixture
def plain(monkeypatch):
    """How many pairs went the plain way."""
    count = []
    monkeypatch.setattr(forward, "traces", lambda model, rows, *a, **k: count.append(len(rows)) or PLAIN(model, rows, *a, **k))
    return count


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_shared_run_is_the_plain_run(name, plain):
    model, view = make(*ARCHITECTURES[name]), pairs()
    want = naive(model, view)
    assert np.std(np.concatenate([trace["logp"] for trace in want.values()])) > 0.3
    for batch_tokens in (1, 60, 10_000):
        plain.clear()
        check(dict(traces_of_view(model, view, np.arange(len(view)), ("logp", "entropy"), batch_tokens=batch_tokens)), want)
        assert plain == [1]  # the example with one row


@pytest.mark.parametrize(("limit", "once"), [(24, None), (24, 5), (60, 5)])
def test_examples_that_are_cut_share_what_is_left_of_them(limit, once, plain):
    own, examples = rows(14, 4, 12, 1), rows(5, 20, 30, 2)
    if once:
        for ids in (*own.input_ids[::2], *examples.input_ids):
            ids[0] = once
    index = np.array([(i, j) for i in range(14) for j in range(5)])
    view = PairView.of(own, examples, index, limit, once)
    model = make(*ARCHITECTURES["Llama"])
    assert len(set(view.kept.tolist())) > 3 or limit == 60
    check(dict(traces_of_view(model, view, np.arange(len(view)))), naive(model, view, ("logp",)))
    assert sum(plain) < len(view)


def test_the_embedded_model(base4m):
    model, view = load_model(base4m, device="cpu", dtype="float32"), pairs(vocabulary=8000)
    check(dict(traces_of_view(model, view, np.arange(len(view)))), naive(model, view, ("logp",)))


def test_some_pairs_in_any_order():
    model, view, some = make(*ARCHITECTURES["Llama"]), pairs(), np.array([17, 3, 9, 4, 20, 11])
    want = naive(model, view)
    check(dict(traces_of_view(model, view, some, ("logp", "entropy"))), {k: want[int(p)] for k, p in enumerate(some)})


def test_a_model_that_cannot_go_on_from_keys_and_values_runs_the_plain_way(plain):
    model, view = make(*MAMBA), pairs()
    assert not goes_on(model, view, 0)
    check(dict(traces_of_view(model, view, np.arange(len(view)))), naive(model, view, ("logp",)))
    assert plain == [len(view)]


def test_a_model_that_goes_on_wrongly_runs_the_plain_way(plain):
    """Here a model whose rows forget what was cached: it is seen on the first pair, and no wrong number comes out."""
    model, view = make(*ARCHITECTURES["Llama"]), pairs()
    body = model.base_model
    real = body.forward

    def forgets(*args, past_key_values=None, attention_mask=None, input_ids=None, **keys):
        if past_key_values is not None:
            attention_mask = attention_mask[:, -input_ids.shape[1] :]
        return real(*args, input_ids=input_ids, attention_mask=attention_mask, **keys)

    body.forward = forgets
    assert not goes_on(model, view, 0)
    check(dict(traces_of_view(model, view, np.arange(len(view)))), naive(model, view, ("logp",)))


def test_pooled_states_are_of_the_whole(plain):
    model, view = make(*ARCHITECTURES["Llama"]), pairs()
    needs = ("logp", "hidden_mean")
    check(dict(traces_of_view(model, view, np.arange(len(view)), needs)), naive(model, view, needs))
    assert plain == [len(view)]


def test_rows_without_examples_run_as_ever(plain):
    view = RowView.of(rows(7, 4, 20, 1), "conversation")
    model = make(*ARCHITECTURES["Llama"])
    check(dict(traces_of_view(model, view, np.array([4, 2]))), {k: naive(model, view, ("logp",))[p] for k, p in ((0, 4), (1, 2))})
    assert view.forwarded(np.array([4, 2]), 1000) == view.lengths[[4, 2]].sum()


def test_progress_is_what_is_forwarded():
    model, view = make(*ARCHITECTURES["Llama"]), pairs()
    some, seen = np.array([17, 3, 9, 4, 20, 11]), []
    list(traces_of_view(model, view, some, progress=seen.append))
    groups = {(view.index[k, 1], view.kept[k]) for k in some}
    by_hand = sum(int(kept) - 1 for _, kept in groups) + sum(len(view.own(k)[0]) + 1 for k in some)
    assert sum(seen) == view.forwarded(some, 10**6) == by_hand < view.lengths[some].sum()
    assert view.forwarded(some, 10**6, pooled=True) == view.lengths[some].sum()


def test_shards_keep_an_example_together():
    view = pairs()
    for tokens in (1, 50, 200, 10**6):
        shards = view.shards(tokens)
        assert sorted(np.concatenate(shards).tolist()) == list(range(len(view)))
        if tokens >= 50:
            split = [len({s for s, shard in enumerate(shards) for k in shard if group == view.groups(np.arange(len(view)))[k]})
                     for group in range(5)]  # fmt: skip
            assert sum(split) <= 5 + len(shards) - 1  # one more for each cut at most
    everything = np.arange(len(view))
    assert view.forwarded(everything, 10**6) < view.forwarded(everything, 50) < view.lengths.sum() + len(view)


# Failures -------------------------------------------------------------------------------------------------------------


def failing(model, condition, error):
    body = model.base_model
    real, refused = body.forward, []

    def forward(input_ids, **keys):
        if condition(input_ids, keys):
            refused.append(tuple(input_ids.shape))
            raise error
        return real(input_ids=input_ids, **keys)

    body.forward = forward
    return refused


def test_out_of_memory_halves_batches_and_goes_on(plain):
    view, error = pairs(), torch.OutOfMemoryError("CUDA out of memory")
    want = naive(make(*ARCHITECTURES["Llama"]), view, ("logp",))
    model = make(*ARCHITECTURES["Llama"])
    refused = failing(model, lambda ids, keys: ids.numel() > 60, error)
    check(dict(traces_of_view(model, view, np.arange(len(view)), batch_tokens=10_000)), want)
    assert len(refused) > 1 and plain == [1]


def test_what_the_shared_run_cannot_do_is_left_to_the_plain_one(plain):
    view, error = pairs(), RuntimeError("no kernel for this shape")
    want = naive(make(*ARCHITECTURES["Llama"]), view, ("logp",))
    model = make(*ARCHITECTURES["Llama"])
    failing(model, lambda ids, keys: keys.get("past_key_values") is not None and ids.shape[1] > 12, error)
    pair = next(k for k in range(len(view)) if len(view.own(k)[0]) < 10)
    assert goes_on(model, view, pair)
    order = np.concatenate([[pair], np.setdiff1d(np.arange(len(view)), pair)])
    check(dict(traces_of_view(model, view, order)), {k: want[int(p)] for k, p in enumerate(order)})
    long = sum(len(view.own(k)[0]) >= 12 and view.index[k, 1] != 4 for k in range(len(view)))
    assert plain == [1] * (long + 1) and long > 3


def test_a_pair_at_fault_says_so():
    own, examples = rows(5, 6, 12, 1), rows(2, 6, 12, 2)
    own.input_ids[2][3] = VOCABULARY + 3
    view = PairView.of(own, examples, np.array([(i, j) for i in range(5) for j in range(2)]), 60)
    found = dict(traces_of_view(make(*ARCHITECTURES["Llama"]), view, np.arange(10)))
    assert {k for k, trace in found.items() if isinstance(trace, str)} == {4, 5}
    assert found[4] == "the model failed on this row: index out of range in self"


def test_a_model_that_always_fails_ends_the_pass():
    view, model = pairs(), make(*ARCHITECTURES["Llama"])
    failing(model, lambda ids, keys: ids.shape[1] > 2, RuntimeError("no kernel for this device"))
    with pytest.raises(CurateError, match="no kernel for this device$"):
        list(traces_of_view(model, view, np.arange(len(view))))


@pytest.mark.parametrize("cached", [True, False])
def test_a_device_that_is_lost_ends_the_pass(cached):
    """In the run over examples and in that over the rows behind them; no pair is left without a value for it."""
    view, model, calls = pairs(), make(*ARCHITECTURES["Llama"]), []

    def broken(ids, keys):
        calls.append(keys.get("past_key_values") is not None)
        return len(calls) > 6 and (len(calls) > 7 or calls[-1] == cached)

    failing(model, broken, RuntimeError("CUDA error: device-side assert triggered"))
    found = []
    with pytest.raises(CurateError, match="^the device fails"):
        for one in traces_of_view(model, view, np.arange(len(view)), batch_tokens=30):
            found.append(one)
    assert len(calls) in (7, 8) and not [trace for _, trace in found if isinstance(trace, str)]
