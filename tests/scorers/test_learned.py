"""Methods that train, judge or share out in small: known answers, and planted truth that they must find."""

import numpy as np
import polars as pl
import pytest

from curate.budget import Limit
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.lm.views import AFTER_EXAMPLE, INSTRUCTION
from curate.method import Data
from curate.registry import make_method
from curate.requests import Column, Embed, Fit, Generate, Gradients, HiddenStates, Observe, Pairs, Replies, Rows, Subset
from curate.signals import RowScore, RowValues, RowVector
from scorers.igf import learned
from scorers.instructmining import regressed
from scorers.mass import skill_graph
from scorers.mixing_law import Law, best_shares, fitted

MODEL = ModelSpec("org/base")


def data(n, m=None, **more):
    return Data(pool=Rows("pool", "p" * 32, n), target=None if m is None else Rows("target", "t" * 32, m), model=MODEL, **more)


def vectors(values):
    return RowVector(np.asarray(values, np.float32), np.full(len(values), None, dtype=object))


def of(values):
    return RowScore.of(np.array(values, dtype=float))


def picks(made, signal, k, tokens=None):
    n = len(signal)
    sources = getattr(signal, "sources", ["s"] * n)
    table = pl.DataFrame({"row_id": [f"{i:04}" for i in range(n)], "source": sources, "tokens": tokens or [10] * n})
    return made.choose(signal, table, Limit(np.ones(n), k), np.random.default_rng(0))


def played(method, given, answer, **settings):
    """The signal of a method whose every request is answered by a function."""
    made, seen = make_method(method, settings), {}
    while new := [request for request in made.requests(given, seen) if request not in seen]:
        seen |= {request: answer(request) for request in new}
    return made, made.signal(given, seen, np.random.default_rng(0))


def test_goracs_takes_the_rows_that_cover_the_target_and_prefers_large_gradients():
    pool = vectors([[1, 0], [1, 0], [0, 1], [-1, 0.1], [-1, -0.1]])
    gradients = vectors([[1.0, 0], [3.0, 0], [1, 0], [1, 0], [1, 0]])
    target = vectors([[1, 0], [0, 1]])

    def answer(request):
        return gradients if isinstance(request, Gradients) else pool if request.rows.role == "pool" else target

    made, signal = played("goracs", data(5, 2), answer)
    found = picks(made, signal, 2)
    assert sorted(found.index.tolist()) == [1, 2] and "exchanges took the transport's cost from" in found.remarks[0]
    units = pool.values / np.linalg.norm(pool.values, axis=1, keepdims=True)
    distance = np.linalg.norm(units[:, None] - target.values, axis=2)
    raw = distance / distance.max() - 0.1 * np.array([1, 3, 1, 1, 1])[:, None] / 3
    np.testing.assert_allclose(signal.costs, (raw - raw.min()) / np.ptp(raw), atol=1e-6)


def test_dealrec_leaves_out_the_hardest_and_takes_from_the_whole_range():
    rng = np.random.default_rng(0)
    gradients = vectors(rng.normal(size=(60, 5)) * np.linspace(1, 9, 60)[:, None] + 1)
    made, signal = played("dealrec", data(60), lambda request: gradients, groups=5)
    length = np.linalg.norm(gradients.values, axis=1)
    mean = gradients.values.mean(axis=0)
    cosine = gradients.values @ mean / length / np.linalg.norm(mean)

    def scaled(x):
        low, high = np.quantile(x, [0.01, 0.99])
        return (np.clip(x, low, high) - low) / (high - low)

    np.testing.assert_allclose(signal.values, scaled(cosine) + 0.3 * scaled(length), atol=1e-5)
    found = picks(made, signal, 60)
    assert len(found) == 54 and set(np.argsort(-signal.values)[:6].tolist()).isdisjoint(found.index.tolist())
    few = picks(made, signal, 10)
    assert sorted(set(few.stratum)) == [f"{i:03} of 5" for i in range(1, 6)]


def test_middo_flags_what_is_planted():
    before, after = np.ones(20), np.ones(20)
    before[[3, 4]], after[[3, 5]] = 9, 9  # row 3 stays hard; row 4 was learned, row 5 forgotten
    units = np.eye(3)[np.arange(20) % 2]
    units[7] = [0, 0, 1]  # nothing is like it

    def answer(request):
        if isinstance(request, Embed):
            assert isinstance(request.embedder.model, Fit) and request.view == INSTRUCTION
            return vectors(units)
        if isinstance(request, Column):
            return RowValues([0.0 if i in (3, 11) else 1.0 for i in range(20)], np.full(20, None, dtype=object))
        return of(after if isinstance(request.model, Fit) else before)

    made, signal = played("middo", data(20), answer, quality="column:rating")
    flags = {name: np.flatnonzero(where).tolist() for name, where in signal.flags.items()}
    assert flags == {"complexity": [3], "quality": [3, 11], "diversity": [7]}
    clean = picks(made, signal, 20)
    assert (
        clean.index[-2:].tolist() == [11, 3] and 7 in clean.index[:18] and clean.reason[-1] == "flagged for complexity, quality"
    )
    assert made.remarks(None, signal)[0] == "1 row flagged for complexity"
    queue = picks(make_method("middo:keep=flagged"), signal, 3)
    assert queue.index.tolist() == [3, 11, 7] and queue.stratum == ["complexity, quality", "quality", "diversity"]


def test_freeshap_finds_the_rows_that_point_towards_the_target():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(2, 30))
    pool = 0.3 * rng.normal(size=(20, 30))
    pool[:5] += target[0]
    pool[5:10] -= target[0]

    def answer(request):
        if isinstance(request, Observe):
            return of(np.ones(20))
        return vectors(pool if request.rows.role == "pool" else target[:1])

    made, signal = played("freeshap", data(20, 1), answer)
    assert signal.values[:5].min() > max(signal.values[5:].max(), 0) and signal.values[5:10].max() < signal.values[10:].min()
    assert signal.error < 0.2 and "standard error" in made.remarks(None, signal)[0]
    with pytest.raises(InputError, match="takes 2,000 at most; the pool has 2,001"):
        made.check([0] * 2001)


def test_the_graph_of_skills_by_hand():
    likeness = np.array([[0.9, 0.8, 0.1], [0.9, 0.1, 0.2], [0.2, 0.9, 0.8]])
    found = skill_graph(likeness, 2)  # rows have skills {0, 1}, {0, 2}, {1, 2}
    np.testing.assert_allclose(found, (np.full((3, 3), 1 / 6) - np.eye(3) / 6) + np.eye(3) / 3)
    np.testing.assert_allclose(skill_graph(likeness, 1), np.diag([2 / 3, 1 / 3, 0]))


def test_mass_scores_by_the_skills_and_by_what_goes_with_them():
    target = vectors([[1, 0, 0]] * 5 + [[0, 1, 0]])
    pool = vectors([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]])

    def answer(request):
        return pool if request.rows.role == "pool" else target

    _, signal = played("mass", data(4, 6), answer, skills=2, per_row=1)
    np.testing.assert_allclose(signal.values, [5 / 6, 1 / 6, 0, 0], atol=1e-6)
    _, signal = played("mass", data(4, 6), answer, skills=2, per_row=1, form="linear")
    np.testing.assert_allclose(signal.values, [5 / 6, 1 / 6, 0, 0], atol=1e-6)


def test_edge_is_the_share_of_the_loss_that_a_guideline_takes_away():
    alone, behind = [2.0, 1.0, 0.0, 4.0], {0: [1.0, 1.0, 1.0, 5.0], 1: [2.0, 0.5, 1.0, 4.0]}

    def answer(request):
        if isinstance(request.rows, Pairs):
            assert request.view == AFTER_EXAMPLE
            return of(behind[int(request.rows.index[0, 1])])
        return of(alone)

    made, signal = played("edge", data(4, 5), answer)
    np.testing.assert_allclose(signal.values, [0.5, 0, np.nan, -0.25])
    assert signal.reasons[2] == "the loss is below 0.001" and picks(made, signal, 2).index.tolist() == [3, 1]
    _, signal = played("edge", data(4, 5), answer, guidelines=2)
    np.testing.assert_allclose(signal.values, [0.25, 0.25, np.nan, -0.125])


def test_a_regression_and_its_left_out_losses_are_those_of_single_fits():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(12, 3))
    losses = means @ [0.5, -0.2, 0.0] + 2 + 0.1 * rng.normal(size=12)
    weights, constant, explained = regressed(means, losses, 1e-9)
    want = np.linalg.lstsq(np.column_stack([means, np.ones(12)]), losses, rcond=None)[0]
    np.testing.assert_allclose([*weights, constant], want, atol=1e-6)
    off = []
    for i in range(12):
        rest = np.arange(12) != i
        fit = np.linalg.lstsq(np.column_stack([means[rest], np.ones(11)]), losses[rest], rcond=None)[0]
        off.append(losses[i] - fit @ [*means[i], 1])
    assert explained == pytest.approx(1 - np.sum(np.square(off)) / np.sum((losses - losses.mean()) ** 2))
    assert regressed(np.ones((4, 2)), np.arange(4.0), 1.0)[0].tolist() == [0, 0]  # indicators that say nothing


def test_instructmining_finds_the_indicator_that_matters():
    """Trainings on rows of a high rating come out with a low loss; their length plays no part."""
    rng = np.random.default_rng(0)
    rating, length = rng.normal(size=200), rng.integers(1, 50, 200).astype(float)

    def answer(request):
        if isinstance(request, Column):
            return RowValues(rating.tolist(), np.full(200, None, dtype=object))
        if request.observable == "response_tokens":
            return of(length)
        return of(np.full(3, np.exp(0.5 - 0.4 * rating[request.model.rows.index].mean())))

    settings = {"indicators": "tokens,column:rating", "neighbours": False, "rows": 20, "ridge": 1e-3}
    made, signal = played("instructmining", data(200, 3), answer, **settings)
    assert signal.explained > 0.99 and np.corrcoef(signal.values, rating)[0, 1] < -0.99
    assert picks(made, signal, 1).index.tolist() == [int(np.argmax(rating))]
    rating = rng.normal(size=200)  # what the trainings answer to now is not what the indicators show
    shown = rng.normal(size=200).tolist()
    other = lambda r: RowValues(shown, np.full(200, None, dtype=object)) if isinstance(r, Column) else answer(r)  # noqa: E731
    made, signal = played("instructmining", data(200, 3), other, **settings)
    assert signal.explained < 0.3 and "do not use them" in made.remarks(None, signal)[0]


def test_what_is_learned_from_few_rows_is_ridge_regression():
    rng = np.random.default_rng(0)
    features, others = rng.normal(size=(20, 4)), rng.normal(size=(5, 4))
    z = features @ [1.0, 0, -1, 0.5] + 0.01 * rng.normal(size=20)
    found, explained = learned(features, z, others, 0.7)
    x = features - features.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + 0.7 * np.eye(4), x.T @ (z - z.mean()))
    np.testing.assert_allclose(found, z.mean() + (others - features.mean(axis=0)) @ weights)
    assert explained > 0.9 and learned(features[:1], z[:1], others, 1.0)[0].tolist() == [0] * 5


def test_igf_predicts_what_a_step_brings():
    """Steps on rows of one half of the space lower the objective's perplexity, those of the other raise it."""
    values = np.random.default_rng(0).normal(size=(80, 6))

    def answer(request):
        if isinstance(request, Embed):
            return vectors(values)
        if request.observable == "response_tokens":
            return of([10.0, 10.0])
        if isinstance(request.model, Fit):
            assert request.model.recipe.steps == 1 and request.model.rows.size == 1
            [row] = request.model.rows.index.tolist()
            return of([20 - values[row, 0], 20 - values[row, 0]])
        return of([20.0, 20.0])

    made, signal = played("igf", data(80, 2), answer)
    assert signal.measured == 50 and np.corrcoef(signal.values, values[:, 0])[0, 1] > 0.8
    assert "R squared of 0." in made.remarks(None, signal)[0]


def test_iterselecttune_finds_rows_like_those_it_falls_short_on():
    values = np.concatenate(
        [
            np.eye(4)[0] + 0.1 * np.random.default_rng(0).normal(size=(40, 4)),
            np.eye(4)[1] + 0.1 * np.random.default_rng(1).normal(size=(40, 4)),
        ]
    )

    def answer(request):
        if isinstance(request, Embed):
            return vectors(values)
        hard = request.rows.index < 40
        if isinstance(request, Generate):
            return Replies([""] * len(hard), np.ones(len(hard)), np.where(hard, 0.1, 0.9), np.full(len(hard), None, dtype=object))
        return of(np.where(hard, 5.0, 1.0))

    for by in ("loss", "overlap"):
        made, signal = played("iterselecttune", data(80), answer, judged=20, by=by)
        assert signal.values[:40].min() > signal.values[40:].max() and signal.judged == 20 and signal.hard == 10
        assert picks(made, signal, 30).index.max() < 40


def test_the_law_of_a_source_is_found_again():
    law = Law(scale=8.0, gamma=0.5, alpha=0.7, beta=0.2, floor=0.4)
    own = np.array([1, 1, 1, 1, 1, 0.25, 0.5, 2, 3]) * 1e4
    others = np.array([2, 1.25, 1.5, 3, 4, 2, 2, 2, 2]) * 1e4
    found = fitted(own, others, law.loss(own, others))
    np.testing.assert_allclose(found.loss(own, others), law.loss(own, others), atol=1e-4)
    assert found.loss(1.5e4, 2.5e4) == pytest.approx(float(law.loss(1.5e4, 2.5e4)), abs=1e-3)  # between what it has seen


def test_equal_sources_get_equal_shares_and_the_needy_more():
    same = [Law(5.0, 0.1, 0.5, 0.2, 0.3)] * 3
    np.testing.assert_allclose(best_shares(same, 1e5), 1 / 3, atol=1e-3)
    needy = [Law(9.0, 0.0, 0.5, 0.2, 0.3), Law(3.0, 0.0, 0.5, 0.2, 0.3)]
    shares = best_shares(needy, 1e5)
    assert shares.sum() == pytest.approx(1) and shares[0] > 0.6
    grid = np.linspace(0.001, 0.999, 999)
    totals = [sum(float(law.loss(s * 1e5, (1 - s) * 1e5)) for law, s in zip(needy, (share, 1 - share))) for share in grid]
    assert shares[0] == pytest.approx(grid[int(np.argmin(totals))], abs=2e-3)
    assert best_shares(needy[:1], 1e5).tolist() == [1.0]


def test_data_mixing_gives_a_source_what_its_law_asks_for():
    laws = {"easy": Law(3.0, 0.0, 0.5, 0.2, 0.3), "hard": Law(9.0, 0.0, 0.5, 0.2, 0.3)}
    sources, tokens = ["easy"] * 300 + ["hard"] * 300, [10] * 300 + [20] * 300

    def answer(request):
        if isinstance(request, Column):
            return RowValues(sources, np.full(600, None, dtype=object))
        if request.observable == "tokens":
            return of(tokens)
        assert isinstance(request.rows, Subset) and not set(request.rows.index.tolist()) & set(request.model.rows.index.tolist())
        name = sources[int(request.rows.index[0])]
        own = sum(tokens[i] for i in request.model.rows.index.tolist() if sources[i] == name)
        whole = sum(tokens[i] for i in request.model.rows.index.tolist())
        return of(np.full(request.rows.size, float(laws[name].loss(own, whole - own))))

    made, signal = played("data-mixing", data(600), answer, rows=60)
    found = picks(made, signal, 200, tokens)
    wanted = best_shares(list(laws.values()), 200 * 15)
    rows = np.array([found.stratum.count("easy") * 10, found.stratum.count("hard") * 20])
    np.testing.assert_allclose(rows / rows.sum(), wanted, atol=0.03)
    assert found.remarks[0].startswith("shares of the tokens: easy ") and made.unscored()
    sources[:] = ["one"] * 600
    made, signal = played("data-mixing", data(600), answer)
    assert len(picks(made, signal, 5)) == 5 and "nothing to mix" in made.remarks(None, signal)[0]
    assert not make_method("data-mixing")._parts(data(1), ["one"])[0]
    sources[0] = "lonely"
    with pytest.raises(InputError, match="the source 'lonely' has one row"):
        played("data-mixing", data(600), answer)


def test_vectors_come_from_where_they_are_said_to():
    [own, aimed] = make_method("mass:pooling=weighted").requests(data(4, 2), {})
    assert own.embedder == HiddenStates(MODEL, "weighted") == aimed.embedder
