"""One conversation into its canonical form, or the reason why not.

Canonical: a list of messages with `role` (system, user, assistant, tool) and `content` (text), and where the data has
them `reasoning_content`, `tool_calls`, `tool_call_id`, `name`, `weight`. No key is ever null.
"""

import math
from typing import Any

import orjson

from curate.pool import reasons
from curate.pool.reasons import Unusable, show

Message = dict[str, Any]

ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
    "function": "tool",
}  # fmt: skip
TEXT_EXTRAS = ("reasoning_content", "tool_call_id", "name")
EXTRAS = ("reasoning_content", "tool_calls", "tool_call_id", "name", "weight")


def canonical_messages(turns: object) -> list[Message]:
    """The messages of an OpenAI-style list, checked. Raises Unusable."""
    if turns is None:
        raise Unusable(reasons.MISSING_MESSAGES)
    if not isinstance(turns, list):
        raise Unusable(reasons.MESSAGES_NOT_LIST, f"it is {type(turns).__name__}")
    if not turns:
        raise Unusable(reasons.MISSING_MESSAGES, "the list is empty")
    messages: list[Message] = []
    prompted = replied = False
    for number, turn in enumerate(turns, 1):
        message = _canonical_message(turn, number)
        content = message["content"]
        if message["role"] == "assistant":
            if (not content or content.isspace()) and "tool_calls" not in message:
                raise Unusable(reasons.EMPTY_REPLY, f"message {number}")
            if not prompted:
                raise Unusable(reasons.NO_PROMPT, "nothing stands before the first reply")
            replied = True
        elif content and not content.isspace():
            prompted = True
        messages.append(message)
    if not replied:
        raise Unusable(reasons.NO_ASSISTANT)
    return messages


def canonical_tools(tools: object) -> list[Any] | None:
    """The tools of a conversation as a list of schemas; None for none. JSON text is decoded. Raises Unusable."""
    if isinstance(tools, str):
        tools = _decoded(tools, "tools") if tools.strip() else None
    if isinstance(tools, dict):
        tools = [tools]
    if not tools:
        return None
    if not isinstance(tools, list):
        raise Unusable(reasons.WRONG_TYPE, f"tools is {type(tools).__name__}, not a list")
    decoded = [_decoded(tool, "tools") if isinstance(tool, str) else tool for tool in tools]
    return without_nulls(decoded)


def without_nulls(value: Any, depth: int = 0) -> Any:
    """The value with null-valued keys left out at every level, for Arrow cannot tell null from absent.

    Raises Unusable where the nesting passes MAX_DEPTH.
    """
    if depth > reasons.MAX_DEPTH:
        raise Unusable(reasons.TOO_DEEP)
    if isinstance(value, dict):
        return {key: without_nulls(item, depth + 1) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item, depth + 1) for item in value]
    return value


def _canonical_message(turn: object, number: int) -> Message:
    if type(turn) is not dict:
        raise Unusable(reasons.MESSAGE_NOT_OBJECT, f"message {number} is {type(turn).__name__}")
    given = turn.get("role")
    if type(given) is not str:
        if given is None:
            raise Unusable(reasons.MISSING_ROLE, f"message {number}")
        raise Unusable(reasons.WRONG_TYPE, f"the role of message {number} is {type(given).__name__}")
    role = ROLES.get(given)
    if role is None:
        raise Unusable(reasons.UNKNOWN_ROLE, f"{show(given)} in message {number}")
    content = turn.get("content")
    if len(turn) == 2 and type(content) is str:  # the common case, kept short
        return {"role": role, "content": content}
    extras = _extras(turn, number)
    if content is None and "tool_calls" in extras:
        content = ""
    return {"role": role, "content": _text(content, number), **extras}


def _text(content: object, number: int) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        raise Unusable(reasons.CONTENT_NULL, f"message {number}")
    if not isinstance(content, list):
        raise Unusable(reasons.CONTENT_NOT_TEXT, f"message {number} has {type(content).__name__}")
    return "".join(_part(part, number) for part in content)


def _part(part: object, number: int) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        kind = part.get("type")
        if isinstance(kind, str) and "image" in kind:
            raise Unusable(reasons.IMAGES, f"message {number}")
        text = part.get("text")
        if kind in (None, "text", "input_text", "output_text") and isinstance(text, str):
            return text
        raise Unusable(reasons.CONTENT_NOT_TEXT, f"message {number} has a part of type {show(kind)}")
    raise Unusable(reasons.CONTENT_NOT_TEXT, f"message {number} has a part that is {type(part).__name__}")


def _extras(turn: dict[str, Any], number: int) -> Message:
    extras: Message = {}
    for key in TEXT_EXTRAS:
        value = turn.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            raise Unusable(reasons.WRONG_TYPE, f"{key} of message {number} is {type(value).__name__}, not text")
        extras[key] = value
    calls = _tool_calls(turn, number)
    if calls:
        extras["tool_calls"] = calls
    weight = turn.get("weight")
    if weight is not None:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise Unusable(reasons.WRONG_TYPE, f"weight of message {number} is {show(weight)}")
        extras["weight"] = float(weight)
    return extras


def _tool_calls(turn: dict[str, Any], number: int) -> list[Any] | None:
    calls = turn.get("tool_calls")
    if isinstance(calls, str):
        calls = _decoded(calls, f"tool_calls of message {number}") if calls.strip() else None
    if not calls and isinstance(turn.get("function_call"), dict):  # OpenAI's older form, one call
        calls = [{"type": "function", "function": turn["function_call"]}]
    if not calls:
        return None
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise Unusable(reasons.WRONG_TYPE, f"tool_calls of message {number} is not a list of objects")
    return without_nulls(calls)


def _decoded(text: str, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Unusable(reasons.WRONG_TYPE, f"{what} is text but not JSON") from None
