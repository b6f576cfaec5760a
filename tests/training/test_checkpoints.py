import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from curate.errors import InputError
from curate.training.config import TrainConfig
from curate.training.folders import model_checkpoints
from curate.training.trainer import train


class Stop(Exception):
    pass


def stop_after(step):
    def progress(done, total):
        if done == step:
            raise Stop

    return progress


CONFIGS = {
    "full": TrainConfig(adapter="none", steps=8, batch_tokens=60, learning_rate=1e-2, checkpoint_steps=3),
    "lora": TrainConfig(steps=8, batch_tokens=60, learning_rate=1e-2, lora_dropout=0.3, checkpoint_steps=3),
    "rho-1": TrainConfig(token_policy="rho-1", steps=8, batch_tokens=60, learning_rate=1e-2, checkpoint_steps=3),
    "sstoken": TrainConfig(
        token_policy="sstoken", history_decay=0.5, steps=8, batch_tokens=60, learning_rate=1e-2, checkpoint_steps=3
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_resumed_equals_undisturbed(make_model, make_encodings, same_weights, tmp_path, name):
    config, rows = CONFIGS[name], make_encodings(12)
    rng = np.random.default_rng(0)
    losses = [rng.uniform(2, 6, mask[1:].sum()) for mask in rows.loss_mask]
    more = {"reference": losses} if name == "rho-1" else {}
    whole = train(make_model(), None, rows, config, **more, output=tmp_path / "whole")
    with pytest.raises(Stop):
        train(make_model(), None, rows, config, **more, output=tmp_path / "cut", progress=stop_after(5))
    seen = []
    resumed = train(
        make_model(), None, rows, config, **more, output=tmp_path / "cut", resume=True, progress=lambda *at: seen.append(at)
    )
    assert seen[0] == (4, 8)  # step 5 was after the last state, at 3
    assert same_weights(resumed.model, whole.model)
    assert resumed.losses == whole.losses
    assert [path.name for path in (tmp_path / "cut" / "states").iterdir()] == ["step-8"]
    again = train(make_model(), None, rows, config, **more, output=tmp_path / "cut", resume=True)
    assert same_weights(again.model, whole.model) and again.losses == whole.losses


def test_no_pickle_is_written(make_model, make_encodings, tmp_path):
    config = CONFIGS["lora"].model_copy(update={"save_checkpoints": 2})
    train(make_model(), None, make_encodings(12), config, output=tmp_path)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".safetensors", ".json"}


def test_checkpoints_are_model_folders_in_numeric_order(make_model, make_encodings, tmp_path):
    config = TrainConfig(steps=12, batch_tokens=20, learning_rate=1e-2, save_checkpoints=4)
    result = train(make_model(), None, make_encodings(12), config, output=tmp_path)
    assert [path.name for path in result.checkpoints] == [f"checkpoint-{step}" for step in (3, 6, 9, 12)]
    assert list(model_checkpoints(tmp_path)) == [3, 6, 9, 12]
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        logits = [AutoModelForCausalLM.from_pretrained(path)(ids).logits for path in result.checkpoints]
        last = result.model(ids).logits
    torch.testing.assert_close(logits[-1], last, atol=1e-5, rtol=1e-5)
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(logits, logits[1:], strict=False))


def test_saving_does_not_disturb(make_model, make_encodings, same_weights, tmp_path):
    config = TrainConfig(steps=6, batch_tokens=40, learning_rate=1e-2)
    plain = train(make_model(), None, make_encodings(12), config)
    saving = config.model_copy(update={"save_checkpoints": 3, "checkpoint_steps": 1})
    assert same_weights(train(make_model(), None, make_encodings(12), saving, output=tmp_path).model, plain.model)


def test_resumed_run_has_all_its_checkpoints(make_model, make_encodings, tmp_path):
    config = CONFIGS["full"].model_copy(update={"save_checkpoints": 4})
    rows = make_encodings(12)
    with pytest.raises(Stop):
        train(make_model(), None, rows, config, output=tmp_path, progress=stop_after(5))
    assert list(model_checkpoints(tmp_path)) == [2, 4]
    result = train(make_model(), None, rows, config, output=tmp_path, resume=True)
    assert list(model_checkpoints(tmp_path)) == [2, 4, 6, 8]
    assert result.checkpoints == list(model_checkpoints(tmp_path).values())


def test_runs_are_not_mixed(make_model, make_encodings, tmp_path):
    config, rows = CONFIGS["full"], make_encodings(12)
    train(make_model(), None, rows, config, output=tmp_path)
    with pytest.raises(InputError, match="earlier run"):
        train(make_model(), None, rows, config, output=tmp_path)
    others = [
        (make_model(), make_encodings(12, seed=1), config),
        (make_model(), rows, config.model_copy(update={"seed": 1})),
        (make_model(seed=1), rows, config),
    ]
    for model, other_rows, other in others:
        with pytest.raises(InputError, match="other rows, with other settings or of another model"):
            train(model, None, other_rows, other, output=tmp_path, resume=True)


def test_resume_with_nothing_to_resume_starts_anew(make_model, make_encodings, same_weights, tmp_path):
    config, rows = CONFIGS["full"], make_encodings(12)
    anew = train(make_model(), None, rows, config, output=tmp_path / "new", resume=True)
    assert same_weights(anew.model, train(make_model(), None, rows, config, output=tmp_path / "other").model)


@pytest.mark.parametrize("settings", [{"save_checkpoints": 1}, {"checkpoint_steps": 1}])
def test_checkpoints_need_a_folder(make_model, make_encodings, settings):
    with pytest.raises(InputError, match="output"):
        train(make_model(), None, make_encodings(3), TrainConfig(**settings))


def test_more_checkpoints_than_steps(make_model, make_encodings, tmp_path):
    with pytest.raises(InputError, match="checkpoints were asked for"):
        train(make_model(), None, make_encodings(3), TrainConfig(save_checkpoints=5), output=tmp_path)


def test_losses_keep_their_bits_when_a_batch_was_skipped(make_model, make_encodings, tmp_path):
    rows = make_encodings(4)
    config = TrainConfig(adapter="none", batch_tokens=1, checkpoint_steps=1)
    silent = [np.zeros(n) if i == 0 else np.ones(n) for i, n in enumerate(rows.lengths)]
    with pytest.raises(Stop):
        train(make_model(), None, rows, config, weights=silent, output=tmp_path, progress=stop_after(2))
    result = train(make_model(), None, rows, config, weights=silent, output=tmp_path, resume=True)
    assert np.isnan(result.losses).sum() == 1 and len(result.losses) == 4
