"""Which fit serves: one made on these very rows, or by the rule of `refit` one that was made on a pool before it changed."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.store import Store

DRIFT = 0.1  # share of the rows that may have changed before a fit is made anew
WHOLE = "whole.txt"  # a mark in the folder of a fit on all rows of a set; those on some of them have none


def keep_rows(folder: Path, row_ids: Sequence[str], account: Mapping[str, float], *, whole: bool) -> None:
    """Beside what was learned: on which rows, whether they are all of a set, and what it took."""
    (folder / "rows.txt").write_text("\n".join(row_ids))
    (folder / "fit.json").write_text(json.dumps(account))
    if whole:
        (folder / WHOLE).write_text(f"{len(row_ids)}\n")


def kept_account(folder: Path) -> dict[str, float]:
    """What making a fit took."""
    return json.loads((folder / "fit.json").read_text())


def kept_fit(
    store: Store, spec: Mapping[str, Any], row_ids: Collection[str], refit: str, *, whole: bool
) -> tuple[Path, float] | None:
    """(folder, share of the rows that have changed since) of the fit that serves `spec`; None when one must be made.

    spec   of the fit on these rows: its `rows` is the hash of their ids. Every fit's folder has its ids in rows.txt.
    whole  whether the rows are all of a set, which may grow and shrink. A fit on some rows of a set is served by one on these
           very rows and no other, and serves no others: another part of the pool is not the pool as it was.
    """
    if store.has("fits", spec):
        return store.folder("fits", spec), 0.0
    if refit == "always" or not whole:
        return None
    now = set(row_ids)
    best: tuple[Path, float] | None = None
    for folder, other in store.specs("fits"):
        if {**other, "rows": None} != {**spec, "rows": None} or not (folder / WHOLE).exists():
            continue
        then = set((folder / "rows.txt").read_text().split())
        if not now & then:
            continue  # a fit on other data altogether
        drift = len(now ^ then) / len(now)
        if best is None or drift < best[1]:
            best = folder, drift
    if best is None or (refit != "never" and best[1] > DRIFT):
        return None
    store.use(best[0])
    return best
