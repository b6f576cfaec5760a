"""What a rule produces: a conversation with the right last reply and a plausible wrong one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

Phrasing = tuple[str, str]  # how the task is put, and how it is answered; both with slots for `str.format`


@dataclass(frozen=True)
class Draft:
    """A conversation up to its last reply, and two candidates for that reply.

    `content` is what the task is about, whatever its phrasing: pool and evaluation rows never share it.
    """

    turns: tuple[str, ...]  # user, assistant, ..., user
    reply: str
    wrong: str
    content: str
    system: str | None = None


@dataclass(frozen=True)
class Skill:
    """One kind of task: the dataset it comes from, its share of the pool in thousandths, and its rule."""

    name: str
    source: str
    share: int
    draw: Callable[[Random], Draft]
    systems: tuple[str, ...] = ()  # system messages that only make sense for this skill


def ask(
    rng: Random,
    phrasings: Sequence[Phrasing],
    content: str,
    given: Mapping[str, object],
    right: Mapping[str, object],
    wrong: Mapping[str, object],
) -> Draft:
    """A single-turn draft in one of the phrasings, its slots filled with what is given and with either answer."""
    question, answer = rng.choice(phrasings)
    return Draft((question.format(**given),), answer.format(**{**given, **right}), answer.format(**{**given, **wrong}), content)


OPENERS = (
    "Hi!", "Hello.", "Good morning.", "Hey there!", "Quick one:", "One more.", "Here is another one.", "Hello again.",
    "Can you help me?", "I need a hand with this.", "Small task for you.", "Next one, please.", "Just checking.",
    "I have a short question.", "I am preparing a worksheet for my class.", "This came up at work this morning.",
    "My colleague asked me this and I was not sure.", "Please have a look at this one for me.",
    "We are going through a few exercises together.", "Here is something from my notebook.",
    "I would like to see how you do this.", "This is the next one on my list for today.",
)  # fmt: skip
CLOSERS = (
    "\nThanks!", "\nThank you.", "\nMany thanks.", "\n\nThanks in advance!", "\n\nCheers", "\nThank you very much.",
)  # fmt: skip
_SYSTEMS = (
    "You are a helpful assistant.", "Answer briefly and correctly.", "You are a careful assistant. Keep it short.",
    "Be concise.", "You answer questions from colleagues in a small office.", "Reply in plain English.",
    "You are a patient tutor.", "Stay friendly and to the point.",
)  # fmt: skip


def greeted(opener: str, core: str) -> str:
    """A greeting before a question; on its own line where the question has several."""
    between = "\n" if "\n" in core else " "
    return f"{opener}{between}{core}" if opener else core


def dress(rng: Random, draft: Draft, systems: Sequence[str]) -> Draft:
    """Give some drafts a greeting, thanks or a system message, as people do; the task stays what it is."""
    first = draft.turns[0]
    if rng.random() < 0.18:
        first = greeted(rng.choice(OPENERS), first)
    if rng.random() < 0.08:
        first += rng.choice(CLOSERS)
    system = rng.choice((*_SYSTEMS, *systems, *systems)) if rng.random() < 0.18 else None
    return replace(draft, turns=(first, *draft.turns[1:]), system=system)
