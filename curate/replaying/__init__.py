"""Doing again what made an output folder, and telling whether the same comes of it.

read.py      the record in a folder's manifest
inputs.py    from the record back to pools, models, methods: what is missing, what has changed
since.py     what else is not as it was: packages, numbers of code versions, the machine
outcomes.py  two output folders side by side
run.py       all of it
"""

from curate.replaying.run import Replayed, replay

__all__ = ["Replayed", "replay"]
