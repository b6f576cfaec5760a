"""Known answers of IFD and its kin: ratios of what a model makes of replies with and without their instructions."""

import numpy as np
import polars as pl
import pytest

from curate.budget import Budget
from curate.engine import Engine
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.pool import read_pool
from curate.preparation import prepare
from curate.registry import make_method
from curate.requests import Embed, Fit, Observe, Rows, Subset
from curate.signals import RowScore, RowVector
from curate.store import Store
from scorers.ifd import IFD
from scorers.reversed_ifd import ReversedIFD
from scorers.superfiltering import Superfiltering

DATA = Data(pool=Rows("pool", "p" * 32, 4), model=ModelSpec("org/base"), seed=7)
NAN = float("nan")
LEAST = 0.6  # of AUROC, with a model that is small but real
GIVEN, ALONE = [1.0, 3.0, 0.2, 2.0], [2.0, 2.5, 0.25, 4.5]


def column(values):
    return values if isinstance(values, RowScore) else RowScore.of(np.array(values, dtype=float))


def seen_by(method, given, alone, lengths=None, data=DATA):
    """Answers to what the method asks for: losses with the other half in view, and of the half alone."""
    seen = {}
    for request in method.requests(data, {}):
        if request.observable == "response_tokens":
            seen[request] = column(lengths if lengths is not None else [50] * len(given))
        else:
            seen[request] = column(given if request.view in ("conversation", "instruction_after_response") else alone)
    return seen


def score(method, given=GIVEN, alone=ALONE, lengths=None):
    return method.signal(DATA, seen_by(method, given, alone, lengths), np.random.default_rng(0))


def picks(method, found, budget=1.0):
    limit = Budget.parse(budget).limit(np.ones(len(found)))
    return method.choose(found, None, limit, np.random.default_rng(0))


def test_the_two_ratios():
    loss, ppl = score(IFD()), score(IFD(ratio="ppl"))
    np.testing.assert_allclose(loss.values, [0.5, 1.2, 0.8, 2 / 4.5], rtol=1e-12)
    np.testing.assert_allclose(ppl.values, np.exp(np.subtract(GIVEN, ALONE)), rtol=1e-12)
    assert ((loss.values < 1) == (ppl.values < 1)).all()  # the same sign test, another ranking
    assert picks(IFD(), loss).index.tolist() == [2, 0, 3] and picks(IFD(ratio="ppl"), ppl).index.tolist() == [2, 0, 3]
    other = score(IFD(), [1.0, 0.09], [2.0, 0.1]), score(IFD(ratio="ppl"), [1.0, 0.09], [2.0, 0.1])
    assert [found.values.argmax() for found in other] == [1, 1]
    far = [3.0, 0.05], [4.0, 0.1]  # a larger ratio of losses, a smaller one of perplexities
    assert score(IFD(), *far).values.argmax() == 0 and score(IFD(ratio="ppl"), *far).values.argmax() == 1


def test_what_the_instruction_hinders_is_never_picked_and_preferred_least():
    found = score(IFD())
    all_of_them = picks(IFD(), found)
    assert 1 not in all_of_them.index and all_of_them.nulls == 0
    assert all_of_them.shortfall == "The budget allows 4 rows, but only 3 of 4 rows could be used."
    assert IFD().preference(found).argsort().tolist() == [1, 3, 0, 2]
    assert IFD().remarks(DATA, found) == ["1 row has an IFD above 1, where the instruction hinders the reply, and is not picked"]
    assert IFD(max_ifd=2).preference(found).argsort().tolist() == [3, 0, 2, 1]
    assert picks(IFD(max_ifd=2), found).index.tolist() == [1, 2, 0, 3]


def test_short_replies_and_replies_known_by_heart_are_null():
    found = score(IFD(), lengths=[9, 10, 11, 12])
    assert found.reasons.tolist() == ["fewer than 10 reply tokens", None, None, None]
    known = score(IFD(), [0.1, 1, 1, 1], [0.0005, 2, 2, 2])
    assert known.reasons[0] == "the loss of the reply alone is below 0.001" and np.isnan(known.values[0])
    assert score(IFD(ratio="ppl"), [0.1, 1, 1, 1], [0.0005, 2, 2, 2]).values[0] == pytest.approx(np.exp(0.0995))


def test_a_null_of_either_view_keeps_its_reason():
    lost = RowScore(np.array([NAN, 1, 1, 1]), np.array(["no room", None, None, None], object))
    for method in (IFD(), IFD(ratio="ppl"), Superfiltering(proxy="org/small"), ReversedIFD()):
        for given, alone in ((lost, ALONE), (GIVEN, lost)):
            found = score(method, given, alone)
            assert found.reasons.tolist() == ["no room", None, None, None] and 0 not in picks(method, found).index


def test_it_asks_for_the_conversation_and_the_reply_alone():
    asked = IFD().requests(DATA, {})
    assert asked == [
        Observe(DATA.model, DATA.pool, "mean_loss"),
        Observe(DATA.model, DATA.pool, "mean_loss", "response"),
        Observe(DATA.model, DATA.pool, "response_tokens"),
    ]
    assert IFD(ratio="ppl").requests(DATA, {}) == asked


def test_a_model_with_some_experience():
    """100 clusters of instructions, ten rows of each, one epoch: the paper's model that scores."""
    method = IFD(experience=6, clusters=3)
    pool = Rows("pool", "p" * 32, 30)
    data = Data(pool=pool, model=ModelSpec("org/base"), seed=7)
    [first] = method.requests(data, {})
    assert first == Embed(data.embedder, pool, "instruction")
    points = np.repeat(np.eye(3, dtype=np.float32) * 10, 10, axis=0)
    seen = {first: RowVector(points, np.full(30, None, object))}
    asked = method.requests(data, seen)
    [fit] = {request.model for request in asked if isinstance(getattr(request, "model", None), Fit)}
    assert isinstance(fit.rows, Subset) and np.bincount(fit.rows.index // 10).tolist() == [2, 2, 2]
    assert fit.recipe.epochs == 1 and fit.recipe.seed == 7 and fit.model == data.model
    assert method.requests(data, seen) == asked and {r.model for r in asked if r.observable == "mean_loss"} == {fit}


# Superfiltering


def test_superfiltering_is_the_ratio_of_perplexities_under_the_proxy():
    method = Superfiltering(proxy="org/small")
    assert {request.model for request in method.requests(DATA, {})} == {ModelSpec("org/small")}
    assert method.readers() == (ModelSpec("org/small"),)
    found = score(method)
    np.testing.assert_allclose(found.values, score(IFD(ratio="ppl")).values, rtol=1e-12)
    assert picks(method, found, 2).index.tolist() == [2, 0]


def test_superfiltering_with_the_model_itself_asks_what_ifd_asks():
    assert Superfiltering(proxy=DATA.model.name).requests(DATA, {}) == IFD().requests(DATA, {})


def test_facility_location_picks_from_a_shortlist():
    """Of the best four by IFD two are twins: the diverse pair has one of them."""
    data = Data(pool=Rows("pool", "p" * 32, 6), model=ModelSpec("org/base"))
    method = Superfiltering(proxy="org/base", diversity="facility-location", shortlist=2)
    alone = [1.0] * 6
    given = [0.99, 0.98, 0.97, 0.96, 0.5, 0.4]
    points = np.array([[1, 0], [1, 0.01], [0, 1], [0.1, 1], [1, 1], [-1, 1]], np.float32)
    seen = {}
    for request in method.requests(data, {}):
        if isinstance(request, Embed):
            seen[request] = RowVector(points, np.full(6, None, object))
    seen |= {
        request: column([50] * 6 if request.observable == "response_tokens" else given if request.view == "conversation" else alone)
        for request in method.requests(data, {}) if isinstance(request, Observe)
    }  # fmt: skip
    found = method.signal(data, seen, np.random.default_rng(0))
    chosen = picks(method, found, 2)
    assert len(chosen) == 2 and sum(i in (0, 1) for i in chosen.index) == 1 and sum(i in (2, 3) for i in chosen.index) == 1
    assert "by facility location" in chosen.reason[0]
    assert sorted(picks(method, found, 6).index.tolist()) == list(range(6))
    plain = Superfiltering(proxy="org/base").signal(data, seen, np.random.default_rng(0))
    assert picks(Superfiltering(), plain, 2).index.tolist() == [0, 1]


# reversed


def test_reversed_ifd_keeps_the_replies_that_tell_their_instruction():
    method = ReversedIFD()
    found = score(method)
    np.testing.assert_allclose(found.values, np.exp(np.subtract(GIVEN, ALONE)), rtol=1e-12)
    assert picks(method, found).index.tolist() == [3, 0, 2]  # lowest first, and not the one above 1
    assert method.preference(found).argmax() == 3
    views = {request.view for request in method.requests(DATA, {}) if request.observable == "mean_loss"}
    assert views == {"instruction", "instruction_after_response"}


# a real model


def test_replies_that_were_swapped_have_a_higher_ratio(tmp_path, base4m):
    """Of the embedded pool: replies that stand under other prompts against those left as they were."""
    sample = pl.read_parquet(base4m.parents[1] / "sample" / "pool.parquet")
    some = pl.concat(
        [sample.filter(pl.col("planted").is_null()).head(40), sample.filter(pl.col("planted") == "swapped").head(30)]
    )
    some.write_parquet(tmp_path / "pool.parquet")
    engine = Engine(store=Store(tmp_path / "store"))
    prepared = prepare(engine, read_pool(tmp_path / "pool.parquet"), model=ModelSpec(str(base4m)))
    swapped = np.array([mark == "swapped" for mark in prepared.pool.column("planted").to_pylist()])
    assert (swapped.sum(), (~swapped).sum()) == (30, 40)
    names = ("ifd:min_response_tokens=1", "ifd:ratio=ppl:min_response_tokens=1", "reversed-ifd:min_instruction_tokens=1")
    methods = [make_method(name) for name in (*names, "donod", "donod:don=max")]
    seen = engine.gather(methods, prepared.data)
    for method in methods:
        values = method.signal(prepared.data, seen, np.random.default_rng(0)).values
        above = (values[swapped][:, None] > values[~swapped]).mean()
        higher = method.name != "donod" or method.don == "max"  # of closeness more is better: max prefers what was swapped
        assert (above if higher else 1 - above) > LEAST, (method, above)
    assert len([stage for stage in engine.stages if stage.kind == "pass"]) == 4  # the conversation, three halves
