"""Multiple choice: the choices of a row and the right one among them, in the ways that data sets write them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from curate.pool import reasons
from curate.pool.reasons import Unusable, show

CHOICES = "choices"
ANSWERS = ("answer", "answerKey")  # where the right choice is named: most data sets, ARC


class Choices(NamedTuple):
    texts: list[str]
    right: int  # position of the right one


def read_choices(record: Mapping[str, Any], column: str = CHOICES, answers: Sequence[str] = ANSWERS) -> Choices:
    """The choices of a record and the right one.

    Choices are a list of texts, ARC's {"text": [...], "label": [...]}, or either as JSON text. The answer is, in this order:
    the text of a choice, its label, its letter (A is the first), its number (0 is the first). Raises Unusable.
    """
    found = choice_texts(record.get(column))
    if found is None:
        raise Unusable(reasons.NO_CHOICES, f"{column} is {show(record.get(column))}")
    texts, labels = found
    if len(texts) < 2 or any(not text or text.isspace() for text in texts):
        raise Unusable(reasons.NO_CHOICES, f"{column} has {len(texts)}" if len(texts) < 2 else "one of them is empty")
    answer = next((record[name] for name in answers if record.get(name) is not None), None)
    right = _position(answer, texts, labels)
    if right is None:
        raise Unusable(reasons.NO_RIGHT_CHOICE, f"the answer is {show(answer)}")
    return Choices(texts, right)


def choice_texts(value: object) -> tuple[list[str], list[str]] | None:
    """(texts, labels) of choices; the labels are empty where there are none. None for what is no list of texts."""
    found: Any = value
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):  # as a CSV has them
        try:
            found = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    texts: Any
    texts, labels = (found.get("text"), found.get("label") or []) if isinstance(found, dict) else (found, [])
    return (texts, labels) if _are_texts(texts) and _are_texts(labels) else None


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _position(answer: object, texts: list[str], labels: list[str]) -> int | None:
    if isinstance(answer, str):
        for named in (texts, labels, [chr(ord("A") + i) for i in range(min(len(texts), 26))]):
            if answer in named:
                return named.index(answer)
        answer = int(answer) if answer.isdecimal() else None
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(texts):
        return answer
    return None
