"""A model's yes or no against the softmax of all its logits, one text at a time."""

import numpy as np
import pytest
import torch

from curate.embedding.texts import dialogue
from curate.errors import InputError
from curate.lm.judging import answer_ids, apart, asked_of, log_odds
from curate.lm.models import load_model, load_tokenizer

BEHIND = ("\nGood? 1.", " YES 2.")
TEXTS = ["a", "What is 2 plus 3? It is 5.", "The cat sat on the mat. " * 9, "b c"]


@pytest.fixture(scope="module")
def both(base4m):
    return load_tokenizer(base4m), load_model(base4m, device="cpu", dtype="float32")


def test_it_is_the_share_of_yes_among_yes_and_no(both):
    tokenizer, model = both
    yes, no = apart(tokenizer, ["yes"], ["no"])
    rows, places = asked_of(tokenizer, TEXTS, "Text: ", BEHIND, 100)
    want = []
    for row in rows:
        with torch.no_grad():
            p = torch.softmax(model(input_ids=torch.tensor(row[None])).logits[0].double(), dim=-1)
        want.append([float(p[at, yes].sum() / (p[at, yes].sum() + p[at, no].sum())) for at in places])
    assert np.ptp(np.array(want)) > 0.01
    for batch_tokens in (1, 60, 10_000):
        found = dict(log_odds(model, rows, places, yes, no, batch_tokens=batch_tokens))
        share = 1 / (1 + np.exp(-np.stack([found[i] for i in range(len(rows))]).astype(float)))
        np.testing.assert_allclose(share, want, atol=1e-5)


def test_where_the_answers_come(both):
    tokenizer, _ = both
    [row], places = asked_of(tokenizer, ["Hello."], "Text: ", BEHIND, 100)
    assert places[-1] == -1 and row[0] == tokenizer.bos_token_id
    assert tokenizer.decode(row[1:]) == "Text: Hello.\nGood? 1. YES 2."
    assert tokenizer.decode(row[1 : len(row) + places[0] + 1]) == "Text: Hello.\nGood? 1."


def test_a_long_text_loses_its_end_and_never_the_question(both):
    tokenizer, _ = both
    [row], _ = asked_of(tokenizer, ["one two three " * 50], "Text: ", BEHIND, 40)
    assert len(row) == 40 and tokenizer.decode(row[1:]).startswith("Text: one two") and tokenizer.decode(row).endswith(" YES 2.")
    with pytest.raises(InputError, match="the question alone has"):
        asked_of(tokenizer, ["a"], "Text: ", BEHIND, 10)


def test_answers_in_all_spellings_and_none_of_both(both):
    tokenizer, _ = both
    found = {tokenizer.decode([one]).strip() for one in answer_ids(tokenizer, ["yes"])}
    assert len(answer_ids(tokenizer, ["yes"])) >= 3 and all("yes".startswith(piece.lower()) for piece in found)
    with pytest.raises(InputError, match="cannot tell yes from yes"):
        apart(tokenizer, ["yes"], ["yes"])


def test_roles_stand_before_messages():
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
    ]
    assert dialogue(turns) == "System: Be brief.\n\nUser: Hi.\n\nAssistant: Hello."
    assert dialogue(turns, "instruction") == "System: Be brief.\n\nUser: Hi." and dialogue(turns[2:], "instruction") == ""
