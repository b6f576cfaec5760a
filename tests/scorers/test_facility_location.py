"""Facility location as a method: what it asks for, which of its functions it maximises, and its command line."""

import json

import numpy as np
import polars as pl
import pytest

from curate.budget import Budget
from curate.embedding.similarity import NO_DIRECTION
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.registry import make_method
from curate.requests import Embed, HiddenStates, Rows, SentenceEncoder
from curate.selectors import facility_location as selectors
from curate.signals import RowVector
from scorers.facility_location import FacilityLocation

POOL, TARGET, EXISTING = Rows("pool", "p" * 32, 30), Rows("target", "t" * 32, 3), Rows("existing", "e" * 32, 4)
MODEL = ModelSpec("org/base")


def data(target=None, existing=None, embedder=None):
    return Data(pool=POOL, model=MODEL, target=target, existing=existing, embedder=embedder)


def vectors(values, **null):
    values = np.array(values, dtype=np.float32)
    reasons = np.full(len(values), None, dtype=object)
    for row, reason in null.items():
        values[int(row[1:])], reasons[int(row[1:])] = np.nan, reason
    return RowVector(values, reasons)


def drawn(n, seed=0):
    return vectors(np.random.default_rng(seed).normal(size=(n, 5)))


def picks(method, known, seen, budget=8, tokens=None):
    signal = method.signal(known, seen, np.random.default_rng(0))
    limit = Budget.parse(budget).limit(np.ones(30) if tokens is None else tokens)
    return signal, method.choose(signal, None, limit, np.random.default_rng(0))


def cosine(a, b):
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a.astype(float), b.astype(float)))
    return np.maximum(a @ b.T, 0)


def seen(known, pool, target=None, existing=None):
    answers = {Embed(known.embedder, POOL): pool}
    if target is not None:
        answers[Embed(known.embedder, TARGET)] = target
    if existing is not None:
        answers[Embed(known.embedder, EXISTING)] = existing
    return answers


def test_it_asks_for_embeddings_of_what_it_compares():
    method = FacilityLocation()
    assert method.requests(data(), {}) == [Embed(HiddenStates(MODEL), POOL)]
    assert method.requests(data(TARGET), {})[1:] == [Embed(HiddenStates(MODEL), TARGET)]
    assert method.requests(data(None, EXISTING), {})[1:] == [Embed(HiddenStates(MODEL), EXISTING)]
    assert len(FacilityLocation(objective="fl").requests(data(TARGET, EXISTING), {})) == 1
    assert FacilityLocation(objective="cg").requests(data(TARGET, EXISTING), {})[1].rows == EXISTING
    for settings, known, said in (
        ({}, data(TARGET, EXISTING), "both a target and existing data; name one by objective=mi or objective=cg"),
        ({"objective": "mi"}, data(), "objective=mi needs a target"),
        ({"objective": "cg"}, data(TARGET), "objective=cg needs existing data"),
    ):
        with pytest.raises(InputError, match=said):
            FacilityLocation(**settings).requests(known, {})


def test_each_objective_is_its_selector():
    pool, target, existing = drawn(30), drawn(3, 1), drawn(4, 2)
    s = cosine(pool.values, pool.values)
    near, covered = cosine(pool.values, target.values).max(axis=1), cosine(pool.values, existing.values).max(axis=1)
    limit = Budget.parse(8).limit(np.ones(30))
    cases = [
        (FacilityLocation(), data(), selectors.facility_location(s, limit)),
        (FacilityLocation(eta=0.7), data(TARGET), selectors.mutual_information(s, near, limit, eta=0.7)),
        (FacilityLocation(form="code"), data(TARGET), selectors.mutual_information(s, near, limit, form="code")),
        (FacilityLocation(nu=0.7), data(None, EXISTING), selectors.conditional_gain(s, covered, limit, nu=0.7)),
    ]
    chosen = []
    for method, known, want in cases:
        signal, found = picks(method, known, seen(known, pool, target, existing))
        assert found.index.tolist() == want.index.tolist()
        np.testing.assert_allclose(found.gain, want.gain, atol=1e-9)
        # A row's score is what it gains alone, so the first pick has the best.
        scores = method.score(signal)
        assert np.argmax(scores.values) == found.index[0] and scores.values.max() == pytest.approx(found.gain[0], rel=1e-5)
        chosen.append(found.index.tolist())
    assert len(set(map(tuple, chosen))) == 4


def test_rows_without_a_vector_are_null():
    pool = drawn(30)
    pool.values[7] = 0
    pool = vectors(pool.values, r3="no token in this view")
    signal, found = picks(FacilityLocation(), data(), seen(data(), pool), budget=30)
    scores = FacilityLocation().score(signal)
    assert scores.reasons[3] == "no token in this view" and scores.reasons[7] == NO_DIRECTION and scores.is_null.sum() == 2
    assert len(found) == 28 and found.nulls == 2 and not {3, 7} & set(found.index.tolist())
    assert found.shortfall == "The budget allows 30 rows, but only 28 of 30 rows could be used."
    whole = cosine(np.delete(pool.values, [3, 7], axis=0), np.delete(pool.values, [3, 7], axis=0))
    np.testing.assert_allclose(np.delete(scores.values, [3, 7]), whole.sum(axis=0), rtol=1e-5)


def test_nothing_to_compare():
    none = RowVector(np.empty((30, 0), np.float32), np.full(30, "no token in this view", dtype=object))
    signal, found = picks(FacilityLocation(), data(), seen(data(), none))
    assert len(found) == 0 and found.nulls == 30 and FacilityLocation().score(signal).is_null.all()
    known, gone = data(TARGET), RowVector(np.empty((3, 0), np.float32), np.full(3, "no token in this view", dtype=object))
    with pytest.raises(InputError, match="no row of the target has an embedding: no token in this view"):
        picks(FacilityLocation(), known, seen(known, drawn(30), gone))
    same = vectors(np.ones((30, 4)))
    assert picks(FacilityLocation(), data(), seen(data(), same))[1].index.tolist() == list(range(8))


def test_picks_that_gain_nothing_are_said():
    """Existing data that is the pool represents all of it; then picks are no better than any others."""
    pool, known = drawn(30), data(None, EXISTING)
    _, found = picks(FacilityLocation(), known, seen(known, pool, existing=pool))
    assert found.index.tolist() == list(range(8)) and (found.gain == 0).all()
    assert found.shortfall == "8 of the 8 picks gain nothing, as all is represented without them: they were taken in row order."
    _, found = picks(FacilityLocation(), known, seen(known, pool, existing=vectors(pool.values[:28])))
    assert found.index[:2].tolist() in ([28, 29], [29, 28]) and found.shortfall.startswith("6 of the 8 picks gain nothing")
    _, found = picks(FacilityLocation(greedy="stochastic"), known, seen(known, pool, existing=pool))
    assert found.shortfall.endswith("they were taken at random.")
    _, found = picks(FacilityLocation(), data(), seen(data(), pool))
    assert (found.gain > 0).all() and found.shortfall is None


def test_settings():
    pool, known = drawn(30), data()
    base = picks(FacilityLocation(), known, seen(known, pool))[1].index.tolist()
    for settings in (
        {"similarity": "shifted"},
        {"similarity": "sphere"},
        {"similarity": "rbf"},
        {"similarity": "sphere", "gamma": 40.0},
    ):
        found = picks(FacilityLocation(**settings), known, seen(known, pool))[1]
        assert len(found) == 8 and (found.gain > 0).all()
    assert picks(FacilityLocation(similarity="sphere", gamma=40.0), known, seen(known, pool))[1].index.tolist() != base
    stochastic = picks(FacilityLocation(greedy="stochastic"), known, seen(known, pool))[1].index.tolist()
    assert len(set(stochastic)) == 8 and stochastic != base
    tokens = np.random.default_rng(0).integers(1, 90, 30)
    found = picks(FacilityLocation(), known, seen(known, pool), "300 tokens", tokens)[1]
    assert 0 < tokens[found.index].sum() <= 300
    for settings in ({"gamma": 2.0}, {"signals": "utility"}, {"eta": -1}, {"similarity": "dot"}):
        with pytest.raises(ValueError):
            FacilityLocation(**settings)


def test_a_kernel_on_the_sphere_has_the_width_of_its_embedder():
    pool, widths = drawn(30), []
    for embedder in (None, SentenceEncoder("org/encoder")):
        known = data(embedder=embedder)
        signal = FacilityLocation(similarity="sphere").signal(known, seen(known, pool), np.random.default_rng(0))
        widths.append(signal.coverage.kernel.similarity.gamma)
    assert widths == [10, 1]


def test_a_pool_whose_similarities_do_not_fit_says_so():
    pool, known = drawn(30), data()
    method = FacilityLocation(memory=4 * 15**2 / 1e9, neighbours=10)
    signal, found = picks(method, known, seen(known, pool))
    assert len(found) == 8 and "chosen by samples" in found.remarks[0] and "the picks reach at least" in found.remarks[1]
    assert method.remarks(known, signal) == []  # 30 rows are their own sample
    whole = picks(FacilityLocation(), known, seen(known, pool))[1]
    assert len(whole.remarks) == 1 and whole.remarks[0].startswith("the picks reach at least")


def test_on_the_command_line(make_pool, tiny, tmp_path, monkeypatch, capsys):
    from curate.cli import _main

    assert make_method("facility-location:signals=embedding") == FacilityLocation()
    pool, target = make_pool(range(24)), make_pool(range(40, 44), "target.jsonl")
    command = ["select", str(pool), "--model", str(tiny), "--method", "facility-location", "--signals", "embedding"]
    command += ["--budget", "6", "--json", "--store", str(tmp_path / "store")]
    assert _main([*command, "--out", str(tmp_path / "one")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["selected"] == 6 and found["method"] == "facility-location"
    assert "the picks reach at least" in found["remarks"][-1]
    frame = pl.read_parquet(tmp_path / "one" / "selection.parquet")
    assert frame["gain"].is_sorted(descending=True) and frame["reason"][0].startswith("gain ")
    assert frame["score"][0] == pytest.approx(frame["gain"][0], rel=1e-5)
    assert found["computed_rows"] == 24 and "computed_rows_target" not in found
    assert _main([*command, "--target", str(target), "--out", str(tmp_path / "two")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["computed_rows"], found["reused_rows"], found["computed_rows_target"]) == (0, 24, 4)
    assert frame["row_id"].to_list() != pl.read_parquet(tmp_path / "two" / "selection.parquet")["row_id"].to_list()
    capsys.readouterr()
    assert _main([*command, "--target", str(target), "--plan", "--set", "objective=mi"]) == 0
    assert [line["rows"] for line in json.loads(capsys.readouterr().out)["plan"] if line["rows"]] == []  # all in the store
    refused = ["select", str(pool), "--method", "longest", "--signals", "embedding", "-b", "6", "--out", "x"]
    assert _main(refused) == 2 and "there is no setting 'signals'" in capsys.readouterr().err
