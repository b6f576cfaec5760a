"""Why a row cannot be used: the fixed phrases, and the limits behind some of them."""

from collections.abc import Iterable

MAX_ROW_BYTES = 4 * 1024 * 1024  # of the row as it stands in the file; no chat template makes sense of more
MAX_DEPTH = 64  # levels of nesting in a row; what real tool schemas have is well under 20
MAX_COLUMNS = 1000  # different columns over all files; more means that keys hold values
MAX_REJECTED = 5_000_000  # rows over all files, each of which is listed
RECORD_TEXT_CHARS = 2000  # of a rejected row kept for the reader of rejected.jsonl
RECORD_TEXT_ROWS = 10_000  # rejected rows of which the text is kept, so that a wrong file does not fill the memory

NOT_JSON = "not JSON"
NOT_OBJECT = "not an object"
NOT_UTF8 = "not UTF-8"
TOO_LARGE = "too large"
TOO_DEEP = "too deeply nested"
UNWRITABLE = "a value that JSON cannot hold"
CUT_OFF = "wrong number of columns"
UNKNOWN_SHAPE = "no known shape"
MISSING_REPLY = "missing reply"
PREFERENCE = "preference pairs are out of scope"
MISSING_MESSAGES = "missing messages"
MESSAGES_NOT_LIST = "messages not a list"
MESSAGE_NOT_OBJECT = "message not an object"
MISSING_ROLE = "missing role"
UNKNOWN_ROLE = "unknown role"
CONTENT_NULL = "content null"
CONTENT_NOT_TEXT = "content not text"
IMAGES = "images are out of scope"
EMPTY_REPLY = "empty reply"
NO_ASSISTANT = "no assistant message"
NO_PROMPT = "no prompt"
WRONG_TYPE = "wrong type"
NO_CHOICES = "no choices"
NO_RIGHT_CHOICE = "no right choice"

REASONS = (
    NOT_JSON, NOT_OBJECT, NOT_UTF8, TOO_LARGE, TOO_DEEP, UNWRITABLE, CUT_OFF, UNKNOWN_SHAPE, MISSING_REPLY, PREFERENCE,
    MISSING_MESSAGES,
    MESSAGES_NOT_LIST, MESSAGE_NOT_OBJECT, MISSING_ROLE, UNKNOWN_ROLE, CONTENT_NULL, CONTENT_NOT_TEXT, IMAGES,
    EMPTY_REPLY, NO_ASSISTANT, NO_PROMPT, WRONG_TYPE,
    NO_CHOICES, NO_RIGHT_CHOICE,
)  # fmt: skip


NO_SHAPE = (UNKNOWN_SHAPE, MISSING_REPLY)  # of rows whose columns may have to be mapped


class Unusable(Exception):
    """One row cannot be used. `str` is a phrase of `REASONS`, with ": detail" where there is more to say."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def listed(names: Iterable[str]) -> str:
    """Column names in a row, on one line whatever is in them."""
    return ", ".join(name if name.isprintable() and name else repr(name) for name in names) or "(none)"


def show(value: object) -> str:
    """A value from the data, short enough to stand in a sentence."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
