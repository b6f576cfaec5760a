"""An estimate says what a run then does: the same steps and tokens, and times that follow from what was measured."""

import numpy as np
import pytest

from curate import Engine, Store, compare, score
from curate.comparison.estimate import estimate_compare
from curate.estimate import Calibration, Speed, estimate
from curate.lm.models import ModelSpec, parameter_count
from curate.plan import merge
from curate.preparation import as_pool, prepare
from curate.requests import Embed, Observe, Pairs, SentenceEncoder, Tfidf
from curate.scoring import plan
from curate.training.config import TrainConfig

QUICK = TrainConfig(batch_tokens=128, tokens=500)


@pytest.fixture
def engine(tmp_path):
    return Engine(store=Store(tmp_path / "store"))


class Known(Calibration):
    """Speeds that are given, not measured."""

    def forward(self, step):
        return Speed(2.0, 0.5, 1000)

    def training(self, model, rows, recipe):
        return Speed(10.0, 1.0, 3000)


def test_an_estimate_is_of_the_run_that_follows(engine, small_pool, tiny):
    found, _ = plan(small_pool, ["lobass", "perplexity", "longest"], engine=engine, model=tiny, recipe=QUICK)
    fit, base, reference = estimate(found, Calibration(engine))
    scores = score(small_pool, ["lobass", "perplexity", "longest"], model=tiny, engine=engine, recipe=QUICK)
    done = {stage.kind: stage for stage in scores.stages}
    assert base.tokens == reference.tokens == done["pass"].tokens == scores.frame["tokens"].sum()
    assert base.flops == done["pass"].flops == 2 * parameter_count(tiny) * base.tokens
    assert fit.tokens == pytest.approx(done["train"].tokens, rel=0.3) and fit.flops == pytest.approx(done["train"].flops, rel=0.4)
    for step in (fit, base, reference):
        assert step.rows == 24 and 0 < step.seconds < 60 and 5e7 < step.memory < 2.4e10
    after = estimate(found, Calibration(engine))
    assert [(step.name, step.rows, step.tokens, step.seconds) for step in after] == [
        (step.name, 0, 0, 0.0) for step in (fit, base, reference)
    ]


@pytest.mark.parametrize("kind", ["tfidf", "encoder"])
def test_an_embedding_of_texts_is_in_it(engine, small_pool, kind, request):
    rows = engine.hold("pool", as_pool(small_pool))
    embedder = Tfidf() if kind == "tfidf" else SentenceEncoder(str(request.getfixturevalue("encoder")))
    found = merge([Embed(embedder, rows)])
    [step] = estimate(found, Calibration(engine))
    assert (step.rows, step.tokens, step.flops) == (24, 0, 0.0) and 0 < step.seconds < 60 and step.memory > 5e7
    assert engine.stages == [] and not list(engine.store.root.glob("fits/*"))
    engine.execute(found)
    assert [(step.rows, step.seconds) for step in estimate(found, Calibration(engine))] == [(0, 0.0)]


def test_times_follow_from_speeds(engine, small_pool, tiny):
    found, prepared = plan(small_pool, ["lobass"], engine=engine, model=tiny, recipe=QUICK)
    tokens = prepared.table["tokens"].sum()
    assert [(s.tokens, s.seconds, s.memory) for s in estimate(found, Known(engine))] == [
        (tokens, 10 + tokens, 3000), (tokens, 2 + tokens / 2, 1000), (tokens, 2 + tokens / 2, 1000)
    ]  # fmt: skip


def test_a_view_is_estimated_by_what_is_seen(engine, small_pool, tiny):
    spec = ModelSpec(str(tiny))
    prepared = prepare(engine, as_pool(small_pool), model=spec)
    pairs = Pairs(prepared.rows, prepared.rows, np.array([[0, 1], [2, 3], [2, 1]]))
    lengths, replies = prepared.table["tokens"].to_numpy(), prepared.table["response_tokens"].to_numpy()
    requests = [Observe(spec, prepared.rows, "entropy", "response"), Observe(spec, pairs, "mean_loss", "after_example")]
    response, behind = estimate(merge(requests), Calibration(engine))
    assert (response.rows, response.tokens) == (24, (replies + 1).sum())
    assert (behind.rows, behind.tokens) == (
        3,
        lengths[[0, 2, 1, 2, 3]].sum() + 1,
    )  # two rows share an example, but its last token


def test_a_comparison_is_estimated_before_it_runs(engine, small_pool, make_pool, tiny):
    asked = {
        "pool": small_pool,
        "methods": ["lobass"],
        "budgets": ["25%"],
        "evals": make_pool(range(100, 112), "dev.jsonl"),
        "seeds": 2,
        "tokens": 300,
        "model": tiny,
        "recipe": TrainConfig(batch_tokens=128, adapter="none"),
    }
    steps = estimate_compare(engine=engine, **asked)
    fresh = Engine(store=Store(engine.store.root))
    compare(engine=fresh, **asked)
    arms = 5 * 2 + 2  # lobass, random, balanced and longest, and one as long as the best; and the whole pool
    names = [step.name for step in steps]
    assert [name.split(" on ")[0] for name in names] == [
        *["fit tiny"] * 2,
        "mean_loss of 24 rows of pool by tiny",
        *["mean_loss of 24 rows of pool by the fit tiny"] * 2,
        f"train {arms} arms",  # and the whole pool for an epoch is what lobass fits
        "evaluate 15 models",
    ]
    estimated = {
        "train": sum(step.tokens for step in steps if step.name.startswith(("train", "fit"))),
        "pass": sum(step.tokens for step in steps if step.name.startswith("mean_loss")),
        "evaluate": steps[-1].tokens,
    }
    done = {kind: sum(stage.tokens for stage in fresh.stages if stage.kind == kind) for kind in estimated}
    assert estimated["pass"] == done["pass"]
    # Arms with the same rows run once, and steps are whole batches.
    for kind in ("train", "evaluate"):
        assert 0.8 * done[kind] < estimated[kind] < 1.5 * done[kind], kind
    [once] = [
        s for s in estimate_compare(**{**asked, "methods": ["perplexity"], "seed": 7}, engine=engine) if "1 epoch" in s.name
    ]
    assert once.name.endswith("2 times") and once.tokens == pytest.approx(2 * setup_tokens(engine, small_pool, tiny), rel=0.01)
    assert all(step.memory > 0 and step.seconds > 0 for step in steps)


def test_a_fit_on_the_pool_as_it_was_is_not_counted_as_the_arm(engine, make_pool, tiny):
    """It still scores the rows, but an arm is trained on the rows as they are now."""
    asked = {
        "methods": ["lobass"], "budgets": ["25%"], "evals": make_pool(range(100, 112), "dev.jsonl"), "seeds": 2, "tokens": 100,
        "model": tiny, "recipe": TrainConfig(batch_tokens=128, adapter="none"),
    }  # fmt: skip
    for seed in (0, 1):
        score(make_pool(range(40)), "lobass", model=tiny, engine=engine, recipe=asked["recipe"], seed=seed)
    again = Engine(store=Store(engine.store.root))
    steps = estimate_compare(engine=again, pool=make_pool(range(41)), **asked)
    assert [(step.name, step.rows) for step in steps if step.name.startswith("fit")] == [
        (f"fit tiny on 41 rows of pool, seed {seed}", 0) for seed in (0, 1)
    ]
    assert [step.name for step in steps if "1 epoch" in step.name] == ["train on the whole pool for 1 epoch, 2 times"]


@pytest.mark.parametrize("matched, arms", [("leaders", 6), ("all", 9)])
def test_what_a_comparison_may_run_beyond_its_plan_is_said(engine, small_pool, make_pool, tiny, matched, arms):
    asked = {
        "methods": ["perplexity", "sstoken"], "budgets": ["25%"], "evals": make_pool(range(100, 104), "dev.jsonl"), "seeds": 1,
        "tokens": 60, "model": tiny, "recipe": TrainConfig(batch_tokens=60, adapter="none"), "full": False,
    }  # fmt: skip
    steps = estimate_compare(engine=engine, pool=small_pool, matched=matched, **asked)
    assert [step.name for step in steps if step.name.startswith("train")] == [f"train {arms} arms"]
    rate = "2 trainings at a second learning rate."
    more = {"leaders": f"a length-matched control for each of them and {rate}", "all": rate}[matched]
    assert engine.notes == [
        f"Not in the plan, where selections beat random: {more}",
        "Not in the plan: how sstoken chooses tokens in each training step.",
    ]


def setup_tokens(engine, pool, model):
    return int(prepare(engine, as_pool(pool), model=ModelSpec(str(model))).table["tokens"].sum())
