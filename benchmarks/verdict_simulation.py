"""How often the answers of a comparison are false, and how often its interval covers the truth, by simulation.

    python benchmarks/verdict_simulation.py [--runs 2000] [--kept FILE.json] [--arms FILE.parquet]

Simulates comparisons of known truth (`curate.comparison.simulation`) over seeds, shares of the seeds' variance, items and
shapes; judges the rule of `curate.comparison.statistics` and others on the same draws; then compares random with random
under other names, out of the losses of real random arms (`random_arms.py`). Prints Markdown. With --kept, cells that the file
holds are not computed again while statistics.py and simulation.py stay as they are.
"""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import special

from curate.comparison import simulation, statistics
from curate.comparison.simulation import Cell, Runs, disguised, draw, rates, run
from curate.comparison.statistics import half_width

LEVELS = (0.05, 0.05 / 6)
SHARES = (0.0, 0.1, 0.3, 0.5, 0.8, 0.95)
DRAWS = 10_000
BAND = (0.035, 0.065)


def cells() -> list[Cell]:
    plain = [Cell(s, i, share) for i, s, share in product((100, 900), (2, 3, 4, 5, 7, 10, 20), SHARES)]
    shaped = [
        Cell(s, i, share, shape=shape)
        for shape, i, s, share in product(("heavy", "skewed"), (100, 900), (3, 5, 10), (0.0, 0.3, 0.8))
    ]
    local = [Cell(s, 900, share, local=True) for s, share in product((3, 5, 10), (0.3, 0.8, 0.95))]
    return plain + shaped + local + [Cell(s, i, 0.0, by_residual=0.95) for s, i in product((3, 5, 10), (100, 900))]


# Other rules, from the same parts ------------------------------------------------------------------------------------


def banerjee(parts: Any, alpha: float) -> Any:
    return np.sqrt(sum(v * statistics._t(alpha, f) ** 2 for v, f in parts))


def welch(parts: Any, alpha: float) -> Any:
    """Welch's expansion to first order, with exact ends: `half_width` with the exponent 2."""
    z, total = -special.ndtri(alpha / 2), sum(v for v, _ in parts)
    return np.sqrt(z**2 * total + sum((statistics._t(alpha, f) ** 2 - z**2) * v**2 / total for v, f in parts))


def satterthwaite(parts: Any, alpha: float) -> Any:
    total = sum(v for v, _ in parts)
    return statistics._t(alpha, total**2 / sum(v**2 / f for v, f in parts)) * np.sqrt(total)


def limited(parts: Any, alpha: float) -> Any:
    """Satterthwaite with at most four times the degrees of freedom of the seeds."""
    total = sum(v for v, _ in parts)
    freedom = np.minimum(total**2 / sum(v**2 / f for v, f in parts), 4 * parts[0][1])
    return statistics._t(alpha, freedom) * np.sqrt(total)


def normal(parts: Any, alpha: float) -> Any:
    return -special.ndtri(alpha / 2) * np.sqrt(sum(v for v, _ in parts))


RULES: dict[str, Callable[[Any, float], Any]] = {
    "curate": half_width,
    "Banerjee": banerjee,
    "Welch, first order": welch,
    "Satterthwaite": satterthwaite,
    "Satterthwaite, df at most 4 (S - 1)": limited,
    "normal quantile": normal,
}


def judged(cell: Cell, runs: int, seed: int) -> dict[str, Any]:
    """Per rule and level: false answers either way, coverage of a planted difference, median half-width, power."""
    null = run(cell, runs, seed)
    planted = {effect: run(cell, runs, seed + effect, effect=float(effect)) for effect in (3, 4)}
    return {name: [_line(rule, null, planted, level) for level in LEVELS] for name, rule in RULES.items()}


def _line(rule: Callable[[Any, float], Any], null: Runs, planted: dict[int, Runs], level: float) -> dict[str, float]:
    found = rates(null, level, rule=rule)
    covered = rates(planted[3], level, truth=3.0, rule=rule)["covered"]
    power = {f"power_{effect}": rates(runs, level, rule=rule)["above"] for effect, runs in planted.items()}
    return {"below": found["below"], "above": found["above"], "half": found["half"], "covered": covered, **power}


def bootstrapped(cell: Cell, runs: int, seed: int) -> dict[str, float]:
    """False answers at 5% of the crossed bootstrap (Owen 2007, Annals of Applied Statistics 1:386), `DRAWS` draws.

    percentile: zero outside the middle 95% of the draws; factor: outside 1.96 of their standard deviations, those of the
    seeds' part made larger by sqrt(S / (S - 1)), since a bootstrap of S seeds finds (S - 1) / S of their variance.
    """
    rng = np.random.default_rng(seed)
    strata = cell.strata
    of_seeds = rng.multinomial(cell.seeds, np.full(cell.seeds, 1 / cell.seeds), DRAWS) / cell.seeds
    counts = np.empty((DRAWS, cell.items))
    for source in np.unique(strata):
        here = strata == source
        counts[:, here] = rng.multinomial(here.sum(), np.full(here.sum(), 1 / here.sum()), DRAWS)
    differences, weights = draw(cell, runs, rng)
    weighted = counts * weights
    for source in np.unique(strata):  # each source keeps its weight in the mean over sources
        here = strata == source
        weighted[:, here] *= weights[here].sum() / weighted[:, here].sum(axis=1, keepdims=True)
    percentile = factor = 0
    for difference in differences:
        means = weighted @ difference.T  # [draws, S]
        drawn = (means * of_seeds).sum(axis=1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        percentile += not low <= 0 <= high
        seeds = (difference @ weights).var() / cell.seeds  # what the bootstrap finds of the seeds' part
        spread = np.sqrt(drawn.var() + seeds / (cell.seeds - 1))
        factor += abs(float((difference @ weights).mean())) > 1.96 * spread
    return {"percentile": percentile / runs, "factor": factor / runs}


def disguises(path: Path, runs: int, seed: int, seeds: int, arms: int = 6) -> dict[str, float]:
    """Shares of comparisons in which a disguised random is called better, or worse; and of single answers."""
    table = pl.read_parquet(path)
    losses = table.select(pl.col("^arm_.*$")).to_numpy().T.astype(np.float64)
    tokens, sources = table["tokens"].to_numpy(), table["source"].to_numpy()
    rng = np.random.default_rng(seed)
    found = [disguised(losses, tokens, sources, arms=arms, seeds=seeds, rng=rng) for _ in range(runs)]
    answers = Counter(answer for answers in found for answer in answers)
    return {
        "better": sum("better" in answers for answers in found) / runs,
        "worse": sum("worse" in answers for answers in found) / runs,
        "single": (answers["better"] + answers["worse"]) / (runs * arms),
    }


# Kept and printed ----------------------------------------------------------------------------------------------------


class Kept:
    """Results by what they are of, in a file of JSON; dropped when the code that made them changes."""

    def __init__(self, path: Path | None) -> None:
        code = b"".join(Path(module.__file__).read_bytes() for module in (statistics, simulation))  # type: ignore[arg-type]
        self.path, self.code = path, hashlib.sha256(code).hexdigest()[:16]
        there = json.loads(path.read_text()) if path and path.exists() else {}
        self.results: dict[str, Any] = there["results"] if there.get("code") == self.code else {}

    def get(self, what: str, make: Callable[[], Any]) -> Any:
        if what not in self.results:
            self.results[what] = make()
            if self.path:
                self.path.write_text(json.dumps({"code": self.code, "results": self.results}, indent=1))
        return self.results[what]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--arms", type=Path, default=Path("tests/comparison/fixtures/random_arms.parquet"))
    asked = parser.parse_args()
    kept, runs = Kept(asked.kept), asked.runs
    print(f"{date.today()}, {runs:,} runs a cell.\n")
    found = {
        cell: kept.get(f"{runs} {asdict(cell)}", lambda cell=cell, n=n: judged(cell, runs, 1000 * n))
        for n, cell in enumerate(cells())
    }
    print("\n".join([*by_rule(found), "", *by_cell(found), "", *by_shape(found), ""]))
    few = [Cell(s, 100, share) for s, share in product((3, 5, 10), (0.0, 0.3, 0.8))]
    boot = {
        cell: kept.get(f"bootstrap {runs} {asdict(cell)}", lambda cell=cell, n=n: bootstrapped(cell, runs, 7_000_000 + n))
        for n, cell in enumerate(few)
    }
    print("| seeds | seeds' share | crossed bootstrap, percentile | with the factor S / (S - 1) |\n| ---: | ---: | ---: | ---: |")
    for cell, line in boot.items():
        print(f"| {cell.seeds} | {cell.by_seed:.0%} | {line['percentile']:.1%} | {line['factor']:.1%} |")
    print(
        "\n| seeds | a disguised random is called better | worse | single answers that are false |\n| ---: | ---: | ---: | ---: |"
    )
    for seeds in (3, 5, 10):
        what = f"disguised {runs} {seeds} {hashlib.sha256(asked.arms.read_bytes()).hexdigest()[:16]}"
        line = kept.get(what, lambda seeds=seeds: disguises(asked.arms, runs, seeds, seeds))
        print(f"| {seeds} | {line['better']:.1%} | {line['worse']:.1%} | {line['single']:.2%} |")


def by_rule(found: dict[Cell, Any]) -> Iterator[str]:
    """Each rule over all normal cells of a number of seeds."""
    yield (
        "| rule | seeds | false at 5% | cells in 3.5 to 6.5% | coverage | cells in 93.5 to 96.5% "
        "| false at 5% / 6, of the nominal | power, 3 se | power at 5% / 6, 4 se |"
    )
    yield "| --- | ---: | --- | ---: | --- | ---: | --- | ---: | ---: |"
    for rule, seeds in product(RULES, (2, 3, 4, 5, 7, 10, 20)):
        lines = [line[rule] for cell, line in found.items() if cell.seeds == seeds and plain(cell)]
        false = [five["below"] + five["above"] for five, _ in lines]
        covered = [five["covered"] for five, _ in lines]
        holm = [(six["below"] + six["above"]) / LEVELS[1] for _, six in lines]
        power = np.mean([five["power_3"] for five, _ in lines]), np.mean([six["power_4"] for _, six in lines])
        within = sum(BAND[0] <= f <= BAND[1] for f in false), sum(1 - BAND[1] <= c <= 1 - BAND[0] for c in covered)
        yield (
            f"| {rule} | {seeds} | {min(false):.1%} to {max(false):.1%} | {within[0]} of {len(lines)} | {min(covered):.1%} to "
            f"{max(covered):.1%} | {within[1]} of {len(lines)} | {min(holm):.2f} to {max(holm):.2f} "
            f"| {power[0]:.0%} | {power[1]:.0%} |"
        )


def by_cell(found: dict[Cell, Any]) -> Iterator[str]:
    """The rule of curate: false answers at 5%, for 100 and 900 items."""
    yield "| seeds | items | " + " | ".join(f"seeds' share {share:.0%}" for share in SHARES) + " |"
    yield "| ---: | ---: |" + " ---: |" * len(SHARES)
    for seeds, items in product((2, 3, 4, 5, 7, 10, 20), (100, 900)):
        lines = [found[Cell(seeds, items, share)]["curate"][0] for share in SHARES]
        yield f"| {seeds} | {items} | " + " | ".join(f"{five['below'] + five['above']:.1%}" for five in lines) + " |"


def by_shape(found: dict[Cell, Any]) -> Iterator[str]:
    """The rule of curate where its model does not hold."""
    yield "| cells | seeds | false at 5%, either way | below | above | coverage |\n| --- | ---: | --- | --- | --- | --- |"
    kinds: dict[str, Callable[[Cell], bool]] = {
        "heavy tails, 100 items": lambda c: c.shape == "heavy" and c.items == 100,
        "heavy tails, 900 items": lambda c: c.shape == "heavy" and c.items == 900,
        "skewed, 100 items": lambda c: c.shape == "skewed" and c.items == 100,
        "skewed, 900 items": lambda c: c.shape == "skewed" and c.items == 900,
        "seeds' noise by source": lambda c: c.local,
        "interaction 95%": lambda c: c.by_residual == 0.95,
    }
    for (kind, is_one), seeds in product(kinds.items(), (3, 5, 10)):
        lines = [line["curate"][0] for cell, line in found.items() if is_one(cell) and cell.seeds == seeds]
        columns = [
            [five["below"] + five["above"] for five in lines],
            *([five[k] for five in lines] for k in ("below", "above")),
        ]
        shown = [f"{min(column):.1%} to {max(column):.1%}" for column in [*columns, [five["covered"] for five in lines]]]
        yield f"| {kind} | {seeds} | " + " | ".join(shown) + " |"


def plain(cell: Cell) -> bool:
    return cell == Cell(cell.seeds, cell.items, cell.by_seed)


if __name__ == "__main__":
    main()
