"""A folder as `curate compare` writes it, made by hand, with text in it that means harm."""

import json

import polars as pl
import pytest

import curate
from curate.comparison.verdict import SCHEMA
from scorers.token_cleaning import TokenCleaning

HARM = [
    "<script>document.title='owned'</script>",
    "</script></style></title></textarea><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<svg onload=document.title='owned'></svg>",
    '" onmouseover="document.title=\'owned\'" x="',
    "[click](javascript:document.title='owned') <a href=\"javascript:document.title='owned'\">here</a>",
    "{{ 7 * 191 }} {% for x in ().__class__.__mro__ %} ${7*191} <%= 7*191 %>",
    "line\u2028separator\u2029paragraph",
    "\x1b]0;owned\x07\x1b[2J\x00\x08",
    "abc\u202edlrow\u202c \u2066olleh\u2069 \u200f",
    "<style>@import 'http://198.51.100.7/x.css'; body{background:url(http://198.51.100.7/y.png)}</style>",
    "<link rel=stylesheet href=http://198.51.100.7/z.css><iframe src=http://198.51.100.7/></iframe>",
    "<!-- ]]> &lt;script&gt; &amp; '\"`",
    "<form action=http://198.51.100.7/><base href=http://198.51.100.7/><meta http-equiv=refresh content='0;url=http://198.51.100.7/'>",
]


def arm(method, budget, kind, mean, diff=None, **more):
    """A line of a verdict."""
    half = 0.05
    line = {
        **dict.fromkeys(SCHEMA), "method": method, "budget": budget, "kind": kind, "task": "eval", "metric": "response_loss",
        "rows": 24 if "%" not in budget else int(budget[:-1]), "mean": mean, "epochs": 1.0, "steps": 9.0, "loss_tokens": 100,
        "select_seconds": 1.0, "train_seconds": 3.0, "evaluate_seconds": 0.1, "seeds": 2, "selections": 2,
    }  # fmt: skip
    if diff is not None:
        better = "better" if diff + half < 0 else "undecided"
        line |= {"diff_from_random": diff, "ci_low": diff - half, "ci_high": diff + half, "answer": better, "p_holm": 0.2}
    return {**line, **more}


@pytest.fixture(scope="session")
def harm():
    """Text that would run, load, hide or turn round something where a page did not keep it as text."""
    return HARM


@pytest.fixture
def make_verdict(tmp_path):
    """Writes verdict.json and gives its folder. names: of methods beside the controls."""

    def make(names, budgets=("10%", "20%"), task="eval", remark="As it is."):
        arms = []
        for budget in budgets:
            arms += [arm("random", budget, "random", 2.0), arm("longest", budget, "control", 2.5, 0.5)]
            arms += [arm(name, budget, "method", 1.8 + i / 10, -0.2 + i / 10) for i, name in enumerate(names)]
        arms.append(arm("untrained", "0", "untrained", 3.5))
        config = {
            "model": names[0], "seeds": [0, 1], "budgets": list(budgets), "train_tokens": 1000, "pool_rows": 24, "confidence": 0.95,
            "margin": 0.01, "methods": list(names), "recipe": {},
        }  # fmt: skip
        headline = f"{names[0]} at 10% beats random: held-out loss 1.800, 0.200 lower than random at equal training tokens."
        folder = tmp_path / "verdict"
        folder.mkdir()
        found = {"headline": headline, "remarks": [remark], "arms": [{**line, "task": task} for line in arms], "config": config}
        (folder / "verdict.json").write_text(json.dumps(found))
        pl.DataFrame(arms, schema=SCHEMA).write_parquet(folder / "verdict.parquet")
        return folder

    return make


@pytest.fixture(scope="session")
def hostile_selection(tiny, tmp_path_factory):
    """The folder of a selection out of rows, sources and rejected rows whose text means harm, and where tokens were chosen."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        {
            "source": harm,
            "messages": [{"role": "user", "content": f"{harm} {i}"}, {"role": "assistant", "content": f"{i} {harm}"}],
        }
        for i, harm in enumerate(HARM * 2)
    ]
    wrong = [{"messages": [{"role": harm, "content": harm}, {"role": "assistant", "content": harm}]} for harm in HARM[:3]]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + wrong))
    engine = curate.Engine(store=curate.Store(folder / "store"))
    method = TokenCleaning(threshold="sample")
    picked = curate.select(folder / "pool.jsonl", method, budget=12, model=tiny, engine=engine)
    picked.write(folder / "picked")
    return folder / "picked"
