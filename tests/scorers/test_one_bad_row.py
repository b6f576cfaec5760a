"""One row for which nothing can be computed, for every method that there is: null with its reason, and never picked."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from curate.budget import Limit
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.registry import make_method, method_names
from curate.requests import (
    Checkpoint,
    Embed,
    Fit,
    Generate,
    Gradients,
    Judge,
    Observe,
    Pairs,
    Prompts,
    Replies,
    Rows,
    Subset,
    Texts,
)
from curate.signals import RowScore, RowTokens, RowValues, RowVector

N, BAD, WHY = 20, 7, "the model gave a number that is not finite"
POOL, TARGET = Rows("pool", "p" * 32, N), Rows("target", "t" * 32, 4)
MODEL = ModelSpec("org/base")
TABLE = pl.DataFrame(
    {
        "row_id": [f"{i:04}" for i in range(N)],
        "source": [f"s{i % 2}" for i in range(N)],
        "tokens": [9] * N,
        "response_tokens": [5] * N,
    }
)
SETTINGS = {
    "s2l": {"checkpoints": 2, "clusters": 3, "proxy": "org/small"},
    "kmq": {"clusters": 3},
    "iterative-kmq": {"clusters": 3, "rounds": 2},
    "nn-cift": {"u": 0.5, "probe": 2, "network.epochs": 1},
}
SETTINGS["igf"], SETTINGS["instructmining"] = {"examples": 6}, {"subsets": 5}
SETTINGS["dealrec"], SETTINGS["iterselecttune"] = {"prune": 0.0}, {"judged": 6}
SETTINGS["deita"] = {"threshold": 1.0}  # at which all rows are apart
READ_NO_MODEL = {"random", "balanced", "longest", "rho-1", "sstoken"}  # before a training on their picks
AIMED = (
    "less",
    "bids",
    "nearest",
    "rds-plus",
    "bm25",
    "dsir",
    "sift",
    "got-d",
    "goracs",
    "freeshap",
    "mass",
    "edge",
    "igf",
    "instructmining",
)
METHODS = [
    *sorted(set(method_names()) - {"given", "data-mixing", "data-whisperer"}),  # the last: what is null there is a context
    "dpp:features=embedding",
    "token-cleaning:mode=self-evolving:keep=0.95",
    "delift:max_pairs=1",
    "robustft:rewrite=true",
    "clear:rewrite=true",
    "s3ft:by=judge:threshold=0.5",
]


def reasons_of(rows, bad):
    """Why each row, or pair, has no answer: the bad one as a row or as an example."""
    if isinstance(rows, Pairs):
        sides = zip((rows.rows, rows.examples), rows.index.T, strict=True)
        broken = np.any([(side.role == "pool") & (index == bad) for side, index in sides], axis=0)
    else:
        index = rows.index if isinstance(rows, Subset) else np.arange(rows.size)
        broken = (index == bad) & (rows.role == "pool")
    return np.array([WHY if one else None for one in broken], dtype=object)


def answer(request, bad):
    """What an engine would, out of random numbers that a request has of its own."""
    if isinstance(request, Fit):
        return SimpleNamespace(folder="folder", account={"steps": 40})
    if isinstance(request, Prompts):
        return RowValues([f"prompt {i}" for i in range(request.rows.size)], np.full(request.rows.size, None))
    reasons = reasons_of(request.rows, bad)
    if isinstance(request, Texts):
        return RowValues([None if why else f"word{i} and word{i + 1}" for i, why in enumerate(reasons)], reasons)
    n, broken = len(reasons), reasons != None  # noqa: E711 (elementwise)
    model = getattr(request, "model", None)
    rng = np.random.default_rng([n, getattr(model, "number", 0), isinstance(model, Fit)])
    if isinstance(request, Embed | Gradients | Judge):
        values = rng.normal(size=(n, len(request.behind) if isinstance(request, Judge) else 6)).astype(np.float32)
        values[broken] = np.nan
        return RowVector(values, reasons)
    if isinstance(request, Generate):
        numbers = np.where(broken, np.nan, rng.random(n))
        texts = [None if one else "" for one in broken]
        return Replies(texts, numbers, numbers, reasons, own=["own"] * n)
    assert isinstance(request, Observe)
    if request.observable == "response_tokens":  # which no model has to read
        return RowScore.of(np.full(n, 20.0))
    if request.observable == "token_logprobs":
        return RowTokens([None if one else -rng.random(5).astype(np.float32) for one in broken], reasons)
    alone = 1.0 if request.view in ("response", "instruction") else 0.0  # half a conversation surprises more than with the other
    return RowScore(np.where(broken, np.nan, alone + 0.1 + rng.random(n)), reasons)


def chosen(name, bad):
    """(the method, its signal, its picks where all rows may be picked)."""
    method = make_method(name, SETTINGS.get(name.partition(":")[0]))
    limit = Limit(np.ones(N), N)
    aimed = TARGET if name in AIMED else None
    data = Data(pool=POOL, model=MODEL, target=aimed, limit=limit if method.by_budget else None)
    seen = {}
    while new := [request for request in method.requests(data, seen) if request not in seen]:
        made = [one.model for one in new if isinstance(getattr(one, "model", None), Fit | Checkpoint)]
        fits = [model.fit if isinstance(model, Checkpoint) else model for model in made]
        seen |= {request: answer(request, bad) for request in [*new, *fits]}
    signal = method.signal(data, seen, np.random.default_rng(0))
    return method, signal, method.choose(signal, TABLE, limit, np.random.default_rng(0))


@pytest.mark.parametrize("name", METHODS)
def test_one_row_that_cannot_be_computed(name):
    method, signal, picks = chosen(name, BAD)
    scores = method.score(signal)
    if name in READ_NO_MODEL:
        assert len(picks) == N
        return
    assert np.isnan(scores.values[BAD]) and WHY in scores.reasons[BAD]
    assert WHY in signal.reasons[BAD] and [reason for i, reason in enumerate(signal.reasons) if i != BAD] == [None] * (N - 1)
    assert BAD not in picks.index and sorted([*picks.index.tolist(), BAD]) == list(range(N)) and picks.nulls == 1
    if method.unscored() is None:
        assert np.isnan(scores.values).sum() == 1


@pytest.mark.parametrize("name", METHODS)
def test_with_no_such_row_all_are_picked(name):
    """So it is that row, and nothing else here, that is left out above."""
    _, _, picks = chosen(name, -1)
    assert len(picks) == N and picks.nulls == 0
