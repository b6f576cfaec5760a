"""How often a better candidate is promoted within 30 nights, by when it came, for each way of spending the error rate.

    python benchmarks/promotion_power.py [--alpha 0.05] [--years 4000]

Simulates nights by the model of `curate/comparison/statistics.py`: what a night measures is the candidate's gain plus a part of
the seeds (half of the variance, known from seeds - 1 degrees of freedom) and one of 100 items, drawn anew each night. The gain is
given in standard errors of a night. `none better`: the share of years in which anything is promoted although nothing is better.
`5% each night`: what comes of it where nothing is spent. Prints a Markdown table.
"""

import argparse

import numpy as np

from curate.comparison.promotion import YEAR, level
from curate.comparison.statistics import half_width

WINDOW = 30  # nights in which a candidate goes on being tested
ARRIVES = (1, 31, 181, 336)
ITEMS = 99.0  # degrees of freedom


def promoted(levels: np.ndarray, gain: float, seeds: int, years: int, rng: np.random.Generator) -> float:
    """The share of years in which a test at one of these levels [nights] promotes what is better by `gain` standard errors."""
    some = np.zeros(years, dtype=bool)
    for a in levels:
        parts = [
            (0.5 * rng.chisquare(seeds - 1, years) / (seeds - 1), seeds - 1.0),
            (0.5 * rng.chisquare(ITEMS, years) / ITEMS, ITEMS),
        ]
        some |= gain + rng.standard_normal(years) > half_width(parts, 2 * a)
    return float(some.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--years", type=int, default=4000)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| seeds | gain | spending | " + " | ".join(f"came on night {n}" for n in ARRIVES) + " | none better |")
    print("|---|---|---|" + "---|" * (len(ARRIVES) + 1))
    series = {name: np.array([level(n, given.alpha, name) for n in range(1, YEAR + 1)]) for name in ("even", "slow", "basel")}
    series["5% each night"] = np.full(YEAR, given.alpha)
    for seeds in (5, 8, 12):
        by_luck = {name: promoted(levels, 0.0, seeds, given.years, rng) for name, levels in series.items()}
        for gain in (2.0, 4.0, 6.0):
            for name, levels in series.items():
                found = [promoted(levels[n - 1 : n - 1 + WINDOW], gain, seeds, given.years, rng) for n in ARRIVES]
                print(
                    f"| {seeds} | {gain:g} | {name} | " + " | ".join(f"{p:.2f}" for p in found) + f" | {by_luck[name]:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
