"""Metrics on text: is the answer the right one?"""

import re
from collections.abc import Callable, Mapping

_NUMBER = re.compile(r"(?:(?<![\w)])-)?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")  # in 10-5 the dash is no sign


def normalise(text: str) -> str:
    """Without case, without white space at the ends or in runs, without a full stop at the end."""
    return " ".join(text.casefold().split()).removesuffix(".").rstrip()


def exact_match(prediction: str, reference: str) -> bool:
    """Whether both say the same once normalised."""
    return normalise(prediction) == normalise(reference)


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
    if found is not None:
        return _canonical(found[0])
    numbers = _NUMBER.findall(text)
    return _canonical(numbers[-1]) if numbers else None


def _canonical(number: str) -> str:
    number = number.replace(",", "").replace("$", "")
    return number.rstrip("0").rstrip(".") if "." in number else number


EXTRACTORS: Mapping[str, Callable[[str], str | None]] = {"text": extract_text, "gsm8k": extract_gsm8k}
