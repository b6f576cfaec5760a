"""Data Whisperer: planted quality is found again, surer with more reshuffles; what failed is null and changes nothing else."""

import numpy as np
import pytest

from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.registry import make_method
from curate.requests import Replies, Rows
from scorers.data_whisperer import NEVER, _mean_and_error, contexts

N = 60
QUALITY = np.random.default_rng(7).permutation(N) / (N - 1)
WORDS = " ".join(f"w{i}" for i in range(50))


def whispered(reshuffles, target=None, broken=lambda row: False, hidden=lambda shown: False, **settings):
    """The signal where a reply is as good as the example that most attention goes to, but for noise."""
    made = make_method("data-whisperer", {"reshuffles": reshuffles, "metric": "f1", **settings})
    data, seen = Data(pool=Rows("pool", "p" * 32, N), target=target, model=ModelSpec("org/base")), {}
    rng = np.random.default_rng(1)
    for request in made.requests(data, {}):
        shown, asks = request.ask.examples.index, request.rows.index
        attention = rng.dirichlet(np.ones(shown.shape[1]), size=len(shown))
        attention[np.vectorize(hidden, otypes=[bool])(shown)] = np.nan
        heaviest = shown[np.arange(len(shown)), np.nanargmax(np.nan_to_num(attention), axis=1)]
        hard = 0.3 * (asks % 3)  # some questions are harder than others
        good = np.clip(0.8 * QUALITY[heaviest] - hard + 0.5, 0, 1)
        texts = [None if broken(row) else " ".join(WORDS.split()[: round(50 * q)]) for row, q in zip(asks, good, strict=True)]
        reasons = np.array(["why" if text is None else None for text in texts], dtype=object)
        seen[request] = Replies(texts, good, good, reasons, attention, [WORDS] * len(texts))
    return made, data, made.signal(data, seen, np.random.default_rng(0))


def rank_correlation(values):
    from scipy.stats import spearmanr

    return spearmanr(values, QUALITY).statistic


def test_planted_quality_is_found_the_surer_the_more_reshuffles():
    one, five, many = (rank_correlation(whispered(r)[2].values) for r in (1, 5, 30))
    assert one < five < many and many > 0.85
    assert rank_correlation(whispered(30, centre=False)[2].values) < many  # how hard a question is, is noise
    assert np.isnan(whispered(1)[2].error).all()
    assert np.median(whispered(30)[2].error) < np.median(whispered(5)[2].error)


def test_a_target_asks_the_questions():
    made, data, signal = whispered(5, target=Rows("target", "t" * 32, 7))
    requests = made.requests(data, {})
    assert {request.rows.role for request in requests} == {"target"} and rank_correlation(signal.values) > 0.3
    assert (signal.contexts >= 15).all()  # 5 reshuffles of 3 questions


def test_who_is_shown_to_whom():
    pool = Rows("pool", "p" * 32, 23)
    made = contexts(pool, None, 5, 3, 2, 0)
    for turn in (0, 1):
        mine = [(rows, shown) for one, rows, shown in made if one == turn]
        assert set(np.concatenate([shown.index.ravel() for _, shown in mine])) == set(range(23))
        for rows, shown in mine:
            assert all(row not in front for row, front in zip(rows.index, shown.index, strict=True))
            assert all(len(set(front)) == 5 for front in shown.index.tolist())
    assert contexts(pool, None, 5, 3, 2, 1)[0][1] != made[0][1]


def test_what_failed_is_null_and_changes_nothing_else():
    _, _, whole = whispered(5, centre=False)
    _, _, signal = whispered(5, centre=False, hidden=lambda row: row == 4)
    assert np.isnan(signal.values[4]) and signal.reasons[4] == NEVER and np.isnan(signal.values).sum() == 1
    _, _, fewer = whispered(5, centre=False, broken=lambda row: row == 4)
    same = fewer.contexts == whole.contexts
    assert 0 < (~same).sum() <= 25 and np.array_equal(fewer.values[same], whole.values[same]) and not np.isnan(fewer.values).any()
    made, data, none = whispered(2, broken=lambda row: True)
    assert np.isnan(none.values).all() and "no context could be used" in made.remarks(data, none)[0]


def test_mean_and_standard_error_over_reshuffles():
    sums, counts = np.array([[2.0, 6.0, 0.0], [1.0, 0.0, 0.0]]), np.array([[2, 2, 0], [1, 0, 0]])
    mean, error = _mean_and_error(sums, counts)
    assert mean.tolist() == [2.0, 1.0] and error[0] == pytest.approx(np.std([1, 3], ddof=1) / np.sqrt(2)) and np.isnan(error[1])


def test_a_metric_that_compares_no_texts_is_refused():
    with pytest.raises(InputError, match="does not compare two texts"):
        make_method("data-whisperer:metric=perplexity").check(range(5))


def test_on_a_model_from_pool_to_picks(tmp_path, small_pool, tiny):
    from curate.engine import Engine
    from curate.selection import select
    from curate.store import Store

    settings = {"examples": 2, "reshuffles": 2, "questions": 1, "max_new_tokens": 3, "metric": "f1"}
    engine = Engine(store=Store(tmp_path / "store"))
    found = select(small_pool, "data-whisperer", settings=settings, budget=4, model=tiny, engine=engine)
    assert len(found) == 4 and found.scores["score"].null_count() == 0 and "over 2 contexts" in found.frame["reason"][0]
    assert "worth" in found.summary["remarks"][0]
