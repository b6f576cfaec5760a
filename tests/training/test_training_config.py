import subprocess
import sys

import pytest
from pydantic import ValidationError

from curate.training.config import (
    DEFAULT_LEARNING_RATE,
    SWEPT_WIDTH,
    TRAIN_VERSION,
    TrainConfig,
    learning_rate_factor,
    steps_to_save,
    training_flops,
)


def test_one_epoch_when_no_length_is_given():
    config = TrainConfig()
    assert (config.epochs, config.steps, config.tokens) == (1.0, None, None)
    assert TrainConfig(steps=5).epochs is None
    assert TrainConfig.model_validate(TrainConfig(tokens=100).model_dump()) == TrainConfig(tokens=100)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"epochs": 1, "steps": 2}, "epochs and steps"),
        ({"batch_tokens": 0}, "batch_tokens"),
        ({"lora_variant": "qlora"}, "lora_variant"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rte": 1e-3}, "learning_rte"),
    ],
)
def test_errors_name_the_field(wrong, names):
    with pytest.raises(ValidationError, match=names):
        TrainConfig(**wrong)


def test_the_defaults_are_those_of_the_version():
    """`identity` leaves defaults out, so a default that changes under the same version would pass for the earlier one.

    A new setting is added here with a default that leaves everything as it was; a changed default needs another TRAIN_VERSION.
    """
    version_1 = {
        "adapter": "lora", "lora_r": 16, "lora_alpha": 32.0, "lora_dropout": 0.0, "lora_variant": "lora",
        "target_modules": "all-linear", "quantization": "none",
        "loss": "nll", "anchor": 0.05, "masked_thought": 0.0, "masked_thought_warmup": 0.0,
        "token_policy": "none", "keep_tokens": 0.6, "reference": None,
        "gamma": 0.5, "attention_layer": -1, "drop_sink": False, "policy_warmup_steps": 0, "history_decay": None,
        "learning_rate": None, "schedule": "cosine", "warmup_ratio": 0.03, "weight_decay": 0.0, "max_grad_norm": 1.0,
        "batch_tokens": 1024, "epochs": 1.0, "steps": None, "tokens": None, "gradient_accumulation": None,
        "gradient_checkpointing": False, "seed": 0, "dtype": "float32",
        "save_checkpoints": 0, "save_optimizer": False, "checkpoint_steps": None, "report_to": "none",
    }  # fmt: skip
    assert (TRAIN_VERSION, TrainConfig().model_dump()) == (1, version_1)
    assert DEFAULT_LEARNING_RATE == {"lora": 2e-3, "none": 2e-4} and SWEPT_WIDTH == 192  # defaults too


def test_the_identity_is_what_differs_from_the_defaults():
    assert TrainConfig().identity() == {"epochs": 1.0}
    assert TrainConfig(steps=3, loss="dft", report_to="tensorboard").identity() == {"steps": 3, "loss": "dft"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"quantization": "4bit", "adapter": "none"}, "needs adapter lora"),
        ({"quantization": "4bit", "lora_variant": "pissa"}, "pissa takes its adapters out of the weights"),
        ({"token_policy": "rho-1", "masked_thought": 0.1}, "what is hidden from the model"),
        ({"token_policy": "rho-1", "keep_tokens": 0.0}, "keep_tokens"),
        ({"save_optimizer": True}, "set save_checkpoints too"),
        ({"save_optimizer": True, "save_checkpoints": 1, "lora_variant": "corda"}, "corda's adapters"),
    ],
)
def test_what_does_not_go_together(settings, says):
    with pytest.raises(ValidationError, match=says):
        TrainConfig(**settings)


def test_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().seed = 3  # type: ignore[misc]


def test_trained_for_replaces_the_length():
    config = TrainConfig(tokens=100, seed=1, learning_rate=1e-3).trained_for(2.0, seed=7)
    assert config == TrainConfig(epochs=2.0, seed=7, learning_rate=1e-3)


def test_default_rate_falls_with_the_width():
    config = TrainConfig(adapter="none")
    assert config.peak_learning_rate(192) == pytest.approx(2 * config.peak_learning_rate(384))
    assert TrainConfig(learning_rate=1e-2).peak_learning_rate(4096) == 1e-2
    assert TrainConfig(adapter="lora").peak_learning_rate(192) > config.peak_learning_rate(192)


def test_schedules():
    linear = TrainConfig(schedule="linear", warmup_ratio=0.2)
    assert [learning_rate_factor(linear, step, 10) for step in (0, 1, 2, 6)] == pytest.approx([1 / 3, 2 / 3, 1, 0.5])
    assert 0 < learning_rate_factor(linear, 9, 10) < 0.2
    cosine = TrainConfig(schedule="cosine", warmup_ratio=0)
    assert [learning_rate_factor(cosine, step, 10) for step in (0, 5)] == pytest.approx([1, 0.5])
    assert learning_rate_factor(cosine, 0, 1) == 1
    constant = TrainConfig(schedule="constant", warmup_ratio=0)
    assert learning_rate_factor(constant, 9, 10) == 1


def test_checkpoints_are_evenly_spaced_and_end_at_the_end():
    assert steps_to_save(TrainConfig(save_checkpoints=4), 10) == [2, 5, 8, 10]
    assert steps_to_save(TrainConfig(), 10) == []
    with pytest.raises(ValueError, match="checkpoints were asked for"):
        steps_to_save(TrainConfig(save_checkpoints=3), 2)


def test_the_name_of_the_reference_is_not_in_the_identity():
    assert TrainConfig(token_policy="rho-1", reference="here").identity() == {"epochs": 1.0, "token_policy": "rho-1"}


def test_forward_passes_beside_the_step_s_own():
    assert TrainConfig().more_forwards == 0 and TrainConfig(loss="asft").more_forwards == 1
    assert TrainConfig(token_policy="rho-1", loss="asft").more_forwards == 2
    assert TrainConfig(token_policy="sstoken", history_decay=0.9).more_forwards == 2


def test_flops():
    assert training_flops(10, 0, 3) == 6 * 10 * 3
    assert training_flops(1, 10, 3) == (6 + 40) * 3
    assert training_flops(10, 0, 3, gradient_checkpointing=True) == 8 * 10 * 3
    assert training_flops(1, 10, 3, gradient_checkpointing=True, more_forwards=1) == (6 + 40 + 4 * 11) * 3


def test_settings_need_no_torch():
    modules = "curate.training.config, curate.training.batches, curate.training.folders, curate.evaluation.tasks"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("settings", "of"),
    [
        ({"anchor": 0.1}, "anchor: it has a meaning for loss asft only"),
        ({"adapter": "none", "lora_variant": "dora"}, "lora_variant: it has a meaning for adapter lora only"),
        ({"adapter": "none", "lora_r": 8}, "lora_r: it has a meaning for adapter lora only"),
        ({"keep_tokens": 0.5}, "keep_tokens: it has a meaning for a token_policy only"),
        ({"token_policy": "sstoken", "reference": "x"}, "reference: it has a meaning for token_policy rho-1 only"),
        ({"token_policy": "rho-1", "gamma": 1.0}, "gamma: it has a meaning for token_policy sstoken only"),
        ({"masked_thought_warmup": 0.5}, "masked_thought_warmup: it has a meaning for masked_thought above 0 only"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(settings, of):
    with pytest.raises(ValueError, match=of):
        TrainConfig(**settings)
