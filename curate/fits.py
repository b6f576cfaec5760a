"""Which fit serves: one made on these very rows, or by the rule of `refit` one that was made on nearly the same."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from curate.store import Store

Refit = Literal["never", "drift", "always"]
DRIFT = 0.1  # share of the rows that may have changed before a fit is made anew


def kept_fit(store: Store, spec: Mapping[str, Any], row_ids: Collection[str], refit: str) -> tuple[Path, float] | None:
    """(folder, share of the rows that have changed since) of the fit that serves `spec`; None when one must be made.

    spec  of the fit on these rows: its `rows` is the hash of their ids. Every fit's folder has its ids in rows.txt.
    """
    if store.has("fits", spec):
        return store.folder("fits", spec), 0.0
    if refit == "always":
        return None
    now = set(row_ids)
    best: tuple[Path, float] | None = None
    for folder, other in store.specs("fits"):
        if {**other, "rows": None} != {**spec, "rows": None}:
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
