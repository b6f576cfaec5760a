"""Conversations through a tokenizer's chat template, and where in the text the replies are.

Stock templates carry no generation markers, so replies are found by differencing: what the template prints for the
messages before a reply (with the generation prompt) is a prefix of what it prints for all of them, and the reply
begins where that prefix ends. It ends with the end-of-turn token that follows its content.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.errors import CurateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]

# For a base model that has no template: headings as in Alpaca's prompt, and the model's own end of text after a reply.
FALLBACK_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '### ' + message['role'] | capitalize + ':\n' + message['content'] -}}"
    "{%- if message['role'] == 'assistant' -%}{{- eos_token -}}{%- endif -%}"
    "{{- '\n\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '### Assistant:\n' -}}{%- endif -%}"
)


class MaskError(CurateError):
    """The replies of a conversation cannot be found in what the chat template prints for it."""


@dataclass(frozen=True)
class Reply:
    """One reply in a rendered conversation: its characters, its content, and where its end-of-turn must lie.

    `whole` says that `limit` is where the turn ends, so that all up to it is of the reply (tool calls, for instance).
    """

    start: int
    content_end: int
    limit: int
    content: str
    whole: bool


@dataclass(frozen=True)
class Rendered:
    text: str
    replies: tuple[Reply, ...]


def chat_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The tokenizer's own template, or the documented fallback where it has none."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default") or next(iter(template.values()))
    if template:
        return template
    begins = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]  # a model that always saw it needs it here too
    return ("{{- bos_token -}}" if begins else "") + FALLBACK_TEMPLATE


def render(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], tools: list | None = None) -> Rendered:
    """The conversation as text and the place of each assistant reply in it.

    A message with `weight` 0 is not learned. Raises MaskError when the template fails, or prints the messages before
    a reply differently once the reply is there, or does not print the reply's content.
    """
    template = chat_template(tokenizer)

    def apply(part: Sequence[Message], prompt: bool) -> str:
        if not part:
            return ""
        try:
            return tokenizer.apply_chat_template(
                list(part), tools=tools, chat_template=template, tokenize=False, add_generation_prompt=prompt
            )
        except Exception as error:  # a template is a program: whatever it raises is said in one sentence
            said = str(error).splitlines() or [type(error).__name__]
            raise MaskError(f"the chat template failed: {said[0]}") from None

    text = apply(messages, False)
    replies = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant" or message.get("weight") == 0:
            continue
        head = apply(messages[:i], True)
        if not text.startswith(head):
            raise MaskError(f"the chat template prints the turns before a reply as {_tail(head)} but then {_at(text, head)}")
        turn = text if i == len(messages) - 1 else apply(messages[: i + 1], False)
        whole = text.startswith(turn)
        limit = len(turn) if whole else len(text)
        content = (message.get("content") or "").strip()
        found = text.find(content, len(head), limit)
        if found < 0:
            raise MaskError(f"the chat template prints {text[len(head) : limit][:80]!r} for the reply {content[:80]!r}")
        replies.append(Reply(len(head), found + len(content), limit, content, whole))
    return Rendered(text, tuple(replies))


def loss_mask(
    tokenizer: "PreTrainedTokenizerBase", rendered: Rendered, input_ids: np.ndarray, offsets: np.ndarray, special: np.ndarray
) -> np.ndarray:
    """bool [T]: True for each token of a reply, its end-of-turn token included.

    offsets int [T, 2] are the characters of each token; special bool [T] marks special tokens. A token that straddles
    the start of a reply belongs to it. Raises MaskError when decoding a span does not give back the reply.
    """
    mask = np.zeros(len(input_ids), dtype=bool)
    begin, end = offsets[:, 0], offsets[:, 1]
    for reply in rendered.replies:
        span = (end > reply.start) & (begin < _stop(rendered.text, reply, begin, end, special))
        decoded = tokenizer.decode(input_ids[span])
        if _squeeze(reply.content) not in _squeeze(decoded):
            raise MaskError(f"the tokens of a reply decode to {decoded[:120]!r}, not to {reply.content[:120]!r}")
        mask |= span
    return mask


def _stop(text: str, reply: Reply, begin: np.ndarray, end: np.ndarray, special: np.ndarray) -> int:
    """Where a reply ends: behind the first special token that follows all that the template prints for it."""
    after = np.flatnonzero((begin >= reply.content_end) & (end <= reply.limit))
    closing = [t for t in after if special[t]]
    printed = [t for t in after if reply.whole and not special[t] and text[begin[t] : end[t]].strip()]
    if not closing:
        return int(end[printed[-1]]) if printed else reply.content_end
    last = [t for t in closing if not printed or t > printed[-1]]
    return int(end[(last or closing)[0]])


def _squeeze(text: str) -> str:
    """Without white space: some tokenizers add or drop a space at the edge of a word when they decode."""
    return "".join(text.split())


def _tail(head: str) -> str:
    return repr(head[-60:])


def _at(text: str, head: str) -> str:
    return repr(text[max(0, len(head) - 60) : len(head)])
