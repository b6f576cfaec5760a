"""Rows far beyond the embedded model's 512 tokens, alone and behind examples, against one forward of each in float64."""

import json

import numpy as np
import pytest
import torch

from curate.engine import Engine
from curate.errors import InputError
from curate.lm.encode import encode_rows
from curate.lm.models import ModelSpec, load_model, load_tokenizer
from curate.models import DEFAULT_MAX_LENGTH
from curate.observation import observe
from curate.pool import read_pool
from curate.scoring import score
from curate.selection import select
from curate.store import Store
from scorers.delift import DELIFT

CONTEXT = 2048
LENGTHS = (600, 1100, 1500, 2035, 2300)  # of the rows in tokens, about: the fourth nearly fills the context, the last is beyond
WORDS = ["and", "so", "the", "to", "of", "in", "it", "is", "for", "with", "on", "as", "at", "by"]


@pytest.fixture(scope="module")
def long(base4m, tmp_path_factory):
    """The folder of a random Llama of one narrow layer and a context of 2,048, with the embedded model's tokenizer.

    Its weights are scaled so that what it attends to tells: a plain random one gives every token about 1 / 8,192 wherever it stands.
    """
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "long"
    sizes = {"hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=8192, max_position_embeddings=CONTEXT, initializer_range=0.2, tie_word_embeddings=True, **sizes
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(2)
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.layers[0].self_attn.q_proj.weight.mul_(3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base4m).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def file(long, tmp_path_factory):
    """A pool of conversations of about `LENGTHS` tokens: long questions with short replies, but for the last one's reply."""
    tokenizer, rng = load_tokenizer(long), np.random.default_rng(0)

    def talk(length, reply):
        said = " ".join(np.repeat(rng.choice(WORDS, reply), 3))  # in threes, which the model foresees
        messages, question = [{"role": "user", "content": ""}, {"role": "assistant", "content": said}], ["Say"]
        while (short := length - len(whole(tokenizer, messages)[0])) > 0:
            question += rng.choice(WORDS, max(1, short // 2)).tolist()
            messages[0] = {"role": "user", "content": " ".join(question)}
        return messages

    path = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    talks = [talk(length, 15 if length < CONTEXT else 600) for length in LENGTHS]
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in talks))
    return path


def whole(tokenizer, messages):
    """(token ids, loss mask) of a conversation that nothing is cut off."""
    [row] = encode_rows(tokenizer, [(messages, None)], 10**6)
    return row.input_ids.astype(np.int64), row.loss_mask


@pytest.fixture(scope="module")
def rows(long, file):
    """(ids, mask) of each row uncut, by row id."""
    tokenizer, pool = load_tokenizer(long), read_pool(file)
    found = {row_id: whole(tokenizer, pool.messages(i)) for i, row_id in enumerate(pool.row_ids)}
    lengths = sorted(len(ids) for ids, _ in found.values())
    assert all(0 <= n - wanted < 8 for n, wanted in zip(lengths, LENGTHS, strict=True)) and lengths[3] < CONTEXT
    return found


@pytest.fixture(scope="module")
def logp(long):
    """The log-probability of each scored token from one forward in float64."""
    model = load_model(long, device="cpu", dtype="float32").double()

    def of(ids, mask):
        at = np.flatnonzero(mask)
        with torch.no_grad():
            logits = model(torch.from_numpy(ids[None]), use_cache=False).logits[0][at - 1]
        return torch.log_softmax(logits, -1).numpy()[np.arange(len(at)), ids[at]]

    return of


def distance(values):
    return np.sqrt(np.mean((1 - np.exp(values)) ** 2))


def test_rows_are_read_to_the_limit_and_measured_to_the_last_token(long, file, rows, logp, tmp_path):
    for asked, limit in ((None, CONTEXT), (900, 900)):
        engine = Engine(store=Store(tmp_path / "store"), device="cpu", max_length=asked)
        found = observe(file, ["mean_loss", "tokens"], model=long, engine=engine)
        want = {row_id: (ids[:limit], mask[:limit]) for row_id, (ids, mask) in rows.items() if mask[:limit].any()}
        assert found.frame["row_id"].to_list() == sorted(want) and len(want) == (5 if asked is None else 2)
        assert found.frame["tokens"].to_list() == [len(want[row_id][0]) for row_id in sorted(want)]
        losses = [-logp(*want[row_id]).mean() for row_id in sorted(want)]
        np.testing.assert_allclose(found.frame["mean_loss"].to_numpy(), losses, atol=1e-4)
        assert found.counts["rows_truncated"] == sum(len(rows[row_id][0]) > limit for row_id in want) == 1


@pytest.mark.parametrize(("asked", "limit", "pair"), [(None, 2048, 2048), (800, 800, 1600)], ids=["context", "below it"])
def test_pairs_are_measured_within_their_limit(long, file, rows, logp, tmp_path, asked, limit, pair):
    """Of each pair the row whole and the last tokens of the example that there is room for, by their definition."""
    engine = Engine(store=Store(tmp_path / "store"), device="cpu", max_length=asked)
    scores = score(file, DELIFT(), model=long, engine=engine)
    used = {row_id: (ids[:limit], mask[:limit]) for row_id, (ids, mask) in rows.items() if mask[:limit].any()}
    ids = sorted(used)
    assert scores.frame["row_id"].to_list() == ids
    alone = [distance(logp(*used[row_id])) for row_id in ids]
    utility, cut, full = np.full((len(ids), len(ids)), np.nan), 0, []
    for i, row_id in enumerate(ids):
        own, mask = used[row_id]
        room = pair - len(own)
        full += [row_id] if room == 0 else []
        for j, other in enumerate(ids):
            example = used[other][0]
            if room > 0:
                seen = example[max(0, len(example) - room) :]
                cut += len(seen) < len(example)
                told = logp(np.concatenate([seen, own]), np.concatenate([np.zeros(len(seen), bool), mask]))
                utility[i, j] = alone[i] - distance(told)
    np.testing.assert_allclose(scores.frame["delift"].to_numpy(), np.nanmean(utility, axis=0), atol=1e-5)
    assert np.nanstd(utility) > 1e-3 and np.ptp(np.nanmean(utility, axis=0)) > 1e-3  # a hundred times what it must agree to
    notes = " ".join(scores.manifest["notes"])
    if asked is None:
        assert len(full) == 1 and cut > 5 and len(ids) == 5
        assert (
            f"the example is cut in {cut} of the 25 pairs of pool after pool and has no room in 5, since a row and its example "
            in notes
        )
        assert f"are at most 2,048 tokens; no room for any: {file} line 5" in notes
        lost = "1 of the 5 rows of pool after pool have no utility and are not represented: no room for an example before the row (1)"
        assert [f"delift: {lost}"] == scores.manifest["remarks"]
        picked = select(file, DELIFT(), budget=2, model=long, engine=engine)
        assert picked.summary["remarks"] == [lost] and "no room for any" in " ".join(picked.manifest["notes"])
    else:
        assert not full and cut == 0 and "example is cut" not in notes and scores.manifest["remarks"] == []


@pytest.mark.parametrize(
    ("context", "asked", "limit", "pair"),
    [
        (512, None, 512, 512),
        (512, 200, 200, 400),
        (512, 300, 300, 512),
        (2048, None, 2048, 2048),
        (4000, None, 2048, 4000),
        (32768, None, 2048, 4096),
        (32768, 5000, 5000, 10000),
        (None, None, 2048, 4096),
        (None, 9000, 9000, 18000),
    ],
)
def test_limits(tmp_path, context, asked, limit, pair):
    """By default the context up to 2,048; of a pair twice a conversation's, within the context."""
    (tmp_path / "config.json").write_text(
        json.dumps({"vocab_size": 10} | ({"max_position_embeddings": context} if context else {}))
    )
    model, engine = ModelSpec(str(tmp_path)), Engine(store=Store(tmp_path / "store"), max_length=asked)
    assert (engine.length_limit(model), engine.pair_limit(model)) == (limit, pair) and DEFAULT_MAX_LENGTH == 2048
    if context == 512:
        with pytest.raises(InputError, match="--max-length 513 exceeds the context of .*, 512 tokens"):
            Engine(store=engine.store, max_length=513).length_limit(model)
