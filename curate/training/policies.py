"""Which of a step's reply tokens count in the loss, chosen anew in every step by what the model then knows.

rho-1    Selective language modelling, arXiv 2404.07965: the tokens whose loss exceeds a reference model's most, over the whole
         batch of the step.
sstoken  arXiv 2510.18250: in each row the tokens on which the model has improved most on its own history, or that look most to
         the prompt.

A policy reads the batch of a step once, without gradients and dropout, before the step is taken. So the choice does not depend
on how the batch is cut into micro-batches or spread over processes, at the cost of one more forward pass.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.nn.functional import cross_entropy

from curate.errors import InputError
from curate.lm.attention import attention_probabilities
from curate.lm.encodings import Encodings, scored_positions
from curate.lm.forward import traces
from curate.lm.layers import attention_module
from curate.selectors.tokens import best, share_of
from curate.training.config import TrainConfig
from curate.training.losses import IGNORED, head_sees

NO_CHANGE = 1e-4  # nats; losses of a row that moved by no more than this among each other have not moved but for rounding

Item = dict[str, Any]  # a micro-batch: see `_MicroBatches` of the trainer


class TokenPolicy:
    """Chooses the tokens of each step. With `history_decay` it keeps a running mean of the weights that learn."""

    def __init__(self, config: TrainConfig, model: Any) -> None:
        self.config = config
        self.history: dict[str, torch.Tensor] | None = None
        if config.history_decay is not None:
            self.history = {name: weight.detach().clone() for name, weight in _learned(model).items()}

    def choose(self, model: Any, items: Sequence[Item], step: int) -> None:
        """Leave the tokens that are not kept out of the micro-batches of one step (0 is the first), in place.

        items  of this process; under torchrun every process makes the call.
        """
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                kept = self._excess(model, items) if self.config.token_policy == "rho-1" else self._own(model, items, step)
        finally:
            model.train(training)
        for item, keep in zip(items, kept, strict=True):
            out = torch.zeros_like(item["labels"], dtype=torch.bool)
            out[:, 1:][item["labels"][:, 1:] != IGNORED] = torch.from_numpy(~keep).to(out.device)
            item["labels"] = item["labels"].masked_fill(out, IGNORED)
            item["weights"] = item["weights"].masked_fill(out, 0.0)
        shares = gather_object([float(item["weights"].sum(dtype=torch.float64)) for item in items])
        for item in items:
            item["batch_weight"] = float(np.sum(shares))

    def _excess(self, model: Any, items: Sequence[Item]) -> list[np.ndarray]:
        """Rho-1: the best of the whole batch, wherever its rows are; ties to the earlier row, then to the earlier token."""
        found = [(*_places(item), _losses(model, item) - _past(item)) for item in items]
        row, place, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
        everywhere = gather_object([(row, place, score)])
        rows, places, scores = (np.concatenate(parts) for parts in zip(*everywhere, strict=True))
        order = np.lexsort((places, rows))
        kept = np.zeros(len(scores), dtype=bool)
        kept[order] = best(scores[order], kept_of(self.config, len(scores)))
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        before = sum(len(part[0]) for part in everywhere[:rank])
        return np.split(kept[before : before + len(score)], np.cumsum([len(part[0]) for part in found])[:-1])

    def _own(self, model: Any, items: Sequence[Item], step: int) -> list[np.ndarray]:
        """ssToken: the best of each row by itself."""
        gamma = self.config.gamma if step >= self.config.policy_warmup_steps else 0.0
        kept = []
        for item in items:
            with attention_to_prompt(model, item, self.config) as looks:
                now = _losses(model, item)
            drop, attention = self._history(model, item) - now, looks()
            row = np.nonzero(_scored(item).cpu().numpy())[0]
            keep = np.zeros(len(row), dtype=bool)
            for i in np.unique(row):
                of = row == i
                keep[of] = best(sstoken_scores(drop[of], attention[of], gamma), kept_of(self.config, int(of.sum())))
            kept.append(keep)
        return kept

    def _history(self, model: Any, item: Item) -> np.ndarray:
        """The losses under the history: those of the model at the start, or under the running mean of its weights."""
        if self.history is None:
            return _past(item)
        learned = _learned(model)
        now = {name: weight.data for name, weight in learned.items()}
        try:
            for name, weight in learned.items():
                weight.data = self.history[name]
            return _losses(model, item)
        finally:
            for name, weight in learned.items():
                weight.data = now[name]

    def after_step(self, model: Any) -> None:
        """Let the history follow: history <- decay * history + (1 - decay) * weights."""
        if self.history is not None:
            assert self.config.history_decay is not None
            for name, weight in _learned(model).items():
                self.history[name].lerp_(weight.detach(), 1 - self.config.history_decay)

    def state(self) -> dict[str, torch.Tensor]:
        """What a resumed run needs."""
        return self.history or {}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, weight in (self.history or {}).items():
            weight.copy_(state[name])


def sstoken_scores(drop: np.ndarray, attention: np.ndarray, gamma: float) -> np.ndarray:
    """float64 [n] for the reply tokens of one row: gamma * minmax(drop) + (1 - gamma) * attention.

    drop       float [n], loss under the history less loss now, in nats. Where all are the same up to rounding, minmax is 0.
    attention  float [n], in [0, 1]: of each token to the prompt.
    """
    drop = drop.astype(np.float64)
    low, high = drop.min(), drop.max()
    scaled = (drop - low) / (high - low) if high - low > NO_CHANGE else np.zeros_like(drop)
    return gamma * scaled + (1 - gamma) * attention.astype(np.float64)


def kept_of(config: TrainConfig, tokens: int) -> int:
    """How many of so many tokens a policy keeps: Rho-1 rounds down (to one at least) in a batch, ssToken up in a row."""
    return max(min(1, tokens), share_of(config.keep_tokens, tokens, up=config.token_policy == "sstoken"))


def past_losses(
    config: TrainConfig,
    model: Any,
    encodings: Encodings,
    rows: np.ndarray,
    reference: Sequence[np.ndarray] | None,
) -> list[np.ndarray]:
    """float32 [T_i] per row: the loss that a token's is held against, in nats; 0 where it was not asked for or is not scored.

    rows       int64, those that are trained on.
    reference  per row the losses of its scored tokens (the replies' without a first token), which rho-1 needs; sstoken's are
               those of `model` as it is now.
    """
    scored = [scored_positions(mask) for mask in encodings.loss_mask]
    found = [np.zeros(len(mask), dtype=np.float32) for mask in encodings.loss_mask]
    if config.token_policy == "rho-1":
        if reference is None:
            raise InputError("token_policy: rho-1 needs the losses of a reference model; name one (--reference)")
        if len(reference) != len(encodings):
            raise InputError(f"reference: losses of {len(reference)} rows for {len(encodings)} rows")
        for i, (values, where) in enumerate(zip(reference, scored, strict=True)):
            losses = np.asarray(values, dtype=np.float32)
            if losses.shape != where.shape or not np.isfinite(losses).all():
                raise InputError(f"reference: row {encodings.row_ids[i]} needs {len(where)} finite losses")
            found[i][where] = losses
    elif config.history_decay is None:
        rows = np.array([i for i in np.unique(rows) if len(scored[i])], dtype=np.int64)
        for at, trace in traces(model, encodings.take(rows)) if len(rows) else ():
            if isinstance(trace, str):
                raise InputError(f"token_policy: row {encodings.row_ids[rows[at]]}: {trace}")
            found[rows[at]][scored[rows[at]]] = -trace["logp"]
    return found


# ---- what a policy reads of a micro-batch; arrays are over its scored tokens, row by row


def _scored(item: Item) -> torch.Tensor:
    return item["labels"][:, 1:] != IGNORED


def _places(item: Item) -> tuple[np.ndarray, np.ndarray]:
    """(position of the row among all rows, position of the token in it)."""
    row, place = np.nonzero(_scored(item).cpu().numpy())
    return item["rows"].cpu().numpy()[row], place + 1


def _past(item: Item) -> np.ndarray:
    return item["past"][:, 1:][_scored(item)].double().cpu().numpy()


def _losses(model: Any, item: Item) -> np.ndarray:
    """float64: -log p of each scored token."""
    scored = _scored(item)
    with head_sees(model, scored):
        logits = model(input_ids=item["input_ids"], attention_mask=item["attention_mask"], use_cache=False).logits[0]
    return cross_entropy(logits.float(), item["labels"][:, 1:][scored], reduction="none").double().cpu().numpy()


# ---- attention of one layer


@contextlib.contextmanager
def attention_to_prompt(model: Any, item: Item, config: TrainConfig) -> Iterator[Callable[[], np.ndarray]]:
    """Within it a forward pass over the item leaves what its scored tokens give to the prompt, which the function returns.

    float64 in [0, 1]: the attention that goes from a token's own position to positions before it outside replies, summed over
    these and averaged over heads, in the layer of `config.attention_layer`. `config.drop_sink` leaves the first position out.

    The layer attends once more by the model's own plain implementation, in float32 softmax, as fused ones give no
    probabilities. Raises InputError for a layer that there is not, and a model whose layers do not give them either.
    """
    module = attention_module(model, config.attention_layer)
    found: list[np.ndarray] = []

    def look(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        prompt = ~item["replies"] & item["attention_mask"].bool()
        if config.drop_sink:
            prompt[:, 0] = False
        scored = torch.zeros_like(prompt)
        scored[:, 1:] = _scored(item)
        for i in range(len(prompt)):  # row by row, for probabilities are [heads, T, T]
            probabilities = attention_probabilities(module, args, kwargs, i, item["attention_mask"], model.dtype)
            to_prompt = (probabilities.double().mean(dim=0) * prompt[i]).sum(dim=-1)
            found.append(to_prompt[scored[i]].cpu().numpy())

    hook = module.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield lambda: np.concatenate(found)
    finally:
        hook.remove()


def _learned(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
