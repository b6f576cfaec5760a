"""The text of a conversation, in the views of `curate.lm.views` that text embedders can have."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from curate.lm.views import CONVERSATION, INSTRUCTION, INSTRUCTION_AFTER_RESPONSE, RESPONSE, RESPONSE_WITHOUT_START

# Which messages a view has, by whether they are replies.
_HAS = {
    CONVERSATION: (True, False),
    RESPONSE: (True,),
    RESPONSE_WITHOUT_START: (True,),  # the start is a token, which a text has not
    INSTRUCTION: (False,),
    INSTRUCTION_AFTER_RESPONSE: (True, False),  # a text has one order
}


def text_of(messages: Iterable[Mapping[str, Any]], view: str = CONVERSATION) -> str:
    """The contents of the messages in a view, a line apart; "" where it has none.

    A reply is what an assistant says and training learns (not of weight 0); its reasoning and tool calls are of it.
    """
    has = _HAS[view]
    parts = [_content(message) for message in messages if _is_reply(message) in has]
    return "\n".join(part for part in parts if part.strip())


def dialogue(messages: Iterable[Mapping[str, Any]], view: str = CONVERSATION) -> str:
    """The same with the role before each message, for readers that are asked about it; "" where the view has none."""
    has = _HAS[view]
    parts = [(str(m["role"]).capitalize(), _content(m)) for m in messages if _is_reply(m) in has]
    return "\n\n".join(f"{role}: {content}" for role, content in parts if content.strip())


def _is_reply(message: Mapping[str, Any]) -> bool:
    return message["role"] == "assistant" and message.get("weight") != 0


def _content(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    said = (message.get("reasoning_content"), message.get("content"), calls and orjson.dumps(calls).decode())
    return "\n".join(part for part in said if part)
