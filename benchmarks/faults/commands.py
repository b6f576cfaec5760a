"""Command lines in processes of their own, a small model and pool to run them on, and results that are kept from run to run.

Every script of this folder takes `--times N` and `--kept FILE.json`, does what its first lines say until the file holds N
trials, and prints what became of them. Stopped, it goes on where it was. Trial n has the same random numbers in every run.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
SPAWNER = ROOT / "tests" / "store" / "children.py"  # has imported everything and forks, so that a command starts at once
ALIKE = ("data.jsonl", "data.parquet", "selection.parquet", "scores.parquet", "selections.parquet", "evidence/items.parquet")


@dataclass
class Command:
    """A command line that runs in a process of its own. `folder`: its standard output and error, and its exit code."""

    pid: int
    folder: Path

    def running(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def wait(self, seconds: float = 300) -> int | None:
        """The exit code, None when it was killed. Raises TimeoutError where it runs longer."""
        end = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > end:
                raise TimeoutError(self.read("err"))
            time.sleep(0.003)
        code = self.read("code")
        return int(code) if code else None

    def read(self, name: str) -> str:
        file = self.folder / name
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def said(self) -> str:
        """The sentence on standard error; empty where there is none, or more than one, or a traceback."""
        lines = [line for line in self.read("err").splitlines() if line.startswith("curate: ")]
        return lines[0] if len(lines) == 1 and "Traceback" not in self.read("err") else ""


class Commands:
    """Starts `curate WORDS` in a folder that is removed at the end."""

    def __enter__(self) -> "Commands":
        self._folder = tempfile.TemporaryDirectory(prefix="curate-faults-")
        self.folder, self._numbers = Path(self._folder.name), itertools.count()
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        quiet = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
        self._process = subprocess.Popen(
            [sys.executable, SPAWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **quiet}
        )
        assert self._process.stdout and self._process.stdout.readline() == "ready\n"
        self.model, self.pool, self.dev = write_inputs(self.folder)
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def start(self, *words: Any, **options: Any) -> Command:
        folder = self.folder / f"command-{next(self._numbers)}"
        folder.mkdir()
        order = {"largest": None, "lowly": False, "shard_tokens": 400, "folder": str(folder), "cwd": str(self.folder), **options}
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({**order, "words": [str(word) for word in words]}) + "\n")
        self._process.stdin.flush()
        return Command(int(self._process.stdout.readline()), folder)

    def verb(self, verb: str, store: Path, out: Path, **options: Any) -> Command:
        """`select` by LoBaSS (a training, two passes) or `compare` (trainings and evaluations) over the small pool."""
        common = ["--model", self.model, "--store", store, "--out", out, "--device=cpu", "--threads=1", "--adapter=none",
                  "--batch-tokens=512"]  # fmt: skip
        more = {
            "select": ["--method", "lobass", "--budget", "30%"],
            "score": ["--methods", "perplexity"],
            "compare": ["--methods", "longest", "--budget", "30%", "--eval", self.dev, "--seeds", "1", "--tokens", "300",
                        "--no-full"],
        }[verb]  # fmt: skip
        return self.start(verb, self.pool, *more, *common, **options)


def write_inputs(folder: Path) -> tuple[Path, Path, Path]:
    """A random Llama of two layers with the embedded tokenizer, a pool of 120 conversations, and 12 to evaluate on."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(vocab_size=8192, max_position_embeddings=256, initializer_range=0.2, tie_word_embeddings=True, **sizes)
    ).save_pretrained(folder / "tiny")
    AutoTokenizer.from_pretrained(ROOT / "data" / "models" / "base-4m").save_pretrained(folder / "tiny")
    for name, numbers in (("pool", range(120)), ("dev", range(1000, 1012))):
        rows = (
            {"messages": [{"role": "user", "content": f"What is {n} plus {n % 7}?"},
                          {"role": "assistant", "content": " ".join([f"It is {n + n % 7}."] * (1 + n % 4))}],
             "source": f"s{n % 3}"}
            for n in numbers
        )  # fmt: skip
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "tiny", folder / "pool.jsonl", folder / "dev.jsonl"


def results(out: Path) -> dict[str, bytes]:
    """The files of an output folder that must be the same bytes in every run (the others hold times)."""
    return {name: (out / name).read_bytes() for name in ALIKE if (out / name).is_file()}


def kept_trials(about: str, trial: Callable[[int, np.random.Generator], dict[str, Any]], times: int) -> list[dict[str, Any]]:
    """The trials 0, 1, ... of a script: what `--kept` holds of them, and the others done now. Prints the counts.

    about  the script's own description. trial: its number and random numbers -> what became of it; a trial that found a fault
           has `fault` in it, in words.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=times, help="trials in all")
    parser.add_argument("--kept", type=Path, help="JSON of the trials that were done; goes on from there")
    given = parser.parse_args()
    done: list[dict[str, Any]] = []
    if given.kept and given.kept.is_file():
        done = json.loads(given.kept.read_text())["trials"]
    while len(done) < given.times:
        number = len(done)
        found = trial(number, np.random.default_rng(number))
        done.append({"trial": number, "date": date.today().isoformat(), **found})
        print(json.dumps(done[-1]), flush=True)
        if given.kept:
            given.kept.parent.mkdir(parents=True, exist_ok=True)
            partial = given.kept.with_suffix(".partial")
            partial.write_text(json.dumps({"about": about.splitlines()[0], "trials": done}, indent=1) + "\n")
            partial.replace(given.kept)
    faults = [one for one in done if one.get("fault")]
    print(f"{len(done)} trials, {len(faults)} with a fault")
    if faults:
        sys.exit(1)
    return done
