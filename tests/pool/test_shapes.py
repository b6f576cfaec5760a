from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import InputError
from curate.pool import Pool, read_pool
from curate.pool.reasons import Unusable
from curate.pool.shapes import Shaper

U = {"role": "user", "content": "q"}
A = {"role": "assistant", "content": "a"}
S = {"role": "system", "content": "s"}


@pytest.mark.parametrize(
    ("record", "shape", "messages"),
    [
        ({"messages": [U, A]}, "messages", [U, A]),
        ({"conversations": [U, A]}, "messages", [U, A]),
        ({"chat": [U, A], "n": 1}, "messages", [U, A]),
        ({"messages": '[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]'}, "messages", [U, A]),
        ({"messages": [U, A], "system": "s"}, "messages", [S, U, A]),
        ({"messages": [S, U, A], "system": "t"}, "messages", [S, U, A]),
        ({"messages": None, "prompt": "q", "completion": "a"}, "prompt-completion", [U, A]),
        ({"messages": [U, A], "prompt": "other", "completion": "other"}, "messages", [U, A]),
        ({"messages": [], "prompt": "q", "completion": "a"}, "prompt-completion", [U, A]),
        ({"messages": 2, "conversation": "id", "prompt": "q", "completion": "a"}, "prompt-completion", [U, A]),
        ({"messages": "", "conversations": [U, A]}, "messages", [U, A]),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "sharegpt", [U, A]),
        ({"messages": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]}, "sharegpt", [U, A]),
        ({"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
         "sharegpt", [S, U, A]),
        ({"log": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "sharegpt", [U, A]),
        ({"instruction": "q", "output": "a"}, "alpaca", [U, A]),
        ({"instruction": "q", "input": "", "output": "a"}, "alpaca", [U, A]),
        ({"instruction": "q", "input": None, "output": "a"}, "alpaca", [U, A]),
        ({"instruction": "q", "input": "x", "output": "a"}, "alpaca", [{"role": "user", "content": "q\nx"}, A]),
        ({"instruction": "q", "context": "x", "response": "a"}, "alpaca", [{"role": "user", "content": "q\nx"}, A]),
        ({"instruction": "q", "input": "x", "response": "a"}, "alpaca", [{"role": "user", "content": "q\nx"}, A]),
        ({"instruction": "q", "output": "a", "system": "s", "history": [["h", "i"]]}, "alpaca",
         [S, {"role": "user", "content": "h"}, {"role": "assistant", "content": "i"}, U, A]),
        ({"prompt": "q", "completion": "a"}, "prompt-completion", [U, A]),
        ({"prompt": "q", "response": "a"}, "prompt-completion", [U, A]),
        ({"prompt": [S, U], "completion": [A]}, "prompt-completion", [S, U, A]),
        ({"prompt": [U], "completion": "a"}, "prompt-completion", [U, A]),
        ({"question": "q", "answer": "a"}, "question-answer", [U, A]),
        ({"question": "q", "choices": ["b", "a"], "answer": 1}, "multiple-choice", [U, A]),
        ({"question": "q", "choices": ["b", "a"], "answer": "B"}, "multiple-choice", [U, A]),
        ({"question": "q", "choices": ["b", "a"], "answer": "1"}, "multiple-choice", [U, A]),
        ({"question": "q", "choices": ["B", "a"], "answer": "B"}, "multiple-choice", [U, {"role": "assistant", "content": "B"}]),
        ({"question": "q", "choices": '["b", "a"]', "answer": "a"}, "multiple-choice", [U, A]),
        ({"question": "q", "choices": {"text": ["b", "a"], "label": ["1", "2"]}, "answerKey": "2"}, "multiple-choice", [U, A]),
        ({"messages": [S, U], "choices": ["a", "b"], "answer": "A"}, "multiple-choice", [S, U, A]),
        ({"prompt": "q", "choices": ["a", "b"], "answer": 0}, "multiple-choice", [U, A]),
        # choices beside another shape
        ({"messages": [U, A], "choices": ["a", "b"], "answer": "B"}, "messages", [U, A]),
        ({"question": "q", "choices": ["x", "y"], "answer": "a"}, "question-answer", [U, A]),
        ({"prompt": "q", "completion": "a", "choices": ["x", "y"], "answer": 1}, "prompt-completion", [U, A]),
        ({"question": "q", "choices": [{"logprobs": None}], "answer": "a"}, "question-answer", [U, A]),
    ],
)  # fmt: skip
def test_shapes(record: dict[str, Any], shape: str, messages: list[Any]) -> None:
    found = Shaper()(record)
    assert (found.layout.shape, found.messages) == (shape, messages)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"question": "q", "choices": ["b", "a"], "answer": 2}, "no right choice: the answer is 2"),
        ({"question": "q", "choices": ["b", "a"], "answer": -1}, "no right choice: the answer is -1"),
        ({"question": "q", "choices": ["b"], "answer": 0}, "no choices: choices has 1"),
        ({"question": "q", "choices": ["b", " "], "answer": 0}, "no choices: one of them is empty"),
        ({"messages": [U], "choices": ["b", "a"], "answer": "z"}, "no right choice: the answer is 'z'"),
        ({"messages": [U], "choices": ["b", "a"]}, "no right choice: the answer is None"),
    ],
)
def test_choices_that_cannot_be_used(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        Shaper()(record)


def test_sharegpt_tools() -> None:
    record = {
        "conversations": [
            {"from": "human", "value": "q"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
            {"from": "observation", "value": "3"},
            {"from": "gpt", "value": "a"},
        ],
        "tools": '[{"name": "f"}]',
    }
    found = Shaper()(record)
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    assert found.messages == [
        U, {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "3"}, A,
    ]  # fmt: skip
    assert found.tools == [{"name": "f"}]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "x"}, "no known shape"),
        ({"instruction": "q", "input": ""}, "missing reply: there is instruction but no output or response"),
        ({"prompt": "q", "text": "a"}, "missing reply: there is prompt but no completion or response"),
        ({"question": "q", "context": "c"}, "missing reply: there is question but no answer"),
        ({"instruction": None, "input": "q"}, "no known shape"),
        ({"messages": None}, "missing messages"),
        ({"messages": []}, "missing messages: the list is empty"),
        ({"messages": 5}, "messages not a list: it is int"),
        ({"messages": "[oops"}, "messages not a list: it is text but not JSON"),
        ({"chosen": [U, A], "rejected": [U, A]}, "preference pairs are out of scope"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "preference pairs are out of scope"),
        ({"instruction": "q", "output": None}, "content null: message 2"),
        ({"instruction": "q", "output": ["a"], "input": ""}, "wrong type: output is list, not text"),
        ({"instruction": "q", "input": 3, "output": "a"}, "wrong type: input is int, not text"),
        ({"instruction": "q", "output": "a", "history": "h"}, "wrong type: history is str, not a list"),
        ({"instruction": "q", "output": "a", "history": [["h"]]}, "wrong type: history is not a list of pairs"),
        ({"prompt": "q", "completion": 4}, "content not text: message 2 has int"),
        ({"question": "q", "answer": {"text": ["a"]}}, "content not text: message 2 has dict"),
        ({"messages": [U, A], "system": 5}, "wrong type: system is int, not text"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "dog", "value": "a"}]},
         "unknown role: 'dog' in message 2"),
        ({"conversations": [{"from": "human", "value": "q"}, {"value": "a"}]}, "missing role: message 2"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": [], "value": "a"}]},
         "unknown role: [] in message 2"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "f(x)"}]},
         "wrong type: the function call in message 2 is not JSON with a name"),
    ],
)  # fmt: skip
def test_reasons(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable) as fault:
        Shaper()(record)
    assert str(fault.value) == reason


def test_source() -> None:
    assert Shaper()({"messages": [U, A], "source": "web"}).source == "web"
    assert Shaper()({"messages": [U, A], "source": 3}).source is None
    assert Shaper()({"messages": [U, A]}).source is None
    assert Shaper({"source": "kind"})({"messages": [U, A], "kind": 3, "source": "web"}).source == "3"


def test_mapped_columns_win() -> None:
    record = {"messages": [U, A], "ask": "Q", "reply": "R", "frame": "F"}
    found = Shaper({"prompt": "ask", "completion": "reply", "system": "frame"})(record)
    assert [message["content"] for message in found.messages] == ["F", "Q", "R"]
    assert Shaper({"messages": "talk"})({"talk": [U, A], "messages": "x"}).messages == [U, A]
    with pytest.raises(Unusable, match="missing reply: there is ask but no answer"):
        Shaper({"question": "ask"})({"ask": "Q", "reply": "R"})


def test_a_mapping_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="cannot map 'text': the names that can be mapped are messages"):
        Shaper({"text": "body"})
    with pytest.raises(InputError, match="two shapes: messages, question-answer"):
        Shaper({"messages": "a", "question": "b"})


def test_a_mapping_to_a_column_that_is_not_there_is_refused(read: Callable[..., Pool]) -> None:
    with pytest.raises(InputError, match="'source' is mapped to kind, which no usable row has; there are: messages"):
        read([{"messages": [U, A]}], columns={"source": "kind"})
    pool = read([{"messages": [U, A]}, {"messages": [S, U, A], "kind": "web"}], columns={"source": "kind"})
    assert sorted(pool.sources, key=str) == [None, "web"]


def test_mixed_shapes_in_one_file(read: Callable[..., Pool]) -> None:
    pool = read(
        [
            {"messages": [U, A]},
            {"instruction": "q2", "output": "a"},
            {"question": "q3", "answer": "a"},
            {"question": "q4", "answer": "a"},
            {"conversations": [{"from": "human", "value": "q5"}, {"from": "gpt", "value": "a"}]},
            {"text": "neither"},
        ]
    )
    assert pool.report.shapes == {"messages": 1, "alpaca": 1, "question-answer": 2, "sharegpt": 1}
    assert [(row.line, row.reason) for row in pool.report.rejected] == [(6, "no known shape")]
    by_text = {pool.messages(i)[0]["content"]: pool.layout_of(i).shape for i in range(len(pool))}
    assert by_text == {
        "q": "messages", "q2": "alpaca", "q3": "question-answer", "q4": "question-answer", "q5": "sharegpt",
    }  # fmt: skip


def test_the_same_conversation_in_two_shapes_has_one_id(read: Callable[..., Pool]) -> None:
    pool = read([{"prompt": "q", "completion": "a"}, {"messages": [U, A]}])
    assert len(pool) == 1 and len(pool.report.duplicates) == 1


def test_rows_of_no_known_shape_are_an_error_that_names_the_columns(read: Callable[..., Pool]) -> None:
    with pytest.raises(InputError, match="no known shape in the columns text, score; accepted are messages"):
        read([{"text": "x", "score": 1}])
    with pytest.raises(InputError, match=r"in the columns 'a\\nb', '';"):
        read([{"a\nb": "x", "": 1}])


def test_an_unknown_shape_is_answered_with_a_mapping_of_its_own_columns(read: Callable[..., Pool], tmp_path: Path) -> None:
    hint = "other columns can be mapped to these, as in --map prompt=ask --map 'completion=the reply'"
    with pytest.raises(InputError, match=hint):
        read([{"id": "7", "n": 1, "ask": "q", "the reply": "a", "source": "web"}])
    pq.write_table(pa.table({"n": [1], "ask": ["q"], "the reply": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=hint):
        read_pool(tmp_path / "a.parquet")
    for row in ({"n": 1}, {"ask": "q"}, {"a\nb": "x", "": "y"}):
        with pytest.raises(InputError, match="as in --map prompt=COLUMN --map completion=COLUMN$"):
            read([row])
    with pytest.raises(
        InputError, match="no known shape in the columns prompt, reply.* --map prompt=prompt --map completion=reply$"
    ):
        read([{"prompt": "q", "reply": "a"}])
    assert len(read([{"ask": "q", "the reply": "a"}], columns={"prompt": "ask", "completion": "the reply"})) == 1
