"""Extractors: what of a text is the answer that counts."""

import re
from collections.abc import Callable, Mapping

from curate.errors import InputError

Extractor = Callable[[str], str | None]

_NUMBER = re.compile(r"(?:(?<![\w)])-)?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")  # in 10-5 the dash is no sign
_NAMED = re.compile(r"\banswer\b(?:\s+is)?\s*[:=]?\s*[(\[*]*([A-E])(?![\w'])", re.IGNORECASE)
_FIRST = re.compile(r"\s*[(\[*]*([A-E])(?:[)\].:*]|\s*$|\s*\n)")
_ALONE = re.compile(r"(?<![\w'])(?:([B-E])|(A)(?!\s+[a-z]))(?![\w'])")  # "A dog" has an article


def extract_text(text: str) -> str:
    """The whole text is the answer."""
    return text


def extract_gsm8k(text: str) -> str | None:
    """The number after the last `####`, else the last number of the text; None without one.

    Thousands separators, a dollar sign and zeros after the decimal point are left out: `$1,234.50` is `1234.5`.
    Source: the answer format of arXiv 2110.14168.
    """
    _, marker, answer = text.rpartition("####")
    found = _NUMBER.search(answer) if marker else None
    return _canonical(found[0]) if found is not None else extract_last_number(text)


def extract_last_number(text: str) -> str | None:
    """The last number of the text, written as `extract_gsm8k` writes it; None without one."""
    numbers = _NUMBER.findall(text)
    return _canonical(numbers[-1]) if numbers else None


def extract_letter(text: str) -> str | None:
    """The letter, A to E, of a choice: after the last "answer", else at the beginning, else the last that stands alone."""
    named = _NAMED.findall(text)
    if named:
        return named[-1].upper()
    first = _FIRST.match(text)
    if first:
        return first[1]
    alone = _ALONE.findall(text)
    return "".join(alone[-1]) if alone else None


def extract_boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}` holds, braces inside it balanced; None without one.

    Source: the answer format of arXiv 2103.03874.
    """
    start = text.rfind("\\boxed{")
    depth, inside = 0, start + len("\\boxed{")
    for i in range(inside - 1, len(text) if start >= 0 else 0):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[inside:i].strip()
    return None


EXTRACTORS: Mapping[str, Extractor] = {
    "text": extract_text,
    "gsm8k": extract_gsm8k,
    "last_number": extract_last_number,
    "letter": extract_letter,
    "boxed": extract_boxed,
}
REGEX = "regex"


def make_extractor(name: str, pattern: str | None = None) -> Extractor:
    """An extractor by name. `regex` gives what the last match of `pattern` holds in its first group, or all of the match.

    Raises InputError for a name that does not exist, a pattern that is no regular expression, and one without the other.
    """
    if name != REGEX:
        if pattern is not None:
            raise InputError(f"a pattern goes with the extractor regex, not {name}")
        if name not in EXTRACTORS:
            raise InputError(f"extractor {name!r} is not one of {', '.join([*EXTRACTORS, REGEX])}")
        return EXTRACTORS[name]
    if not pattern:
        raise InputError("the extractor regex needs a pattern")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"the pattern {pattern!r} is no regular expression: {error}") from None

    def extract(text: str) -> str | None:
        last = None
        for last in compiled.finditer(text):  # noqa: B007 (the last match is what is looked for)
            pass
        return None if last is None else last[1] if compiled.groups else last[0]

    return extract


def _canonical(number: str) -> str:
    number = number.replace(",", "").replace("$", "")
    return number.rstrip("0").rstrip(".") if "." in number else number
