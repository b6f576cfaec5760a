"""NN-CIFT: which pairs it asks for, what it predicts from them, and that it says when it cannot."""

from pathlib import Path

import numpy as np
import pytest

from curate.agreement import spearman
from curate.budget import Budget
from curate.engine import Engine
from curate.errors import InputError
from curate.influence_network import NetworkConfig
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.requests import Embed, Fit, FittedModel, Gradients, Observe, Pairs, Rows, Subset
from curate.selection import select
from curate.signals import RowScore, RowVector
from curate.store import Store
from scorers.delift import DELIFT
from scorers.influence import INFLUENCES
from scorers.less import LESS
from scorers.nn_cift import NNCIFT

N, Q, D = 120, 40, 8
POOL, TARGET = Rows("pool", "p" * 32, N), Rows("target", "t" * 32, Q)
DATA = Data(pool=POOL, model=ModelSpec("org/base"), seed=3)
QUICK = {"learning_rate": 3e-3, "min_steps": 1500}


FAST = {"epochs": 1, "min_steps": 0}  # where it does not matter what is learned


def unit(n, seed):
    values = np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


VECTORS = {"pool": unit(N, 1), "target": unit(Q, 2)}
W, V = np.random.default_rng(3).standard_normal((2, D)) / 3


def true(rows, examples):
    """Utility of each pair: of both sides, not symmetric."""
    return np.tanh((VECTORS[rows] @ W)[:, None] + 2 * (VECTORS[examples] @ V)[None])


class World:
    """Answers whatever is asked, and remembers which pairs and rows were. utility: (role, role) -> [n, m], by `true`."""

    def __init__(self, vectors=VECTORS, utility=true, alone=0.9):
        self.vectors, self.utility, self.alone = vectors, utility, alone
        self.seen, self.pairs, self.rows = {}, [], []

    def run(self, method, data=DATA):
        while new := [request for request in method.requests(data, self.seen) if request not in self.seen]:
            for request in new:
                self.seen[request] = self.answer(request)
        return method.signal(data, self.seen, np.random.default_rng(0))

    def answer(self, request):
        rows = request.rows
        if isinstance(request, Embed):
            values = self.vectors[rows.role]
            return RowVector(values, np.where(np.isnan(values).any(axis=1), "no text", None).astype(object))
        if isinstance(rows, Pairs):
            self.pairs.append(rows)
            table = self.utility(rows.rows.role, rows.examples.role)
            values = self.alone - table[tuple(rows.index.T)]
        else:
            self.rows.append(rows)
            where = rows.index if isinstance(rows, Subset) else np.arange(rows.size)
            values = self.vectors[rows.role][where] @ W if request.observable == "mean_loss" else np.full(len(where), self.alone)
        return RowScore(values, np.where(np.isnan(values), "failed", None).astype(object))


def test_a_small_block_and_a_probe_are_asked_for_and_no_more():
    world, method = World(), NNCIFT(network=FAST, u=0.1, probe=5)
    world.run(method)
    [pairs] = world.pairs
    assert pairs.size == 12 * 12 + 3 * 5 * 5 == len(np.unique(pairs.index, axis=0))
    block = pairs.index[:144]
    rows, examples = np.unique(block[:, 0]), np.unique(block[:, 1])
    assert len(rows) == len(examples) == 12 and rows.tolist() != examples.tolist()
    assert rows.tolist() != list(range(12))  # drawn, not the first
    probe = pairs.index[-25:]
    assert not np.isin(probe[:, 0], rows).any() and not np.isin(probe[:, 1], examples).any()
    assert len(np.unique(probe[:, 0])) == len(np.unique(probe[:, 1])) == 5
    [alone] = world.rows
    assert alone.index.tolist() == np.unique(pairs.index[:, 0]).tolist()  # no other row is run
    assert NNCIFT(network=FAST, u=0.1, probe=5).requests(DATA, {}) == method.requests(DATA, {})
    other = Data(pool=POOL, model=DATA.model, seed=4)
    assert method.requests(other, {}) != method.requests(DATA, {})


def test_what_it_predicts_ranks_pairs_and_picks_as_the_truth_does():
    world, method = World(), NNCIFT(u=0.3, network=QUICK)
    found = world.run(method)
    table = true("pool", "pool")
    assert found.pool.shape == (N, N) and spearman(found.pool.values.reshape(-1), table.reshape(-1)) > 0.9
    [check] = found.checks
    assert check.probe.spearman > 0.8 and not check.probe.by_chance and check.probe.overlaps[0] > 0.4
    # Less than half of what the block's mean, or no influence at all, would be off by, where both sides are new.
    assert check.mse[3] < 0.5 * check.by_mean[3]
    [(_, sample)] = method._pairs(DATA)
    block, new = (table[tuple(sample.quadrants[k].T)] for k in (0, 3))
    unit = np.ptp(block) ** 2
    assert check.by_mean[3] == pytest.approx(np.mean((new - block.mean()) ** 2) / unit)
    assert check.mse[3] < 0.5 * np.mean(new**2) / unit and check.mse[3] < 0.5 * np.mean((new - block.min()) ** 2) / unit
    assert f"both new {check.mse[3]:.3g} ({check.by_mean[3]:.3g})" in found.notes[0]
    assert f"{check.probe.overlaps[0]:.0%} of the top 10% and {check.probe.overlaps[1]:.0%} of the top 30%" in found.notes[0]
    assert check.trained == 36 * 36 and check.pairs == N * N and max(check.mse) < 0.02 and len(check.mse) == 4
    assert check.parameters == 2 * D * 100 + 100 + 100 + 1
    # In the units of the influence, not of the scale that was learned.
    assert abs(found.pool.values.mean() - table.mean()) < 0.05 and np.ptp(found.pool.values) > 0.5 * np.ptp(table)
    limit = Budget.parse(6).limit(np.ones(N))
    picks = method.choose(found, None, limit, None).index
    f = lambda a: np.maximum(table, 0)[:, a].max(axis=1).sum()  # noqa: E731
    best = DELIFT().choose(World().run(DELIFT()), None, limit, None)
    chance = np.mean([f(np.random.default_rng(s).permutation(N)[:6]) for s in range(50)])
    assert f(best.index) == pytest.approx(best.gain.sum()) and f(picks) - chance > 0.8 * (f(best.index) - chance)
    np.testing.assert_allclose(method.score(found).values, found.pool.values.mean(axis=0), rtol=1e-5)
    assert "trained on 1,296 of 14,400 pairs (9.00%)" in found.notes[0] and len(found.notes) == 1


def test_noise_is_said_to_be_no_better_than_chance():
    noise = np.random.default_rng(0).normal(size=(N, N))
    found = World(utility=lambda *_: 0.1 * noise).run(NNCIFT(u=0.2))
    assert found.checks[0].probe.by_chance
    assert found.notes[1] == "pool after pool: the network ranks pairs that it has not seen no better than chance; raise u"
    assert abs(spearman(found.pool.values.reshape(-1), noise.reshape(-1))) < 0.2  # what it saw is in there


def test_labels_dealt_out_at_random_rank_at_chance():
    """The same values, each given to another pair: nothing but the pairing is lost."""
    table = true("pool", "pool").reshape(-1)
    dealt = np.random.default_rng(1).permutation(table).reshape(N, N)
    found = World(utility=lambda *_: dealt).run(NNCIFT(u=0.3, network=QUICK))
    assert found.checks[0].probe.by_chance and abs(spearman(found.pool.values.reshape(-1), table)) < 0.3


def test_without_a_probe_nothing_is_claimed():
    found = World().run(NNCIFT(network=FAST, u=0.1, probe=0))
    assert found.checks[0].probe is None and np.isnan(found.checks[0].mse[1:]).all()
    assert found.notes[1] == "pool after pool: no probe, so nothing says whether it ranks pairs that it has not seen"


def test_equal_values():
    found = World(utility=lambda a, b: np.full((N, N), 0.25)).run(NNCIFT(network=FAST, u=0.1))
    assert "all values computed are the same" in found.notes[1] and np.allclose(found.pool.values, 0.25)
    assert len(NNCIFT().choose(found, None, Budget.parse(7).limit(np.ones(N)), None)) == 7


def test_a_target():
    data = Data(pool=POOL, model=DATA.model, target=TARGET)
    world = World()
    found = world.run(NNCIFT(network=FAST, u=0.2), data)
    assert found.stage == "flmi" and found.other.shape == (Q, N) and len(found.checks) == 2
    assert {(p.rows.role, p.examples.role) for p in world.pairs} == {("pool", "pool"), ("target", "pool")}
    assert World().run(NNCIFT(network=FAST, u=0.2, form="code"), data).other.shape == (N, Q)
    assert len(NNCIFT().choose(found, None, Budget.parse(5).limit(np.ones(N)), None)) == 5


def test_a_sample_of_the_rows_can_stand_for_all():
    data = Data(pool=POOL, model=DATA.model, target=TARGET)
    method = NNCIFT(network=FAST, u=0.2, represented=30, form="code", diag="zero")
    found = World().run(method, data)
    assert found.pool.shape == (30, N) and found.other.shape == (30, Q) and len(found) == N
    assert found.notes[-1] == "30 of the 120 rows of the pool, drawn at random, are represented for all"
    assert (np.sum(found.pool.values == 0, axis=1) == 1).all()
    whole = World().run(NNCIFT(network=FAST, u=0.2, form="code", diag="zero"), data)
    assert all(any(np.array_equal(row, other) for other in whole.other.values) for row in found.other.values)
    assert len(method.choose(found, None, Budget.parse(50).limit(np.ones(N)), None)) == 50


def test_likeness_is_learned_without_a_model():
    world = World()
    found = world.run(NNCIFT(network=FAST, influence="delift-se", u=0.3))
    assert world.pairs == [] and world.rows == [] and found.checks[0].trained == 36 * 36


def test_scores_of_rows():
    world, method = World(), NNCIFT(influence="pointwise:perplexity", u=0.5, network=QUICK)
    found = world.run(method)
    assert method.influence == "pointwise.perplexity" and NNCIFT(influence=method.influence) == NNCIFT(
        influence="pointwise:perplexity"
    )
    [rows] = world.rows
    assert isinstance(rows, Subset) and rows.size == 60 + 16  # only these are scored
    assert world.pairs == []
    [check] = found.checks
    assert check.trained == 60 and check.pairs == N and check.parameters == D * 100 + 201 and check.probe is not None
    assert np.isnan(check.mse[1]) and np.isnan(check.mse[2]) and not np.isnan(check.mse[3])
    lowest = NNCIFT(influence="pointwise:lobass", u=0.5)
    assert any(isinstance(request.rows, Subset) for request in lowest.requests(DATA, {}) if isinstance(request, Observe))
    picks = method.choose(found, None, Budget.parse(10).limit(np.ones(N)), None)
    assert picks.index.tolist() == np.argsort(-method.score(found).values, kind="stable")[:10].tolist()


class Gradual(World):
    """Gradients are the vectors, one way at the first checkpoint and the other at the rest; a training of 8 steps."""

    def answer(self, request):
        if isinstance(request, Fit):
            return FittedModel(Path(), "fit", {"steps": 8.0})
        if isinstance(request, Gradients):
            where = request.rows.index if isinstance(request.rows, Subset) else np.arange(request.rows.size)
            values = self.vectors[request.rows.role][where] ** (1 if request.model.number == 1 else 3)
            self.rows.append(request.rows)
            return RowVector(values.astype(np.float32), np.full(len(values), None, object))
        return super().answer(request)


def test_gradients_of_few_rows_stand_for_all():
    """LESS's influence: what it asks of the block and probe alone is what LESS itself would give for these."""
    data = Data(pool=POOL, model=DATA.model, target=TARGET, target_sources=("a",) * 10 + ("b",) * 30)
    exact, world = Gradual().run(LESS(), data), Gradual()
    method = NNCIFT(influence="less", u=0.5, network=QUICK)
    found = world.run(method, data)
    assert {rows.size for rows in world.rows} == {20 + 16, 60 + 16} and world.pairs == []
    [(pairs, _)] = method._pairs(data)
    values = INFLUENCES["less"].values(data, world.seen, pairs).values
    np.testing.assert_allclose(values, exact.values.T[tuple(pairs.index.T)], atol=1e-5)
    assert len(np.unique(values.round(6))) > 1000
    scores = method.score(found).values
    assert spearman(scores, LESS().score(exact).values) > 0.5
    picks = method.choose(found, None, Budget.parse(10).limit(np.ones(N)), None)
    assert picks.index.tolist() == np.argsort(-scores, kind="stable")[:10].tolist()
    with pytest.raises(InputError, match="nn-cift with influence=less needs --target"):
        method.requests(DATA, {})


def test_a_row_without_a_vector_is_null():
    vectors = {"pool": VECTORS["pool"].copy()}
    vectors["pool"][5], vectors["pool"][6] = np.nan, 0
    world = World(vectors, lambda *_: true("pool", "pool"))
    found = world.run(NNCIFT(network=FAST, u=0.2))
    assert found.reasons[[5, 6, 7]].tolist() == ["no text", "its vector is 0 everywhere", None]
    picks = NNCIFT().choose(found, None, Budget.parse(N).limit(np.ones(N)), None)
    assert len(picks) == N - 2 and picks.nulls == 2 and np.isfinite(picks.gain).all()
    rows = World(vectors).run(NNCIFT(network=FAST, influence="delift-se", u=0.2))
    assert rows.reasons[[5, 6]].tolist() == ["no text", "its vector is 0 everywhere"]


def test_pairs_that_failed_are_not_learned_from():
    table = true("pool", "pool")
    table[::2] = np.nan
    found = World(utility=lambda *_: table).run(NNCIFT(network=FAST, u=0.3))
    assert 0 < found.checks[0].trained < 36 * 36 and np.isfinite(found.pool.values).all()
    table[:] = np.nan
    with pytest.raises(InputError, match="not one of the 1,296 pairs of pool after pool has a value: failed"):
        World(utility=lambda *_: table).run(NNCIFT(network=FAST, u=0.3))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"u": 0.01}, "nn-cift: u=0.01 of the 120 rows of the pool is 1, and at least 2 are needed; raise u$"),
        (
            {"u": 0.01, "influence": "pointwise.perplexity"},
            "nn-cift: u=0.01 of the 120 rows of the pool is 1, and at least 2 are needed; raise u$",
        ),
    ],
)
def test_too_few_pairs_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        NNCIFT(**settings).requests(DATA, {})


@pytest.mark.parametrize("role", ["target", "existing"])
@pytest.mark.parametrize("form", ["paper", "code"])
def test_too_small_a_target_is_refused_before_anything_is_asked_for(role, form):
    def ask(size, **settings):
        other = Data(pool=POOL, model=DATA.model, **{role: Rows(role, "o" * 32, size)})
        return NNCIFT(form=form, **settings).requests(other, {})

    with pytest.raises(InputError, match=f"nn-cift: the {role} has 1 row, and at least 2 are needed$"):
        ask(1, u=1.0)
    with pytest.raises(InputError, match=f"u=0.05 of the 20 rows of the {role} is 1, and at least 2 are needed; raise u_other"):
        ask(20)
    with pytest.raises(InputError, match=f"u_other=0.1 of the 10 rows of the {role} is 1, .* raise u_other"):
        ask(10, u_other=0.1)
    pairs = next(request.rows for request in ask(20, u_other=0.5, probe=0)[::-1] if isinstance(request.rows, Pairs))
    assert pairs.size == 6 * 10  # u of the pool's rows, u_other of the others


def test_a_share_is_taken_as_it_is_written():
    data = Data(pool=Rows("pool", "q" * 32, 100), model=DATA.model)
    [(pairs, _)] = NNCIFT(u=0.29, probe=0)._pairs(data)
    assert pairs.size == 29 * 29


def test_a_probe_that_cannot_tell_says_so_and_not_that_the_network_is_bad():
    notes = World().run(NNCIFT(u=0.3, probe=2, network=QUICK)).notes
    assert notes[1:] == (
        "pool after pool: the probe is too small to tell these ranks from chance; raise probe, or give more rows if none are left",
    )


def test_a_block_of_which_nothing_is_held_out_says_so():
    notes = World().run(NNCIFT(u=0.07, probe=0, network=FAST)).notes  # 8 rows and examples
    assert notes[2:] == (
        "pool after pool: nothing is held out of a block of fewer than 10 rows and examples, so nothing said when its training "
        "should stop",
    )
    assert len(World().run(NNCIFT(u=0.1, probe=0, network=FAST)).notes) == 2


def test_an_unknown_influence_is_named():
    with pytest.raises(ValueError, match="it must be delift, delift-se, less or pointwise.METHOD, not 'shapley'"):
        NNCIFT(influence="shapley")
    with pytest.raises(ValueError, match="no method is called 'perplexiti'"):
        NNCIFT(influence="pointwise:perplexiti")


def test_select_with_a_model(tmp_path, small_pool, tiny):
    engine = Engine(store=Store(tmp_path / "store"))
    method = NNCIFT(u=0.25, probe=3, network=NetworkConfig(min_steps=50))
    found = select(small_pool, method, budget=5, model=tiny, engine=engine, embedder="tfidf")
    assert len(found) == 5 and found.scores["score"].null_count() == 0
    assert [s.computed_rows for s in engine.stages if s.kind == "pass"][1] == 6 * 6 + 3 * 3 * 3
    assert any("trained on 36 of 576 pairs (6.25%)" in note for note in found.summary["remarks"])
    again = select(small_pool, method, budget=5, model=tiny, engine=Engine(store=engine.store), embedder="tfidf")
    assert again.frame.equals(found.frame) and again.summary["computed_rows"] == 0
