"""Projected gradients of low-rank adapters, row by row

A model of 28 million weights in float32 with fresh adapters of rank 16 on all linear layers (1.2 million entries), B drawn anew
so that gradients of A are not 0; real conversations cut at 256 tokens; onto 4,096 numbers. `curate` is `projection: sketch`,
`curate rademacher` the dense signs that LESS has. The peers take a row at a time by an ordinary backward pass and give 16
gradients at once to their projectors: TRAK's BasicProjector and dattri's. `plain backward` projects nothing and has the same
adapters, the same batches and one ordinary backward pass for each: no gradient of a row comes of it. `error` is the root mean
square error of cosines among the first rows against those of the gradients themselves, `dense` what it is on average with
Gaussian entries.
"""

from typing import Any

import numpy as np
from language import BATCH_TOKENS, encoded, network
from speed import CannotRun

REACH = "four times TRAK's BasicProjector; at most 1.5 of a plain backward pass; the error of a dense projection"
SIZES = {"rows=64": {"rows": 64}, "rows=16": {"rows": 16}}
LIMIT, DIMENSIONS, AT_ONCE, COMPARED = 256, 4096, 16, 24


def adapted() -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = get_peft_model(network(), LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.02)
    return model.eval()


def whole(model: Any, data: Any) -> Any:
    """float32 [n, P]: the gradients themselves, before the clock starts."""
    import torch

    from curate.lm.gradients import gradients, layout

    found = torch.empty(len(data), layout(model).size)
    for positions, what in gradients(model, data):
        found[positions] = what
    return found


def error(true: Any, vectors: Any) -> float:
    import torch

    unit = torch.nn.functional.normalize
    pairs = torch.triu_indices(len(true), len(true), 1)
    apart = unit(vectors[: len(true)].float()) @ unit(vectors[: len(true)].float()).T - unit(true) @ unit(true).T
    return float(apart[*pairs].square().mean().sqrt())


def expected(true: Any) -> float:
    """Of cosines under a Gaussian projection: (1 - c^2) / sqrt(d), to first order."""
    import torch

    unit = torch.nn.functional.normalize(true)
    pairs = torch.triu_indices(len(true), len(true), 1)
    return float(((1 - (unit @ unit.T)[*pairs] ** 2) ** 2 / DIMENSIONS).mean().sqrt())


def ours(rows: int, projection: str = "sketch"):  # type: ignore[no-untyped-def]
    import torch

    from curate.lm.gradient_config import GradientConfig
    from curate.work.gradients import projected

    data, model = encoded(rows, LIMIT), adapted()
    true = whole(model, data.take(range(min(rows, COMPARED))))
    config = GradientConfig.model_validate({"projection": projection, "dimensions": DIMENSIONS})

    def run() -> dict[str, float]:
        found = dict(projected(model, data, config, batch_tokens=BATCH_TOKENS))
        vectors = torch.from_numpy(np.stack([found[i] for i in range(rows)]))
        return {"entries": true.shape[1], "error": error(true, vectors), "dense": expected(true)}

    return run


def one_by_one(rows: int, projector: Any):  # type: ignore[no-untyped-def]
    """The peers' way: batch 1, then their projector."""
    import torch

    data, model = encoded(rows, LIMIT), adapted()
    true = whole(model, data.take(range(min(rows, COMPARED))))
    weights = [weight for _, weight in sorted(model.named_parameters()) if weight.requires_grad]
    project = projector(true.shape[1])

    def run() -> dict[str, float]:
        waiting, found = [], []
        for ids, mask in zip(data.input_ids, data.loss_mask, strict=True):
            labels = torch.from_numpy(np.where(mask, ids, -100).astype(np.int64))[None]
            loss = model(input_ids=torch.from_numpy(ids.astype(np.int64))[None], labels=labels, use_cache=False).loss
            waiting.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]))
            if len(waiting) == AT_ONCE:
                found.append(project(torch.stack(waiting)))
                waiting.clear()
        if waiting:
            found.append(project(torch.stack(waiting)))
        return {"entries": true.shape[1], "error": error(true, torch.cat(found)), "dense": expected(true)}

    return run


def trak(rows: int):  # type: ignore[no-untyped-def]
    try:
        from trak.projectors import BasicProjector, ProjectionType
    except ImportError as cause:
        raise CannotRun(f"not installed: {cause}") from None

    def projector(entries: int) -> Any:
        made = BasicProjector(entries, DIMENSIONS, 0, ProjectionType.rademacher, "cpu")
        return lambda gradients: made.project(gradients, 0)

    return one_by_one(rows, projector)


def dattri(rows: int):  # type: ignore[no-untyped-def]
    try:
        from dattri.func.projection import random_project
    except ImportError as cause:
        raise CannotRun(f"not installed: {cause}") from None

    def projector(entries: int) -> Any:
        import torch

        return random_project(torch.empty(AT_ONCE, entries), AT_ONCE, DIMENSIONS, AT_ONCE, proj_type="rademacher")

    return one_by_one(rows, projector)


def plain(rows: int):  # type: ignore[no-untyped-def]
    import torch

    from curate.lm.batching import batches_by_length

    data, model = encoded(rows, LIMIT), adapted()
    pad = lambda values, filler: torch.nn.utils.rnn.pad_sequence(  # noqa: E731
        [torch.from_numpy(row.astype(np.int64)) for row in values], batch_first=True, padding_value=filler
    )

    def run() -> dict[str, float]:
        for batch in batches_by_length(data.lengths, BATCH_TOKENS):
            part = data.take(batch)
            labels = pad([np.where(mask, ids, -100) for ids, mask in zip(part.input_ids, part.loss_mask, strict=True)], -100)
            real = pad([np.ones(len(ids)) for ids in part.input_ids], 0)
            model(input_ids=pad(part.input_ids, 0), attention_mask=real, labels=labels, use_cache=False).loss.backward()
            model.zero_grad()
        return {}

    return run


CONTESTANTS = {
    "curate": ours,
    "curate rademacher": lambda rows: ours(rows, "rademacher"),
    "TRAK BasicProjector": trak,
    "dattri": dattri,
    "plain backward": plain,
}
