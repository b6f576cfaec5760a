"""Write the embedded sample: pool, dev and test conversations, made by rules and nothing else.

    python data/make_sample.py [--out data/sample] [--seed 20250]

The same seed gives the same rows. What is planted where is told in the column `planted`; see data/sample/README.md.
"""

import argparse
from pathlib import Path

from sample_rules.tables import SEED, build, summary, write


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the embedded sample of conversations as Parquet.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "sample", help="folder to write to")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of every random choice")
    arguments = parser.parse_args()
    tables = build(arguments.seed)
    write(arguments.out, tables)
    print(summary(tables))


if __name__ == "__main__":
    main()
