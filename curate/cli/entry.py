"""Running a command line: its exit code, and one sentence on standard error when it fails."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

import typer

from curate.cli.app import app
from curate.cli.terminal import console
from curate.errors import CurateError, InputError

INTERRUPTED = 130  # what shells call Ctrl-C; typer may have turned the exception into this code
USAGE_ERROR: Any = typer.BadParameter.__base__  # click's, or that of the click inside typer


def main() -> None:
    """Entry point: 0 done, 2 for usage or input at fault (one sentence), 1 for a fault of ours."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: Sequence[str]) -> int:
    debug = "--debug" in arguments
    try:
        with _shown(arguments):
            code = int(app(args=list(arguments), prog_name="curate", standalone_mode=False) or 0)
        return _stopped(arguments) if code == INTERRUPTED else code
    except typer.Exit as error:
        return error.exit_code
    except USAGE_ERROR as error:
        if not arguments or not error.format_message():  # the help is the answer
            error.show()
            return 2
        where = error.ctx.command_path if error.ctx else "curate"
        return _say(f"{error.format_message().rstrip('.')}; see {where} --help", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _stopped(arguments)
    except CurateError as error:
        if debug:
            raise
        return _say(str(error), 2 if isinstance(error, InputError) else 1)
    except MemoryError:
        if debug:
            raise
        return _say("the memory is not enough for this; what was computed before is kept", 1)
    except OSError as error:
        if debug:
            raise
        return _say(f"{error.filename or 'the file system'}: {error.strerror or error}; what was computed before is kept", 1)
    except Exception as error:
        if debug:
            raise
        return _say(f"a fault in curate: {type(error).__name__}: {error} (--debug shows where)", 1)


def _shown(arguments: Sequence[str]) -> Any:
    from curate.training.folders import first_process

    if not arguments or {"-h", "--help"} & set(arguments) or arguments[0] == "methods" or not first_process():
        from contextlib import nullcontext

        return nullcontext()
    from curate.display import Terminal
    from curate.progress import shown_on

    return shown_on(Terminal(console(stderr=True), "--json" in arguments))


def _stopped(arguments: Sequence[str]) -> int:
    again = shlex.join(["curate", *arguments])
    return _say(f"stopped; what was computed is in the store, and the same command goes on from there: {again}", INTERRUPTED)


def _say(text: str, code: int) -> int:
    from curate.report.table import harmless

    print(f"curate: {harmless(' '.join(text.splitlines()))}", file=sys.stderr)
    return code
