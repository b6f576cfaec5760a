"""Known answers of LM-Score and Select2Reason, and their work in the engine."""

import numpy as np
import pytest

from curate.engine import Engine
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.plan import judge_name
from curate.requests import Judge, Rows
from curate.scoring import score
from curate.signals import RowScore, RowVector
from curate.store import Store
from scorers.lm_score import LMScore
from scorers.select2reason import Select2Reason

DATA = Data(pool=Rows("pool", "p" * 32, 3), model=ModelSpec("org/base"))
NONE = np.full(3, None, object)


def signal(method, odds, reasons=NONE, lengths=(30, 20, 10)):
    seen = {}
    for request in method.requests(DATA, {}):
        judged = isinstance(request, Judge)
        seen[request] = RowVector(np.array(odds, np.float32), reasons) if judged else RowScore.of(np.array(lengths, float))
    return method.signal(DATA, seen, np.random.default_rng(0))


def test_the_product_of_two_sigmoids():
    found = signal(LMScore(), [[0, 0], [np.log(3), np.log(4)], [-50, 50]])
    np.testing.assert_allclose(found.values, [0.25, 0.75 * 0.8, 0], atol=1e-7)
    own = LMScore(question="Is it short?")
    np.testing.assert_allclose(signal(own, [[0], [np.log(3)], [-50]]).values, [0.5, 0.75, 0], atol=1e-7)


def test_what_is_asked():
    [asked] = LMScore(prompt="reply").requests(DATA, {})
    assert len(asked.behind) == 2 and asked.behind[0].endswith("Answers:\n1.") and asked.behind[1] == " YES\n2."
    assert "helps" in "".join(asked.behind) or "help" in asked.behind[0]
    [own] = LMScore(question="Is it short?").requests(DATA, {})
    assert len(own.behind) == 1 and "1. Is it short?" in own.behind[0]
    assert judge_name(asked) == "2 questions about 3 rows of pool to org/base"


def test_a_model_that_says_the_same_of_all_is_told_of():
    alike = signal(LMScore(prompt="reply"), [[0, 0], [0.01, 0], [0, 0.01]])
    assert "nearly the same" in LMScore(prompt="reply").remarks(DATA, alike)[0]
    apart = signal(LMScore(), [[0, 0], [3, 3], [-3, -3]])
    assert LMScore().remarks(DATA, apart) == ["it asks about mathematics; prompt=reply asks about any reply"]


def test_ranks_of_difficulty_and_length_are_mixed():
    np.testing.assert_allclose(signal(Select2Reason(), [[0.1], [0.2], [0.9]]).values, [0.5, 0.5, 0.5])
    np.testing.assert_allclose(signal(Select2Reason(weight=1), [[0.1], [0.2], [0.9]]).values, [0, 0.5, 1])
    np.testing.assert_allclose(signal(Select2Reason(weight=0.25), [[0.1], [0.2], [0.9]]).values, [0.75, 0.5, 0.25])


@pytest.mark.parametrize("method", [LMScore(question="Is it short?"), Select2Reason()])
def test_a_null_keeps_its_reason(method):
    found = signal(method, [[np.nan], [0.2], [0.9]], np.array(["no token in this view", None, None], object))
    assert found.reasons.tolist() == ["no token in this view", None, None]


def test_it_is_kept_and_shared(small_pool, tiny, tmp_path):
    def run(*methods):
        engine = Engine(store=Store(tmp_path / "store"))
        return score(small_pool, list(methods), model=tiny, engine=engine)

    first = run("lm-score", "select2reason", "lm-score:prompt=reply")
    made = [stage for stage in first.stages if stage.kind == "judge"]
    assert [stage.computed_rows for stage in made] == [24] * 3 and all(stage.tokens > 0 for stage in made)
    assert first.frame["lm-score"].null_count() == 0 and first.frame["lm-score"].n_unique() > 5
    again = run("lm-score")
    assert [(s.computed_rows, s.reused_rows) for s in again.stages if s.kind == "judge"] == [(0, 24)]
    assert again.frame["lm-score"].equals(first.frame["lm-score"])
