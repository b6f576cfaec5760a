"""Fine-tune a model on a pool: the library's function behind `curate train`."""

import shutil
from pathlib import Path
from typing import Any

from curate.asked import asked
from curate.engine import Engine
from curate.files import check_output, output_folder
from curate.lm.models import ModelSpec
from curate.manifests import write_left_out
from curate.preparation import PoolLike, as_model, as_pool, counts, note_cut, unusable_rows
from curate.store import write_manifest
from curate.training.config import TrainConfig
from curate.training.folders import first_process
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

    Where the pool was selected for a token policy, the recipe has it, unless it names its own (or none).

    The recipe's checkpoints are kept in `out` too. With `recipe.checkpoint_steps` a run that was stopped is gone on with by
    the same call: until it ends, what it needs for that lies in `<out>.unfinished`. Under torchrun each process makes the call.
    Returns tokens, loss_tokens, epochs, steps, seconds, flops, rows (trained on, repeats counted), token_policy, first_loss and
    last_loss (nats per token), notes, and the account of the pool: rows_in and what it is the sum of, rows_truncated.
    Raises InputError for a pool, model or recipe at fault.
    """
    from curate.training.trainer import save_model

    engine, spec = engine or Engine(), as_model(model)
    check_output(out, overwrite=overwrite)
    whole = as_pool(pool)
    config = (recipe or TrainConfig()).inheriting(whole.policy)
    usable, rows, failed = engine.add("pool", whole, spec)
    encodings = engine.encodings(spec, rows).take(usable.repeated())
    unfinished = Path(f"{out}.unfinished")
    kept = unfinished if config.save_checkpoints or config.checkpoint_steps else None
    result = engine.train(
        spec, encodings, config, f"train {spec.label} on {len(encodings):,} rows", kept, resume=kept is not None
    )
    account = {
        **result.account(),
        "rows": len(encodings),
        **counts(whole, usable, note_cut(engine, rows, spec)),
        "token_policy": config.token_policy,
        "first_loss": result.losses[0],
        "last_loss": result.losses[-1],
        "notes": list(engine.notes),
    }
    if not first_process():
        return account
    with output_folder(out, overwrite=overwrite) as folder:
        save_model(result, folder / "model", engine.tokenizer(spec))
        what = {"model": spec.name, "recipe": config.model_dump(mode="json"), "pool": usable.fingerprint, **account}
        replay = asked("train", engine, {"pool": whole, "model": spec, "recipe": recipe})
        made = {"versions": versions(), "store": engine.store.provenance(), "replay": replay}
        write_manifest(folder / "training.json", {**what, **made})
        write_left_out(whole, unusable_rows(whole, failed), folder)
        for file in (folder / "model").iterdir():
            file.rename(folder / file.name)
        (folder / "model").rmdir()
        for checkpoint in result.checkpoints:
            shutil.move(checkpoint, folder / checkpoint.name)
    shutil.rmtree(unfinished, ignore_errors=True)
    return account
