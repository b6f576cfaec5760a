"""How a task is written on one line: NAME[:METRIC[:KEY=VALUE...]], and behind it =FILE.

dev                                        the loss of the replies
sums:exact_match:extractor=gsm8k           the settings are those of a Task; a value may repeat for `stop`
sums:exact_match:gsm8k                     an extractor may stand alone
code:exact_match:extractor=regex:pattern='answer: (.*)'     in quotes a value may hold : and =
arc:lm_eval:measure=acc_norm               of a task file of lm-eval
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.errors import InputError
from curate.evaluation.metrics import metric_names
from curate.evaluation.tasks import Task

LM_EVAL = "lm_eval"


@dataclass(frozen=True)
class Head:
    """What stands before the file: the name of the task, its metric, and the settings that were given."""

    name: str
    metric: str = "response_loss"
    settings: dict[str, Any] = field(default_factory=dict)

    def task(self, file: Any, read: Callable[[Any], Any]) -> Task:
        """The task on a file (or pool). read: makes a pool of it. What is wrong with the head is said before it is read."""
        if self.metric == LM_EVAL:
            return Task.lm_eval(file, name=self.name, **self.settings)
        checked = Task(self.name, None, self.metric, **self.settings)  # type: ignore[arg-type]
        return Task(self.name, read(file), checked.metric, **self.settings)


def parse_eval(text: str) -> tuple[Head, str]:
    """The head and the file of NAME[:METRIC[:KEY=VALUE...]]=FILE; a file alone is named for itself.

    Raises InputError that says what is wrong.
    """
    if "=" not in text or Path(text).exists():
        return Head(Path(text).name.split(".")[0]), text
    head, file = _parse(text)
    if file is None:
        raise InputError(f"--eval {text!r}: no file; write NAME:METRIC:KEY=VALUE=FILE")
    return head, file


def parse_head(text: str) -> Head:
    """NAME[:METRIC[:KEY=VALUE...]]. Raises InputError that says what is wrong."""
    head, file = _parse(text)
    if file is not None:
        raise InputError(f"{text!r}: the name of an evaluation set cannot hold {'=' + file!r}")
    return head


def _parse(text: str) -> tuple[Head, str | None]:
    parts: list[str] = []
    at, file = 0, None
    while file is None and at <= len(text):
        word, at = _word(text, at)
        end = text[at : at + 1]
        if end == "=" and len(parts) > 1 and word in _SETTINGS:
            value, at = _word(text, at + 1)
            word, end = f"{word}={value}", text[at : at + 1]
        parts.append(word)
        if end == "=":
            file = text[at + 1 :]
        at += 1
    name, *how = parts
    if not name:
        raise InputError(f"{text!r}: give the evaluation set a name, NAME=FILE")
    if file == "":
        raise InputError(f"{text!r}: no file behind the last =")
    metric, *given = how or ["response_loss"]
    if metric not in (names := [*metric_names(), LM_EVAL]):
        raise InputError(f"{text!r}: metric {metric!r} is not one of {', '.join(names)}")
    return Head(name, metric, _settings(text, given, file)), file


def _word(text: str, at: int) -> tuple[str, int]:
    """What stands up to the next : or =, quotes taken off, and where that is."""
    if text[at : at + 1] in ("'", '"'):
        close = text.find(text[at], at + 1)
        if close < 0 or text[close + 1 : close + 2] not in ("", ":", "="):
            raise InputError(f"{text!r}: a quote is not closed before the next : or =")
        return text[at + 1 : close], close + 1
    ends = [place for mark in ":=" if (place := text.find(mark, at)) >= 0]
    end = min(ends, default=len(text))
    return text[at:end], end


def _settings(text: str, given: list[str], file: str | None) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for number, pair in enumerate(given):
        key, equals, value = pair.partition("=")
        if not equals:
            if number or (file is not None and "=" in file and not Path(file).exists()):
                raise InputError(f"{text!r}: there is no setting {pair!r}; there are {', '.join(_SETTINGS)}")
            key, value = "extractor", pair
        if key in settings and key != "stop":
            raise InputError(f"{text!r}: {key} is given twice")
        try:
            settings[key] = (*settings.get(key, ()), *_stop(value)) if key == "stop" else _SETTINGS[key](value)
        except ValueError as error:
            raise InputError(f"{text!r}: {key} {value!r} {error}") from None
    return settings


def _whole(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError("is not a whole number of at least 1")
    return int(value)


def _switch(value: str) -> bool:
    if value not in ("yes", "no"):
        raise ValueError("is not yes or no")
    return value == "yes"


def _stop(value: str) -> tuple[str]:
    return (value.replace("\\n", "\n").replace("\\t", "\t"),)


_SETTINGS: dict[str, Callable[[str], Any]] = {
    "extractor": str,
    "pattern": str,
    "max_new_tokens": _whole,
    "stop": _stop,
    "letters": _switch,
    "measure": str,
    "chat_template": _switch,
}
