"""Scores of several methods at once: what is computed for those that have none."""

import pytest

import curate
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.preparation import as_pool, looks_at
from curate.registry import make_method, method_names
from curate.report.plans import plan_scores
from curate.requests import Rows
from curate.store import Store

AIMED = {  # look at a target
    "less", "bids", "delift", "nn-cift", "facility-location", "bm25", "data-whisperer", "dsir", "edge", "freeshap", "goracs",
    "got-d", "igf", "instructmining", "mass", "nearest", "rds-plus", "sift",
}  # fmt: skip
NEED = AIMED - {"delift", "nn-cift", "facility-location"}
POOL, TARGET, EXISTING = (Rows(role, role[0] * 32, 40) for role in ("pool", "target", "existing"))


@pytest.mark.parametrize("name", sorted(set(method_names()) - {"given"}))
def test_what_a_method_looks_at(name):
    def looks(role, method=name, **more):
        data = Data(pool=POOL, model=ModelSpec("org/base"), **{role: {"target": TARGET, "existing": EXISTING}[role]}, **more)
        return looks_at(make_method(method), data, role)

    assert looks("target") == (name in AIMED)
    more = {"target": TARGET} if name in NEED else {}  # without which they cannot be asked
    assert looks("existing", **more) == (name in ("delift", "nn-cift", "facility-location"))
    assert looks("target", "token-cleaning:warmup_by=less") and looks("target", "dpp:quality=less")
    assert not looks("target", "facility-location:objective=cg", existing=EXISTING)


@pytest.fixture
def engine(tmp_path):
    return Engine(store=Store(tmp_path / "store"))


def test_nothing_is_computed_for_methods_that_score_no_row(engine, small_pool, tiny):
    """A training of a proxy and one of a reference would be paid, for columns of nulls."""
    methods = ["longest", "s2l", "token-cleaning"]
    assert not [line for line in plan_scores(as_pool(small_pool), methods, engine=engine, model=tiny, picks=False)["plan"]]
    scores = curate.score(small_pool, methods, model=tiny, engine=engine)
    assert not {"train", "pass"} & {stage.kind for stage in scores.stages}
    assert scores.frame["s2l"].null_count() == 24 == scores.frame["token-cleaning"].null_count()
    assert scores.frame["s2l_null"].unique().to_list() == ["s2l chooses sets of rows"]
    assert (
        "s2l: s2l chooses sets of rows, so nothing was computed for it; `curate select` gives its picks"
        in (scores.manifest["remarks"])
    )
    assert scores.frame["longest"].null_count() == 0


def test_with_a_budget_they_pick(engine, small_pool, tiny):
    scores = curate.score(small_pool, "s2l:checkpoints=1:epochs=1:clusters=2", model=tiny, engine=engine, budget=4)
    assert len(scores.picks) == 4 and "train" in {stage.kind for stage in scores.stages}


def test_where_no_method_scores_rows(engine, small_pool, tiny):
    for ask in (curate.score, lambda *a, **k: plan_scores(as_pool(a[0]), a[1], picks=False, **k)):
        with pytest.raises(InputError, match="there is no score to compute: s2l chooses sets of rows; token-cleaning scores tok"):
            ask(small_pool, ["s2l", "token-cleaning"], model=tiny, engine=engine)
