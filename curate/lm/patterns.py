"""Where the replies are in what a chat template prints for roles that it has printed before.

Most templates print contents as they are, with the same text around them for the same roles. A pattern holds that text,
as it was found once by marks. What the template prints for another conversation of these roles must be the pattern filled
with its contents, character by character, and then the replies are where the pattern has them. Anything else (a content
that the template strips, cuts or rewrites, messages with more than role and content) is looked at by marks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from curate.errors import CurateError

Message = Mapping[str, Any]
MOST_PATTERNS = 10_000


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply in a rendered conversation, in characters: from `start` to `stop`, its end of turn from `end` on.

    message: its position among the messages.
    """

    start: int
    end: int
    stop: int
    message: int


@dataclass(frozen=True, slots=True)
class Rendered:
    text: str
    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """literals: the n + 1 texts around n contents. replies: (message, start before it, end and stop behind it), in characters.

    openings: by message what its prompt has behind the literal, which would not be of a reply that begins with it.
    """

    literals: tuple[str, ...]
    replies: tuple[tuple[int, int, int, int], ...]
    openings: tuple[tuple[int, str], ...]

    def holds(self, text: str, contents: Sequence[str]) -> bool:
        """Whether the pattern says where the replies are in the text that is printed for these contents."""
        return self.fill(contents) == text and not any(contents[i].startswith(opening) for i, opening in self.openings)

    def fill(self, contents: Sequence[str]) -> str:
        """The text of a conversation with these contents."""
        pieces = [text for pair in zip(self.literals, contents, strict=False) for text in pair]
        return "".join([*pieces, self.literals[-1]])

    def placed(self, text: str, contents: Sequence[str]) -> Rendered:
        """The replies in a text that the pattern filled with these contents is."""
        sizes = [len(literal) + len(content) for literal, content in zip(self.literals, contents, strict=False)]
        ends = list(accumulate(sizes))
        return Rendered(text, tuple(
            Reply(ends[i] - len(contents[i]) - start, ends[i] + end, ends[i] + stop, i) for i, start, end, stop in self.replies
        ))  # fmt: skip


class Patterns:
    """The patterns of one template.

    locate: a text and its messages -> the replies in it, by marks. print: messages (and `prompt`) -> what the template prints.
    """

    def __init__(self, locate: Callable[[str, Sequence[Message]], Rendered], print: Callable[..., str]) -> None:
        self._locate, self._print = locate, print
        self._known: dict[tuple[str, ...], Pattern | None] = {}

    def match(self, text: str, messages: Sequence[Message]) -> Rendered:
        """The replies in the text that the template prints for these messages; raises as `locate` does."""
        if not all(map(_plain, messages)):
            return self._locate(text, messages)
        roles = tuple([message["role"] for message in messages])
        contents = [message["content"] for message in messages]
        if roles not in self._known and len(self._known) < MOST_PATTERNS:
            self._known[roles] = self._learned(roles)
        pattern = self._known.get(roles)
        if pattern is None or not pattern.holds(text, contents):
            return self._locate(text, messages)
        return pattern.placed(text, contents)

    def _learned(self, roles: tuple[str, ...]) -> Pattern | None:
        """The pattern of these roles, None where there is none to rely on: two conversations must show the same."""
        one, other = (self._shown(roles, words) for words in (("Kumquat", "quince"), ("A fig;\n\nand 2", "more.")))
        return one if one == other else None

    def _shown(self, roles: tuple[str, ...], words: tuple[str, str]) -> Pattern | None:
        """What a conversation shows whose contents occur once each in the text."""
        contents = [f"{words[0]} {number} {words[1]}" for number in range(len(roles))]
        messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        try:
            text = self._print(messages)
            found = self._locate(text, messages)
            heads = {reply.message: self._print(messages[: reply.message], prompt=True) for reply in found.replies}
        except CurateError:  # each row says for itself what is wrong with it
            return None
        literals, rest = [], text
        for content in contents:
            literal, held, rest = rest.partition(content)
            if not held:
                return None
            literals.append(literal)
        literals.append(rest)
        ends = list(accumulate(len(literal) + len(content) for literal, content in zip(literals, contents, strict=False)))
        replies, openings = [], []
        for reply in found.replies:
            i = reply.message
            start, end, stop = ends[i] - len(contents[i]) - reply.start, reply.end - ends[i], reply.stop - ends[i]
            # Within the pattern's own text: no other content may have a say in it.
            if not (0 <= start <= len(literals[i]) and 0 <= end <= stop <= len(literals[i + 1])):
                return None
            replies.append((i, start, end, stop))
            prompt = heads[i].rpartition(contents[i - 1])[2] if i else heads[i]
            if len(prompt) > len(literals[i]) and prompt.startswith(literals[i]):
                openings.append((i, prompt[len(literals[i]) :]))
        return Pattern(tuple(literals), tuple(replies), tuple(openings))


def _plain(message: Message) -> bool:
    """Whether a message is but a role and a content that no template need treat in a way of its own."""
    content = message.get("content")
    if len(message) != 2 or type(content) is not str or not content:
        return False
    return not (content[0].isspace() or content[-1].isspace())
