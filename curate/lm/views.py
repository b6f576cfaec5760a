"""Views: what of a conversation a model sees in a pass, and which of those tokens are scored.

    conversation            the whole of it; the replies are scored
    response                the replies' tokens alone, behind a start token, so that the first of them is scored too
    response_without_start  the replies' tokens alone; the first has nothing before it and is not scored
    instruction             all up to the last reply that is not of a reply; every token but the first is scored
    after_example           the whole of it behind another conversation; its replies are scored

A view is a function of token ids, so every view of a row has the very tokens of its conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curate.errors import InputError
from curate.lm.chat import ChatFormat
from curate.lm.encodings import Encodings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VIEW_VERSION = 1  # raise it when the same row would be seen otherwise

CONVERSATION = "conversation"
RESPONSE = "response"
RESPONSE_WITHOUT_START = "response_without_start"
INSTRUCTION = "instruction"
AFTER_EXAMPLE = "after_example"
ROW_VIEWS = (CONVERSATION, RESPONSE, RESPONSE_WITHOUT_START, INSTRUCTION)

NOTHING_TO_SEE = "no token in this view"
NO_ROOM = "no room for an example before the row"


@dataclass(frozen=True)
class View:
    """n rows as a model sees them, made when they are taken.

    row_ids  what their values are kept under.
    lengths  int64 [n], tokens that the model reads.
    reasons  object [n], why a row cannot be seen so, else None.
    """

    row_ids: Sequence[str]
    lengths: np.ndarray
    reasons: np.ndarray

    def __len__(self) -> int:
        return len(self.row_ids)

    def take(self, index: np.ndarray) -> Encodings:
        """The rows at these positions; `loss_mask` is True for the tokens that are scored."""
        raise NotImplementedError


@dataclass(frozen=True)
class RowView(View):
    """One of `ROW_VIEWS` of each row."""

    encodings: Encodings
    name: str
    start: int | None

    @classmethod
    def of(cls, encodings: Encodings, name: str, start: int | None = None) -> "RowView":
        """start: the id of the start token, which `response` needs. Raises KeyError for a view that does not exist."""
        if name not in ROW_VIEWS:
            raise KeyError(f"no view is called {name!r}; there are {', '.join((*ROW_VIEWS, AFTER_EXAMPLE))}")
        if name == CONVERSATION:
            lengths = encodings.lengths
        else:
            pairs = zip(encodings.input_ids, encodings.loss_mask, strict=True)
            lengths = np.array([len(_row(ids, mask, name, start)[0]) for ids, mask in pairs], dtype=np.int64)
        reasons = _said(lengths <= 0, NOTHING_TO_SEE)
        return cls(encodings.row_ids, lengths, reasons, encodings, name, start)

    def take(self, index: np.ndarray) -> Encodings:
        rows = self.encodings.take(index)
        if self.name == CONVERSATION:
            return rows
        seen = [_row(ids, mask, self.name, self.start) for ids, mask in zip(rows.input_ids, rows.loss_mask, strict=True)]
        return Encodings(rows.row_ids, [ids for ids, _ in seen], [mask for _, mask in seen], rows.truncated)


def _row(ids: np.ndarray, mask: np.ndarray, name: str, start: int | None) -> tuple[np.ndarray, np.ndarray]:
    if name == INSTRUCTION:
        last = int(np.flatnonzero(mask)[-1])
        seen = ids[:last][~mask[:last]]
        return seen, np.arange(len(seen)) > 0
    reply = ids[mask]
    if name == RESPONSE:
        reply = np.concatenate([np.array([start], ids.dtype), reply])
    return reply, np.arange(len(reply)) > 0


@dataclass(frozen=True)
class PairView(View):
    """Rows behind an in-context example each.

    The tokens are those of the example's conversation, then those of the row's. The row is never cut: where both exceed
    the limit, the example loses its first tokens (a start token stays), and without room for any the pair has a reason.
    `once` is a token that the template prints at the start of a conversation only; the row's is then left out.
    """

    rows: Encodings
    examples: Encodings
    index: np.ndarray  # int64 [n, 2]: position of the row, position of the example
    limit: int
    once: int | None

    @classmethod
    def of(cls, rows: Encodings, examples: Encodings, index: np.ndarray, limit: int, once: int | None = None) -> "PairView":
        """limit: tokens that the model reads at most."""
        own, before = rows.lengths[index[:, 0]], examples.lengths[index[:, 1]]
        cut = np.array([once is not None and ids[0] == once for ids in rows.input_ids], dtype=np.int64)[index[:, 0]]
        room = limit - (own - cut)
        reasons = _said(room <= 0, NO_ROOM)
        ids = [pair_id(rows.row_ids[i], examples.row_ids[j]) for i, j in index.tolist()]
        return cls(ids, own - cut + np.minimum(before, np.maximum(room, 0)), reasons, rows, examples, index, limit, once)

    def take(self, index: np.ndarray) -> Encodings:
        pairs = [self._pair(int(i), int(j)) for i, j in self.index[index]]
        truncated = np.array([cut for _, _, cut in pairs], dtype=bool)
        return Encodings([self.row_ids[k] for k in index], [p[0] for p in pairs], [p[1] for p in pairs], truncated)

    def _pair(self, i: int, j: int) -> tuple[np.ndarray, np.ndarray, bool]:
        ids, mask, example = self.rows.input_ids[i], self.rows.loss_mask[i], self.examples.input_ids[j]
        if self.once is not None and ids[0] == self.once:
            ids, mask = ids[1:], mask[1:]
        room = max(0, self.limit - len(ids))
        kept = example[max(0, len(example) - room) :]
        if 0 < len(kept) < len(example) and example[0] == self.once:
            kept = np.concatenate([example[:1], kept[1:]])  # models lean on the token that they were always begun with
        return np.concatenate([kept, ids]), np.concatenate([np.zeros(len(kept), bool), mask]), len(kept) < len(example)


def _said(where: np.ndarray, reason: str) -> np.ndarray:
    reasons = np.full(len(where), None, dtype=object)
    reasons[where] = reason
    return reasons


def pair_id(row_id: str, example_id: str) -> str:
    """What the value of a row behind an example is kept under."""
    return f"{row_id}+{example_id}"


def start_token(tokenizer: "PreTrainedTokenizerBase") -> int:
    """What stands before a reply seen alone: the tokenizer's beginning of text, else its end of text. InputError without."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise InputError("the tokenizer has neither a bos nor an eos token, so a reply alone has nothing to begin with")


def printed_once(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The beginning of text where the chat template prints it before the first turn only, else None."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    ids = tokenizer(ChatFormat(tokenizer).print([*turns, *turns]), add_special_tokens=False)["input_ids"]
    return int(ids[0]) if ids[0] == tokenizer.bos_token_id and ids.count(ids[0]) == 1 else None
