"""Comparisons: arms, statistics, verdict."""

from curate.comparison.concluding import conclude
from curate.comparison.run import compare
from curate.comparison.verdict import Verdict

__all__ = ["Verdict", "compare", "conclude"]
