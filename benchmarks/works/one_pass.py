"""One pass of a model of 28 million weights, eight observables of every row

Real conversations in the order of their file, cut at 512 tokens, float32. `curate` records mean loss, log-probabilities, entropy,
margin, EL2N, distance and two pooled states of each in one pass. `ideal` is the same model over the same tokens with nothing
padded: the tokens of each of our batches in one full rectangle of as many rows, the output head over as many of them as are
scored, and the loss alone. `padded` takes eight rows at a time in file order with the logits of all tokens and the loss
alone; `eight padded` does so once for each observable.
"""

from typing import Any

import numpy as np
from language import BATCH_TOKENS, encoded, network

REACH = "at most 1.1 of the ideal pass; six times as fast as eight padded passes"
SIZES = {"rows=512": {"rows": 512}, "rows=96": {"rows": 96}}
ROWS_AT_ONCE = 8  # of the padded pass
OBSERVED = ("mean_loss", "token_logprobs", "entropy", "margin", "el2n", "distance", "hidden_mean", "hidden_last")


def ours(rows: int):  # type: ignore[no-untyped-def]
    from curate.lm.forward import traces
    from curate.lm.observables import OBSERVABLES

    data, model = encoded(rows), network()
    asked = [OBSERVABLES[name] for name in OBSERVED]
    needs = {need for observable in asked for need in observable.needs}

    def run() -> dict[str, float]:
        losses = []
        for _, trace in traces(model, data, needs, batch_tokens=BATCH_TOKENS):
            assert not isinstance(trace, str), trace
            recorded = {observable.name: observable.reduce(trace) for observable in asked}
            losses.append(recorded["mean_loss"])
        return {"tokens": int(data.lengths.sum()), "loss": float(np.mean(losses))}

    return run


def ideal(rows: int):  # type: ignore[no-untyped-def]
    import torch

    from curate.lm.batching import batches_by_length

    data, model = encoded(rows), network()
    rectangles = []
    for batch in batches_by_length(data.lengths, BATCH_TOKENS):
        part = data.take(batch)
        width = round(part.lengths.sum() / len(batch))
        ids = np.resize(np.concatenate(part.input_ids), (len(batch), width)).astype(np.int64)
        scored = np.resize(np.concatenate(part.loss_mask), (len(batch), width))
        rectangles.append((torch.from_numpy(ids), torch.from_numpy(scored)))

    @torch.inference_mode()
    def run() -> dict[str, float]:
        for ids, scored in rectangles:
            states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            torch.nn.functional.cross_entropy(model.lm_head(states[scored]), ids[scored], reduction="none").tolist()
        return {"tokens": sum(ids.numel() for ids, _ in rectangles)}

    return run


def padded(rows: int, passes: int = 1):  # type: ignore[no-untyped-def]
    import torch

    data, model = encoded(rows), network()

    def batch(start: int) -> dict[str, Any]:
        ids, masks = data.input_ids[start : start + ROWS_AT_ONCE], data.loss_mask[start : start + ROWS_AT_ONCE]
        pad = lambda rows, with_: torch.nn.utils.rnn.pad_sequence(  # noqa: E731
            [torch.from_numpy(row.astype(np.int64)) for row in rows], batch_first=True, padding_value=with_
        )
        labels = [np.where(mask, row, -100) for row, mask in zip(ids, masks, strict=True)]
        real = [np.ones(len(row)) for row in ids]
        return {"input_ids": pad(ids, 0), "attention_mask": pad(real, 0), "labels": pad(labels, -100)}

    @torch.inference_mode()
    def run() -> dict[str, float]:
        losses: list[float] = []
        for _ in range(passes):
            losses = []
            for start in range(0, rows, ROWS_AT_ONCE):
                given = batch(start)
                labels = given.pop("labels")[:, 1:]
                logits = model(**given, use_cache=False).logits[:, :-1]
                each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
                losses += (each.view(labels.shape).sum(dim=1) / (labels >= 0).sum(dim=1)).tolist()
        return {"loss": float(np.mean(losses))}

    return run


CONTESTANTS = {
    "curate": ours,
    "ideal": ideal,
    "padded": padded,
    "eight padded": lambda rows: padded(rows, passes=len(OBSERVED)),
}
