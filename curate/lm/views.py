"""Views: what of a conversation a model sees in a pass, and which of those tokens are scored.

    conversation            the whole of it; the replies are scored
    response                the replies' tokens alone, behind a start token, so that the first of them is scored too
    response_without_start  the replies' tokens alone; the first has nothing before it and is not scored
    instruction             all up to the last reply that is not of a reply; every token but the first is scored
    instruction_after_response   the same tokens behind the replies and a request to guess the one from the other; the replies
                            lose their last tokens where there is no room for all
    after_example           the whole of it behind another conversation; its replies are scored

A view is a function of token ids, so every view of a row has the very tokens of its conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from curate.errors import InputError
from curate.lm.batching import cut, shards_by_tokens
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
INSTRUCTION_AFTER_RESPONSE = "instruction_after_response"
ROW_VIEWS = (CONVERSATION, RESPONSE, RESPONSE_WITHOUT_START, INSTRUCTION, INSTRUCTION_AFTER_RESPONSE)
GUESS = "Below is a reply. Guess the instruction that it follows.\n\n### Reply:\n", "\n\n### Instruction:\n"

NOTHING_TO_SEE = "no token in this view"
NO_ROOM = "no room for an example before the row"
NO_REPLY_SEEN = "no room for the reply before the instruction"


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

    def part(self, index: np.ndarray) -> "View":
        """A view of the rows at these positions alone, which holds nothing of the others."""
        raise NotImplementedError

    def shards(self, shard_tokens: int) -> list[np.ndarray]:
        """Positions in shards of about `shard_tokens` tokens, rows that run well together in one; a function of all rows."""
        return shards_by_tokens(self.lengths, shard_tokens)

    def forwarded(self, index: np.ndarray, shard_tokens: int, pooled: bool = False) -> int:
        """Tokens that a model runs over for the rows at these positions. pooled: states are wanted of all that is seen."""
        return int(self.lengths[index].sum())


@dataclass(frozen=True)
class RowView(View):
    """One of `ROW_VIEWS` of each row."""

    encodings: Encodings
    name: str
    start: int | None
    asked: "Asked | None"

    @classmethod
    def of(cls, encodings: Encodings, name: str, start: int | None = None, asked: "Asked | None" = None) -> "RowView":
        """start: the id of the start token, which `response` needs. asked: what `instruction_after_response` needs.

        Raises KeyError for a view that does not exist.
        """
        if name not in ROW_VIEWS:
            raise KeyError(f"no view is called {name!r}; there are {', '.join((*ROW_VIEWS, AFTER_EXAMPLE))}")
        if name == CONVERSATION:
            lengths = encodings.lengths
        else:
            pairs = zip(encodings.input_ids, encodings.loss_mask, strict=True)
            lengths = np.array([len(_row(ids, mask, name, start, asked)[0]) for ids, mask in pairs], dtype=np.int64)
        reasons = _said(lengths <= 0, NO_REPLY_SEEN if name == INSTRUCTION_AFTER_RESPONSE else NOTHING_TO_SEE)
        return cls(encodings.row_ids, lengths, reasons, encodings, name, start, asked)

    def take(self, index: np.ndarray) -> Encodings:
        rows = self.encodings.take(index)
        if self.name == CONVERSATION:
            return rows
        pairs = zip(rows.input_ids, rows.loss_mask, strict=True)
        seen = [_row(ids, mask, self.name, self.start, self.asked) for ids, mask in pairs]
        return Encodings(rows.row_ids, [ids for ids, _ in seen], [mask for _, mask in seen], rows.truncated)

    def part(self, index: np.ndarray) -> "RowView":
        rows = self.encodings.take(index).alone()
        return replace(self, row_ids=rows.row_ids, lengths=self.lengths[index], reasons=self.reasons[index], encodings=rows)


@dataclass(frozen=True)
class Asked:
    """What stands around the replies where the instruction is to be guessed: ids, and how many tokens there may be in all."""

    before: np.ndarray
    behind: np.ndarray
    limit: int

    @classmethod
    def by(cls, tokenizer: "PreTrainedTokenizerBase", limit: int) -> "Asked":
        """In a tokenizer's tokens, behind its start token."""
        before, behind = (np.array(tokenizer(text, add_special_tokens=False)["input_ids"], np.int32) for text in GUESS)
        return cls(np.concatenate([np.array([start_token(tokenizer)], np.int32), before]), behind, limit)


def _row(ids: np.ndarray, mask: np.ndarray, name: str, start: int | None, asked: Asked | None) -> tuple[np.ndarray, np.ndarray]:
    reply = ids[mask]
    if name in (INSTRUCTION, INSTRUCTION_AFTER_RESPONSE):
        last = int(np.flatnonzero(mask)[-1])
        seen = ids[:last][~mask[:last]]
        scored = np.arange(len(seen)) > 0
        if name == INSTRUCTION:
            return seen, scored
        assert asked is not None
        room = asked.limit - len(asked.before) - len(asked.behind) - len(seen)
        if room <= 0 or not len(seen):
            return ids[:0], mask[:0]
        before = np.concatenate([asked.before, reply[:room], asked.behind])
        return np.concatenate([before, seen]).astype(ids.dtype), np.concatenate([np.zeros(len(before), bool), scored])
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
    kept: np.ndarray  # int64 [n]: how many tokens of the example are seen
    once: int | None

    @classmethod
    def of(cls, rows: Encodings, examples: Encodings, index: np.ndarray, limit: int, once: int | None = None) -> "PairView":
        """limit: tokens that the model reads at most."""
        own, before = rows.lengths[index[:, 0]], examples.lengths[index[:, 1]]
        start = np.array([once is not None and ids[0] == once for ids in rows.input_ids], dtype=np.int64)[index[:, 0]]
        room = limit - (own - start)
        reasons = _said(room <= 0, NO_ROOM)
        ids = [pair_id(rows.row_ids[i], examples.row_ids[j]) for i, j in index.tolist()]
        kept = np.minimum(before, np.maximum(room, 0))
        return cls(ids, own - start + kept, reasons, rows, examples, index, kept, once)

    def take(self, index: np.ndarray) -> Encodings:
        befores = [self.before(k) for k in index]
        owns = [self.own(k) for k in index]
        ids = [np.concatenate([before, own]) for before, (own, _) in zip(befores, owns, strict=True)]
        masks = [np.concatenate([np.zeros(len(b), bool), mask]) for b, (_, mask) in zip(befores, owns, strict=True)]
        return Encodings([self.row_ids[k] for k in index], ids, masks, self.cut[index])

    def part(self, index: np.ndarray) -> "PairView":
        # Renumbered in the same order, since pairs are grouped and batched in the order of these numbers.
        rows, row = np.unique(self.index[index, 0], return_inverse=True)
        examples, example = np.unique(self.index[index, 1], return_inverse=True)
        return replace(
            self,
            row_ids=[self.row_ids[k] for k in index],
            lengths=self.lengths[index],
            reasons=self.reasons[index],
            rows=self.rows.take(rows).alone(),
            examples=self.examples.take(examples).alone(),
            index=np.stack([row.reshape(-1), example.reshape(-1)], axis=1),
            kept=self.kept[index],
        )

    @property
    def cut(self) -> np.ndarray:
        """bool [n]: whether the example lost tokens; where it lost all there is a reason."""
        return self.kept < self.examples.lengths[self.index[:, 1]]

    def before(self, pair: int) -> np.ndarray:
        """int32: the tokens of a pair that stand before the row's."""
        example, kept = self.examples.input_ids[self.index[pair, 1]], int(self.kept[pair])
        seen = example[len(example) - kept :]
        if 0 < kept < len(example) and example[0] == self.once:
            seen = np.concatenate([example[:1], seen[1:]])  # models lean on the token that they were always begun with
        return seen

    def own(self, pair: int) -> tuple[np.ndarray, np.ndarray]:
        """The row's tokens in a pair, and which of them are scored."""
        i = self.index[pair, 0]
        first = int(self.once is not None and self.rows.input_ids[i][0] == self.once)
        return self.rows.input_ids[i][first:], self.rows.loss_mask[i][first:]

    def shards(self, shard_tokens: int) -> list[np.ndarray]:
        """By the tokens that a model runs over when it runs once over what pairs have in common."""
        group, costs = self.groups(np.arange(len(self))), self.lengths - self.kept
        order = np.lexsort((costs, group, self.kept))
        first = np.diff(group[order], prepend=-1) != 0
        return cut(order, costs[order] + 1 + np.where(first, self.kept[order] - 1, 0), shard_tokens)

    def forwarded(self, index: np.ndarray, shard_tokens: int, pooled: bool = False) -> int:
        """What pairs of a shard have in common counts once, but for its last token, which goes with each row."""
        if pooled:
            return super().forwarded(index, shard_tokens, pooled)
        wanted, total = np.zeros(len(self), dtype=bool), 0
        wanted[index] = True
        for shard in self.shards(shard_tokens):
            part = shard[wanted[shard]]
            _, first = np.unique(self.groups(part), return_index=True)
            total += int((self.lengths - self.kept)[part].sum()) + len(part) + int((self.kept[part][first] - 1).sum())
        return total

    def groups(self, index: np.ndarray) -> np.ndarray:
        """int64 [len(index)]: equal for the pairs whose rows stand behind the very same tokens."""
        keys = np.stack([self.index[index, 1], self.kept[index]], axis=1)
        return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


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
