"""Known answers of GRAPE: the likeliest reply to each prompt."""

import numpy as np
import pytest

from curate.budget import Budget
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.pool import read_pool
from curate.pool.prompts import prompt_keys
from curate.requests import Observe, Prompts, Rows
from curate.signals import RowScore, RowValues
from scorers.grape import GRAPE

NAN = float("nan")


def data(n):
    return Data(pool=Rows("pool", "p" * 32, n), model=ModelSpec("org/base"))


def signal(method, prompts, loss, tokens=None):
    known = data(len(prompts))
    seen = {
        Observe(known.model, known.pool, "mean_loss"): RowScore.of(np.array(loss, float)),
        Observe(known.model, known.pool, "response_tokens"): RowScore.of(np.array(tokens or [20] * len(prompts), float)),
        Prompts(known.pool): RowValues(prompts, np.full(len(prompts), None)),
    }
    assert set(method.requests(known, {})) == set(seen)
    return method.signal(known, seen, np.random.default_rng(0))


def picks(method, found, budget=1.0, seed=0):
    limit = Budget.parse(budget).limit(np.ones(len(found)))
    return method.choose(found, None, limit, np.random.default_rng(seed))


PROMPTS = ["p", "q", "p", "r", "p", "q"]
LOSS = [2.0, 1.0, 0.5, 4.0, 3.0, 1.25]


def test_the_likeliest_reply_to_each_prompt():
    found = signal(GRAPE(), PROMPTS, LOSS)
    np.testing.assert_allclose(found.values, np.exp(-np.array(LOSS)), rtol=1e-12)
    for seed in range(5):
        chosen = picks(GRAPE(), found, seed=seed)
        assert sorted(chosen.index.tolist()) == [1, 2, 3]  # the worst of all is in, being all there is for its prompt
    by_row = dict(zip(chosen.index.tolist(), chosen.reason, strict=True))
    assert by_row[2] == "reply 1 of 3 to its prompt, 1.5 nats per token below the next"
    assert by_row[3] == "the only reply to its prompt"
    assert chosen.shortfall == "The budget allows 6 rows, but only 3 of 6 rows could be used."
    assert chosen.gain.tolist() == [found.values[i] for i in chosen.index]


def test_prompts_are_drawn_and_not_compared():
    found = signal(GRAPE(), [str(i // 2) for i in range(40)], np.arange(40, dtype=float).tolist())
    drawn = [tuple(picks(GRAPE(), found, 5, seed).index.tolist()) for seed in range(8)]
    assert len(set(drawn)) == 8 and all(i % 2 == 0 for one in drawn for i in one)
    assert picks(GRAPE(), found, 9).index[:5].tolist() == list(drawn[0])
    assert len({i for one in drawn for i in one}) > 12


def test_a_second_reply_only_after_a_first_of_all():
    found = signal(GRAPE(per_prompt=2), PROMPTS, LOSS)
    chosen = picks(GRAPE(per_prompt=2), found).index.tolist()
    assert sorted(chosen[:3]) == [1, 2, 3] and sorted(chosen[3:]) == [0, 5]


def test_equal_replies_have_no_margin_and_the_smaller_row_wins():
    found = signal(GRAPE(), ["p", "p"], [1.0, 1.0])
    chosen = picks(GRAPE(), found)
    assert chosen.index.tolist() == [0] and chosen.reason == ["reply 1 of 2 to its prompt, 0 nats per token below the next"]


def test_a_stump_is_not_preferred_for_being_likely():
    prompts, loss, tokens = ["p"] * 3, [0.1, 1.0, 2.0], [4, 20, 20]
    assert picks(GRAPE(), signal(GRAPE(), prompts, loss, tokens)).index.tolist() == [1]
    anyway = GRAPE(min_length=0)
    assert picks(anyway, signal(anyway, prompts, loss, tokens)).index.tolist() == [0]


def test_of_replies_about_as_likely_the_longest():
    prompts, loss, tokens = ["p"] * 3, [1.0, 1.05, 2.0], [20, 30, 90]
    close = GRAPE(margin=0.1)
    assert picks(close, signal(close, prompts, loss, tokens)).index.tolist() == [1]
    assert picks(GRAPE(), signal(GRAPE(), prompts, loss, tokens)).index.tolist() == [0]


def test_nulls_are_no_candidates():
    found = signal(GRAPE(), ["p", "p", "q"], [NAN, 3.0, NAN])
    assert picks(GRAPE(), found).index.tolist() == [1] and picks(GRAPE(), found).nulls == 2


def test_a_pool_of_single_replies_says_that_there_is_nothing_to_choose():
    method = GRAPE()
    said = method.remarks(data(2), signal(method, ["p", "q"], [1.0, 2.0]))
    assert said == ["no prompt has two replies, so there is nothing to choose from and the picks are random rows"]
    assert method.remarks(data(6), signal(method, PROMPTS, LOSS)) == ["2 of 3 prompts have more than one reply"]


def turn(role, content):
    return {"role": role, "content": content}


def test_the_same_prompt_is_all_before_the_last_reply():
    rows = [
        [turn("user", "Add 1 and 2."), turn("assistant", "3")],
        [turn("user", "  add 1\nAND 2. "), turn("assistant", "It is 3.")],
        [turn("user", "Add 1 and 3."), turn("assistant", "4")],
        [turn("system", "Be brief."), turn("user", "Add 1 and 2."), turn("assistant", "3")],
        [turn("user", "Add 1 and 2."), turn("assistant", "3"), turn("user", "Sure?"), turn("assistant", "Yes.")],
        [turn("user", "Add 1 and 2."), turn("assistant", "4"), turn("user", "Sure?"), turn("assistant", "Yes.")],
        [turn("user", "Add 1 and 2.\nSure?"), turn("assistant", "Yes")],
    ]
    pool = read_pool([{"messages": row, "n": n} for n, row in enumerate(rows)])
    key = dict(zip(pool.column("n").to_pylist(), prompt_keys(pool), strict=True))
    assert key[0] == key[1] and len(set(key.values())) == 6


@pytest.mark.parametrize("bad", [{"per_prompt": 0}, {"margin": -1}])
def test_settings_that_make_no_sense(bad):
    with pytest.raises(ValueError):
        GRAPE(**bad)
