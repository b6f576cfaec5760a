"""Errors that a user can put right. Each carries one clear sentence and no traceback reaches the terminal."""


class CurateError(Exception):
    """A fault that the user can act upon; `str(error)` is one sentence that names the file, line or field."""


class InputError(CurateError, ValueError):
    """The input or the usage is wrong (exit code 2 on the command line)."""
