"""kill -9 at random moments of `curate select` and `curate compare`.

    python benchmarks/faults/kills.py [--times 60] [--kept FILE.json]

A trial is one kill. After five kills a command is let run to its end on the store that they left, and must give the bytes of one
that nobody disturbed; then it begins with an empty store again. All the while a watcher opens every file that appears under a
final name, in the store and as output, and checks that it is whole.
"""

import os
import shutil
import signal
import time
from pathlib import Path

from commands import Commands, kept_trials, results
from watcher import Watcher

VERBS = ("select", "compare")
KILLS = 5  # of a command before it is let run to its end


def main() -> None:
    with Commands() as commands:
        calm, seconds = {}, {}
        for verb in VERBS:
            began = time.monotonic()
            commands.verb(verb, commands.folder / "calm-store", commands.folder / f"calm-{verb}").wait()
            seconds[verb] = time.monotonic() - began
            calm[verb] = results(commands.folder / f"calm-{verb}")
            assert calm[verb]

        def trial(number, rng):
            verb = VERBS[number // KILLS % len(VERBS)]
            store, out = commands.folder / f"store-{number // KILLS}", commands.folder / f"out-{number // KILLS}"
            with Watcher([store, out]) as watcher:
                command = commands.verb(verb, store, out)
                # Later kills of a command find more in the store, and less left to do.
                wait = rng.uniform(0, seconds[verb])
                end = time.monotonic() + wait
                while command.running() and time.monotonic() < end:
                    time.sleep(0.001)
                killed = command.running()
                if killed:
                    os.kill(command.pid, signal.SIGKILL)
                command.wait()
                time.sleep(0.05)
            found = {"verb": verb, "killed": killed, "after_seconds": round(wait, 3), "files_checked": watcher.checked}
            if watcher.faults:
                return {**found, "fault": watcher.faults[0]}
            if killed and out.exists() and not results(out):
                return {**found, "fault": "an output folder without its results"}
            if number % KILLS == KILLS - 1:
                found["fault"] = finished(verb, store, out)
                found["finished"] = True
            elif not killed:
                shutil.rmtree(out)
            return found

        def finished(verb: str, store: Path, out: Path) -> str:
            """What is wrong with the command that was let run to its end; nothing where nothing is."""
            shutil.rmtree(out, ignore_errors=True)
            with Watcher([store, out]) as watcher:
                last = commands.verb(verb, store, out)
                code = last.wait()
            if code != 0:
                return f"the command ended with {code}: {last.said}"
            differ = sorted(name for name, data in calm[verb].items() if results(out).get(name) != data)
            return "; ".join([f"{name} differs" for name in differ] + watcher.faults)

        done = kept_trials(__doc__, trial, 60)
        print(f"{sum(one['killed'] for one in done)} killed, {sum('finished' in one for one in done)} let run to their end")


if __name__ == "__main__":
    main()
