"""Methods that let the model write: known answers, and rows that are rewritten from pool to folder."""

import json

import numpy as np
import polars as pl
import pytest

from curate.budget import Limit
from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import ModelSpec
from curate.method import Data
from curate.pool import Rewrite, read_pool, rewritten
from curate.preparation import refuse_rewriting
from curate.registry import make_method
from curate.requests import Embed, Fit, Judge, Replies, Rows, Subset
from curate.selection import select
from curate.selectors.top_k import top_k
from curate.signals import RowVector
from curate.store import Store

MODEL = ModelSpec("org/base")


def replies(texts, own, loss=None):
    reasons = np.array([None if text is not None else "why" for text in texts], dtype=object)
    loss = np.ones(len(texts)) if loss is None else np.array(loss, dtype=float)
    return Replies(list(texts), loss, loss, reasons, own=list(own))


def odds(values):
    return RowVector(np.array(values, np.float32)[:, None], np.full(len(values), None, dtype=object))


def played(method, n, answer, **settings):
    made, seen = make_method(method, settings), {}
    data = Data(pool=Rows("pool", "p" * 32, n), model=MODEL)
    while new := [request for request in made.requests(data, seen) if request not in seen]:
        seen |= {request: answer(request) for request in new if not isinstance(request, Fit)}
    return made, made.signal(data, seen, np.random.default_rng(0))


def picks(made, signal, k):
    n = len(signal)
    table = pl.DataFrame({"row_id": [f"{i:04}" for i in range(n)], "source": ["s"] * n, "tokens": [10] * n})
    return made.choose(signal, table, Limit(np.ones(n), k), np.random.default_rng(0))


OWN = ["4", "6", "8", "99", "77", "55"]  # the last three are wrong
RIGHT = ["4", "6", "8", "10", "12", "14"]


def robust(request):
    if isinstance(request, Embed):
        return RowVector(np.eye(6, dtype=np.float32) + 0.1, np.full(6, None, dtype=object))
    if isinstance(request, Judge):  # the model likes row 3's new reply, doubts row 4's, and likes row 5's best
        return odds([2.0, -1.0, 3.0] if request.instead else [0.0, 0.0, 0.0])
    if not request.ask:
        return replies(RIGHT, OWN)
    if request.ask.examples is None:
        return replies([f"Some steps.\nAnswer: {text}." for text in RIGHT], OWN)
    assert request.rows.index.tolist() == [3, 4, 5] and set(request.ask.examples.index.ravel()) == {0, 1, 2}
    return replies(["10", "12", " 14 "], OWN[3:], [0.7, 0.1, 0.2])


def test_robustft_keeps_what_both_answers_agree_with_and_relabels_what_it_is_surest_of():
    made, signal = played("robustft", 6, robust)
    assert signal.values.tolist() == [1, 1, 1, 0, 0, 0] and picks(made, signal, 6).rewritten is None
    made, signal = played("robustft", 6, robust, rewrite=True)
    assert signal.standing == ["clean"] * 3 + ["unsure", "unsure", "relabelled"]  # the half of two accepted of lower entropy
    np.testing.assert_allclose(signal.values, [1, 1, 1, -1, -1, np.exp(-0.2)])
    found = picks(made, signal, 4)
    assert found.index.tolist() == [0, 1, 2, 5] and found.rewritten == [None, None, None, Rewrite("14", "relabelled")]
    everything = played("robustft", 6, robust, rewrite=True, share=1.0)[1]
    assert everything.standing.count("relabelled") == 2  # what the model does not judge better is never taken
    assert "agrees with 3 of 6 rows" in made.remarks(None, signal)[0]


def test_robustft_needs_both_answers_to_agree():
    def answer(request):
        return replies(OWN if not request.ask else RIGHT, OWN)

    _, signal = played("robustft", 6, answer)
    assert signal.values.tolist() == [1, 1, 1, 0.5, 0.5, 0.5] and signal.standing == ["clean"] * 3 + ["unsure"] * 3


def clear(request):
    if isinstance(request, Judge):
        if request.instead is None:
            return odds([3.0, 2.0, 1.0, -1.0])
        return odds([3.0, 3.0, 2.0, 1.0])  # sure of row 3 by 2 nats, 0.88; of row 1 and 2 by 1, 0.73; of row 0 not at all
    own = ["a b", "c d", "e f", "g h"]
    if isinstance(request.model, Fit):
        assert isinstance(request.model.rows, Subset) and request.model.rows.index.tolist() == [0, 1]
        return replies(["a b", "x", "y", "better"], own)
    assert request.temperature == 1.0
    return replies(["a b", "c d" if request.seed % 2 else "c x", "z", "z"], own)


def test_clear_weighs_consistency_and_judgement_and_corrects_what_is_surely_better():
    made, signal = played("clear", 4, clear, samples=2)
    chance = 1 / (1 + np.exp(-np.array([3.0, 2.0, 1.0, -1.0])))
    consistent = np.array([1, 0.8 * 0.75 + 0.2 * 0.5, 0, 0])  # F1 of "c x" with "c d" is a half
    np.testing.assert_allclose(signal.values, 0.7 * consistent + 0.3 * chance, atol=1e-6)
    assert picks(made, signal, 2).index.tolist() == [0, 1] and picks(made, signal, 2).stratum == ["trusted"] * 2
    made, signal = played("clear", 4, clear, samples=2, rewrite=True)
    found = picks(made, signal, 4)
    assert signal.standing == ["trusted", "trusted", "doubted", "corrected"]
    assert found.index.tolist() == [0, 1, 3, 2] and found.rewritten == [None, None, Rewrite("better", "corrected"), None]
    assert "1 row corrected" in made.remarks(None, signal)[1]
    assert played("clear", 4, clear, samples=2, rewrite=True, confidence=0.7)[1].standing[1:] == ["corrected"] * 3


def ssr(request):
    own = ["yes", "a long reply of many words", "no", "blue", "red"]
    if isinstance(request, Judge):
        return odds([2.0, 2.0, -2.0, -2.0, -2.0] if request.rows.size == 5 else [2.0, 2.0, -2.0])
    if request.ask is None:
        return replies(["Yes.", "words", "NO", "green", None], own)
    assert request.ask.reply
    return (
        replies(["Blue."], own[3:4])
        if request.rows.size == 1
        else replies(["A long reply of many words", "Blue."], [own[1], own[3]])
    )


def test_s3ft_takes_the_models_own_words_where_they_say_the_same():
    made, signal = played("s3ft", 5, ssr)
    assert signal.origins == ["self", "paraphrase", "self", "paraphrase", None] and signal.reasons[4] == "why"
    assert signal.replies == ["Yes.", "A long reply of many words", "NO", "Blue.", None]
    found = picks(made, signal, 5)
    assert sorted(found.index.tolist()) == [0, 1, 2, 3] and found.nulls == 1
    assert all(one.reply == signal.replies[i] for i, one in zip(found.index, found.rewritten, strict=True))
    assert made.remarks(None, signal) == ["replies by origin: 50% self, 50% paraphrase, 0% gold"]
    made, signal = played("s3ft", 5, ssr, paraphrase=False)
    assert signal.origins == ["self", "gold", "self", "gold", None] and signal.replies[1] is None


def test_s3ft_by_judgement_keeps_what_is_much_longer():
    """The model says that "words" is the same as a reply of many words; it is too short to replace it."""
    _, signal = played("s3ft", 5, ssr, by="judge", threshold=0.5, paraphrase=False)
    assert signal.origins == ["self", "gold", "gold", "gold", None]
    _, signal = played("s3ft", 5, ssr, by="judge", threshold=0.5, paraphrase=False, min_length=0)
    assert signal.origins == ["self", "self", "gold", "gold", None]


@pytest.fixture
def alpaca(tmp_path):
    rows = [{"instruction": f"What is {i}?", "output": f"It is {i}.", "level": i, "parent": "mine"} for i in range(5)]
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_rewritten_pool_says_of_each_row_what_it_was(alpaca):
    pool = read_pool(alpaca)
    positions = np.array([3, 0, 4])
    made, order = rewritten(pool, positions, [None, Rewrite("New.", "made new"), None])
    records = list(made.records(order))
    assert [row["parent"] for row in records] == [pool.row_ids[i] for i in positions]
    assert [row["changed"] for row in records] == [None, "made new", None]
    assert [row["original_parent"] for row in records] == ["mine"] * 3 and "output" not in records[0]
    assert [row["level"] for row in records] == [next(pool.records([i]))["level"] for i in positions]
    assert made.messages(int(order[1])) == [pool.messages(0)[0], {"role": "assistant", "content": "New."}]
    assert [made.row_ids[i] for i in order[[0, 2]]] == [pool.row_ids[i] for i in positions[[0, 2]]]  # what is the same has its id


def test_rows_that_become_equal_are_one(tmp_path):
    turns = [[{"role": "user", "content": "Say."}, {"role": "assistant", "content": text}] for text in ("a", "b", "c")]
    pool = read_pool([{"messages": turn} for turn in turns])
    made, order = rewritten(pool, np.arange(3), [Rewrite("same", "x"), None, Rewrite("same", "x")])
    assert len(made) == len(order) == 2


def test_from_pool_to_folder(alpaca, tmp_path, tiny):
    """Trained on, read again, and shown: the new replies and not the old ones."""
    from curate.report.terminal import show_selection

    class Shouting(type(make_method("longest"))):
        name = "shouting"

        def rewrites(self):
            return True

        def choose(self, signal, table, limit, rng):
            from dataclasses import replace

            found = top_k(self.score(signal).values, limit)
            return replace(found, rewritten=[Rewrite("LOUD!", "shouted") if i % 2 else None for i in found.index])

    engine = Engine(store=Store(tmp_path / "store"))
    found = select(alpaca, Shouting(), budget=4, model=tiny, engine=engine)
    found.write(tmp_path / "out")
    changed = [i % 2 == 1 for i in found.positions]
    data = pl.read_parquet(tmp_path / "out" / "data.parquet")
    assert data["parent"].to_list() == found.frame["row_id"].to_list() and data["changed"].is_not_null().to_list() == changed
    assert [turns[-1]["content"] == "LOUD!" for turns in data["messages"].to_list()] == changed
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"]["rewritten"] == {"shouted": sum(changed)} and manifest["counts"]["rewritten_alike"] == 0
    again = read_pool(tmp_path / "out" / "data.jsonl")
    assert sorted(again.row_ids) == sorted(found.data["row_id"].to_list()) and len(found.to_dataset()) == 4
    assert f"rewritten {sum(changed)} shouted" in str(show_selection(found.summary, None))
    with pytest.raises(InputError, match="takes rows as they are, and shouting writes replies of its own"):
        refuse_rewriting([Shouting()], "a comparison")


@pytest.mark.parametrize("method", ["robustft:rewrite=true", "clear:rewrite=true:samples=1", "s3ft:by=judge:threshold=0.01"])
def test_on_a_model(method, small_pool, tmp_path, tiny):
    """Every request is one that the engine can answer; a random model agrees with nothing and may judge anything."""
    engine = Engine(store=Store(tmp_path / "store"))
    found = select(small_pool, make_method(method, {"max_new_tokens": 4}), budget=24, model=tiny, engine=engine)
    found.write(tmp_path / "out")
    new = pl.read_parquet(tmp_path / "out" / "data.parquet")
    assert len(found) == 24 and "changed" in new.columns and sum(found.summary["rewritten"].values()) == new["changed"].count()
    assert not method.startswith("s3ft") or new["changed"].count() > 0
