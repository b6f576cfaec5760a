"""Fine-tune a model on a pool: the library's function behind `curate train`."""

from pathlib import Path
from typing import Any

from curate.engine import Engine
from curate.files import output_folder
from curate.lm.models import ModelSpec
from curate.manifests import write_left_out
from curate.preparation import PoolLike, as_model, as_pool, counts, unusable_rows
from curate.store import write_manifest
from curate.training.config import TrainConfig
from curate.versions import versions


def train(
    pool: PoolLike,
    *,
    out: str | Path,
    model: str | Path | ModelSpec | None = None,
    recipe: TrainConfig | None = None,
    engine: Engine | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fine-tune a model on every row of a pool and write it to `out` as a folder that transformers loads.

    Returns tokens, loss_tokens, epochs, steps, seconds, flops, rows (trained on, repeats counted), first_loss and last_loss
    (nats per token), and the account of the pool: rows_in and what it is the sum of.
    Raises InputError for a pool, model or recipe at fault.
    """
    from curate.training.trainer import save_model

    engine, spec, config = engine or Engine(), as_model(model), recipe or TrainConfig()
    with output_folder(out, overwrite=overwrite) as folder:
        whole = as_pool(pool)
        usable, rows, failed = engine.add("pool", whole, spec)
        encodings = engine.encodings(spec, rows).take(usable.repeated())
        result = engine.train(spec, encodings, config, f"train {spec.label} on {len(encodings):,} rows")
        save_model(result, folder / "model", engine.tokenizer(spec))
        account = {
            **result.account(),
            "rows": len(encodings),
            **counts(whole, usable),
            "first_loss": result.losses[0],
            "last_loss": result.losses[-1],
        }
        kept = {"model": spec.name, "recipe": config.model_dump(mode="json"), "pool": usable.fingerprint, **account}
        write_manifest(folder / "training.json", {**kept, "versions": versions(), "store": engine.store.provenance()})
        write_left_out(whole, unusable_rows(whole, failed), folder)
        for file in (folder / "model").iterdir():
            file.rename(folder / file.name)
        (folder / "model").rmdir()
    return account
