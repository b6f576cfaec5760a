"""Which tokens a step learns from, against the definitions written out in float64."""

import copy
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from curate.errors import InputError
from curate.lm.encodings import Encodings
from curate.training.config import TrainConfig
from curate.training.policies import NO_CHANGE, attention_to_prompt, kept_of, sstoken_scores
from curate.training.trainer import train

SPREAD = {"initializer_range": 0.3}  # so that tokens differ


def nll(model, ids):
    """float64 [T]: the loss of each token, 0 of the first."""
    with torch.no_grad():
        logp = log_softmax(copy.deepcopy(model).double()(torch.tensor(ids[None].astype(np.int64))).logits[0], dim=-1)
    return np.array([0.0, *(-float(logp[t - 1, ids[t]]) for t in range(1, len(ids)))])


def scored(mask):
    return [t for t in range(1, len(mask)) if mask[t]]


def references(rows, seed=5):
    rng = np.random.default_rng(seed)
    return [rng.uniform(2, 7, len(scored(mask))) for mask in rows.loss_mask]


def slow_rho(model, rows, reference, keep):
    """{(row, token)}: sorted by excess loss over all rows, the first floor(keep * all)."""
    excess = {}
    for i, (ids, mask) in enumerate(zip(rows.input_ids, rows.loss_mask, strict=True)):
        losses = nll(model, ids)
        for t, ref in zip(scored(mask), reference[i], strict=True):
            excess[i, t] = losses[t] - ref
    ranked = sorted(excess, key=lambda at: (-excess[at], at))
    return set(ranked[: math.floor(Fraction(str(keep)) * len(ranked))])


def slow_attention(model, ids, mask, layer=-1, drop_sink=False):
    """float64 [T] of the model's own eager attention: from each token to the tokens outside replies."""
    plain = copy.deepcopy(model).double()
    plain.set_attn_implementation("eager")
    with torch.no_grad():
        heads = plain(torch.tensor(ids[None].astype(np.int64)), output_attentions=True).attentions[layer][0]
    prompt = [s for s in range(len(ids)) if not mask[s] and not (drop_sink and s == 0)]
    return np.array([sum(float(heads[h, t, s]) for s in prompt for h in range(len(heads))) / len(heads) for t in range(len(ids))])


def slow_sstoken(model, history, rows, keep, gamma, **of_attention):
    """{(row, token)}: in each row the first ceil(keep * its tokens) by the score. history: None for one that is the model."""
    kept = set()
    for i, (ids, mask) in enumerate(zip(rows.input_ids, rows.loss_mask, strict=True)):
        places = scored(mask)
        attention = slow_attention(model, ids, mask, **of_attention)
        drop = np.zeros(len(ids)) if history is None else nll(history, ids) - nll(model, ids)
        low, high = min(drop[t] for t in places), max(drop[t] for t in places)
        score = {t: gamma * ((drop[t] - low) / (high - low) if high > low else 0) + (1 - gamma) * attention[t] for t in places}
        ranked = sorted(places, key=lambda t: (-score[t], t))
        kept |= {(i, t) for t in ranked[: math.ceil(Fraction(str(keep)) * len(places))]}
    return kept


def mean_loss(model, rows, kept):
    return float(np.mean([nll(model, rows.input_ids[i])[t] for i, t in sorted(kept)]))


def settings(policy, rows, **more):
    """One batch is all rows, so each step sees every row once."""
    return TrainConfig(token_policy=policy, batch_tokens=int(rows.lengths.sum()), **more)


# ---- Rho-1


@pytest.mark.parametrize("accumulation", [1, 3, 16])
def test_rho_keeps_the_best_of_the_whole_batch(make_model, make_encodings, accumulation):
    rows, keep = make_encodings(7), 0.5
    reference = references(rows)
    config = settings("rho-1", rows, keep_tokens=keep, gradient_accumulation=accumulation)
    run = train(make_model(**SPREAD), None, rows, config, reference=reference)
    kept = slow_rho(make_model(**SPREAD), rows, reference, keep)
    assert run.losses == [pytest.approx(mean_loss(make_model(**SPREAD), rows, kept), abs=1e-5)]
    assert run.loss_tokens == len(kept)
    by_row = {
        (i, t) for i in range(7) for t in {t for r, t in slow_rho(make_model(**SPREAD), rows.take([i]), [reference[i]], keep)}
    }
    assert abs(mean_loss(make_model(**SPREAD), rows, by_row) - run.losses[0]) > 1e-3  # a threshold per row is not this


def test_rho_looks_with_the_model_as_it_is(make_model, make_encodings, tmp_path):
    rows, keep = make_encodings(6), 0.4
    reference = references(rows)
    config = settings("rho-1", rows, keep_tokens=keep, adapter="none", learning_rate=0.02, steps=2, save_checkpoints=2)
    run = train(make_model(**SPREAD), None, rows, config, reference=reference, output=tmp_path)
    start, after = make_model(**SPREAD), AutoModelForCausalLM.from_pretrained(run.checkpoints[0])
    kept, stale = slow_rho(after, rows, reference, keep), slow_rho(start, rows, reference, keep)
    assert kept != stale
    assert run.losses[1] == pytest.approx(mean_loss(after, rows, kept), abs=1e-4)


def test_rho_learns_as_if_the_others_were_masked(make_model, make_encodings, same_weights):
    rows = make_encodings(6)
    reference = references(rows)
    kept = slow_rho(make_model(**SPREAD), rows, reference, 0.6)
    weights = [np.array([float((i, t) in kept) for t in range(n)]) for i, n in enumerate(rows.lengths)]
    plain = settings("rho-1", rows, adapter="none", lora_dropout=0.0).model_copy(update={"token_policy": "none"})
    one = train(make_model(**SPREAD), None, rows, settings("rho-1", rows, adapter="none"), reference=reference)
    other = train(make_model(**SPREAD), None, rows, plain, weights=weights)
    assert same_weights(one.model, other.model)
    assert one.flops == other.flops / 6 * 8  # one more forward pass


def test_a_constant_in_the_reference_changes_nothing(make_model, make_encodings, same_weights):
    rows = make_encodings(6)
    config = settings("rho-1", rows, steps=2)
    one = train(make_model(**SPREAD), None, rows, config, reference=references(rows))
    other = train(make_model(**SPREAD), None, rows, config, reference=[losses + 4 for losses in references(rows)])
    assert same_weights(one.model, other.model)


def test_weights_of_tokens_hold_among_those_that_are_kept(make_model, make_encodings):
    """A weight of 0 takes a token out before the best are chosen; the reference still names it."""
    rows = make_encodings(6)
    reference, rng = references(rows), np.random.default_rng(3)
    weights = [rng.choice([0.0, 0.5, 2.0], n) for n in rows.lengths]
    run = train(make_model(**SPREAD), None, rows, settings("rho-1", rows), reference=reference, weights=weights)
    masks = [mask & (weight > 0) for mask, weight in zip(rows.loss_mask, weights, strict=True)]
    left = Encodings(rows.row_ids, rows.input_ids, masks, rows.truncated)
    of_left = [
        np.array([loss for t, loss in zip(scored(mask), losses, strict=True) if weight[t] > 0])
        for mask, losses, weight in zip(rows.loss_mask, reference, weights, strict=True)
    ]
    kept = slow_rho(make_model(**SPREAD), left, of_left, 0.6)
    losses = {(i, t): nll(make_model(**SPREAD), rows.input_ids[i])[t] for i, t in kept}
    total = sum(weights[i][t] for i, t in kept)
    assert run.losses == [pytest.approx(sum(weights[i][t] * losses[i, t] for i, t in kept) / total, abs=1e-5)]
    assert run.loss_tokens == len(kept)


def test_a_reference_that_does_not_fit(make_model, make_encodings):
    rows = make_encodings(3)
    config = settings("rho-1", rows)
    with pytest.raises(InputError, match="needs the losses of a reference"):
        train(make_model(), None, rows, config)
    with pytest.raises(InputError, match="losses of 2 rows for 3"):
        train(make_model(), None, rows, config, reference=references(rows)[:2])
    for wrong in (np.ones(1), np.full(len(references(rows)[1]), np.nan)):
        with pytest.raises(InputError, match=f"row {rows.row_ids[1]}"):
            train(make_model(), None, rows, config, reference=[references(rows)[0], wrong, references(rows)[2]])


def test_how_many_are_kept():
    rho, own = TrainConfig(token_policy="rho-1", keep_tokens=0.6), TrainConfig(token_policy="sstoken", keep_tokens=0.6)
    assert [kept_of(rho, n) for n in (0, 1, 2, 7)] == [0, 1, 1, 4]
    assert [kept_of(own, n) for n in (0, 1, 2, 5, 7)] == [0, 1, 2, 3, 5]


def test_a_row_with_one_scored_token_and_a_batch_with_none(make_model, make_encodings):
    rows = make_encodings(4)
    single = [np.arange(n) == n - 1 for n in rows.lengths]
    one = Encodings(rows.row_ids, rows.input_ids, single, rows.truncated)
    run = train(make_model(), None, one, settings("sstoken", one))
    assert run.loss_tokens == 4 and run.losses == [pytest.approx(mean_loss(make_model(), one, slow_all(one)), abs=1e-5)]
    none = Encodings(rows.row_ids, rows.input_ids, [mask & False for mask in single], rows.truncated)
    for policy, given in (("sstoken", None), ("rho-1", [np.zeros(0)] * 4)):
        silent = train(make_model(), None, none, settings(policy, none), reference=given)
        assert np.isnan(silent.losses).all() and silent.loss_tokens == 0


def slow_all(rows):
    return {(i, t) for i, mask in enumerate(rows.loss_mask) for t in scored(mask)}


def test_keeping_all_is_the_plain_training(make_model, make_encodings, same_weights):
    rows = make_encodings(6)
    plain = train(make_model(), None, rows, TrainConfig(steps=3, batch_tokens=40))
    for policy, given in (("rho-1", references(rows)), ("sstoken", None)):
        config = TrainConfig(steps=3, batch_tokens=40, token_policy=policy, keep_tokens=1.0)
        run = train(make_model(), None, rows, config, reference=given)
        assert same_weights(run.model, plain.model) and run.loss_tokens == plain.loss_tokens


# ---- ssToken


@pytest.mark.parametrize("accumulation", [1, 16])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_sstoken_step_by_step(make_model, make_encodings, tmp_path, gamma, accumulation):
    """At the first step history and model are one, so attention alone chooses; then the drop has its say."""
    rows, keep = make_encodings(5), 0.4
    more = {"gamma": gamma, "keep_tokens": keep, "gradient_accumulation": accumulation}
    config = settings("sstoken", rows, adapter="none", learning_rate=0.02, steps=2, save_checkpoints=2, **more)
    run = train(make_model(**SPREAD), None, rows, config, output=tmp_path)
    start, after = make_model(**SPREAD), AutoModelForCausalLM.from_pretrained(run.checkpoints[0])
    first, second = slow_sstoken(start, None, rows, keep, gamma), slow_sstoken(after, start, rows, keep, gamma)
    assert run.losses[0] == pytest.approx(mean_loss(start, rows, first), abs=1e-5)
    assert run.losses[1] == pytest.approx(mean_loss(after, rows, second), abs=1e-4)
    assert run.loss_tokens == len(first) + len(second)
    if gamma == 1.0:  # the other direction, that of Rho-1, is not this
        other = slow_sstoken(start, after, rows, keep, gamma)
        assert abs(mean_loss(after, rows, other) - run.losses[1]) > 1e-2


def test_warm_up_chooses_by_attention(make_model, make_encodings, same_weights):
    rows = make_encodings(5)
    run = {"steps": 3, "learning_rate": 0.05}
    warm = train(make_model(**SPREAD), None, rows, settings("sstoken", rows, gamma=1.0, policy_warmup_steps=3, **run))
    zero = train(make_model(**SPREAD), None, rows, settings("sstoken", rows, gamma=0.0, **run))
    one = train(make_model(**SPREAD), None, rows, settings("sstoken", rows, gamma=1.0, **run))
    assert same_weights(warm.model, zero.model) and not same_weights(warm.model, one.model)


def test_the_history_may_follow(make_model, make_encodings, tmp_path):
    """After two steps at decay 0.5 it is half of what it was and half of the model at that time."""
    rows, keep = make_encodings(5), 0.4
    config = settings("sstoken", rows, gamma=1.0, keep_tokens=keep, history_decay=0.5, adapter="none", learning_rate=0.02,
                      steps=3, save_checkpoints=3)  # fmt: skip
    run = train(make_model(**SPREAD), None, rows, config, output=tmp_path)
    models = [make_model(**SPREAD), *(AutoModelForCausalLM.from_pretrained(path) for path in run.checkpoints)]
    history = copy.deepcopy(models[0])
    with torch.no_grad():
        for model in models[1:3]:
            for weight, now in zip(history.parameters(), model.parameters(), strict=True):
                weight.copy_(0.5 * weight + 0.5 * now)
    kept = slow_sstoken(models[2], history, rows, keep, 1.0)
    assert kept != slow_sstoken(models[2], models[0], rows, keep, 1.0)
    assert run.losses[2] == pytest.approx(mean_loss(models[2], rows, kept), abs=1e-4)


@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_a_history_that_stays_is_the_start(make_model, make_encodings, same_weights, adapter):
    rows = make_encodings(5)
    run = {"adapter": adapter, "steps": 3, "learning_rate": 0.02}
    stays = train(make_model(**SPREAD), None, rows, settings("sstoken", rows, history_decay=1.0, **run))
    start = train(make_model(**SPREAD), None, rows, settings("sstoken", rows, **run))
    assert same_weights(stays.model, start.model) and stays.flops > start.flops


def test_scores_of_sstoken_by_hand():
    drop, attention = np.array([1.0, 3.0, 2.0]), np.array([0.2, 0.0, 1.0])
    assert sstoken_scores(drop, attention, 1.0).tolist() == [0.0, 1.0, 0.5]
    assert sstoken_scores(drop, attention, 0.0).tolist() == attention.tolist()
    assert sstoken_scores(drop, attention, 0.5).tolist() == pytest.approx([0.1, 0.5, 0.75])
    # a constant in the history's losses; and drops that rounding alone tells apart
    np.testing.assert_allclose(sstoken_scores(drop + 7, attention, 0.5), sstoken_scores(drop, attention, 0.5), rtol=1e-12)
    still = np.array([0.0, NO_CHANGE / 2, 0.0])
    assert sstoken_scores(still, attention, 0.5).tolist() == (0.5 * attention).tolist()
    assert sstoken_scores(np.array([2.0]), np.array([0.3]), 0.5).tolist() == [0.15]


# ---- attention


def grouped(model, config, **more):
    """Three layers with two heads of keys for four of queries."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 8}
    return model(config(vocab_size=64, num_key_value_heads=2, **SPREAD, **sizes, **more)).eval()


MODELS = {
    "qwen3": lambda: grouped(Qwen3ForCausalLM, Qwen3Config),
    "mistral": lambda: grouped(MistralForCausalLM, MistralConfig, sliding_window=4),
    "gemma2": lambda: grouped(
        Gemma2ForCausalLM, Gemma2Config, sliding_window=4, attn_logit_softcapping=2.0, query_pre_attn_scalar=8
    ),
}


def as_item(rows):
    """The rows as one micro-batch, padded on the right."""
    shape = len(rows), int(rows.lengths.max())
    item = {name: torch.zeros(shape, dtype=torch.long) for name in ("input_ids", "attention_mask", "replies", "labels")}
    item["labels"] -= 100
    for i, (ids, mask) in enumerate(zip(rows.input_ids, rows.loss_mask, strict=True)):
        n = len(ids)
        item["input_ids"][i, :n], item["attention_mask"][i, :n] = torch.from_numpy(ids), 1
        item["replies"][i, :n] = torch.from_numpy(mask)
        item["labels"][i, :n] = torch.from_numpy(np.where(mask, ids, -100))
    return {**item, "replies": item["replies"].bool()}


@pytest.mark.parametrize(
    ("kind", "attends"), [("llama", "sdpa"), ("llama", "eager"), ("qwen3", "sdpa"), ("mistral", "sdpa"), ("gemma2", "eager")]
)
def test_attention_is_the_models_own(make_model, make_encodings, kind, attends):
    """With rotary positions, norms, grouped heads, sliding windows and caps, whatever the model itself attends with."""
    model = {"llama": lambda: make_model(**SPREAD), **MODELS}[kind]()
    model.set_attn_implementation(attends)
    rows = make_encodings(5)
    masks = list(rows.loss_mask)
    masks[0] = np.arange(len(masks[0])) % 3 == 1  # several replies, with turns of the user between them
    rows, layers = Encodings(rows.row_ids, rows.input_ids, masks, rows.truncated), model.config.num_hidden_layers
    for layer, drop_sink in ((-1, False), (0, True), (layers - 2, False)):
        config = TrainConfig(token_policy="sstoken", attention_layer=layer, drop_sink=drop_sink)
        with torch.no_grad(), attention_to_prompt(model, as_item(rows), config) as looks:
            model(**{name: as_item(rows)[name] for name in ("input_ids", "attention_mask")}, use_cache=False)
        assert model.config._attn_implementation == attends
        slow = [
            slow_attention(model, ids, mask, layer, drop_sink)[scored(mask)]
            for ids, mask in zip(rows.input_ids, rows.loss_mask, strict=True)
        ]
        np.testing.assert_allclose(looks(), np.concatenate(slow), atol=2e-6)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_layer_that_there_is_not(make_model, make_encodings):
    with pytest.raises(InputError, match="2 layers of attention, and no layer 2"):
        train(make_model(), None, make_encodings(3), TrainConfig(token_policy="sstoken", attention_layer=2))


@pytest.mark.parametrize("adapter", ["lora", "none"])
@pytest.mark.parametrize("policy", ["rho-1", "sstoken"])
def test_policies_in_half_precision_and_in_less_memory(make_model, make_encodings, same_weights, policy, adapter):
    rows = make_encodings(6)
    more = {"steps": 2, "adapter": adapter, "learning_rate": 1e-2, "history_decay": 0.5 if policy == "sstoken" else None}
    reference = references(rows) if policy == "rho-1" else None
    exact = train(make_model(**SPREAD), None, rows, settings(policy, rows, **more), reference=reference)
    half = train(make_model(**SPREAD), None, rows, settings(policy, rows, dtype="bfloat16", **more), reference=reference)
    assert half.losses == pytest.approx(exact.losses, rel=0.1) and half.loss_tokens == exact.loss_tokens
    saving = train(
        make_model(**SPREAD), None, rows, settings(policy, rows, gradient_checkpointing=True, **more), reference=reference
    )
    assert saving.losses == pytest.approx(exact.losses, abs=1e-5)


def test_dropout_is_not_in_the_choice(make_model, make_encodings):
    """The choice is that of the model without it, and the generator of the step is left where it was."""
    rows = make_encodings(6)
    more = {"lora_dropout": 0.5, "steps": 2, "learning_rate": 0.05}
    plain = train(make_model(**SPREAD), None, rows, TrainConfig(batch_tokens=int(rows.lengths.sum()), **more))
    all_kept = settings("rho-1", rows, keep_tokens=1.0, **more)
    assert train(make_model(**SPREAD), None, rows, all_kept, reference=references(rows)).losses == plain.losses
