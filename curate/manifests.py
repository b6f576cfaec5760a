"""What an output folder says of how it came about, and which rows were left out."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from curate.answers import Seen
from curate.engine import Engine
from curate.lm.models import ModelSpec
from curate.plan import fit_name, merge
from curate.pool import Pool
from curate.pool import write_left_out as write_report
from curate.preparation import TOKENS_FILE, Prepared, Unusable
from curate.requests import Fit, Vocabulary


def made_from(engine: Engine, prepared: Prepared, model: ModelSpec) -> dict[str, Any]:
    """What a manifest says of the models, the pool, the work done and the artifacts of the store."""
    scorer = prepared.data.model
    return {
        "model": {"name": model.name, "fingerprint": engine.model_hash(model)},
        "scorer_model": {"name": scorer.name, "fingerprint": engine.model_hash(scorer)},
        "encoding": engine.encoding_spec(model),
        "recipe": prepared.data.recipe.model_dump(mode="json"),
        **worked_on(engine, prepared.pool),
    }


def worked_on(engine: Engine, pool: Pool) -> dict[str, Any]:
    """The part of a manifest that needs no model: the pool, the work done and the artifacts of the store."""
    report = pool.report
    return {
        "pool": {
            "files": list(report.files),
            "fingerprint": pool.fingerprint,
            "shapes": report.shapes,
            "refined": dict(report.refined),
        },
        "stages": [vars(stage) for stage in engine.stages],
        "notes": engine.notes,
        "store": engine.store.provenance(),
    }


def fits_used(engine: Engine, prepared: Prepared, *seen: Seen) -> list[dict[str, Any]]:
    """Which fit scored the rows: a kept one was fitted on some of them and on others that are gone."""
    found, asked = [], merge(dict.fromkeys(request for answers in seen for request in answers.known))
    fits: list[Fit | Vocabulary] = [*asked.fits, *asked.vocabularies]
    for fit in fits:
        folder, _ = engine.serving(fit)
        on = set((folder / "rows.txt").read_text().split())
        known = len(on & set(prepared.pool.row_ids))
        rows = {"fitted_on": len(on), "scored": len(prepared.pool), "scored_and_fitted_on": known}
        found.append({"asked": fit_name(fit), "artifact": f"fits/{folder.name}", "rows": rows})
    return found


def dataset_card(text: str, *, tokens: bool) -> str:
    """What is in a folder, for people and for `datasets.load_dataset(folder)`, which then reads the data and nothing else there.

    tokens: whether the file of chosen tokens lies there too, which is a configuration of its own.
    """
    names = {"default": "data.parquet", **({"tokens": TOKENS_FILE} if tokens else {})}
    files = "".join(f"- config_name: {k}\n  data_files:\n  - split: train\n    path: {v}\n" for k, v in names.items())
    return f"---\nconfigs:\n{files}---\n\n{text}\n"


def write_left_out(pool: Pool, unusable: Sequence[Unusable], folder: Path) -> None:
    """The rows that the pool leaves out, a file for each cause; those that the model cannot use go to rejected.jsonl."""
    write_report(pool.report, folder)
    with (folder / "rejected.jsonl").open("a") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in unusable)
