"""A quality for each row, by name, for methods that weigh diversity against it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data, Method
from curate.registry import make_method
from curate.requests import Column, Observe, Request
from curate.selectors.window import mean_rank
from curate.signals import RowScore, RowValues

TOKENS, NONE, COLUMN = "tokens", "none", "column:"
DESCRIPTION = f"{TOKENS} (of the reply), {NONE}, {COLUMN}NAME (numbers of your own), or a method by name, whose score it then is"


def quality_readers(name: str) -> tuple[ModelSpec, ...]:
    """Models of the method's own that read the pool (`Method.readers`). InputError where there is no such method."""
    return () if name in (NONE, TOKENS) or name.startswith(COLUMN) else _method(name).readers()


def quality_requests(name: str, data: Data, seen: Mapping[Request, Any]) -> list[Request]:
    """What a quality needs to be known."""
    if name == NONE:
        return []
    if name.startswith(COLUMN):
        return [_column(name, data)]
    return [_length(data)] if name == TOKENS else _method(name).requests(data, seen)


def quality(name: str, data: Data, seen: Mapping[Request, Any], rng: np.random.Generator) -> RowScore:
    """float64 [n], higher is better: 1 for `none`, the reply's tokens, a column's numbers, or how a method prefers the rows.

    InputError for a method that has no score of a row by itself.
    """
    if name == NONE:
        return RowScore.of(np.ones(data.pool.size))
    if name == TOKENS:
        found: RowScore = seen[_length(data)]
        return found
    if name.startswith(COLUMN):
        return _numbers(name, seen[_column(name, data)])
    method = _method(name)
    signal = method.signal(data, seen, rng)
    scores = method.score(signal)
    if scores.is_null.all():
        raise InputError(f"quality {name}: it gives no row a score ({scores.reasons[0]}); name another method")
    return RowScore(method.preference(signal), scores.reasons)


def quality_is(name: str) -> str:
    """What a quality is, in words."""
    if name.startswith(COLUMN):
        return f"the pool's column {name.removeprefix(COLUMN)}"
    return {NONE: "the same for every row", TOKENS: "the reply's number of tokens"}.get(name, f"what {name} prefers")


def shares(found: RowScore) -> RowScore:
    """A quality as the share of rows that a row is at least as good as, in (0, 1]; equal rows share their mean rank."""
    there = ~found.is_null
    ranks = np.full(len(found), np.nan)
    ranks[there] = (mean_rank(found.values[there]) + 1) / max(1, there.sum())
    return RowScore.of(ranks, found)


def _length(data: Data) -> Observe:
    return Observe(data.model, data.pool, "response_tokens")


def _column(name: str, data: Data) -> Column:
    return Column(data.pool, name.removeprefix(COLUMN))


def _numbers(name: str, found: RowValues) -> RowScore:
    """The values of a column as numbers; null where there is none. InputError where one is something else."""
    odd = next((v for v in found.values if v is not None and (isinstance(v, bool) or not isinstance(v, int | float))), None)
    if odd is not None:
        raise InputError(f"quality {name}: a quality is a number, and the column holds {str(odd)[:40]!r}")
    values = np.array([np.nan if v is None else v for v in found.values], dtype=np.float64)
    return RowScore.of(values, RowScore(values, found.reasons))


def _method(name: str) -> Method:
    method = make_method(name)
    if method.by_budget:
        raise InputError(f"quality {name}: it chooses for one budget and has no scores; name another method")
    if "quality" in type(method).model_fields:
        raise InputError(f"quality {name}: its own score is the quality that it is given; name that instead")
    if why := method.unscored():
        raise InputError(f"quality {name}: it gives no row a score ({why}); name another method")
    return method
