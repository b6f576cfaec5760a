"""Known answers of DELIFT: utilities of pairs, kernels, the three objectives, what is asked for."""

import numpy as np
import pytest

from curate.budget import Budget
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec, load_model
from curate.method import Data
from curate.pair_scores import PairScore
from curate.requests import Embed, Observe, Pairs, Rows, Subset
from curate.scoring import score
from curate.selection import select
from curate.signals import RowScore, RowVector
from curate.store import Store
from scorers.delift import DELIFT, Utilities, pick

POOL, TARGET, EXISTING = Rows("pool", "p" * 32, 3), Rows("target", "t" * 32, 2), Rows("existing", "e" * 32, 2)
MODEL = ModelSpec("org/base")
DATA = Data(pool=POOL, model=MODEL)
NAN = float("nan")


def rows_score(values):
    values = np.array(values, dtype=float)
    return RowScore(values, np.where(np.isnan(values), "failed", None).astype(object))


def seen_of(method, data, alone, behind, vectors=None):
    """Answers to whatever the method asks. alone: role -> d; behind: (role, role) -> d [n, m]; vectors: role -> [n, d]."""
    seen = {}
    while new := [request for request in method.requests(data, seen) if request not in seen]:
        for request in new:
            rows = request.rows
            if isinstance(request, Embed):
                values = np.array(vectors[rows.role], np.float32)
                seen[request] = RowVector(values, np.full(len(values), None, object))
            elif isinstance(rows, Pairs):
                table = np.array(behind[rows.rows.role, rows.examples.role], dtype=float)
                seen[request] = rows_score(table[tuple(rows.index.T)])
            else:
                values = np.array(alone[rows.role], dtype=float)
                seen[request] = rows_score(values[rows.index] if isinstance(rows, Subset) else values)
    return seen


def signal(method, data, alone, behind, vectors=None):
    return method.signal(data, seen_of(method, data, alone, behind, vectors), np.random.default_rng(0))


def picks(method, found, k=None):
    n = len(found)
    return method.choose(found, None, Budget.parse(n if k is None else k).limit(np.ones(n)), np.random.default_rng(0))


ALONE = {"pool": [0.7, 0.5, 0.4], "target": [0.6, 0.8], "existing": [0.1, 0.1]}
BEHIND = {
    ("pool", "pool"): [[0.1, 0.6, 0.9], [0.3, 0.5, 0.5], [0.4, 0.1, 0.2]],
    ("target", "pool"): [[0.5, 0.6, 0.7], [0.8, 0.3, 0.8]],
    ("pool", "target"): [[0.6, 0.8], [0.5, 0.1], [0.4, 0.4]],
    ("pool", "existing"): [[0.1, 0.7], [0.5, 0.5], [0.3, 0.6]],
}


def test_utility_is_how_far_the_distance_falls_behind_the_example():
    found = signal(DELIFT(), DATA, ALONE, BEHIND)
    want = [[0.6, 0.1, -0.2], [0.2, 0.0, 0.0], [0.0, 0.3, 0.2]]  # [row, example]
    np.testing.assert_allclose(found.pool.values, want, atol=1e-12)
    score = DELIFT().score(found)
    np.testing.assert_allclose(score.values, np.mean(want, axis=0), atol=1e-12)
    assert found.stage == "fl" and found.other is None and found.notes == () and len(found) == 3
    chosen = picks(DELIFT(), found)
    assert chosen.index.tolist() == [0, 1, 2] and chosen.gain.tolist() == pytest.approx([0.8, 0.3, 0.0])


def test_the_diagonal_can_be_left_out():
    found = signal(DELIFT(diag="zero"), DATA, ALONE, BEHIND)
    assert np.diag(found.pool.values).tolist() == [0, 0, 0]
    assert picks(DELIFT(diag="zero"), found).index.tolist() == [1, 0, 2]  # 0.1 + 0.3 before 0.2 + 0


def kernel_of(values, other=None, stage="fl"):
    values = np.array(values, dtype=float)
    other = None if other is None else PairScore(np.array(other, dtype=float))
    return Utilities(PairScore(values), other, stage, np.full(values.shape[1], None, object))


def test_an_item_that_helps_all_is_picked_and_not_one_that_all_help():
    table = np.full((5, 5), 0.1)
    table[:, 3] = 1.0  # item 3 helps everyone
    table[1, :] = 1.0  # everyone helps item 1
    assert picks(DELIFT(), kernel_of(table), 1).index.tolist() == [3]
    assert picks(DELIFT(), kernel_of(table.T), 1).index.tolist() == [1]


def test_blocks_give_one_each():
    assert sorted(picks(DELIFT(), kernel_of(np.kron(np.eye(3), np.ones((4, 4)))), 3).index.tolist()) == [0, 4, 8]


def naive_order(f, n):
    """Greedy by computing f of every set from scratch; ties to the smaller index."""
    order = []
    while len(order) < n:
        left = [j for j in range(n) if j not in order]
        order.append(max(left, key=lambda j: (round(f([*order, j]), 9), -j)))
    return order


@pytest.mark.parametrize("seed", range(4))
def test_the_objectives_against_their_definitions(seed):
    rng = np.random.default_rng(seed)
    s, q, e = rng.normal(size=(7, 7)), rng.normal(size=(3, 7)), rng.normal(size=(7, 3))
    r = lambda table: np.maximum(table, 0)  # noqa: E731

    def f(a):
        return r(s)[:, a].max(axis=1)

    fl = picks(DELIFT(), kernel_of(s))
    assert fl.index.tolist() == naive_order(lambda a: f(a).sum(), 7)
    paper = picks(DELIFT(eta=0.5), kernel_of(s, q, "flmi"))
    assert paper.index.tolist() == naive_order(lambda a: f(a).sum() + 0.5 * r(q)[:, a].max(axis=0).sum(), 7)
    code = picks(DELIFT(form="code", eta=0.5), kernel_of(s, e, "flmi"))
    want = naive_order(lambda a: np.minimum(f(a), 0.5 * r(e).max(axis=1)).sum(), 7)
    k = int((code.gain > 1e-9).sum())
    assert code.index[:k].tolist() == want[:k] and k > 0
    cg = picks(DELIFT(nu=0.5), kernel_of(s, e, "flcg"))
    assert cg.index.tolist() == naive_order(lambda a: r(f(a) - 0.5 * r(e).max(axis=1)).sum(), 7)


def test_what_existing_data_already_does_gains_nothing():
    s = np.array([[0.9, 0.2, 0.1], [0.8, 0.1, 0.3], [0.7, 0.0, 0.2]])
    found = picks(DELIFT(), kernel_of(s, s[:, :1], "flcg"))
    gain = dict(zip(found.index.tolist(), found.gain.tolist()))
    assert gain[0] == 0 and DELIFT().objective == "auto"
    assert picks(DELIFT(), kernel_of(s)).index[0] == 0


def test_a_target_and_existing_data_choose_the_objective():
    with_target = Data(pool=POOL, model=MODEL, target=TARGET)
    found = signal(DELIFT(), with_target, ALONE, BEHIND)
    assert found.stage == "flmi"
    np.testing.assert_allclose(found.other.values, [[0.1, 0.0, -0.1], [0.0, 0.5, 0.0]], atol=1e-12)
    # singly: 0.8 + 0.1 of row 0, 0.4 + 0.5 of row 1; then row 1 and row 0 add the rest
    assert picks(DELIFT(eta=2), found).index.tolist()[0] == 1 and picks(DELIFT(eta=0.5), found).index.tolist()[0] == 0
    code = signal(DELIFT(form="code"), with_target, ALONE, BEHIND)
    np.testing.assert_allclose(code.other.values, [[0.1, -0.1], [0.0, 0.4], [0.0, 0.0]], atol=1e-12)
    gains = picks(DELIFT(form="code"), code).gain
    assert gains.sum() == pytest.approx(0.1 + 0.2) and gains[-1] == 0  # at most what the target gives
    found = signal(DELIFT(), Data(pool=POOL, model=MODEL, existing=EXISTING), ALONE, BEHIND)
    assert found.stage == "flcg"
    # existing data gives rows 0, 1 and 2 already 0.6, 0 and 0.1
    assert picks(DELIFT(), found).index.tolist() == [0, 1, 2]
    assert picks(DELIFT(), found).gain.tolist() == pytest.approx([0.2, 0.2, 0.0])
    both = Data(pool=POOL, model=MODEL, target=TARGET, existing=EXISTING)
    with pytest.raises(InputError, match="objective=flmi or objective=flcg"):
        DELIFT().requests(both, {})
    assert signal(DELIFT(objective="flcg"), both, ALONE, BEHIND).stage == "flcg"
    for objective, what in (("flmi", "a target"), ("flcg", "existing data")):
        with pytest.raises(InputError, match=f"delift with objective={objective} needs {what}"):
            DELIFT(objective=objective).requests(DATA, {})


def test_a_row_that_failed_is_not_represented_and_can_be_an_example():
    alone = {"pool": [NAN, 0.5, 0.4]}
    found = signal(DELIFT(), DATA, alone, BEHIND)
    assert found.reasons.tolist() == [None] * 3
    assert found.notes == ("1 of the 3 rows of pool after pool have no utility and are not represented: failed (1)",)
    for kernel in ("relu", "minmax"):
        chosen = picks(DELIFT(kernel=kernel), found, 1)
        assert np.isfinite(chosen.gain).all()
    assert picks(DELIFT(), found).index.tolist()[0] == 1  # 0.3 of row 2, where row 0 has 0.2 of row 1


def test_an_example_that_always_failed_is_null():
    behind = {("pool", "pool"): [[0.1, NAN, 0.9], [0.3, NAN, 0.5], [0.4, NAN, 0.2]]}
    found = signal(DELIFT(), DATA, ALONE, behind)
    assert found.reasons.tolist() == [None, "failed", None]
    assert DELIFT().score(found).reasons.tolist() == [None, "failed", None]
    chosen = picks(DELIFT(), found)
    assert chosen.index.tolist() == [0, 2] and chosen.nulls == 1


def test_all_rows_failed():
    found = signal(DELIFT(), DATA, {"pool": [NAN] * 3}, BEHIND)
    assert found.reasons.tolist() == ["failed"] * 3 and len(picks(DELIFT(), found)) == 0


def test_minmax_is_over_both_kernels_together():
    s, e = np.array([[0.0, 1.0], [0.5, 0.0]]), np.array([[3.0], [1.0]])
    found = picks(DELIFT(kernel="minmax"), kernel_of(s, e, "flcg"))
    assert found.gain.tolist() == [0.0, 0.0]  # scaled each for itself, row 1 would have 0.5 - 0 left


# A pool too large for all pairs ---------------------------------------------------------------------------------------

LINE = {"pool": [[1, 0], [0.9, 0.1], [0, 1]]}


def test_only_near_pairs_are_tried_of_a_large_pool():
    method = DELIFT(max_pairs=8, neighbours=1)
    asked = method.requests(DATA, {})
    assert asked == [Embed(DATA.embedder, POOL)]  # which are near is not known yet
    found = signal(method, DATA, ALONE, BEHIND, LINE)
    assert found.pool.tried == 6 and found.pool.values.todense().round(9).tolist() == [[0.6, 0.1, 0], [0.2, 0, 0], [0, 0.3, 0.2]]
    assert found.notes == (
        "an approximation by 6 of the 9 pairs of pool after pool: each row's 1 nearest examples; the others count as 0",
    )
    without = signal(DELIFT(max_pairs=8, neighbours=1, diag="zero"), DATA, ALONE, BEHIND, LINE)
    assert without.pool.tried == 3
    score = method.score(without)
    assert score.reasons.tolist() == [None, None, "no row has it among its nearest examples"]
    assert len(picks(method, without)) == 3  # it can be picked all the same, last


def test_minmax_has_no_place_for_pairs_that_are_not_tried():
    """0 on its scale is the most harm that any example does, and a pair that is not tried does none."""
    with pytest.raises(
        InputError, match=r"minmax has no place .* of 3 x 3 pairs of pool after pool; use kernel=relu or raise max"
    ):
        DELIFT(max_pairs=8, kernel="minmax").requests(DATA, {})
    with_target = Data(pool=POOL, model=MODEL, target=Rows("target", "t" * 32, 4))
    with pytest.raises(InputError, match="of 4 x 3 pairs of target after pool"):
        DELIFT(max_pairs=9, kernel="minmax").requests(with_target, {})
    assert DELIFT(max_pairs=9, kernel="minmax").requests(DATA, {})


def test_a_pair_that_failed_does_no_harm_in_either_kernel():
    table = [[0.5, NAN, -0.5], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0]]
    for kernel in ("relu", "minmax"):
        order = picks(DELIFT(kernel=kernel), kernel_of(table)).index.tolist()
        same = picks(DELIFT(kernel=kernel), kernel_of(np.nan_to_num(table))).index.tolist()
        assert order == same == [0, 1, 2]
    # Singly the sums are 1, 1.5 and 1.3 above -0.5, in units of 0.7: with the null at the place of -0.5 the third would lead.
    found = picks(DELIFT(kernel="minmax"), kernel_of([[-0.5, NAN, -0.4], [0, 0, 0.2], [0, 0, 0]]), 1)
    assert found.index.tolist() == [1] and found.gain[0] == pytest.approx(1.5 / 0.7)


def test_another_model_s_utilities_are_called_an_approximation():
    data = Data(pool=POOL, model=MODEL, trained=ModelSpec("org/large"))
    found = signal(DELIFT(), data, ALONE, BEHIND)
    said = "an approximation: utilities are those of org/base, not of org/large, which is to be trained"
    assert DELIFT().remarks(data, found) == [said]
    same = Data(pool=POOL, model=MODEL, trained=MODEL)
    assert DELIFT().remarks(same, found) == [] == DELIFT().remarks(DATA, found)
    assert DELIFT(utility="embedding").remarks(data, found) == []


def test_all_neighbours_are_all_pairs():
    exact = signal(DELIFT(), DATA, ALONE, BEHIND)
    near = signal(DELIFT(max_pairs=1, neighbours=9), DATA, ALONE, BEHIND, LINE)
    np.testing.assert_allclose(near.pool.values, exact.pool.values, atol=1e-12)
    assert near.pool.complete and near.notes == ()


def test_likeness_needs_no_model():
    method = DELIFT(utility="embedding")
    found = signal(method, DATA, {}, {}, LINE)
    a, b, c = (np.array(v) / np.linalg.norm(v) for v in LINE["pool"])
    np.testing.assert_allclose(found.pool.values, [[x @ y for y in (a, b, c)] for x in (a, b, c)], atol=1e-6)
    assert {type(request) for request in method.requests(DATA, {})} == {Embed}


# With a model ---------------------------------------------------------------------------------------------------------


def distance(model, ids, mask):
    import torch

    with torch.no_grad():
        p = torch.softmax(model(torch.tensor(ids[None].astype(np.int64))).logits[0].double(), -1).numpy()
    at = [t for t in range(1, len(ids)) if mask[t]]
    return np.sqrt(np.mean([(1 - p[t - 1, ids[t]]) ** 2 for t in at]))


def test_utilities_of_a_model(tmp_path, make_pool, base4m):
    """Against one forward per pair, in which the row's conversation follows the example's."""
    pool, engine = make_pool(range(5)), Engine(store=Store(tmp_path / "store"))
    scores = score(pool, DELIFT(), model=base4m, engine=engine)
    encodings, model = next(iter(engine._encodings.values())), load_model(base4m, device="cpu", dtype="float32")
    pairs = list(zip(encodings.input_ids, encodings.loss_mask))
    alone = [distance(model, *row) for row in pairs]
    behind = [
        [distance(model, np.concatenate([ex, ids]), np.concatenate([np.zeros(len(ex), bool), mask])) for ex, _ in pairs]
        for ids, mask in pairs
    ]
    utility = np.array(alone)[:, None] - np.array(behind)
    np.testing.assert_allclose(scores.frame["delift"].to_numpy(), utility.mean(axis=0), atol=1e-5)
    assert np.ptp(utility.mean(axis=0)) > 1e-2
    passes = [stage for stage in engine.stages if stage.kind == "pass"]
    assert [stage.computed_rows for stage in passes] == [5, 25]
    lengths = encodings.lengths
    assert passes[1].tokens == (lengths - 1).sum() + 5 * (lengths + 1).sum()  # each example once, each row behind each


def test_select_with_near_pairs_says_so_in_the_manifest(tmp_path, small_pool, make_pool, tiny):
    engine = Engine(store=Store(tmp_path / "store"))
    target = make_pool([3, 100, 101], "target.jsonl")
    found = select(
        small_pool, DELIFT(max_pairs=100, neighbours=2), budget="25%", model=tiny, target=target, engine=engine, embedder="tfidf"
    )
    assert len(found) == 6 and found.frame["gain"].is_sorted(descending=True)
    notes = found.summary["remarks"]
    assert "1 of the 3 rows of the target are in the pool as well" in found.manifest["notes"]
    assert (
        "an approximation by 72 of the 576 pairs of pool after pool: each row's 2 nearest examples; the others count as 0"
        in notes
    )
    everything = select(small_pool, DELIFT(), budget=24, model=tiny, engine=engine)
    assert len(everything) == 24 and everything.summary["shortfall"] is None


def test_picks_of_nothing():
    assert len(pick(kernel_of(np.eye(3)), Budget.parse(0).limit(np.ones(3)), kernel="relu", form="paper", eta=1, nu=1)) == 0
    assert isinstance(Observe(MODEL, POOL, "distance"), Observe)
