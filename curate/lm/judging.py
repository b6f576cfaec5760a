"""A model's own yes or no about a text: the log-odds of two sets of words where an answer is to come."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from curate.errors import InputError
from curate.lm.batching import batches_by_length
from curate.lm.encodings import Encodings
from curate.lm.forward import BATCH_TOKENS, Head, last_hidden, padded
from curate.lm.halving import in_batches
from curate.lm.views import start_token

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def answer_ids(tokenizer: "PreTrainedTokenizerBase", words: Sequence[str]) -> list[int]:
    """The tokens that each of these words may begin with: as written, in small letters, with a capital, in capitals; with a
    space before it and without."""
    spelled = {form for word in words for form in (word, word.lower(), word.capitalize(), word.upper())}
    found = {tokenizer(gap + form, add_special_tokens=False)["input_ids"][0] for form in spelled for gap in ("", " ")}
    return sorted(found)


def apart(tokenizer: "PreTrainedTokenizerBase", yes: Sequence[str], no: Sequence[str]) -> tuple[list[int], list[int]]:
    """The tokens of either answer, without those that both begin with. InputError where one has none left."""
    both = answer_ids(tokenizer, yes), answer_ids(tokenizer, no)
    shared = set(both[0]) & set(both[1])
    left = [[one for one in ids if one not in shared] for ids in both]
    if not all(left):
        raise InputError(f"the tokenizer cannot tell {'/'.join(yes)} from {'/'.join(no)} by a first token; use another model")
    return left[0], left[1]


def asked_of(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], before: str, behind: Sequence[str], limit: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """(int64 ids of each text between `before` and the pieces of `behind`, int64 [k] where the answers come, from the end).

    A text loses its last tokens where all are more than `limit`; InputError where even without it they are.
    """
    first = [start_token(tokenizer), *tokenizer(before, add_special_tokens=False)["input_ids"]]
    pieces = [tokenizer(piece, add_special_tokens=False)["input_ids"] for piece in behind]
    last = [one for piece in pieces for one in piece]
    room = limit - len(first) - len(last)
    if room <= 0:
        raise InputError(f"the question alone has {len(first) + len(last):,} tokens, and the model reads {limit:,}; ask less")
    inside = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if len(texts) else []
    ends = np.cumsum([len(piece) for piece in pieces])
    return [np.array([*first, *ids[:room], *last], dtype=np.int64) for ids in inside], ends - len(last) - 1


@torch.inference_mode()
def log_odds(
    model: "PreTrainedModel",
    rows: Sequence[np.ndarray],
    places: np.ndarray,
    yes: Sequence[int],
    no: Sequence[int],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, np.ndarray | str]]:
    """Yield (position, float32 [k] log p(yes) - log p(no) behind each of the places) of each row; or why it has none.

    rows    int64 token ids each. places int64 [k], counted from a row's end: -1 is its last token, whose successor is asked for.
    yes, no token ids, whose probabilities are summed. Raises as `curate.lm.forward.traces`.
    """
    head, lengths = Head(model), np.array([len(row) for row in rows], dtype=np.int64)
    encodings = Encodings([""] * len(rows), rows, [np.zeros(len(row), bool) for row in rows], np.zeros(len(rows), bool))

    def run(batch: np.ndarray) -> np.ndarray:
        ids, real, _ = padded(encodings.take(batch))
        hidden = last_hidden(model, torch.from_numpy(ids).to(model.device), torch.from_numpy(real).to(model.device))
        at = torch.from_numpy(lengths[batch][:, None] + places).to(model.device)
        states = hidden.gather(1, at[..., None].expand(-1, -1, hidden.shape[-1]))
        logits = head(states.flatten(0, 1))
        odds = logits[:, list(yes)].logsumexp(dim=1) - logits[:, list(no)].logsumexp(dim=1)
        return odds.unflatten(0, states.shape[:2]).float().cpu().numpy()

    for batch, found in in_batches(batches_by_length(lengths, batch_tokens), lengths, run, progress):
        each: list[np.ndarray] | list[str] = [found] if isinstance(found, str) else list(found)
        yield from zip(batch.tolist(), each, strict=True)
