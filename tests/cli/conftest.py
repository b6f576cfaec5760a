"""Command lines run in this process."""

import sys

import pytest

from curate.cli import _main


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs a command line in an empty folder; gives (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        words = [str(word) for word in arguments]
        monkeypatch.setattr(sys, "argv", ["curate", *words])
        capsys.readouterr()
        code = _main(words)
        return code, *capsys.readouterr()

    return call
