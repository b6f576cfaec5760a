"""Conversations through a tokenizer's chat template, and where in the text the replies are.

Stock templates carry no generation markers, so replies are found by differencing renderings. The conversation is
rendered twice: as it is, and with marks (characters that no text holds) inside the contents. Without its marks the
second text must be the first; its marks then say where each content lies, whatever the template adds, strips, drops or
moves. A reply begins where the generation prompt ends that the template prints after the message before it, and ends
with the end-of-turn token that follows the last of what the template prints for it.

That is four printings of a conversation. Where one of the same roles was printed before, one is enough: see
`curate.lm.patterns`.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np

from curate.errors import CurateError
from curate.lm.patterns import Patterns, Rendered, Reply

if TYPE_CHECKING:
    from tokenizers import Encoding
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

MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # Unicode's noncharacters: never part of a text that is passed on


class MaskError(CurateError):
    """The replies of a conversation cannot be found in what the chat template prints for it.

    Up to the colon the sentence is the same for all rows that fail alike; what follows is the row's own, or the template's.
    """


def chat_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The tokenizer's own template, or the documented fallback where it has none."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default") or next(iter(template.values()))
    if template:
        return template
    begins = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]  # a model that always saw it needs it here too
    return ("{{- bos_token -}}" if begins else "") + FALLBACK_TEMPLATE


class ChatFormat:
    """How a tokenizer prints conversations, and which tokens of them are replies.

    special  ids of the tokens that are marks of the format and not text.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase"):
        self.tokenizer = tokenizer
        self.template = chat_template(tokenizer)
        added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.special = frozenset(added) | frozenset(tokenizer.all_special_ids)
        texts = sorted({*added.values(), *tokenizer.all_special_tokens}, key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(map(re.escape, texts)) or '(?!)'})")
        self._patterns = Patterns(self.locate, self.print)

    def print(self, messages: Sequence[Message], tools: list | None = None, prompt: bool = False) -> str:
        """What the template prints, with the generation prompt or without; MaskError with what it says when it fails."""
        if not messages:
            return ""
        try:
            text = self.tokenizer.apply_chat_template(
                list(messages), tools=tools, chat_template=self.template, tokenize=False, add_generation_prompt=prompt
            )
        except Exception as error:  # a template is a program: whatever it raises is said in one sentence
            said = str(error).splitlines() or [type(error).__name__]
            raise MaskError(f"the chat template failed: {said[0]}") from None
        return str(text)

    def render(self, messages: Sequence[Message], tools: list | None = None) -> Rendered:
        """The conversation as text and the place of each assistant reply in it.

        A message with `weight` 0 is not learned. Raises MaskError when the template fails, does not print a reply, or
        prints another text before a reply than the one it prompts for the reply with.
        """
        text = self.print(messages, tools)
        if tools is None and MARKS[0] not in text:
            return self._patterns.match(text, messages)
        return self.locate(text, messages, tools)

    def locate(self, text: str, messages: Sequence[Message], tools: list | None = None) -> Rendered:
        """As `render`, for the text that the template prints for these messages, by printing them with marks."""
        learned = [i for i, message in enumerate(messages) if message["role"] == "assistant" and message.get("weight") != 0]
        return Rendered(text, tuple(self._find(text, messages, tools, learned)) if learned else ())

    def without_reasoning(self, messages: Sequence[Message], tools: list | None = None) -> list[int]:
        """Positions of the replies whose `reasoning_content` changes nothing in what the template prints."""
        whole = self.print(messages, tools)
        found = []
        for i, message in enumerate(messages):
            if message["role"] == "assistant" and message.get("reasoning_content"):
                bare = {key: value for key, value in message.items() if key != "reasoning_content"}
                with suppress(MaskError):  # a template that insists on it prints it
                    if self.print([*messages[:i], bare, *messages[i + 1 :]], tools) == whole:
                        found.append(i)
        return found

    def mask(self, rendered: Rendered, input_ids: np.ndarray, tokens: "Encoding") -> np.ndarray:
        """bool [T]: True for each token of a reply, its end-of-turn token included.

        tokens: the text as the tokenizer gave it, which knows the characters of each token. Raises MaskError when decoding a
        span does not give back the reply.
        """
        mask = np.zeros(len(input_ids), dtype=bool)
        for first, stop in self.spans(rendered, input_ids, tokens):
            if first == stop:
                continue
            decoded = str(self.tokenizer.decode(input_ids[first:stop], clean_up_tokenization_spaces=False))
            printed = rendered.text[_characters(tokens, first)[0] : _characters(tokens, stop - 1)[1]]
            if decoded != printed and not _same(decoded, printed):
                raise MaskError(f"the tokens of a reply do not decode to it: {decoded[:120]!r}, not {printed[:120]!r}")
            mask[first:stop] = True
        return mask

    def spans(self, rendered: Rendered, input_ids: np.ndarray, tokens: "Encoding") -> list[tuple[int, int]]:
        """Of each reply the position of its first token and of the one behind its last.

        A token that straddles the start of a reply belongs to it, unless it is a special token that has taken in the white
        space behind it.
        """
        found = []
        for reply in rendered.replies:
            first, stop = _tokens_of(tokens, reply.start, reply.stop)
            if first < stop and int(input_ids[first]) in self.special and _characters(tokens, first)[0] < reply.start:
                first += 1
            found.append((first, stop))
        return found

    def _find(self, text: str, messages: Sequence[Message], tools: list | None, learned: Sequence[int]) -> list[Reply]:
        """The places of the replies at the positions `learned` in what the template prints for the messages."""
        mark = _unused(text, messages)

        def view(part: Sequence[Message], prompt: bool = False) -> _View:
            return _View(self.print(part, tools, prompt), mark)

        for tight, blanks in ((True, True), (False, True), (True, False)):  # a mark must not change what a template does
            marked = [_marked(message, i, mark, tight, blanks) for i, message in enumerate(messages)]
            whole = view(marked)
            if whole.text == text:
                break
        else:
            shared = _shared(whole.text, text)
            one, other = _at(text, shared), _at(whole.text, shared)
            raise MaskError(f"the chat template prints a marked conversation otherwise: {one}, but with marks {other}")
        bare: _View | None = None  # with every reply reduced to a mark; printed only where it is needed
        replies = []
        for i in learned:
            if str(i) not in whole.marks:
                content, calls = messages[i].get("content"), messages[i].get("tool_calls")
                what, lost = ("a reply", content) if content or not calls else ("the tool calls of a reply", calls)
                raise MaskError(f"the chat template does not print {what}: {str(lost)[:80]!r} is not in {text[-80:]!r}")
            head = view(marked[:i], True)
            prompt, rest = head.after(head.last), whole.after(head.last)
            if not rest.startswith(prompt):
                # The prompt may add what this reply does not have, such as the opening of its thoughts.
                bare = bare or view([_bare(message, j, mark) for j, message in enumerate(marked)])
                header = bare.after(head.last)[: bare.marks.get(str(i), 0) - bare.marks.get(head.last, 0)]
                if not (prompt.startswith(header) and rest.startswith(header)):
                    both = f"{prompt[-60:]!r}, then {rest[:60]!r}"
                    raise MaskError(f"the chat template prompts for a reply otherwise than it prints it: {both}")
                prompt = header
            end, after = whole.marks[str(i)], whole.after(str(i))
            alone = after if i == len(messages) - 1 else view(marked[: i + 1]).after(str(i))
            stop = end + self._ending(after, alone, bool(messages[i].get("tool_calls")))
            replies.append(Reply(whole.marks.get(head.last, 0) + len(prompt), end, stop, i))
        return replies

    def _ending(self, after: str, alone: str, calls: bool) -> int:
        """How much of the text after a reply's last mark is of the reply.

        `alone` is that text in a conversation that ends with the reply: where the two part, another turn begins.
        """
        pieces = self._special.split(alone)  # text, token, text, token, ..., text
        if not after.startswith(alone):
            pieces = pieces[: _shared(pieces, self._special.split(after))]
        last = max((i for i, piece in enumerate(pieces) if i % 2 == 0 and piece.strip()), default=0)
        if last + 1 >= len(pieces):
            return len("".join(pieces).rstrip())
        stop = last + 2
        while calls and stop + 1 < len(pieces) and not pieces[stop]:  # calls may be closed before the turn is
            stop += 2
        return len("".join(pieces[:stop]))


class _View:
    """A rendering without its marks, and where they were: the last place of each reply's, every place of the others."""

    def __init__(self, marked: str, mark: str):
        pieces = marked.split(mark)  # text, label, text, label, ..., text
        self.text = "".join(pieces[::2])
        self.marks: dict[str, int] = {}
        self.last = ""
        seen: Counter[str] = Counter()
        position = 0
        for text, label in zip(pieces[::2], pieces[1::2], strict=False):
            position += len(text)
            self.last = label if label.isdigit() else f"{label}{seen[label]}"
            self.marks[self.last] = position
            seen[label] += 1

    def after(self, label: str) -> str:
        """The text after a mark; all of it where there is none."""
        return self.text[self.marks.get(label, 0) :]


def _characters(tokens: "Encoding", number: int) -> tuple[int, int]:
    """Where a token begins and ends in the text."""
    place = tokens.token_to_chars(number)
    assert place is not None  # there is such a token
    return place


def _tokens_of(tokens: "Encoding", start: int, stop: int) -> tuple[int, int]:
    """The tokens [first, last) that touch the characters [start, stop)."""
    first, last = tokens.char_to_token(start), tokens.char_to_token(stop - 1)
    if start >= stop or first is None or last is None:  # white space that belongs to no token
        offsets = np.array(tokens.offsets, dtype=np.int64).reshape(-1, 2)
        touched = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < stop))
        return (int(touched[0]), int(touched[-1]) + 1) if len(touched) else (0, 0)
    last += 1
    while last < len(tokens) and _characters(tokens, last)[0] < stop:  # several tokens may share a character
        last += 1
    return first, last


def _marked(message: Message, number: int, mark: str, tight: bool, blanks: bool) -> Message:
    """The message with marks inside what the template prints of it.

    A reply has its number at the end of its content and in the names of its tool calls, so that the last mark printed
    is where little but the end of turn follows. Other turns have their role in the middle, out of the way of templates
    that look at how a content begins and ends; and no number, for equal turns must stay equal.

    tight   in front of the white space that ends a reply, for a template that strips it off; else behind.
    blanks  a content that may come to nothing gets a mark too: white space alone, or thoughts before tool calls.
    """
    content, role = message.get("content"), message["role"]
    if role == "system" or not isinstance(content, str):
        return message
    core = content.strip()
    before = len(content) - len(content.lstrip())
    calls = message.get("tool_calls") if role == "assistant" else None
    if role == "assistant":
        label, place = f"{mark}{number}{mark}", before + len(core) if tight else len(content)
    else:
        label, place = f"{mark}{role}{mark}", before + len(core) // 2
    marked = dict(message)
    if (core or not calls) if blanks else (core and not calls):
        marked["content"] = content[:place] + label + content[place:]
    if calls:
        marked["tool_calls"] = [_marked_call(call, label) for call in calls]
    return marked


def _marked_call(call: Mapping[str, Any], label: str) -> dict[str, Any]:
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _marked_call(call["function"], label)}
    return {**call, "name": str(call.get("name", "")) + label}


def _bare(message: Message, number: int, mark: str) -> Message:
    return {"role": "assistant", "content": f"{mark}{number}{mark}"} if message["role"] == "assistant" else message


def _unused(text: str, messages: Sequence[Message]) -> str:
    """A character for marks that the conversation does not hold."""
    used = "".join([text, *(value for message in messages for value in message.values() if isinstance(value, str))])
    for mark in MARKS:
        if mark not in used:
            return mark
    raise MaskError("the conversation holds every character that could mark where its contents lie")


def _same(decoded: str, printed: str) -> bool:
    """Whether two texts agree up to what tokenizers change: white space, and the form of equivalent characters."""
    if "".join(decoded.split()) == "".join(printed.split()):
        return True
    one, other = (normalize("NFKC", text).replace("▁", "") for text in (decoded, printed))
    return "".join(one.split()) == "".join(other.split())


def _shared(one: Sequence, other: Sequence) -> int:
    """How many items two sequences begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _at(text: str, place: int) -> str:
    return repr(text[max(0, place - 40) : place + 20])
