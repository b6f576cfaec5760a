"""Rows behind in-context examples: a model runs once over an example, then over all the rows behind it.

The keys and values of some examples are computed together, padded on the left so that each ends where the rows begin. Rows
of like length share a batch whatever example they stand behind. The results are those of `curate.lm.forward.traces` on the
whole ids, up to rounding.
"""

import copy
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from curate.errors import CurateError
from curate.lm import forward
from curate.lm.batching import batches_by_length
from curate.lm.encodings import Encodings
from curate.lm.forward import BATCH_TOKENS, Head
from curate.lm.halving import DeviceLost, out_of_memory, refuse_lost
from curate.lm.observables import PER_ROW, PER_TOKEN, POOLED, Trace
from curate.lm.views import PairView, View

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHED = 6  # keys and values that a batch may hold, as a multiple of `batch_tokens`
ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-6}  # of states, relative to the largest; 0.05 in half precision


@torch.inference_mode()
def traces_of_view(
    model: "PreTrainedModel",
    view: View,
    index: np.ndarray,
    needs: Collection[str] = ("logp",),
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Trace | str]]:
    """As `traces`, of the rows or pairs at these positions of a view; yields positions in `index`.

    Pairs whose rows stand behind the same tokens share the run over them, unless states are to be pooled over the whole
    (`needs` in `POOLED` and `PER_ROW`) or the model's attention cannot go on from keys and values: the first pair is run both
    ways to see.
    """
    rest = np.arange(len(index))
    if isinstance(view, PairView) and not set(needs) & {*POOLED, *PER_ROW}:
        group = view.groups(index)
        shared = np.flatnonzero((np.bincount(group)[group] > 1) & (view.kept[index] > 1))
        if len(shared) and goes_on(model, view, int(index[shared[0]])):
            run = _Run(model, view, [name for name in PER_TOKEN if name in needs], batch_tokens, progress)
            for position, trace in run.traces(index[shared], group[shared]):
                yield int(shared[position]), trace
            rest, left = np.setdiff1d(rest, shared), shared[run.left]
            if len(left) == len(shared):  # it may be the model and not the pairs: that is for the plain run to say
                rest, left = np.sort(np.concatenate([rest, left])), left[:0]
            for k in left.tolist():
                yield k, _alone(model, view.take(index[[k]]), needs)
    if len(rest):
        for position, trace in forward.traces(model, view.take(index[rest]), needs, batch_tokens=batch_tokens, progress=progress):
            yield int(rest[position]), trace


def _alone(model: "PreTrainedModel", row: Encodings, needs: Collection[str]) -> Trace | str:
    """A row that could not be done with others: its trace, or why it has none."""
    try:
        [(_, trace)] = forward.traces(model, row, needs)
        return trace
    except DeviceLost:
        raise
    except CurateError as error:
        return str(error).partition(": ")[2]


@torch.inference_mode()
def goes_on(model: "PreTrainedModel", view: PairView, pair: int) -> bool:
    """Whether the model gives the same states of a row from the keys and values of what stands before it."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    before, (own, _) = view.before(pair), view.own(pair)
    ids = torch.from_numpy(np.concatenate([before, own]).astype(np.int64))[None].to(model.device)
    mask, n = torch.ones_like(ids), len(before) - 1
    try:
        whole = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, n:].float()
        cache = _cache(model, ids[:, :n], mask[:, :n])
        if {type(layer) for layer in cache.layers} - {DynamicLayer, DynamicSlidingWindowLayer}:
            return False
        apart = _behind(model, _chosen(cache, torch.zeros(1, dtype=torch.long)), ids[:, n:], mask).float()
    except Exception:  # whatever an architecture raises that has no keys and values to go on from
        return False
    bound = ROUNDING.get(model.dtype, 0.05) * float(whole.abs().max())
    return apart.shape == whole.shape and float((apart - whole).abs().max()) <= bound


class _Run:
    """left: positions, in what was asked for, of the pairs that could not be run."""

    def __init__(
        self,
        model: "PreTrainedModel",
        view: PairView,
        names: list[str],
        batch_tokens: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.model, self.view, self.names, self.batch_tokens = model, view, names, batch_tokens
        self.head, self.progress = Head(model), progress or (lambda tokens: None)
        self.left = np.zeros(0, dtype=np.int64)

    def traces(self, index: np.ndarray, group: np.ndarray) -> Iterator[tuple[int, Trace]]:
        """index: pairs; group: equal for those that share what stands before the row. Yields positions in `index`."""
        _, first, group = np.unique(group, return_index=True, return_inverse=True)
        lengths = self.view.kept[index[first]] - 1  # the last token goes with the rows: it may predict a scored one
        waiting = batches_by_length(lengths, self.batch_tokens)[::-1]
        while waiting:
            chunk = waiting.pop()
            pairs = np.flatnonzero(np.isin(group, chunk))
            befores = [self.view.before(int(index[first[g]]))[:-1] for g in chunk]
            ids, real = padded(befores, "left", self.model.device)
            try:
                cache = _cache(self.model, ids, real)
            except (RuntimeError, MemoryError, IndexError, ValueError) as error:
                refuse_lost(error)
                if len(chunk) > 1:
                    waiting += [chunk[len(chunk) // 2 :], chunk[: len(chunk) // 2]]
                else:
                    self.left = np.concatenate([self.left, pairs])
                continue
            self.progress(int(lengths[chunk].sum()))
            place = np.searchsorted(np.sort(chunk), group[pairs])
            yield from self._rows(index, pairs, cache, real, np.argsort(chunk)[place])

    def _rows(
        self, index: np.ndarray, pairs: np.ndarray, cache: Any, real: torch.Tensor, which: np.ndarray
    ) -> Iterator[tuple[int, Trace]]:
        """which: for each of the pairs, the row of the cache that it stands behind."""
        lengths = (self.view.lengths - self.view.kept)[index[pairs]] + 1
        waiting: list[np.ndarray] = []
        for batch in batches_by_length(lengths, self.batch_tokens):
            held = len(batch) * (int(lengths[batch].max()) + real.shape[1])
            waiting += np.array_split(batch, -(-held // (CACHED * self.batch_tokens)))
        waiting, fits = [batch for batch in waiting if len(batch)][::-1], float("inf")
        while waiting:
            batch = waiting.pop()
            size = len(batch) * int(lengths[batch].max())
            found = None
            if size <= fits or len(batch) == 1:
                try:
                    found = self._batch(index[pairs[batch]], cache, real, torch.from_numpy(which[batch]))
                except (RuntimeError, MemoryError, IndexError, ValueError) as error:
                    refuse_lost(error)
                    fits = min(fits, size / 2) if out_of_memory(error) else fits
            if found is not None:
                yield from zip(pairs[batch].tolist(), found, strict=True)
                self.progress(int(lengths[batch].sum()))
                continue
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # here, where no error holds the batch any more
            if len(batch) > 1:
                waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
            else:
                self.left = np.concatenate([self.left, pairs[batch]])

    def _batch(self, pairs: np.ndarray, cache: Any, real: torch.Tensor, which: torch.Tensor) -> list[Trace]:
        owns = [self.view.own(int(pair)) for pair in pairs]
        rows = [np.concatenate([self.view.before(int(pair))[-1:], ids]) for pair, (ids, _) in zip(pairs, owns, strict=True)]
        ids, here = padded(rows, "right", self.model.device)
        scored = torch.zeros_like(ids, dtype=torch.bool)
        for row, (_, mask) in enumerate(owns):
            scored[row, 1 : len(mask) + 1] = torch.from_numpy(mask)
        mask = torch.cat([real[which.to(real.device)], here], dim=1)
        hidden = _behind(self.model, _chosen(cache, which), ids, mask)
        flat = self.head.statistics(hidden[scored.roll(-1, dims=1)], ids[scored], self.names)
        cuts = np.cumsum([int(mask.sum()) for _, mask in owns])[:-1]
        arrays = {name: np.split(values, cuts) for name, values in flat.items()}
        return [{name: values[row] for name, values in arrays.items()} for row in range(len(rows))]


def padded(rows: list[np.ndarray], side: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, 1 where there is a token) int64 [B, T] of rows, padding on the side named."""
    width = max(map(len, rows))
    ids, real = np.zeros((len(rows), width), dtype=np.int64), np.zeros((len(rows), width), dtype=np.int64)
    for row, values in enumerate(rows):
        place = slice(0, len(values)) if side == "right" else slice(width - len(values), width)
        ids[row, place], real[row, place] = values, 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(real).to(device)


def _cache(model: "PreTrainedModel", ids: torch.Tensor, real: torch.Tensor) -> Any:
    """Keys and values of ids [B, T], padding on the left."""
    positions = (real.cumsum(dim=1) - 1).clamp(min=0)
    return model.base_model(input_ids=ids, attention_mask=real, position_ids=positions, use_cache=True).past_key_values


def _chosen(cache: Any, which: torch.Tensor) -> Any:
    """A cache of some rows of another, in this order; the other stays as it is."""
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]
    chosen.batch_select_indices(which.to(cache.layers[0].keys.device))
    return chosen


def _behind(model: "PreTrainedModel", cache: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """States [B, T, H] of ids [B, T] behind cached tokens; mask [B, P + T] is 0 for padding. The cache is used up."""
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return model.base_model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
