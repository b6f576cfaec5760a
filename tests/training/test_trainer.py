import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM

from curate.errors import CurateError, InputError
from curate.lm.encodings import Encodings
from curate.training.config import TrainConfig
from curate.training.trainer import save_model, train

BATCH = {"batch_tokens": 10_000}  # all rows in one batch


def mean_loss(model, encodings, weights=None):
    """The definition, row by row in float64: sum(w * nll) / sum(w) over reply tokens."""
    model = model.double()
    total = count = 0.0
    for i, (ids, mask) in enumerate(zip(encodings.input_ids, encodings.loss_mask, strict=True)):
        with torch.no_grad():
            logp = log_softmax(model(torch.tensor(ids[None].astype(np.int64))).logits[0], dim=-1)
        for t in range(1, len(ids)):
            weight = float(mask[t]) * (1.0 if weights is None else float(weights[i][t]))
            total -= weight * float(logp[t - 1, ids[t]])
            count += weight
    return total / count


@pytest.mark.parametrize("accumulation", [1, 3, 16])
def test_loss_is_the_mean_over_the_tokens_of_the_whole_batch(make_model, make_encodings, accumulation):
    rows = make_encodings(7)
    result = train(make_model(), None, rows, TrainConfig(gradient_accumulation=accumulation, **BATCH))
    assert result.losses == pytest.approx([mean_loss(make_model(), rows)], abs=1e-6)
    assert result.loss_tokens == rows.response_lengths.sum()


@pytest.mark.parametrize("tied", [True, False])
def test_micro_batches_change_nothing_but_rounding(make_model, make_encodings, tied):
    def weights(accumulation):
        config = TrainConfig(adapter="none", steps=4, batch_tokens=100, gradient_accumulation=accumulation)
        model = make_model(tie_word_embeddings=tied)
        return train(model, None, make_encodings(12), config).model.state_dict()

    whole, cut, crumbs = weights(1), weights(3), weights(16)
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], atol=1e-6, rtol=0)
        torch.testing.assert_close(crumbs[name], whole[name], atol=1e-6, rtol=0)


def test_gradient_equals_that_of_the_plain_loss(make_model, make_encodings):
    """The head sees only the states it has to: the weights learn as from the loss of the whole."""
    rows, config = make_encodings(5), TrainConfig(adapter="none", learning_rate=1e-3, max_grad_norm=0, **BATCH)
    trained = train(make_model(), None, rows, config).model
    plain = make_model()
    loss, tokens = torch.zeros(()), 0
    for ids, mask in zip(rows.input_ids, rows.loss_mask, strict=True):
        logp = log_softmax(plain(torch.tensor(ids[None].astype(np.int64))).logits[0], dim=-1)
        kept = np.flatnonzero(mask)
        loss, tokens = loss - logp[kept - 1, ids[kept]].sum(), tokens + len(kept)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3 / 2, weight_decay=0.0)  # one step, in warm-up
    (loss / tokens).backward()
    optimizer.step()
    for (name, one), other in zip(trained.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=0, msg=name)


def test_token_weights(make_model, make_encodings):
    rows = make_encodings(6)
    rng = np.random.default_rng(1)
    weights = [rng.uniform(0, 2, len(ids)) for ids in rows.input_ids]
    result = train(make_model(), None, rows, TrainConfig(gradient_accumulation=2, **BATCH), weights=weights)
    assert result.losses == pytest.approx([mean_loss(make_model(), rows, weights)], abs=1e-6)


def test_weight_zero_is_as_if_masked(make_model, make_encodings, same_weights):
    rows = make_encodings(6)
    rng = np.random.default_rng(2)
    kept = [rng.random(len(ids)) < 0.5 for ids in rows.input_ids]
    masks = [mask & keep for mask, keep in zip(rows.loss_mask, kept, strict=True)]
    masked = Encodings(rows.row_ids, rows.input_ids, masks, rows.truncated)
    config = TrainConfig(adapter="none", steps=3)
    one = train(make_model(), None, rows, config, weights=[keep.astype(float) for keep in kept])
    other = train(make_model(), None, masked, config)
    assert same_weights(one.model, other.model)
    assert one.loss_tokens == other.loss_tokens


@pytest.mark.parametrize("wrong", [-1.0, np.nan])
def test_weights_that_cannot_be(make_model, make_encodings, wrong):
    rows = make_encodings(2)
    with pytest.raises(InputError, match=f"row {rows.row_ids[1]}"):
        train(make_model(), None, rows, TrainConfig(), weights=[np.ones(rows.lengths[0]), np.full(rows.lengths[1], wrong)])
    with pytest.raises(InputError, match="1 rows of weights for 2"):
        train(make_model(), None, rows, TrainConfig(), weights=[np.ones(rows.lengths[0])])


@pytest.mark.parametrize(("adapter", "rate"), [("none", 1e-2), ("lora", 2e-2)])
def test_overfits_eight_rows(make_model, make_encodings, adapter, rate):
    rows = make_encodings(8)
    config = TrainConfig(adapter=adapter, learning_rate=rate, steps=100, batch_tokens=int(rows.lengths.sum()))
    # Adapters leave the head alone, so the random one has to be large enough for confident answers.
    result = train(make_model(hidden_size=64, initializer_range=0.2), None, rows, config)
    assert result.losses[0] > 3
    assert result.losses[-1] < 0.05


def test_account(make_model, make_encodings):
    rows = make_encodings(10)
    result = train(make_model(), None, rows, TrainConfig(epochs=2, batch_tokens=50))
    assert result.tokens == 2 * rows.lengths.sum()
    assert result.loss_tokens == 2 * rows.response_lengths.sum()
    assert result.epochs == 2
    assert result.steps == len(result.losses) == -(-result.tokens // 50)
    full = train(make_model(), None, rows, TrainConfig(adapter="none"))
    weights = sum(p.numel() for p in make_model().parameters()) - 64 * 32  # the untied input embedding looks up
    assert full.flops == 6 * weights * full.tokens
    assert 4 * weights < result.flops / result.tokens < 6 * weights * 1.5


def test_same_seed_same_bits(make_model, make_encodings, same_weights):
    def run(seed):
        config = TrainConfig(seed=seed, steps=5, batch_tokens=60, lora_dropout=0.2, learning_rate=1e-2)
        return train(make_model(), None, make_encodings(10), config).model

    one = run(0)
    torch.rand(3)  # what was drawn before does not matter
    assert same_weights(one, run(0))
    assert not same_weights(one, run(1))


def test_global_generators_are_left_alone(make_model, make_encodings):
    torch.manual_seed(5)
    np.random.seed(5)
    model = make_model()
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]
    train(model, None, make_encodings(3), TrainConfig())
    assert torch.equal(torch_before, torch.get_rng_state())
    assert str(numpy_before) == str(np.random.get_state(legacy=False)["state"])


def test_only_adapters_learn(make_model, make_encodings):
    model = make_model()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    result = train(model, None, make_encodings(10), TrainConfig(steps=5, learning_rate=1e-2))
    learned = [name for name, weight in result.model.named_parameters() if weight.requires_grad]
    assert learned and all("lora_" in name for name in learned)
    for name, weight in result.model.get_base_model().named_parameters():
        if "lora_" not in name:
            assert torch.equal(weight, before[name.replace(".base_layer", "")])


@pytest.mark.parametrize(("variant", "dora", "rslora"), [("lora", 0, 0), ("dora", 1, 0), ("rslora", 0, 1)])
def test_variants_reach_peft_and_merge(make_model, make_encodings, variant, dora, rslora):
    config = TrainConfig(lora_variant=variant, lora_r=4, lora_alpha=8, steps=5, learning_rate=1e-2)
    result = train(make_model(), None, make_encodings(10), config)
    adapters = result.model.peft_config["default"]
    assert (adapters.use_dora, adapters.use_rslora, adapters.r, adapters.lora_alpha) == (dora, rslora, 4, 8)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        adapted = result.model(ids).logits
        plain = make_model()(ids).logits
        merged = result.merged()(ids).logits
    torch.testing.assert_close(merged, adapted, atol=1e-5, rtol=1e-5)
    assert (adapted - plain).abs().max() > 1e-3
    assert result.merged() is result.model and not hasattr(result.model, "peft_config")


def test_target_modules(make_model, make_encodings):
    result = train(make_model(), None, make_encodings(3), TrainConfig(target_modules=("q_proj", "v_proj")))
    learned = [name for name, weight in result.model.named_parameters() if weight.requires_grad]
    assert len(learned) == 2 * 2 * 2 and all("q_proj" in name or "v_proj" in name for name in learned)
    with pytest.raises(InputError, match="target_modules"):
        train(make_model(), None, make_encodings(3), TrainConfig(target_modules=("nowhere",)))


def test_batch_with_nothing_to_learn_is_skipped(make_model, make_encodings, same_weights):
    rows = make_encodings(4)
    silent = Encodings(rows.row_ids, rows.input_ids, [mask & False for mask in rows.loss_mask], rows.truncated)
    result = train(make_model(), None, silent, TrainConfig(adapter="none", batch_tokens=1, weight_decay=0.1))
    assert np.isnan(result.losses).all() and result.steps == 4 and result.loss_tokens == 0
    assert same_weights(result.model, make_model())
    mixed = Encodings(rows.row_ids, rows.input_ids, [*rows.loss_mask[:2], *silent.loss_mask[2:]], rows.truncated)
    result = train(make_model(), None, mixed, TrainConfig(adapter="none", batch_tokens=1))
    assert np.isnan(result.losses).sum() == 2
    assert all(torch.isfinite(weight).all() for weight in result.model.parameters())


def test_loss_that_is_not_finite_names_the_step(make_model, make_encodings):
    model = make_model()
    model.get_output_embeddings().weight.data[0, 0] = float("inf")
    with pytest.raises(CurateError, match="step 1"):
        train(model, None, make_encodings(4), TrainConfig())
    with pytest.raises(CurateError, match="not.*finite"):
        train(make_model(), None, make_encodings(4), TrainConfig(adapter="none", steps=5, learning_rate=1e30))


def test_says_nothing(make_model, make_encodings, capfd):
    train(make_model(), None, make_encodings(4), TrainConfig(steps=3))
    out, err = capfd.readouterr()
    assert out == "" and err == ""


def test_gradient_checkpointing_changes_nothing(make_model, make_encodings):
    def run(on):
        config = TrainConfig(steps=3, gradient_checkpointing=on, lora_dropout=0.1)
        return train(make_model(), None, make_encodings(6), config)

    plain, saving = run(False), run(True)
    assert saving.losses == pytest.approx(plain.losses, abs=1e-6)
    assert saving.flops > plain.flops
    assert not saving.model.is_gradient_checkpointing


def test_half_precision(make_model, make_encodings):
    rows = make_encodings(8)
    exact = train(make_model(), None, rows, TrainConfig(steps=4, adapter="none"))
    half = train(make_model(), None, rows, TrainConfig(steps=4, adapter="none", dtype="bfloat16"))
    assert half.losses == pytest.approx(exact.losses, abs=2e-2)
    assert half.model.dtype == torch.float32
    with pytest.raises(InputError, match="float16"):
        train(make_model(), None, rows, TrainConfig(dtype="float16"))


@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_saved_model_loads_and_is_the_same(make_model, make_encodings, tmp_path, adapter):
    result = train(make_model(), None, make_encodings(8), TrainConfig(adapter=adapter, steps=3, learning_rate=1e-2))
    save_model(result, tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, result.model(ids).logits, atol=1e-5, rtol=1e-5)
    assert loaded.config.use_cache == make_model().config.use_cache
    with pytest.raises(InputError, match="there already"):
        save_model(result, tmp_path / "model")


def test_adapters_are_not_stacked(make_model, make_encodings):
    result = train(make_model(), None, make_encodings(3), TrainConfig())
    with pytest.raises(InputError, match="merge"):
        train(result.model, None, make_encodings(3), TrainConfig())


def test_a_tracker_is_told_every_loss(make_model, make_encodings, monkeypatch):
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    told = []

    class Tracker(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **rest):
            told.append(logs)

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Tracker)
    result = train(make_model(), None, make_encodings(8), TrainConfig(steps=3, report_to="tensorboard"))
    losses = [float(logs["loss"]) for logs in told if "loss" in logs]
    assert losses == pytest.approx(result.losses, abs=1e-4)
    with pytest.raises(InputError, match="report_to: .*nobody"):
        train(make_model(), None, make_encodings(8), TrainConfig(steps=3, report_to="nobody"))
