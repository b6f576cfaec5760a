"""How fast, side by side with what one would pick instead: every work in benchmarks/works, or those that are named.

    python benchmarks/speed.py [WORK ...] [--repeats 3] [--threads 2] [--limit 1800] [--out build/speed] [--list]

A work is a module of benchmarks/works: its docstring says what is measured, and it has
    REACH       what it must reach, in words
    SIZES       a name for each size -> the arguments of that size
    CONTESTANTS a name -> function(**size) -> function() -> figures (a dict of numbers). The outer call imports and makes the
                data, the inner one is timed. Figures that take long are returned as a function of nothing, called when the
                time is taken. "curate" comes first; a peer that cannot run raises CannotRun with its reason
    GROWTH      optional, (argument, its values, the other arguments): times over which an exponent is fitted
    GROWN       optional, the contestants that GROWTH is for; without it "curate" alone
Each run is a process of its own, with its own peak of memory, and contestants take turns. What was measured is kept in --out
as JSON, one file per work, and a run that was stopped goes on; --again measures anew. The table is printed in Markdown and
written to --out/speed.md: medians, the range, and the ratio of a peer's median to that of curate.
"""

import argparse
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
OURS = "curate"
PACKAGES = ("numpy", "torch", "faiss-cpu", "scikit-learn", "submodlib-py", "apricot-select", "traker", "dattri", "datasets")


class CannotRun(Exception):
    """Why a contestant does not run at a size."""


def load(work: str) -> ModuleType:
    """The module of a work."""
    spec = importlib.util.spec_from_file_location(f"works_{work}", HERE / "works" / f"{work}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def works() -> list[str]:
    return sorted(path.stem for path in (HERE / "works").glob("*.py"))


def one(work: str, contestant: str, size: dict[str, Any]) -> dict[str, Any]:
    """A single run, in this process: seconds of wall and CPU, peak of memory in GB, and the contestant's own figures."""
    try:
        run = load(work).CONTESTANTS[contestant](**size)
        wall, cpu = time.perf_counter(), time.process_time()
        figures = run() or {}
        took = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": peak()}
        figures = figures() if callable(figures) else figures
    except Exception as error:  # CannotRun of the work's own import of this module is another class
        return {"reason": str(error) if type(error).__name__ == "CannotRun" else f"{type(error).__name__}: {error}"}
    return {**took, "figures": figures}


def peak() -> float:
    """GB that this process has held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(work: str, contestant: str, size: dict[str, Any], threads: int, limit: float) -> dict[str, Any]:
    """A single run, in a process of its own."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")
    command = [sys.executable, __file__, work, "--one", json.dumps([contestant, size])]
    try:
        done = subprocess.run(
            command, env={**os.environ, **dict.fromkeys(names, str(threads))}, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {"reason": f"stopped after {limit:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = "killed, for want of memory" if done.returncode in (-9, 137) else (done.stderr.strip().splitlines() or ["?"])[-1]
        return {"reason": f"ended with {done.returncode}: {said}"}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def planned(module: ModuleType) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(size's name, contestant, its arguments) of each run but for repeats."""
    for name, size in module.SIZES.items():
        for contestant in module.CONTESTANTS:
            yield name, contestant, size
    if hasattr(module, "GROWTH"):
        argument, values, others = module.GROWTH
        for contestant in grown(module):
            for value in values:
                yield f"{argument}={value:,}", contestant, {argument: value, **others}


def grown(module: ModuleType) -> tuple[str, ...]:
    """The contestants whose growth is measured."""
    return getattr(module, "GROWN", (OURS,))


def run(work: str, given: argparse.Namespace) -> dict[str, Any]:
    """All runs of a work; those kept are not made again."""
    path = Path(given.out) / f"{work}.json"
    kept = json.loads(path.read_text()) if path.exists() and not given.again else {"runs": []}
    module = load(work)
    for repeat in range(given.repeats):
        for size, contestant, arguments in planned(module):
            here = [r for r in kept["runs"] if (r["size"], r["contestant"]) == (size, contestant)]
            if len(here) > repeat or any("reason" in r for r in here):
                continue
            found = measure(work, contestant, arguments, given.threads, given.limit)
            kept["runs"].append({"size": size, "contestant": contestant, "arguments": arguments, **found})
            kept["machine"] = machine(given.threads)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(kept, indent=1) + "\n")
            said = found.get("reason") or f"{found['seconds']:.2f} s, {found['peak']:.2f} GB, {found['figures']}"
            print(f"{work} {size} {contestant}: {said}", file=sys.stderr, flush=True)
    return kept


def machine(threads: int) -> dict[str, Any]:
    """What the figures hold for."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": versions,
    }


def table(work: str, kept: dict[str, Any]) -> str:
    """A work's runs in Markdown."""
    module = load(work)
    title = (module.__doc__ or work).strip()
    at = kept["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in at["versions"].items())
    lines = [
        f"### {title.splitlines()[0]}", "", *title.splitlines()[2:], "", f"Reach: {module.REACH}", "",
        f"{at['date']}, {at['cpu']}, {at['threads']} threads on {at['cores']} cores, Python {at['python']}, {packages}.", "",
        "| size | | seconds, median (range) | CPU s | peak GB | times curate's | figures |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]  # fmt: skip
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for found in kept["runs"]:
        groups.setdefault((found["size"], found["contestant"]), []).append(found)
    for size, contestant, _ in planned(module):
        runs = groups.get((size, contestant), [])
        done = [r for r in runs if "reason" not in r]
        if not done:
            lines.append(f"| {size} | {contestant} | {runs[0]['reason'] if runs else 'not measured'} | | | | |")
            continue
        ours = [r["seconds"] for r in groups.get((size, OURS), []) if "seconds" in r]
        seconds = [r["seconds"] for r in done]
        ratio = f"{middle(seconds) / middle(ours):.2f}" if ours and contestant != OURS else ""
        figures = ", ".join(f"{name} {value:,.10g}" if isinstance(value, (int, float)) else f"{name} {value}"
                            for name, value in done[-1]["figures"].items())  # fmt: skip
        lines.append(
            f"| {size} | {contestant} | {middle(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f}) "
            f"| {middle([r['cpu'] for r in done]):.2f} | {max(r['peak'] for r in done):.2f} | {ratio} | {figures} |"
        )
    return "\n".join([*lines, "", *growth(module, groups)])


def growth(module: ModuleType, groups: dict[tuple[str, str], list[dict[str, Any]]]) -> list[str]:
    """The exponents of time and of memory over the values of GROWTH, fitted by least squares on logarithms."""
    import numpy as np

    if not hasattr(module, "GROWTH"):
        return []
    argument, values, _ = module.GROWTH
    slope = lambda y: np.polyfit(np.log(values), np.log(y), 1)[0]  # noqa: E731
    lines = []
    for contestant in grown(module):
        found = [groups.get((f"{argument}={value:,}", contestant), []) for value in values]
        if all(runs and "seconds" in runs[0] for runs in found):
            seconds = [middle([r["seconds"] for r in runs]) for runs in found]
            # A run in a process of its own says what that took.
            peaks = [max(r["figures"].get("peak GB", r["peak"]) for r in runs) for runs in found]
            power = f"{slope(seconds):.2f} in time, {slope(peaks):.2f} in the peak of memory"
            lines.append(f"{contestant} grows with {argument} as its power {power}.")
    return ["  \n".join(lines), ""] if lines else []


def middle(numbers: list[float]) -> float:
    from statistics import median

    return median(numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=1800, help="seconds that one run may take")
    parser.add_argument("--out", default="build/speed")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.work[0], *json.loads(given.one))))
        return
    if given.list:
        print("\n".join(works()))
        return
    tables = []
    for work in given.work or works():
        tables.append(table(work, run(work, given)))
        print(tables[-1], flush=True)
    (Path(given.out) / "speed.md").write_text("\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
