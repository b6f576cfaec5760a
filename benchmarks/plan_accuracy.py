"""How near a plan's estimate comes to the run that follows, on the demonstration.

    python benchmarks/plan_accuracy.py [--rows 1200] [--tokens 10000] [--seeds 3]

Prints a Markdown table: tokens and seconds as estimated before anything ran, and as the run then took.
"""

import argparse
import tempfile
import time

import curate
from curate.comparison.estimate import estimate_compare
from curate.report.demo import demonstration

KINDS = {"train": ("fit", "train"), "pass": ("mean_loss",), "evaluate": ("evaluate",)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("rows", 1200), ("tokens", 10_000), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = demonstration(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory() as store:
        began = time.perf_counter()
        steps = estimate_compare(engine=curate.Engine(store=curate.Store(store)), **asked)
        planning = time.perf_counter() - began
        engine = curate.Engine(store=curate.Store(store))
        began = time.perf_counter()
        curate.compare(engine=engine, **asked)
        whole = time.perf_counter() - began
    print(
        "| work | tokens, estimated | tokens | seconds, estimated | seconds | ratio |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for kind, names in KINDS.items():
        planned = [step for step in steps if step.name.startswith(names)]
        done = [stage for stage in engine.stages if stage.kind == kind]
        line(
            kind,
            sum(s.tokens for s in planned),
            sum(s.tokens for s in done),
            sum(s.seconds for s in planned),
            sum(s.seconds for s in done),
        )
    line("all", sum(s.tokens for s in steps), sum(s.tokens for s in engine.stages), sum(s.seconds for s in steps), whole)
    print(f"\nPlanning took {planning:.0f} s.")


def line(kind: str, estimated: int, tokens: int, planned: float, seconds: float) -> None:
    print(f"| {kind} | {estimated:,} | {tokens:,} | {planned:.0f} | {seconds:.0f} | {planned / seconds:.2f} |")


if __name__ == "__main__":
    main()
