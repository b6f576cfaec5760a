"""What is not as it was when a folder was made, beside its inputs."""

from collections.abc import Mapping
from typing import Any

from curate.asked import CODE, ran_on
from curate.engine import Engine
from curate.replaying.read import Record
from curate.versions import versions


def surroundings(record: Record, engine: Engine) -> list[str]:
    """Packages, code versions and the machine that differ from those of the record, and fits on other rows, in sentences."""
    said = _differing("", record.manifest.get("curate") or record.manifest.get("versions") or {}, versions())
    said += _differing("version of ", record.asked.get("code", {}), CODE)
    said += _differing("", record.asked.get("ran_on", {}), ran_on(engine))
    for fit in record.manifest.get("fits", ()):
        rows = fit["rows"]
        if rows["fitted_on"] != rows["scored_and_fitted_on"]:
            others = rows["fitted_on"] - rows["scored_and_fitted_on"]
            said.append(f"{fit['asked']} had served from before, fitted on {others:,} rows that are not in the pool")
    return said


def _differing(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [f"{what}{name}: {before[name]} then, {now[name]} now" for name in before if name in now and before[name] != now[name]]
