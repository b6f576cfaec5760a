"""A process that has imported everything and forks a child for each command line it is told of.

Real processes that can be killed, without waiting for torch each time. Nothing but imports happens before a fork, so no
thread pool is lost by it. Each order is a line of JSON: words (of the command line), folder (for out, err and code), cwd,
shard_tokens, largest (bytes a file may have), lowly (root, if we are it, is refused what others are).
"""

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any


def _lay_down_capabilities() -> None:
    """File permissions hold for this process from here on, also for root."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    data[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc.capset(header, data)


def _obey(order: dict[str, Any]) -> None:
    import curate.lm.forward
    import curate.passes
    from curate.cli import _main

    folder = Path(order["folder"])
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), stream)
    os.chdir(order["cwd"])
    curate.passes.SHARD_TOKENS = order["shard_tokens"]
    real = curate.lm.forward.traces

    def watched(model: Any, encodings: Any, *given: Any, **named: Any) -> Any:
        with (folder / "forwarded").open("a") as file:
            file.write(f"{len(encodings)}\n")
        return real(model, encodings, *given, **named)

    curate.lm.forward.traces = watched
    if order["largest"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"], order["largest"]))
    if order["lowly"]:
        _lay_down_capabilities()
    sys.argv = ["curate", *order["words"]]
    code = _main(order["words"])
    sys.stdout.flush()
    sys.stderr.flush()
    (folder / "code").write_text(str(code))


def main() -> None:
    import polars  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401

    import curate.selection
    import curate.training.trainer  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _obey(json.loads(line))
            finally:
                os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
