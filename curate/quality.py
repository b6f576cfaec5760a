"""A quality for each row, by name, for methods that weigh diversity against it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data, Method
from curate.registry import make_method
from curate.requests import Observe, Request
from curate.selectors.window import mean_rank
from curate.signals import RowScore

TOKENS, NONE = "tokens", "none"
DESCRIPTION = f"{TOKENS} (of the reply), {NONE}, or a method by name (name:key=value), whose score it then is"


def quality_readers(name: str) -> tuple[ModelSpec, ...]:
    """Models of the method's own that read the pool (`Method.readers`). InputError where there is no such method."""
    return () if name in (NONE, TOKENS) else _method(name).readers()


def quality_requests(name: str, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
    """What a quality needs to be known."""
    if name == NONE:
        return []
    return [_length(data)] if name == TOKENS else _method(name).requests(data, seen)


def quality(name: str, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
    """float64 [n], higher is better: 1 for `none`, the number of reply tokens, or how a method prefers the rows.

    InputError for a method that has no score of a row by itself.
    """
    if name == NONE:
        return RowScore.of(np.ones(data.pool.size))
    if name == TOKENS:
        found: RowScore = seen[_length(data)]
        return found
    method = _method(name)
    signal = method.signal(data, seen, rng)
    scores = method.score(signal)
    if scores.is_null.all():
        raise InputError(f"quality {name}: it gives no row a score ({scores.reasons[0]}); name another method")
    return RowScore(method.preference(signal), scores.reasons)


def quality_is(name: str) -> str:
    """What a quality is, in words."""
    return {NONE: "the same for every row", TOKENS: "the reply's number of tokens"}.get(name, f"what {name} prefers")


def shares(found: RowScore) -> RowScore:
    """A quality as the share of rows that a row is at least as good as, in (0, 1]; equal rows share their mean rank."""
    there = ~found.is_null
    ranks = np.full(len(found), np.nan)
    ranks[there] = (mean_rank(found.values[there]) + 1) / max(1, there.sum())
    return RowScore.of(ranks, found)


def _length(data: Data) -> Observe:
    return Observe(data.model, data.pool, "response_tokens")


def _method(name: str) -> Method:
    method = make_method(name)
    if method.by_budget:
        raise InputError(f"quality {name}: it chooses for one budget and has no scores; name another method")
    if "quality" in type(method).model_fields:
        raise InputError(f"quality {name}: its own score is the quality that it is given; name that instead")
    if why := method.unscored():
        raise InputError(f"quality {name}: it gives no row a score ({why}); name another method")
    return method
