"""What `curate inspect` tells of a pool beyond its counts: repeats, what is learned, where the problems are."""

import io
import json

import pytest
from rich.console import Console

from curate.pool import refine
from curate.preparation import as_pool
from curate.report.inspected import show_inspection
from curate.report.inspection import inspect_pool


@pytest.fixture
def inspected(tiny, tmp_path):
    """(summary, examples, what a log without colour holds, on one line) of a pool."""

    def call(pool, model=tiny, examples=0, width=100):
        found = inspect_pool(as_pool(pool), str(model), {"device": "cpu"}, tmp_path / "store", examples)
        console = Console(width=width, file=io.StringIO(), no_color=True)
        show_inspection(console, found)
        json.dumps(found.summary)
        return found.summary, found.examples, " ".join(console.file.getvalue().split())

    return call


def said(*turns):
    roles = ("user", "assistant") * len(turns)
    return [
        {"role": role, "content": turn} if isinstance(turn, str) else {"role": role} | turn
        for role, turn in zip(roles, turns, strict=False)
    ]


def test_repeats_are_shown_by_source(inspected, make_pool):
    pool = as_pool(make_pool(range(12)))
    summary, _, text = inspected(pool)
    assert summary["rows_written"] == 12 and "written" not in text
    summary, _, text = inspected(refine(pool, repeat={"s1": 3}))
    assert summary["rows_written"] == 20
    assert {name: source["written"] for name, source in summary["sources"].items()} == {"s0": 4, "s1": 12, "s2": 4}
    assert "repeats: the 12 rows are written and trained on as 20" in text


def test_shapes_say_of_which_rows_they_are(inspected, make_pool):
    _, _, text = inspected(make_pool(range(12)))
    assert "shape: messages 12 lengths" in text
    summary, _, text = inspected(
        make_pool([*range(12), 3], messages=lambda i: said("Who?") if i == 5 else said(f"Who {i}?", "Me."))
    )
    assert (summary["rows_in"], summary["rows_rejected"], summary["rows_duplicate"]) == (13, 1, 1)
    assert "shape: messages 11 (of the 11 rows that could be read and are kept)" in text


def test_what_is_learned_is_marked_without_colour(inspected, make_pool):
    pool = make_pool([0], messages=lambda i: said("Who?", "Me.", "Sure?", "Yes."))
    _, [example], text = inspected(pool, examples=1)
    assert [piece for piece, weight in example.pieces if weight] == ["Me.<|end|>", "Yes.<|end|>"]
    assert "⟦Me.<|end|>⟧" in text and "⟦Yes.<|end|>⟧" in text and text.count("⟦") == 3  # the last in the legend
    assert "Who?<|end|>" in text and "what is learned from is ⟦green and in brackets⟧" in text


def test_a_long_reply_keeps_its_closing_bracket(inspected, make_pool, monkeypatch):
    monkeypatch.setattr("curate.report.inspected.SHOWN_CHARACTERS", 60)
    _, _, text = inspected(make_pool([0], messages=lambda i: said("Who?", "a b " * 50)), examples=1)
    panel = text[: text.index("what is learned")]
    assert panel.count("⟦") == panel.count("⟧") == 1 and "characters" in panel


def test_problems_name_their_lines(inspected, make_pool, tmp_path):
    path = make_pool(range(12))
    lines = path.read_text().splitlines()
    lines[3:3] = ["{bad", "{worse", json.dumps({"messages": said("only a question")})]
    path.write_text("\n".join([*lines, *["{bad"] * 4]) + "\n")
    summary, _, text = inspected(path, width=200)
    assert summary["problems"] == {"not JSON": 6, "no assistant message": 1}
    places = {reason: [(at["file"], at["line"]) for at in found] for reason, found in summary["problems_at"].items()}
    assert places == {"not JSON": [(str(path), line) for line in (4, 5, 16)], "no assistant message": [(str(path), 6)]}
    assert "not JSON 6 pool.jsonl:4, 5, 16, …: unexpected character" in text and "no assistant message 1 pool.jsonl:6" in text


def test_places_are_whole_in_a_narrow_log_and_name_the_folder_where_names_recur(inspected, make_pool, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        make_pool([1], f"{folder}/a-rather-long-name-of-a-file-of-conversations.jsonl")
    paths = sorted(tmp_path.glob("*/*.jsonl"))
    for path in paths:
        path.write_text(path.read_text() + "{bad\n")
    _, _, text = inspected(tmp_path, width=60)
    squeezed = text.replace(" ", "")
    assert all(f"{path}:2" in squeezed for path in paths)


def test_problems_of_a_model_name_their_lines_too(inspected, make_pool):
    path = make_pool(range(4), messages=lambda i: said("word " * 300 if i == 2 else "Who?", f"Me {i}."))
    summary, _, _ = inspected(path)
    at = {"file": str(path), "line": 3, "detail": None}
    assert summary["problems_at"] == {"the reply is cut off entirely at 256 tokens": [at]}


def test_the_detail_of_the_first_row_is_said(inspected, make_pool):
    path = make_pool(
        range(6), messages=lambda i: said("Who?", {"role": f"alien{i}", "content": "[red]x"} if i in (2, 4) else "Me.")
    )
    summary, _, text = inspected(path)
    assert [at["detail"] for at in summary["problems_at"]["unknown role"]] == ["'alien2' in message 2", "'alien4' in message 2"]
    assert "unknown role 2 pool.jsonl:3, 5: 'alien2' in message 2" in text


@pytest.fixture
def thinking(tiny, tmp_path):
    """A model folder whose template prints the thoughts of the last reply alone."""
    import shutil

    folder = shutil.copytree(tiny, tmp_path / "thinking")
    (folder / "chat_template.jinja").write_text(
        "{%- for message in messages -%}<|{{ message['role'] }}|>\n"
        "{%- if loop.last and message.reasoning_content %}{{ message.reasoning_content }}\n{% endif -%}"
        "{{ message['content'] }}{{ eos_token }}\n{%- endfor -%}"
        "{%- if add_generation_prompt -%}<|assistant|>\n{%- endif -%}"
    )
    return folder


def test_thoughts_that_a_template_drops_are_said(inspected, make_pool, tiny, thinking):
    def thoughtful(i):
        # the thought is also what is said, so that looking for its words in the text would not do
        return said(
            "Who?", {"content": "Me.", "reasoning_content": "Me."}, "Sure?", {"content": "Yes.", "reasoning_content": "?"}
        )

    plain = make_pool(range(3), "plain.jsonl")
    assert inspected(plain)[0]["reasoning"] is None
    pool = make_pool([0], messages=thoughtful)
    summary, _, text = inspected(pool, model=tiny)
    assert summary["reasoning"] == {"rows": 1, "replies": 2, "dropped": 2}
    assert "reasoning: the chat template of tiny drops that of 2 of 2 replies; it is neither read nor learned" in text
    summary, _, text = inspected(pool, model=thinking)
    assert summary["reasoning"] == {"rows": 1, "replies": 2, "dropped": 1} and "that of 1 of 2 replies" in text


def test_weights_of_messages_are_shown(inspected, make_pool):
    pool = make_pool([0], messages=lambda i: said("Who?", {"content": "Me.", "weight": 0.25}, "Sure?", "Yes."))
    summary, [example], text = inspected(pool, examples=1)
    assert summary["rows_weighted"] == 1 and [weight for _, weight in example.pieces if weight] == [0.25, 1]
    assert "⟦Me.<|end|>⟧ ×0.25" in text and "⟦Yes.<|end|>⟧ │" in text and "weights: 1 row with replies" in text
    assert inspected(make_pool([1]))[0]["rows_weighted"] == 0
