"""What lies in an output folder, as far as a page shows it."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.comparison.evidence import Evidence
from curate.comparison.tables import tables
from curate.errors import InputError
from curate.overview import read_overview
from curate.report.page.colours import ordered, roles
from curate.training.config import TrainConfig

CHOSEN = ("random", "control", "method")  # kinds of arms that charts show by budget


@dataclass(frozen=True)
class Folder:
    """What a verb wrote. verdict, manifest, overview, auto: the files of these names, None where there is none."""

    path: Path
    verdict: dict[str, Any] | None
    manifest: dict[str, Any] | None
    overview: dict[str, Any] | None
    auto: Any

    @classmethod
    def read(cls, path: Path) -> "Folder":
        """InputError for a folder in which there is nothing to show."""
        verdict, manifest, auto = (_json(path, f"{name}.json") for name in ("verdict", "manifest", "auto"))
        found = cls(path, verdict, manifest, read_overview(path), auto)
        if found.verdict is None and found.overview is None and found.auto is None:
            what = "an output folder of `curate compare`, `conclude`, `select` or `score`"
            older = "; one that an older version wrote has to be made again" if found.manifest is not None else ""
            raise InputError(f"{path}: nothing to report on; name {what}{older}")
        return found

    @cached_property
    def primary(self) -> list[dict[str, Any]]:
        """The verdict's arms on the primary evaluation set, in the order of the table; empty without a verdict."""
        return [] if self.verdict is None else [dict(arm) for arm in tables(self.verdict["arms"])[0][1]]

    @property
    def chosen(self) -> list[dict[str, Any]]:
        """Of these, the selections at equal tokens: random, the controls and the methods."""
        return [arm for arm in self.primary if arm["kind"] in CHOSEN]

    @cached_property
    def budgets(self) -> list[str]:
        """The verdict's budgets, the smallest first."""
        return [arm["budget"] for arm in sorted(self.chosen, key=lambda arm: arm["rows"]) if arm["kind"] == "random"]

    @property
    def confidence(self) -> float:
        """Of the verdict's intervals."""
        return float((self.verdict or {"config": {"confidence": 0.95}})["config"]["confidence"])

    @cached_property
    def methods(self) -> list[str]:
        """All methods, the controls last."""
        return ordered([*(self.overview or {}).get("methods", ()), *(arm["method"] for arm in self.chosen)])

    @cached_property
    def colour(self) -> dict[str, str]:
        """The role of each method's colour."""
        return roles(self.methods)

    @cached_property
    def picked(self) -> list[str]:
        """The methods whose picks the overview has, the controls last."""
        return [name for name in self.methods if name in (self.overview or {}).get("picks", {})]

    @cached_property
    def evidence(self) -> Evidence | None:
        """What the verdict rests on; None where that was not kept."""
        if self.verdict is None:
            return None
        try:
            return Evidence.read(self.path, TrainConfig(**self.verdict["config"]["recipe"]))
        except (InputError, KeyError, TypeError, ValueError):
            return None


def _json(path: Path, name: str) -> Any:
    try:
        return json.loads((path / name).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path / name}: cannot be read: {error}") from None
