"""Which rows of a pool answer the same prompt."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from curate.pool.pool import Pool

DIGEST = 8  # bytes


def prompt_keys(pool: "Pool") -> list[str]:
    """A key for each row, equal for rows with the same prompt: all that stands before the last reply, and the tools.

    Prompts that differ in case, in white space or in how a character is composed (NFKC) are the same. Earlier turns belong to
    the prompt, so two rows share it only where the whole conversation up to the last reply is the same.
    """
    return [_key(messages, tools) for messages, tools in pool.conversations()]


def _key(messages: Sequence[Mapping[str, Any]], tools: Any) -> str:
    replies = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    before = messages[: replies[-1]] if replies else messages
    said = [[m["role"], normalised(m.get("content") or ""), m.get("tool_calls") or []] for m in before]
    return hashlib.blake2b(orjson.dumps([said, tools or []], option=orjson.OPT_SORT_KEYS), digest_size=DIGEST).hexdigest()


def normalised(text: str) -> str:
    """The text with characters composed alike, in one case, and single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
