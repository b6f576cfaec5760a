"""The pool of conversations: read, validated, fingerprinted, written."""

from curate.pool.pool import Pool
from curate.pool.read import read_pool
from curate.pool.report import Duplicate, ReadReport, Rejected, write_duplicates, write_rejected
from curate.pool.write import write_rows

__all__ = [
    "Duplicate", "Pool", "ReadReport", "Rejected", "read_pool", "write_duplicates", "write_rejected", "write_rows",
]  # fmt: skip
