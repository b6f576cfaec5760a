"""Which text of a conversation a view has."""

import pytest

from curate.embedding.texts import text_of
from curate.lm.views import ROW_VIEWS

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One and one?"},
    {"role": "assistant", "content": "Two.", "reasoning_content": "1 + 1"},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "clock"}}]},
    {"role": "tool", "content": "noon"},
    {"role": "assistant", "content": "Not learned.", "weight": 0},
]


def test_views():
    reply = '1 + 1\nTwo.\n[{"function":{"name":"clock"}}]'
    assert text_of(CHAT, "response") == text_of(CHAT, "response_without_start") == reply
    assert text_of(CHAT, "instruction") == "Be brief.\nOne and one?\nAnd now?\nnoon\nNot learned."
    assert text_of(CHAT) == (
        'Be brief.\nOne and one?\n1 + 1\nTwo.\nAnd now?\n[{"function":{"name":"clock"}}]\nnoon\nNot learned.'
    )


@pytest.mark.parametrize("view", ROW_VIEWS)
def test_every_view_of_rows_has_a_text(view):
    assert text_of(CHAT, view)


def test_blank_is_no_text():
    assert text_of([{"role": "user", "content": " \n"}, {"role": "assistant", "content": "Yes."}], "instruction") == ""
