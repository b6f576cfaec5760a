"""Masked thought: what the model reads of a reply is hidden at random, what it has to say is not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from curate.errors import InputError
from curate.training.config import TrainConfig
from curate.training.masking import mask_token, masked_share, masked_thought
from curate.training.trainer import train

BATCH = {"batch_tokens": 10_000}
TOKENIZER = SimpleNamespace(mask_token_id=None, pad_token_id=2, unk_token_id=1)


def test_only_the_reply_is_hidden_and_about_the_share_that_was_asked_for():
    ids, reply = np.arange(10_000), np.arange(10_000) % 2 == 1
    read = masked_thought(ids, reply, 0.3, 99_999, seed=0, step=4, row=7)
    hidden = read != ids
    assert (read[hidden] == 99_999).all() and not hidden[~reply].any()
    assert hidden[reply].mean() == pytest.approx(0.3, abs=0.02)
    assert (masked_thought(ids, reply, 1.0, 99_999, seed=0, step=4, row=7)[reply] == 99_999).all()


def test_the_draw_is_of_seed_step_and_row_alone():
    ids, reply = np.arange(50), np.ones(50, bool)
    draws = {at: masked_thought(ids, reply, 0.5, -1, *at).tobytes() for at in [(0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3)]}
    assert len(set(draws.values())) == 4
    assert draws[0, 1, 2] == masked_thought(ids, reply, 0.5, -1, 0, 1, 2).tobytes()


def test_the_share_rises_linearly():
    config = TrainConfig(masked_thought=0.4, masked_thought_warmup=0.5)
    assert [masked_share(config, step, 8) for step in range(6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    assert masked_share(TrainConfig(masked_thought=0.4), 0, 8) == 0.4


def test_what_stands_in_for_what_is_hidden():
    assert mask_token(SimpleNamespace(mask_token_id=5, pad_token_id=2, unk_token_id=1)) == 5
    assert mask_token(TOKENIZER) == 2
    assert mask_token(SimpleNamespace(mask_token_id=None, pad_token_id=None, unk_token_id=1)) == 1
    for without in (None, SimpleNamespace(mask_token_id=None, pad_token_id=None, unk_token_id=None)):
        with pytest.raises(InputError, match="masked_thought"):
            mask_token(without)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_loss_is_that_of_the_labels_behind_the_hidden_inputs(make_model, make_encodings, accumulation):
    rows, model = make_encodings(6), make_model(initializer_range=0.1).double()
    config = TrainConfig(masked_thought=0.5, seed=3, gradient_accumulation=accumulation, **BATCH)
    total = count = 0.0
    for i, (ids, reply) in enumerate(zip(rows.input_ids, rows.loss_mask, strict=True)):
        read = masked_thought(ids, reply, 0.5, 2, 3, 0, i)
        with torch.no_grad():
            logp = log_softmax(model(torch.tensor(read[None].astype(np.int64))).logits[0], dim=-1)
        for t in np.flatnonzero(reply):
            total, count = total - float(logp[t - 1, int(ids[t])]), count + 1
    result = train(make_model(initializer_range=0.1), TOKENIZER, rows, config)
    assert result.losses == [pytest.approx(total / count, abs=1e-6)]
    assert train(make_model(initializer_range=0.1), TOKENIZER, rows, TrainConfig(**BATCH)).losses[0] != pytest.approx(
        total / count, abs=1e-4
    )


def test_it_needs_a_token_to_hide_behind(make_model, make_encodings):
    with pytest.raises(InputError, match="masked_thought"):
        train(make_model(), None, make_encodings(3), TrainConfig(masked_thought=0.2))
