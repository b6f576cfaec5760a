"""A training that is killed outright, at a moment of nobody's choosing, ends with the bits of one that was left alone."""

import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

SCRIPT = Path(__file__).with_name("killed.py")
STEPS = 30


def test_killed_and_resumed(tmp_path, capsys):
    at, pause = random.randint(3, STEPS - 12), random.uniform(0, 0.1)  # another moment in every run
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(tmp_path / "cut")], stdout=subprocess.PIPE, text=True)
    train = runpy.run_path(str(SCRIPT))["main"]
    for line in process.stdout:
        if int(line) == at:
            break
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    print(f"killed {pause:.3f} s after step {at}")
    train(tmp_path / "cut")
    said = capsys.readouterr().out
    resumed = [int(step) for step in said.split("\n", 1)[1].split()]
    assert resumed[0] > 1 and resumed[-1] == STEPS, said  # it went on, and did not begin anew
    train(tmp_path / "whole")

    files = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path / "cut") for path in (tmp_path / "cut").rglob("*") if path.is_file()}
    compared = [file for file in files if file.suffix == ".safetensors"]
    assert Path("model/model.safetensors") in compared and len(compared) == 1 + 6 * 3 + 3
    for file in compared:
        one, other = load_file(tmp_path / "whole" / file), load_file(tmp_path / "cut" / file)
        assert one.keys() == other.keys(), file
        assert all(np.array_equal(one[name], other[name]) for name in one), file
