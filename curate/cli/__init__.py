"""The command line. Everything heavy is imported inside the command that needs it.

options.py holds the groups of options that verbs share, expand.py turns them into typer's parameters, entry.py runs a
command line and says what went wrong; every other file is a verb or two.
"""

from curate.cli.entry import _main, main

__all__ = ["_main", "main"]
