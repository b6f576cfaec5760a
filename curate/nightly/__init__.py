"""Nights: new rows are scored, a selection is made anew given the accepted one, and takes its place where it is surely better."""

from curate.nightly.night import Night, run_night
from curate.nightly.recipe import NightlyRecipe, read_nightly, replaced
from curate.nightly.state import State

__all__ = ["Night", "NightlyRecipe", "State", "read_nightly", "replaced", "run_night"]
