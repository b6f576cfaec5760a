"""What a report shows of a pool and of what methods picked from it: a summary of bounded size, however large the pool is."""

from curate.overview.overview import FILE, overview, read_overview, write_overview
from curate.overview.picked import Picked

__all__ = ["FILE", "Picked", "overview", "read_overview", "write_overview"]
