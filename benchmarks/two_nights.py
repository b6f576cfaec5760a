"""A schedule that fires by itself: on the first night a poor selection is accepted, on a later one a better one takes its place.

    python benchmarks/two_nights.py [--out FOLDER] [--interval 60s] [--seeds 8] [--tokens 3000] [--rows 1200] [--server URL]

Serves a nightly recipe on the embedded sample with `curate schedule`. The folder that it watches holds spoiled conversations
only; once a selection of these is accepted, clean ones arrive. Waits for the nights that the schedule fires, and prints what each
decided as a Markdown table. Without --server it runs a Prefect server of its own, in FOLDER.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.resources import sample

LIMIT = 3600.0  # seconds that a night may take to come
RECIPE = """
pool: inbox
state: state
select: {{method: facility-location, budget: 20%}}
keep: 0.25
train: {{epochs: 1}}
gate:
  evals: {{test: "@sample/test"}}
  parts: 2
  seeds: {seeds}
  tokens: {tokens}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="an empty folder, kept; else a temporary one")
    parser.add_argument("--interval", default="60s")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=3000, help="of each training of the gate")
    parser.add_argument("--rows", type=int, default=1200, help="that arrive after the first night; a quarter as many before it")
    parser.add_argument("--server", help="the address of a Prefect server, such as http://127.0.0.1:4200/api")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.out or Path(temporary)).absolute()
        (folder / "inbox").mkdir(parents=True)
        (folder / "nightly.yaml").write_text(RECIPE.format(seeds=given.seeds, tokens=given.tokens))
        pool = pq.read_table(sample("pool"))
        spoiled = pc.is_valid(pool["planted"])
        arrive(pool.filter(spoiled).slice(0, given.rows // 4), folder / "inbox" / "monday.parquet")
        with server(folder) if given.server is None else contextlib.nullcontext(given.server) as address:
            environment = {**os.environ, "PREFECT_API_URL": address, "DO_NOT_TRACK": "1"}
            command = [sys.executable, "-m", "curate.cli", "schedule", str(folder / "nightly.yaml"), "--interval", given.interval]
            with running([*command, "--store", str(folder / "store")], folder / "schedule.log", environment) as schedule:
                nights = [fired(folder, 1, schedule)]
                arrive(pool.filter(pc.invert(spoiled)).slice(0, given.rows), folder / "inbox" / "tuesday.parquet")
                while nights[-1].get("test") is None:
                    nights.append(fired(folder, len(nights) + 1, schedule))
        print(*table(nights), sep="\n")
        ended = json.loads((folder / "state" / "accepted" / "current.json").read_text())
        print(f"\nIn force: the selection of {ended['night']}.")
        if not nights[-1]["promoted"]:
            sys.exit("the better selection was not promoted")


def arrive(rows: object, path: Path) -> None:
    """A file that appears whole: a night may begin at any time."""
    hidden = path.with_name(f".{path.name}")
    pq.write_table(rows, hidden)
    hidden.rename(path)


def fired(folder: Path, number: int, schedule: subprocess.Popen) -> dict:
    """The decision of a night by its number, once it is there."""
    began = time.monotonic()
    while True:
        found = sorted((folder / "state" / "nights").glob("*/decision.json"), key=lambda path: path.stat().st_mtime_ns)
        if len(found) >= number:
            return {**json.loads(found[number - 1].read_text()), "ended": time.strftime("%H:%M:%S")}
        if time.monotonic() - began > LIMIT or schedule.poll() is not None:
            sys.exit(f"night {number} did not come; see {folder / 'schedule.log'}")
        time.sleep(1)


def table(nights: list[dict]) -> Iterator[str]:
    """A line per night."""
    yield "| night | ended | rows new | rows forwarded | tokens forwarded | candidate | promoted | why |"
    yield "|---|---|---|---|---|---|---|---|"
    for night in nights:
        numbers = [f"{night[key]:,}" if key in night else "0" for key in ("rows_new", "rows_forwarded", "tokens_forwarded")]
        size = f"{night['rows_selected']:,}" if "rows_selected" in night else ""
        promoted = "yes" if night["promoted"] else "no"
        yield f"| {night['night']} | {night['ended']} | {' | '.join(numbers)} | {size} | {promoted} | {night['reason']} |"


@contextlib.contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A process while the block runs; then it and what it started are ended."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # a shell may have its background jobs ignore SIGINT
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """A Prefect server of this run's own; gives the address of its API."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"PREFECT_HOME": str(folder / "prefect"), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, folder / "server.log", {**os.environ, **own}):
        address = f"http://127.0.0.1:{port}/api"
        began = time.monotonic()
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5)
                break
            except OSError:
                if time.monotonic() - began > 300:
                    sys.exit(f"the Prefect server did not start; see {folder / 'server.log'}")
                time.sleep(1)
        yield address


if __name__ == "__main__":
    main()
