"""The page about results: what it says, and that text from data stays text."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from curate.cli import _main
from curate.errors import InputError
from curate.report.page import render, write_report
from curate.report.page.colours import STAND_INS, ordered, roles
from curate.report.page.scales import beyond, reach, round_steps
from curate.report.page.text import plain


class Read(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.said, self._skip = [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._skip = tag == "style"

    def handle_endtag(self, tag):
        self._skip = False

    def handle_data(self, data):
        self.said += "" if self._skip else data


ALLOWED = {
    "html", "head", "meta", "link", "title", "style", "body", "nav", "a", "ol", "li", "main", "section", "h1", "h2", "h3", "p",
    "div", "dl", "dt", "dd", "bdi", "table", "thead", "tbody", "tr", "th", "td", "span", "i", "b", "small", "details", "summary",
    "ul", "figure", "figcaption", "svg", "g", "path", "rect", "text", "line", "article", "header", "footer", "code", "pre", "ins",
    "del", "sup", "q", "br", "clippath", "defs",
}  # fmt: skip


def assert_harmless(page):
    """No element or attribute that could run, load or send anything; the title of marks in charts is a title."""
    found = Read(page)
    assert {tag for tag, _ in found.elements} <= ALLOWED
    for tag, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action", "xlink:href")], (
            tag,
            attributes,
        )
        link = attributes.get("href")
        assert link is None or link.startswith("#") or (tag, link) == ("link", "data:,"), (tag, attributes)
        assert "url(" not in attributes.get("style", "") and attributes.get("clip-path", "url(#clip").startswith("url(#clip")
    assert len([tag for tag, _ in found.elements if tag == "style"]) == 1 == page.count("</style>")
    hidden = [
        c for c in page if c in "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\x1b\x00\x07\x08"
    ]
    assert not hidden
    return found


def test_a_page_says_the_verdict_and_every_arm(make_verdict):
    page = render(make_verdict(["lobass", "dpp"]))
    said = assert_harmless(page).said
    assert "lobass at 10% beats random." in said and "Held-out loss 1.800, 0.200 lower" in said
    for text in ("lobass", "dpp", "longest", "random", "untrained", "-0.200", "better", "undecided", "As it is."):
        assert text in said, text
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == ["Every arm", "By budget", "Cost and gain"] and page.index("beats random") < page.index("<h2>")
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:;" in page


def test_one_budget_has_no_curve_but_the_differences(make_verdict):
    page = render(make_verdict(["lobass"], budgets=("10%",)))
    assert "Against random" in page and "By budget" not in page


def test_text_from_data_stays_text(make_verdict, hostile_selection, harm):
    """The names of methods, sources, budgets, remarks, conversations, reasons: all that a person may have written."""
    folder = make_verdict(harm, remark=" ".join(harm), task=harm[0])
    for name in ("overview.json", "manifest.json"):
        shutil.copy(hostile_selection / name, folder)
    page = render(folder)
    said = assert_harmless(page).said
    for text in harm:
        assert plain(text) in said, text
    assert "1337" not in said  # 7 * 191, had a template of theirs been filled in


@pytest.mark.parametrize(
    "text,shown",
    [
        ("plain", "plain"),
        ("a\r\nb\tc", "a\nb\tc"),
        ("e\u0301 \u5b57\u3000\u5b57 \U0001f469\u200d\U0001f680 \u0646\u0645\u06cc\u200c\u062e", None),
        ("\x1b[2J", "\ufffd[2J"),
        ("a\u202eb\u2066c\u200fd", "a\ufffdb\ufffdc\ufffdd"),
        ("a\u2028b\u2029", "a\ufffdb\ufffd"),
        ("\ud800", "\ufffd"),
    ],
)
def test_hidden_characters_are_shown(text, shown):
    assert plain(text) == (text if shown is None else shown)


def test_charts_have_no_colour_of_their_own(make_verdict):
    """Else they could not follow light and dark; and no number in them is longer than a screen can show."""
    page = render(make_verdict(["lobass", "dpp"]))
    body = page[page.index("</style>") :]
    assert 'stroke="var(--c0)"' in body and 'fill="var(--muted)"' in body
    assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', body)) <= {
        "none",
        "transparent",
        *(f"var(--{role})" for role in STAND_INS),
    }
    assert not re.findall(r' (?:d|transform)="[^"]*\d\.\d{3,}', body)


def arms(*differences, half=0.1):
    return [{"diff_from_random": d, "ci_low": d - half, "ci_high": d + half} for d in differences]


def test_one_arm_far_off_does_not_flatten_the_others():
    near = arms(0.0, 0.1, -0.1, 0.2)
    assert reach(near) == pytest.approx(0.3) and beyond(near) == []
    far = arms(0.0, 0.1, -0.1, 0.2, 5.0)
    assert reach(far) == pytest.approx(2.5 * 0.2) and [arm["diff_from_random"] for arm in beyond(far)] == [5.0]
    assert reach(arms(0.0, half=0.0)) == 1.0


def test_ticks_are_round():
    assert round_steps(3, 120) == [5, 10, 20, 50, 100]
    assert round_steps(0.02, 40_000) == [0.1, 1, 10, 100, 1000, 10_000]


def test_colours_are_a_methods_own():
    methods = ordered(["random", "a", "longest", "b", "a"])
    assert methods == ["a", "b", "longest", "random"]
    assert len(set(roles(methods).values())) == 4
    assert len(set(roles([f"m{i}" for i in range(8)]).values())) == 8


def test_a_selection_has_a_page_without_a_verdict(hostile_selection):
    found = assert_harmless(render(hostile_selection))
    assert "picked 12 of 28 conversations" in found.said and "Tokens that count" in found.said
    assert [tag for tag, _ in found.elements].count("del") > 0
    assert "unknown role" in found.said  # of the rejected rows


def test_the_rungs_of_a_ladder_are_a_table(make_verdict):
    folder = make_verdict(["lobass"])
    rungs = [
        {"rung": 1, "methods": ["a", "<b>"], "tokens": 1000, "detail": {"not": "shown"}},
        {"rung": 2, "methods": ["a"], "tokens": 2000},
    ]
    (folder / "auto.json").write_text(json.dumps({"rungs": rungs}))
    said = assert_harmless(render(folder)).said
    assert "a, <b>" in said and "Rungs" in said and "not shown" not in said


def test_the_command_writes_the_page(make_verdict, tmp_path, capsys):
    folder = make_verdict(["lobass"])
    assert _main(["report", str(folder)]) == 0
    assert "report.html" in capsys.readouterr().out
    first = (folder / "report.html").read_bytes()
    assert _main(["report", str(folder), "--out", str(tmp_path / "page.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == len(first)
    assert (tmp_path / "page.html").read_bytes() == first


def test_a_folder_with_nothing_to_show_is_refused(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "gone"):
        assert _main(["report", str(folder)]) == 2
        assert "nothing to report on; name an output folder of `curate compare`" in capsys.readouterr().err
    (tmp_path / "verdict.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        write_report(tmp_path)
