"""What a model sees of a row in each view, token by token."""

from dataclasses import replace

import numpy as np
import pytest

from curate.lm.encode import encode_rows
from curate.lm.encodings import Encodings
from curate.lm.models import load_tokenizer
from curate.lm.views import (
    NO_REPLY_SEEN,
    NO_ROOM,
    NOTHING_TO_SEE,
    Asked,
    PairView,
    RowView,
    pair_id,
    printed_once,
    start_token,
)

S = 1  # the start token


def rows(*marked):
    """Rows from lists of ids, of which negative ones are of a reply."""
    ids = [np.abs(np.array(row, np.int32)) for row in marked]
    masks = [np.array(row) < 0 for row in marked]
    return Encodings([f"r{i}" for i in range(len(ids))], ids, masks, np.zeros(len(ids), bool))


def seen(view, *index):
    taken = view.take(np.array(index or range(len(view))))
    assert [len(ids) for ids in taken.input_ids] == view.lengths[list(index) or slice(None)].tolist()
    return [
        (ids.tolist(), [int(i) for i, scored in zip(ids, mask, strict=True) if scored])
        for ids, mask in zip(taken.input_ids, taken.loss_mask, strict=True)
    ]


TWO = rows([5, 6, -7, -8, 9], [5, -6, 7, 8, -9, -4])


def test_views_of_a_row():
    assert seen(RowView.of(TWO, "conversation")) == [([5, 6, 7, 8, 9], [7, 8]), ([5, 6, 7, 8, 9, 4], [6, 9, 4])]
    assert seen(RowView.of(TWO, "response", S)) == [([1, 7, 8], [7, 8]), ([1, 6, 9, 4], [6, 9, 4])]
    assert seen(RowView.of(TWO, "response_without_start")) == [([7, 8], [8]), ([6, 9, 4], [9, 4])]
    assert seen(RowView.of(TWO, "instruction")) == [([5, 6], [6]), ([5, 7, 8], [7, 8])]


def test_the_instruction_behind_its_replies():
    """The same tokens are scored as of the instruction alone, and the replies lose their last where there is no room."""
    asked = Asked(np.array([S, 20], np.int32), np.array([21], np.int32), 10)
    view = RowView.of(TWO, "instruction_after_response", asked=asked)
    assert seen(view) == [([S, 20, 7, 8, 21, 5, 6], [6]), ([S, 20, 6, 9, 4, 21, 5, 7, 8], [7, 8])]
    cut = RowView.of(TWO, "instruction_after_response", asked=replace(asked, limit=7))
    assert seen(cut) == [([S, 20, 7, 8, 21, 5, 6], [6]), ([S, 20, 6, 21, 5, 7, 8], [7, 8])]
    full = RowView.of(TWO, "instruction_after_response", asked=replace(asked, limit=6))
    assert full.reasons.tolist() == [None, NO_REPLY_SEEN] and seen(full, 0) == [([S, 20, 7, 21, 5, 6], [6])]
    nothing = RowView.of(rows([-7, -8]), "instruction_after_response", asked=asked)
    assert nothing.reasons.tolist() == [NO_REPLY_SEEN]


def test_a_view_takes_rows_in_the_order_asked_for():
    assert seen(RowView.of(TWO, "response", S), 1, 0, 1) == [seen(RowView.of(TWO, "response", S))[i] for i in (1, 0, 1)]


def test_a_row_of_which_nothing_is_seen_says_so():
    view = RowView.of(rows([-7, -8], [5, -6]), "instruction")
    assert view.reasons.tolist() == [NOTHING_TO_SEE, None] and view.lengths.tolist() == [0, 1]


def test_an_unknown_view_is_named():
    with pytest.raises(KeyError, match="reply"):
        RowView.of(TWO, "reply")


def test_a_row_behind_an_example():
    examples = rows([2, -3], [10, 11, -12])
    view = PairView.of(TWO, examples, np.array([[0, 1], [1, 0]]), limit=100)
    assert view.row_ids == [pair_id("r0", "r1"), pair_id("r1", "r0")]
    assert seen(view) == [([10, 11, 12, 5, 6, 7, 8, 9], [7, 8]), ([2, 3, 5, 6, 7, 8, 9, 4], [6, 9, 4])]


@pytest.mark.parametrize("limit", range(4, 11))
def test_the_example_is_cut_and_never_the_row(limit):
    view = PairView.of(TWO, rows([10, 11, -12]), np.array([[0, 0]]), limit=limit)
    room = limit - 5
    if room <= 0:
        assert view.reasons.tolist() == [NO_ROOM]
        return
    kept = [10, 11, 12][-min(3, room) :]
    assert seen(view) == [([*kept, 5, 6, 7, 8, 9], [7, 8])]
    assert view.take(np.array([0])).truncated.tolist() == [room < 3]


def test_a_token_that_begins_a_conversation_stands_once_and_stays():
    begun, example = rows([S, 6, -7]), rows([S, 11, -12, 13])
    assert seen(PairView.of(begun, example, np.array([[0, 0]]), 100, once=S)) == [([S, 11, 12, 13, 6, 7], [7])]
    assert seen(PairView.of(begun, example, np.array([[0, 0]]), 5, once=S)) == [([S, 12, 13, 6, 7], [7])]
    assert seen(PairView.of(begun, example, np.array([[0, 0]]), 100)) == [([S, 11, 12, 13, S, 6, 7], [7])]


def test_a_pair_has_the_tokens_of_the_conversation_that_it_is(base4m):
    """With the embedded model's template, a row behind an example is the two-turn conversation itself."""
    tokenizer = load_tokenizer(base4m)
    assert start_token(tokenizer) == tokenizer.bos_token_id and printed_once(tokenizer) is None
    example = [{"role": "user", "content": "Say a."}, {"role": "assistant", "content": " a"}]
    row = [{"role": "user", "content": "Say b."}, {"role": "assistant", "content": "b\n"}]
    encoded = encode_rows(
        tokenizer, [(example, None), (row, None), ([{**example[0]}, {**example[1], "weight": 0}, *row], None)], 99
    )
    one, two, both = (Encodings([str(i)], [r.input_ids], [r.loss_mask], np.zeros(1, bool)) for i, r in enumerate(encoded))
    pair = PairView.of(two, one, np.array([[0, 0]]), 99).take(np.array([0]))
    assert pair.input_ids[0].tolist() == both.input_ids[0].tolist() and pair.loss_mask[0].tolist() == both.loss_mask[0].tolist()


ONCE = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}{% endfor %}"
EACH = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token }}{% endif %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
)


@pytest.mark.parametrize(("template", "once"), [(ONCE, True), (EACH, False)])
def test_templates_that_print_the_start_token_once(base4m, template, once):
    tokenizer = load_tokenizer(base4m)
    tokenizer.chat_template = template
    assert printed_once(tokenizer) == (tokenizer.bos_token_id if once else None)


@pytest.mark.parametrize("name", ["conversation", "response", "instruction"])
def test_a_part_of_a_view_is_those_rows_and_no_others(name):
    weights = {"r0": np.ones(5, np.float32), "r1": np.ones(6, np.float32)}
    view = RowView.of(replace(TWO, weights=weights), name, S)
    part = view.part(np.array([1]))
    assert list(part.row_ids) == ["r1"] and seen(part) == seen(view, 1) and part.reasons.tolist() == [None]
    assert list(part.encodings.row_ids) == ["r1"] and set(part.encodings.weights) == {"r1"}


def test_a_part_of_pairs_keeps_their_groups_in_order():
    """By which they are batched: of the same pairs in the whole and alone."""
    own, examples = rows([5, -6], [7, 8, -9], [1, -2]), rows([3, -4], [10, -11, 12], [13, -14])
    view = PairView.of(own, examples, np.array([(i, j) for j in (2, 0, 1) for i in range(3)]), limit=5)
    chosen = np.array([7, 1, 2, 8])
    part = view.part(chosen)
    assert len(part.examples) == 2 and len(part.rows) == 2 and seen(part) == seen(view, *chosen.tolist())
    assert part.groups(np.arange(4)).tolist() == view.groups(chosen).tolist() == [0, 2, 2, 1]
    assert part.cut.tolist() == view.cut[chosen].tolist() and list(part.row_ids) == [view.row_ids[k] for k in chosen]
