"""Does `curate auto` find a method that must win, and does it say so where nothing wins?

    python benchmarks/auto_truth.py null [--runs 1000]
    OMP_NUM_THREADS=1 python benchmarks/auto_truth.py planted --kept FILE.json [--seeds 10] [--spend 2e12FLOPs] [--store FOLDER]

null: searches simulated without training (`curate.automatic.simulation`), 30 arms of which none differs from random, as they are
and with the mistakes that the design rules out: confirming on the items, or with the seeds, that the halving looked at.

planted: sound rows of the sample pool, half of them with replies made of words of other replies, in no order. Rows of low
perplexity are then the sound ones, so `perplexity:window=low` must win over the other candidates and over random. Each seed draws
another pool and is a search of its own; those that the file holds are not run again. Both print Markdown.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

import curate
from curate.automatic.simulation import Simulated
from curate.comparison.simulation import Cell
from curate.resources import sample
from curate.training.config import TrainConfig

WINNER = "perplexity:window=low"
METHODS = (WINNER, "perplexity:window=high", "longest", "balanced")
ROWS, ITEMS = 400, 100


def null(runs: int) -> None:
    print("| seeds' share | design | better | worse | undecided |\n| ---: | --- | ---: | ---: | ---: |")
    for by_seed, by_residual in ((0.02, 0.05), (0.3, 0.2), (0.9, 0.05)):
        for name, mistakes in (("as it is", {}), ("same items", {"same_items": True}), ("same seeds", {"same_seeds": True})):
            rng = np.random.default_rng(0)
            cell = Cell(10, 80, by_seed, by_residual, sources=3)
            search = Simulated(30, cell, (1, 2, 5), **mistakes)
            said = [search.run(rng)[1] for _ in range(runs)]
            shares = " | ".join(f"{said.count(word) / runs:.1%}" for word in ("better", "worse", "undecided"))
            print(f"| {by_seed:.0%} | {name} | {shares} |", flush=True)


def pool(seed: int) -> list[dict]:
    """Rows of the sample pool without a planted defect, half of them with words of other replies, in no order."""
    whole = curate.read_pool(sample("pool"))
    rng = np.random.default_rng(seed)
    sound = np.flatnonzero(~np.array(whole.column("planted").is_valid()))
    chosen = rng.permutation(sound)[:ROWS].tolist()
    rows = [{"source": whole.sources[i], "messages": whole.messages(i)} for i in chosen]
    words = [word for row in rows for word in row["messages"][-1]["content"].split()]
    for row in rows[::2]:
        length = len(row["messages"][-1]["content"].split())
        row["messages"][-1]["content"] = " ".join(rng.choice(words, length))
    return rows


def planted(asked: argparse.Namespace) -> None:
    kept = Path(asked.kept)
    found = json.loads(kept.read_text()) if kept.exists() else {}
    for seed in range(asked.seeds):
        key = f"{asked.spend} seed {seed}"
        if key in found:
            continue
        began = time.monotonic()
        outcome = curate.auto(
            pool(seed),
            METHODS,
            spend=asked.spend,
            budgets=["10%"],
            evals=curate.read_pool(sample("dev"), limit=ITEMS),
            tokens=asked.tokens,
            recipe=TrainConfig(batch_tokens=256),
            engine=curate.Engine(store=curate.Store(asked.store)),
            seed=100 * seed,
        )
        found[key] = {**outcome.to_dict(), "seconds": time.monotonic() - began}
        kept.write_text(json.dumps(found, indent=1, default=str) + "\n")
        print(f"seed {seed}: {outcome.sentence}", file=sys.stderr, flush=True)
    mine = [found[f"{asked.spend} seed {seed}"] for seed in range(asked.seeds)]
    print("| seed | winner | against random | answer | seconds |\n| ---: | --- | ---: | --- | ---: |")
    for seed, one in enumerate(mine):
        winner, tested = one["winner"] or {}, one["tested"]
        against = "" if tested is None else f"{tested['diff']:+.3f} ({tested['ci_low']:+.3f} to {tested['ci_high']:+.3f})"
        print(f"| {seed} | {winner.get('method', '')} | {against} | {one['answer']} | {one['seconds']:.0f} |")
    right = sum(one["answer"] == "method" and one["winner"]["method"] == WINNER for one in mine)
    print(f"\n{right} of {len(mine)} searches found {WINNER}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["null", "planted"])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--spend", default="2e12FLOPs")
    parser.add_argument("--store", default=None)
    parser.add_argument("--kept", default="auto_truth.json")
    asked = parser.parse_args()
    null(asked.runs) if asked.what == "null" else planted(asked)


if __name__ == "__main__":
    main()
