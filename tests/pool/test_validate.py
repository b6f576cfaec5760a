import pytest

from curate.pool import reasons
from curate.pool.reasons import Unusable
from curate.pool.validate import canonical_messages, canonical_tools

USER = {"role": "user", "content": "hi"}
REPLY = {"role": "assistant", "content": "hello"}


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (None, "missing messages"),
        ([], "missing messages: the list is empty"),
        ("hi", "messages not a list: it is str"),
        ({"role": "user"}, "messages not a list: it is dict"),
        ([USER, "hello"], "message not an object: message 2 is str"),
        ([USER, {"content": "hello"}], "missing role: message 2"),
        ([USER, {"role": None, "content": "hello"}], "missing role: message 2"),
        ([USER, {"role": ["a"], "content": "hello"}], "wrong type: the role of message 2 is list"),
        ([USER, {"role": "Alice", "content": "hello"}], "unknown role: 'Alice' in message 2"),
        ([USER, {"role": "x" * 99, "content": "hello"}], "unknown role: '" + "x" * 36 + "... in message 2"),
        ([USER, {"role": "assistant", "content": None}], "content null: message 2"),
        ([USER, {"role": "assistant"}], "content null: message 2"),
        ([USER, {"role": "assistant", "content": 5}], "content not text: message 2 has int"),
        ([{"role": "user", "content": {"text": "x"}}, REPLY], "content not text: message 1 has dict"),
        ([{"role": "user", "content": [{"type": "text", "text": 3}]}, REPLY],
         "content not text: message 1 has a part of type 'text'"),
        ([{"role": "user", "content": [7]}, REPLY], "content not text: message 1 has a part that is int"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, REPLY],
         "images are out of scope: message 1"),
        ([{"role": "user", "content": [{"type": "image"}]}, REPLY], "images are out of scope: message 1"),
        ([USER, {"role": "assistant", "content": " \n\t"}], "empty reply: message 2"),
        ([USER, {"role": "assistant", "content": ""}], "empty reply: message 2"),
        ([USER], "no assistant message"),
        ([REPLY, USER], "no prompt: nothing stands before the first reply"),
        ([{"role": "user", "content": " "}, REPLY], "no prompt: nothing stands before the first reply"),
        ([USER, REPLY | {"tool_calls": "["}], "wrong type: tool_calls of message 2 is text but not JSON"),
        ([USER, REPLY | {"tool_calls": [1]}], "wrong type: tool_calls of message 2 is not a list of objects"),
        ([USER, REPLY | {"reasoning_content": 1}], "wrong type: reasoning_content of message 2 is int, not text"),
        ([USER, REPLY | {"weight": "1"}], "wrong type: weight of message 2 is '1'"),
        ([USER, REPLY | {"weight": -1}], "wrong type: weight of message 2 is -1"),
        ([USER, REPLY | {"weight": float("nan")}], "wrong type: weight of message 2 is nan"),
    ],
)  # fmt: skip
def test_reasons(turns: object, reason: str) -> None:
    with pytest.raises(Unusable) as fault:
        canonical_messages(turns)
    assert str(fault.value) == reason
    assert fault.value.reason in reasons.REASONS


def test_plain_conversation_stays_as_it_is() -> None:
    turns = [{"role": "system", "content": "s"}, USER, REPLY, USER, REPLY, USER]
    assert canonical_messages(turns) == turns


def test_developer_is_system_and_parts_are_joined() -> None:
    turns = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, "c"]},
        REPLY,
    ]
    assert canonical_messages(turns)[:2] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "abc"},
    ]


def test_a_system_prompt_alone_is_a_prompt() -> None:
    assert len(canonical_messages([{"role": "system", "content": "Write a poem."}, REPLY])) == 2


def test_extras_are_kept_nulls_and_other_keys_are_not() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": None}}}
    turns = [
        USER | {"name": "Ann", "timestamp": 5},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm", "weight": 0},
        {"role": "tool", "content": "", "tool_call_id": "1", "name": None},
        REPLY | {"weight": None, "tool_calls": []},
    ]
    assert canonical_messages(turns) == [
        USER | {"name": "Ann"},
        {"role": "assistant", "content": "", "reasoning_content": "hm", "weight": 0.0,
         "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
        {"role": "tool", "content": "", "tool_call_id": "1"},
        REPLY,
    ]  # fmt: skip


def test_tool_calls_as_text_and_the_older_function_call() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    as_text = canonical_messages([USER, {"role": "assistant", "tool_calls": '[{"type":"function","function":'
                                         '{"name":"f","arguments":"{}"}}]'}])  # fmt: skip
    older = canonical_messages([USER, {"role": "assistant", "content": None,
                                       "function_call": {"name": "f", "arguments": "{}"}}])  # fmt: skip
    assert as_text[1]["tool_calls"] == older[1]["tool_calls"] == [call]


def test_tools() -> None:
    schema = {"type": "function", "function": {"name": "f", "description": None}}
    wanted = [{"type": "function", "function": {"name": "f"}}]
    assert canonical_tools([schema]) == wanted
    assert canonical_tools('[{"type": "function", "function": {"name": "f"}}]') == wanted
    assert canonical_tools(['{"type": "function", "function": {"name": "f"}}']) == wanted
    assert canonical_tools(schema) == wanted
    assert canonical_tools([]) is canonical_tools("") is canonical_tools("[]") is canonical_tools(None) is None
    for bad in ("not json", 5, "7"):
        with pytest.raises(Unusable, match="wrong type"):
            canonical_tools(bad)


def test_deep_tools_are_rejected_without_recursing() -> None:
    deep: object = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(Unusable, match="too deeply nested"):
        canonical_tools([deep])
