"""The pool of conversations: read, validated, fingerprinted, refined, written."""

from curate.pool.labels import TokenLabels, read_labels
from curate.pool.pool import Pool
from curate.pool.read import read_pool
from curate.pool.refinement import accounted_anew, kept_repeats, refine
from curate.pool.report import Contaminated, Duplicate, NearDuplicate, OverCap, ReadReport, Rejected, write_left_out
from curate.pool.rewritten import Rewrite, rewritten
from curate.pool.write import write_rows

__all__ = [
    "Contaminated",
    "Duplicate",
    "NearDuplicate",
    "OverCap",
    "Pool",
    "ReadReport",
    "Rejected",
    "Rewrite",
    "TokenLabels",
    "accounted_anew",
    "kept_repeats",
    "read_labels",
    "read_pool",
    "refine",
    "rewritten",
    "write_left_out",
    "write_rows",
]  # fmt: skip
