"""Which method, at which budget, for these data: successive halving under a stated spend, and one clean confirmation."""

from curate.automatic.outcome import Outcome
from curate.automatic.run import auto

__all__ = ["Outcome", "auto"]
