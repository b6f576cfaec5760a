"""The shapes that conversations come in, found row by row, and how each becomes a list of messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from curate.errors import InputError
from curate.pool import reasons
from curate.pool.choices import ANSWERS, CHOICES, choice_texts, read_choices
from curate.pool.reasons import Unusable, listed, show
from curate.pool.validate import EXTRAS, Message, canonical_messages, canonical_tools

SHAPES = ("messages", "sharegpt", "alpaca", "prompt-completion", "question-answer", "multiple-choice")
ACCEPTED = (
    "messages (role, content); conversations (from, value); instruction, input, output; "
    "prompt, completion or response; question, answer; question or messages, choices, answer"
)
FIELDS = (  # the canonical names that `columns` may map
    "messages", "conversations", "instruction", "input", "output", "history", "prompt", "completion", "question",
    "answer", "choices", "system", "tools", "source", "id",
)  # fmt: skip

SHAREGPT_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
    "bing": "assistant", "bard": "assistant", "model": "assistant", "bot": "assistant", "system": "system",
    "developer": "system", "function_call": "assistant", "tool_call": "assistant", "observation": "tool",
    "tool": "tool", "tool_response": "tool", "function_response": "tool", "function": "tool",
}  # fmt: skip
_CALLS = ("function_call", "tool_call")


@dataclass(frozen=True)
class Layout:
    """A shape and the user's column for each of its fields, in the order (field, column)."""

    shape: str
    columns: tuple[tuple[str, str], ...]


class Conversation(NamedTuple):
    layout: Layout
    messages: list[Message]
    tools: list[Any] | None
    source: str | None


class Shaper:
    """Turns a record into a Conversation. `columns` maps canonical names to the user's.

    Raises InputError for a name that is not canonical, or for names of two shapes at once.
    """

    def __init__(self, columns: Mapping[str, str] | None = None) -> None:
        columns = dict(columns or {})
        for field in columns:
            if field not in FIELDS:
                raise InputError(f"cannot map '{field}': the names that can be mapped are {', '.join(FIELDS)}")
        self.columns = columns
        self._system, self._tools, self._source = (columns.get(name, name) for name in ("system", "tools", "source"))
        self._history = columns.get("history", "history")
        self._choices = columns.get("choices", CHOICES)
        self._answers = tuple(columns.get(name, name) for name in ANSWERS)
        self._asked = tuple(columns.get(name, name) for name in ("question", "prompt"))
        self._source_is_mapped = "source" in columns
        self._chats, self._fields, self._fallback = _layouts(columns)

    def __call__(self, record: dict[str, Any]) -> Conversation:
        """The conversation in the record. Raises Unusable."""
        layout, turns = self._multiple_choice(record) or self._find(record)
        system = record.get(self._system)
        if system is not None and not isinstance(system, str):
            raise Unusable(reasons.WRONG_TYPE, f"system is {type(system).__name__}, not text")
        if system and not system.isspace() and isinstance(turns, list) and not _starts_with_system(turns):
            turns = [{"role": "system", "content": system}, *turns]
        messages = canonical_messages(turns)
        tools = record.get(self._tools)
        return Conversation(layout, messages, canonical_tools(tools) if tools else None, self.source_of(record))

    def source_of(self, record: dict[str, Any]) -> str | None:
        """The source that a record names: text, or anything as text where the user has mapped the column."""
        source = record.get(self._source)
        if source is None or type(source) is str:
            return source
        return str(source) if self._source_is_mapped else None

    def fits(self, record: dict[str, Any]) -> bool:
        """Whether the record is of a known shape, usable or not."""
        try:
            self._multiple_choice(record) or self._find(record)
        except Unusable as fault:
            return fault.reason not in reasons.NO_SHAPE
        return True

    def wanted(self, schema: pa.Schema) -> list[str]:
        """The columns of a table that a conversation, its tools or its source can come from."""
        named = {column for chat, _ in self._chats for _, column in chat.columns}
        named |= {column for _, required in self._fields for column in required}
        named |= {self._system, self._tools, self._source, self._history, "chosen", "rejected"}
        named |= {self._choices, *self._answers, *self._asked}
        return [field.name for field in schema if field.name in named or (self._fallback and _holds_turns(field.type))]

    def _multiple_choice(self, record: dict[str, Any]) -> tuple[Layout, object] | None:
        """A question with its right choice as the reply; None for a row without choices, or with another reply."""
        if choice_texts(record.get(self._choices)) is None:
            return None
        if any(record.get(name) is not None for name in ("completion", "response")):
            return None
        asked, turns = next(((name, turns) for name in self._asked if (turns := record.get(name)) is not None), ("", None))
        for chat, sharegpt in self._chats:
            if isinstance(given := record.get(chat.columns[0][1]), list) and given:
                _, turns = _chat(chat, sharegpt, given)
                asked = chat.columns[0][1]
        if turns is None or (isinstance(turns, list) and _replied(turns)):
            return None
        try:
            choices = read_choices(record, self._choices, self._answers)
        except Unusable:
            if any(isinstance(record.get(name), (list, int)) for name in (asked, *self._answers)):
                raise
            return None  # a free answer beside the choices, or a shape of its own
        field = "messages" if isinstance(turns, list) else "question"
        layout = Layout("multiple-choice", ((field, asked), ("choices", self._choices)))
        return layout, [*_text_or_turns(turns, "user"), {"role": "assistant", "content": choices.texts[choices.right]}]

    def _find(self, record: dict[str, Any]) -> tuple[Layout, object]:
        no_list: tuple[Layout, object] | None = None
        for chat, sharegpt in self._chats:
            turns = record.get(chat.columns[0][1])
            if turns and (isinstance(turns, list) or (isinstance(turns, str) and turns.lstrip()[:1] == "[")):
                return _chat(chat, sharegpt, turns)
            if turns is not None and turns != "":  # an empty cell of a CSV says nothing
                no_list = no_list or (chat, turns)
        for layout, required in self._fields:
            if record.get(required[0]) is not None and all(column in record for column in required):
                return layout, _TURNS[layout.shape](record, layout, self._history)
        if "chosen" in record and "rejected" in record:
            raise Unusable(reasons.PREFERENCE)
        if self._fallback:
            for column, value in record.items():
                if isinstance(value, list) and value and _is_turn(value[0]):
                    fields = (("messages", column),)
                    return _chat(Layout("messages", fields), Layout("sharegpt", fields), value)
        if no_list:
            return no_list
        if any(chat.columns[0][1] in record for chat, _ in self._chats):
            raise Unusable(reasons.MISSING_MESSAGES)
        self._check_for_half_a_shape(record)
        raise Unusable(reasons.UNKNOWN_SHAPE)

    def _check_for_half_a_shape(self, record: dict[str, Any]) -> None:
        """Raises Unusable where there is something to reply to and no column for the reply."""
        for layout, (asked, *_) in self._fields:
            if record.get(asked) is not None:
                replies = dict.fromkeys(_reply_column(other) for other, _ in self._fields if other.shape == layout.shape)
                raise Unusable(
                    reasons.MISSING_REPLY, f"there is {listed([asked])} but no {' or '.join(map(listed, zip(replies)))}"
                )


def _layouts(
    columns: Mapping[str, str],
) -> tuple[list[tuple[Layout, Layout]], list[tuple[Layout, tuple[str, ...]]], bool]:
    """Where to look, in order: chat columns, then sets of text columns; and whether any list of turns will do."""

    def layout(shape: str, **fields: str) -> tuple[Layout, tuple[str, ...]]:
        pairs = tuple((field, columns.get(field, column)) for field, column in fields.items())
        return Layout(shape, pairs), tuple(column for _, column in pairs)

    def chat(column: str) -> tuple[Layout, Layout]:
        fields = (("messages", column),)
        return Layout("messages", fields), Layout("sharegpt", fields)

    texts = {
        "alpaca": [
            layout("alpaca", instruction="instruction", output=output, **rest)
            for rest in ({"input": "input"}, {"input": "context"}, {})
            for output in ("output", "response")
        ],
        "prompt-completion": [
            layout("prompt-completion", prompt="prompt", completion=completion) for completion in ("completion", "response")
        ],
        "question-answer": [layout("question-answer", question="question", answer="answer")],
    }
    mapped = {"messages"} & columns.keys() or {"conversations"} & columns.keys()
    named = [shape for shape, found in texts.items() if dict(found[0][0].columns).keys() & columns.keys()]
    if len(named) + bool(mapped) > 1:
        raise InputError(f"the mapped columns belong to two shapes: {', '.join([*mapped, *named])}")
    if mapped:
        return [chat(columns[mapped.pop()])], [], False
    if named:
        return [], texts[named[0]], False
    chats = [chat(name) for name in ("messages", "conversations", "conversation")]
    return chats, [entry for found in texts.values() for entry in found], True


def _reply_column(layout: Layout) -> str:
    fields = dict(layout.columns)
    return next(fields[name] for name in ("output", "completion", "answer") if name in fields)


def _chat(chat: Layout, sharegpt: Layout, turns: object) -> tuple[Layout, object]:
    """Which of the two layouts a list of turns, perhaps as JSON text, has; and the turns in OpenAI's form."""
    if isinstance(turns, str):  # as a list of messages in a CSV is
        try:
            turns = orjson.loads(turns)
        except orjson.JSONDecodeError:
            raise Unusable(reasons.MESSAGES_NOT_LIST, "it is text but not JSON") from None
    if isinstance(turns, list) and turns and isinstance(turns[0], dict) and turns[0].get("from") is not None:
        return sharegpt, [_from_sharegpt(turn, number) for number, turn in enumerate(turns, 1)]
    return chat, turns


def _is_turn(value: object) -> bool:
    return isinstance(value, dict) and (value.keys() >= {"role", "content"} or value.keys() >= {"from", "value"})


def _holds_turns(type_: pa.DataType) -> bool:
    if not (pa.types.is_list(type_) or pa.types.is_large_list(type_)) or not pa.types.is_struct(type_.value_type):
        return False
    names = {field.name for field in type_.value_type}
    return names >= {"role", "content"} or names >= {"from", "value"}


def _starts_with_system(turns: list[Any]) -> bool:
    return bool(turns) and isinstance(turns[0], dict) and turns[0].get("role") in ("system", "developer")


def _from_sharegpt(turn: object, number: int) -> object:
    if not isinstance(turn, dict):
        return turn
    speaker = turn.get("from")
    if speaker is None:
        raise Unusable(reasons.MISSING_ROLE, f"message {number}")
    role = SHAREGPT_ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise Unusable(reasons.UNKNOWN_ROLE, f"{show(speaker)} in message {number}")
    message = {"role": role, **{key: turn[key] for key in EXTRAS if key in turn}}
    if speaker in _CALLS:
        return message | {"tool_calls": _calls(turn.get("value"), number)}
    return message | {"content": turn.get("value")}


def _calls(value: object, number: int) -> list[dict[str, Any]]:
    """ShareGPT's function_call: JSON text of one call or of a list of them, each with name and arguments."""
    try:
        decoded = orjson.loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        decoded = None
    calls = decoded if isinstance(decoded, list) else [decoded]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise Unusable(reasons.WRONG_TYPE, f"the function call in message {number} is not JSON with a name")
    return [{"type": "function", "function": call} for call in calls]


def _replied(turns: list[Any]) -> bool:
    """Whether the last turn is a reply."""
    return isinstance(turns[-1], dict) and turns[-1].get("role") == "assistant"


def _text_or_turns(value: object, role: str) -> list[Any]:
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def _alpaca(record: dict[str, Any], layout: Layout, history_column: str) -> list[Any]:
    columns = dict(layout.columns)
    turns: list[Any] = []
    history = record.get(history_column) or []
    if not isinstance(history, list):
        raise Unusable(reasons.WRONG_TYPE, f"history is {type(history).__name__}, not a list")
    for pair in history:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unusable(reasons.WRONG_TYPE, "history is not a list of pairs")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    for field, column in layout.columns:
        value = record[column]
        if value is not None and not isinstance(value, str):  # several references, say: which one is not ours to choose
            raise Unusable(reasons.WRONG_TYPE, f"{field} is {type(value).__name__}, not text")
    instruction = record[columns["instruction"]]
    given = record[columns["input"]] if "input" in columns else None
    if given and not given.isspace():
        # one line break, as LLaMA-Factory joins them, so that what is scored is what is trained on
        instruction = f"{instruction}\n{given}" if instruction else given
    return [*turns, {"role": "user", "content": instruction},
            {"role": "assistant", "content": record[columns["output"]]}]  # fmt: skip


def _pair(record: dict[str, Any], layout: Layout, _: str) -> list[Any]:
    (_, asked), (_, replied) = layout.columns
    return [*_text_or_turns(record[asked], "user"), *_text_or_turns(record[replied], "assistant")]


_TURNS = {"alpaca": _alpaca, "prompt-completion": _pair, "question-answer": _pair}
