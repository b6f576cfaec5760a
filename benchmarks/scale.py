"""The tables of docs/scale.md, computed from what benchmarks/speed.py has measured.

    python benchmarks/speed.py read_pool select_longest selectors ...
    python benchmarks/scale.py [--measured build/speed] [--machines 1 8]

Every work with a GROWTH has a line for each contestant that grows: seconds and peak of memory at its sizes, their exponents a and
b, and what these say of more rows, by the formulas of the page. What has not been measured is said to be so.
"""

import argparse
import json
import math
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from speed import grown, load, works

GAP = "not measured yet"
FURTHER = (10_000_000, 100_000_000)
SHARD = 1_000_000  # rows


def measured(module: ModuleType, runs: list[dict[str, Any]], contestant: str) -> list[tuple[int, float, float]]:
    """(rows, median of the seconds, largest peak in GB) of the sizes that were measured."""
    argument, values, _ = module.GROWTH
    found = []
    for value in values:
        here = [r for r in runs if (r["size"], r["contestant"]) == (f"{argument}={value:,}", contestant) and "seconds" in r]
        if here:
            peak = max(r["figures"].get("peak GB", r["peak"]) for r in here)
            found.append((value, median(r["seconds"] for r in here), peak))
    return found


def exponent(sizes: list[int], numbers: list[float]) -> float:
    """The slope of the logarithms, by least squares."""
    x, y = [math.log(size) for size in sizes], [math.log(number) for number in numbers]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def further(rows: int, size: int, number: float, power: float) -> float:
    """number * (rows / size)^max(1, power): what is measured as growing more slowly than the rows will not go on so."""
    return number * (rows / size) ** max(1.0, power)


def sharded(rows: int, seconds: float, size: int, power: float, machines: int) -> float:
    """Hours on so many machines for all shards, each of SHARD rows."""
    return math.ceil(math.ceil(rows / SHARD) / machines) * further(SHARD, size, seconds, power) / 3600


def line(name: str, found: list[tuple[int, float, float]], machines: list[int]) -> str:
    if len(found) < 2:
        return f"| {name} | {GAP} | | | |" + " |" * (len(FURTHER) * (1 + len(machines)))
    sizes, seconds, peaks = (list(column) for column in zip(*found, strict=True))
    a, b = exponent(sizes, seconds), exponent(sizes, peaks)
    cells = [name, ", ".join(f"{n:,}: {s:.2f} s, {g:.2f} GB" for n, s, g in found), f"{a:.2f}", f"{b:.2f}"]
    for rows in FURTHER:
        hours = further(rows, sizes[-1], seconds[-1], a) / 3600
        cells.append(f"{hours:.2f} h, {further(rows, sizes[-1], peaks[-1], b):,.0f} GB")
        cells += [f"{sharded(rows, seconds[-1], sizes[-1], a, count):.2f} h" for count in machines]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, default=Path("build/speed"))
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 8])
    given = parser.parse_args()
    heads = ["work", "measured", "a", "b"]
    for rows in FURTHER:
        heads += [f"{rows:,} rows, one process", *(f"in shards, {count} machines" for count in given.machines)]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * 2}{' ---: |' * (len(heads) - 2)}")
    for work in works():
        module, path = load(work), given.measured / f"{work}.json"
        if getattr(module, "GROWTH", (None,))[0] != "rows":
            continue
        runs = json.loads(path.read_text())["runs"] if path.exists() else []
        for contestant in grown(module):
            print(line(f"{work}: {contestant}", measured(module, runs, contestant), given.machines))


if __name__ == "__main__":
    main()
