"""Which tokens a row of a selection has lost, in print."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

import curate
from curate.cli import _main
from curate.errors import InputError
from curate.preparation import as_pool
from curate.report.tokens import TokenView, meant, show_tokens, token_view
from scorers.token_cleaning import TokenCleaning


def shown(view, **settings):
    console = Console(width=100, file=io.StringIO(), **settings)
    show_tokens(console, view)
    return console.file.getvalue()


VIEW = TokenView(
    "a" * 32, "sums", 2, 4, [("Who?\n", "read"), ("Me", "kept"), (" and you", "dropped"), (".", "kept"), (" ", "dropped")]
)


def test_dropped_tokens_are_marked_in_a_log_and_struck_on_a_terminal():
    log = shown(VIEW, no_color=True)
    assert "Me ~~and you~~." in log and "\x1b" not in log
    assert "2 of 4 reply tokens count in training; the dropped ones are between ~~" in " ".join(log.split())
    terminal = shown(VIEW, force_terminal=True, color_system="standard", no_color=False)
    assert "~~" not in terminal and "\x1b[9;31mand you" in terminal
    assert "~~" in shown(VIEW, force_terminal=True, no_color=True)


def test_a_row_cannot_drive_the_terminal():
    evil = TokenView("a" * 32, "\x1b[2J", 0, 1, [("\x1b]0;x\x07", "dropped")])
    assert "\x1b" not in shown(evil, no_color=True)


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """A folder of a selection of tokens out of rows that have ids of their own."""
    folder = tmp_path_factory.mktemp("picked")
    rows = [
        {
            "id": f"row-{i % 10}",
            "messages": [{"role": "user", "content": f"Add {i}."}, {"role": "assistant", "content": "It is done " * 3}],
        }
        for i in range(12)
    ]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = curate.Engine(store=curate.Store(folder / "store"))
    picked = curate.select(folder / "pool.jsonl", TokenCleaning(threshold="sample"), budget=12, model=tiny, engine=engine)
    picked.write(folder / "picked")
    return picked, folder / "picked", folder / "store"


def test_the_tokens_of_a_row(made, tiny):
    picked, folder, store = made
    pool = as_pool(folder)
    for row_id in pool.row_ids[:4]:
        view = token_view(pool, row_id, str(tiny), {"device": "cpu"}, store)
        weights = picked.labels.rows[row_id][1]
        assert (view.kept, view.scored) == (int(weights.sum()), len(weights)) and 0 < view.kept < view.scored
        assert "".join(text for text, _ in view.pieces).startswith("<|user|>\nAdd ")
        assert {state for _, state in view.pieces} == {"read", "kept", "dropped"}
        assert sum(np.diff(weights) != 0) + 1 == len([state for _, state in view.pieces if state != "read"])
        assert json.loads(json.dumps(view.to_json()))["kept_reply_tokens"] == view.kept


def test_a_row_is_named_by_its_id_its_own_or_a_beginning(made):
    pool = as_pool(made[1])
    first = pool.row_ids[0]
    assert meant(pool, first) == first == meant(pool, first[:20])
    owns = dict(zip(pool.column("id").to_pylist(), pool.row_ids, strict=True))
    assert meant(pool, "row-5") == owns["row-5"]
    for wanted, said in (("row-1", "may be any of 2 rows: "), ("row-77", "no row has the id 'row-77'"), ("", "no row has")):
        with pytest.raises(InputError, match=said):
            meant(pool, wanted)


def test_on_the_command_line(made, tiny, capsys, monkeypatch):
    picked, folder, store = made
    monkeypatch.setenv("COLUMNS", "100")
    row_id = picked.frame["row_id"][0]
    words = ["inspect", str(folder), "--tokens", row_id[:12], "--model", str(tiny), "--store", str(store)]
    assert _main(words) == 0
    out = capsys.readouterr().out
    assert row_id in out and "~~" in out
    assert _main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["row_id"] == row_id
    assert _main(["inspect", str(folder.parent / "pool.jsonl"), *words[2:]]) == 2
    assert "no tokens were chosen here" in capsys.readouterr().err
