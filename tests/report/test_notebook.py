"""What Jupyter shows, and methods that are written in a cell."""

from html.parser import HTMLParser
from typing import ClassVar

import polars as pl
import pytest

import curate
from curate.comparison.verdict import Verdict
from curate.errors import InputError
from curate.requests import Observe

NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>$x$\x1b[31m\u202e"


class Tags(HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def harmless(page):
    """Nothing but tables and text, and short."""
    found = Tags(page)
    assert found.tags <= {"div", "p", "strong", "br", "table", "thead", "tbody", "tr", "th", "td", "em", "ul", "li"}
    assert found.attributes <= {"style"} and not {"\x1b", "\u202e", "$"} & set(page) and len(page) < 20_000
    return page


@pytest.fixture
def nasty(make_pool):
    """A pool whose every text would run where it is not escaped."""
    rows = [
        {
            "messages": [{"role": "user", "content": f"{i} {NASTY}"}, {"role": "assistant", "content": NASTY * (1 + i)}],
            "source": NASTY,
            NASTY: i,
        }
        for i in range(12)
    ]
    return curate.read_pool(rows)


def test_results_are_shown_as_tables_in_which_data_is_text(nasty, tiny):
    picked = curate.select(nasty, "perplexity", budget=11, model=tiny)
    pages = [harmless(thing._repr_html_()) for thing in (nasty, picked, curate.score(nasty, ["longest", "random"], model=tiny))]
    assert all("&lt;script&gt;" in page for page in pages)
    assert "11 of 12 rows by perplexity at 11, best first" in pages[1] and "10 of 11 shown" in pages[1]
    assert "by longest, the preferred first" in pages[2] and "chooses" not in pages[0]


def test_a_verdict_is_shown(tiny):
    arm = dict.fromkeys(("diff_from_random", "ci_low", "ci_high", "p_holm", "vs_matched", "agree"))
    arm |= {"method": NASTY, "budget": "10%", "kind": "method", "task": NASTY, "metric": "response_loss", "rows": 3, "mean": 1.5,
            "answer": None, "epochs": 1.0, "steps": 2.0, "loss_tokens": 9}  # fmt: skip
    page = harmless(Verdict([arm], NASTY, [NASTY], {}, pl.DataFrame())._repr_html_())
    assert page.count("&lt;script&gt;") == 4 and "1.500" in page


class Shortest(curate.Method):
    """Keep the shortest replies, as one writes it in a cell."""

    name: ClassVar[str] = "shortest"
    larger_is_better: ClassVar[bool] = False
    least: int = 0

    def requests(self, data, seen):
        return [Observe(data.model, data.pool, "response_tokens")]

    def signal(self, data, seen, rng):
        [found] = [seen[request] for request in self.requests(data, seen)]
        return found.null(found.values < self.least, "too short")


@pytest.mark.parametrize("given", [Shortest, Shortest()])
def test_a_method_of_a_cell(given, small_pool, make_pool, tiny):
    """As a class or an object; notebooks/compare_methods.ipynb compares one."""
    picked = curate.select(small_pool, given, budget=3, model=tiny)
    assert picked.summary["method"] == "shortest" and len(picked) == 3
    tokens = picked.scores.sort("score", "row_id")["row_id"].to_list()[:3]
    assert picked.frame["row_id"].to_list() == tokens
    scores = curate.score(small_pool, given, model=tiny)
    assert scores.methods == ["shortest"] and scores.frame["shortest"].null_count() == 0
    assert curate.score(small_pool, [given, "longest"], model=tiny).methods == ["shortest", "longest"]


def test_settings_of_a_class_and_what_is_no_method(small_pool, tiny):
    assert (
        curate.select(small_pool, Shortest, settings={"least": 1}, budget=3, model=tiny).summary["method"] == "shortest:least=1"
    )

    class Nameless(curate.Method):
        pass

    for given, said in ((Nameless, "the method Nameless has no name"), (7, "not as int"), (dict, "not as type")):
        with pytest.raises(InputError, match=said):
            curate.select(small_pool, given, budget=3, model=tiny)
    with pytest.raises(InputError, match=r"shortest: setting 'least'.*its settings: least"):
        curate.select(small_pool, Shortest, settings={"least": "few"}, budget=3, model=tiny)
