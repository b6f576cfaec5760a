"""Text from data, as a page may show it: what drives a terminal, breaks lines unseen or turns writing round is replaced."""

import unicodedata
from typing import Any

from markupsafe import Markup

# Controls, format characters (bidirectional overrides among them), surrogates, private use, and line and paragraph separators.
HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
KEPT = frozenset("\n\t\u200c\u200d\u00ad")  # joiners, which scripts and emoji are written with, and the soft hyphen


def plain(value: Any) -> Any:
    """A string without hidden characters, each shown as U+FFFD; markup of ours and what is no string as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if value.isascii() and value.isprintable():
        return value
    text = value.replace("\r\n", "\n")
    return "".join(c if c in KEPT or unicodedata.category(c) not in HIDDEN else "\N{REPLACEMENT CHARACTER}" for c in text)
