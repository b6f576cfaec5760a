"""A training that is killed outright, at a moment of nobody's choosing, ends with the bits of one that was left alone."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

SCRIPT = Path(__file__).with_name("killed.py")
STEPS = 30


def start(folder):
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder)], stdout=subprocess.PIPE, text=True)


def test_killed_and_resumed(tmp_path):
    at, pause = random.randint(3, STEPS - 3), random.uniform(0, 0.1)  # another moment in every run
    print(f"killed {pause:.3f} s after step {at}")  # shown when the test fails
    undisturbed, process = start(tmp_path / "whole"), start(tmp_path / "cut")
    for line in process.stdout:
        if int(line) == at:
            break
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process = start(tmp_path / "cut")
    told = [int(line) for line in process.stdout]
    assert process.wait() == 0 and told[-1] == STEPS
    assert told[0] > 1  # it went on, and did not begin anew
    assert undisturbed.communicate()[0].split()[0] == "1" and undisturbed.returncode == 0

    files = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path / "cut") for path in (tmp_path / "cut").rglob("*") if path.is_file()}
    compared = [file for file in files if file.suffix == ".safetensors"]
    assert Path("model/model.safetensors") in compared and len(compared) == 1 + 6 * 3 + 3
    for file in compared:
        one, other = load_file(tmp_path / "whole" / file), load_file(tmp_path / "cut" / file)
        assert one.keys() == other.keys(), file
        assert all(np.array_equal(one[name], other[name]) for name in one), file
