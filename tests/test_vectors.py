"""Embeddings of a pool by each kind of embedder: what comes, and what is computed again."""

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import curate
import curate.embedding.record
import curate.models
from curate.embedding import make_embedder
from curate.embedding.tfidf import UNKNOWN, TfidfModel
from curate.engine import Engine
from curate.errors import CurateError, InputError
from curate.lm.models import ModelSpec
from curate.method import Data, Method
from curate.plan import describe, merge
from curate.pool import read_pool
from curate.preparation import prepare
from curate.report.store import listing
from curate.requests import Embed, HiddenStates, Rows, SentenceEncoder, Tfidf
from curate.signals import RowScore
from curate.store import Store
from curate.store.verbs import collect

MODEL, POOL, TARGET = ModelSpec("org/base"), Rows("pool", "p" * 32, 10), Rows("target", "t" * 32, 3)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def run(store):
    """Embeds a pool file with a fresh engine on the store; gives the result, its engine in `.engine`."""

    def run(pool, embedder, *, refit="drift", **keys):
        engine = Engine(store=store, refit=refit)
        found = curate.embed(pool, embedder, engine=engine, **keys)
        found.engine = engine
        return found

    return run


def vectors(found):
    return dict(zip(found.frame["row_id"], found.frame["embedding"].to_list(), strict=True))


def work(found, kind="embed"):
    return [(stage.computed_rows, stage.reused_rows) for stage in found.stages if stage.kind == kind]


@pytest.fixture(params=["hidden", "hidden:last", "tfidf:8", "encoder"])
def embedder(request):
    return str(request.getfixturevalue("encoder")) if request.param == "encoder" else request.param


def test_every_kind_gives_a_vector_per_row(run, small_pool, tiny, embedder):
    found = run(small_pool, embedder, model=tiny)
    assert found.frame.columns == ["row_id", "source", "file", "line", "embedding"] and len(found.frame) == 24
    assert found.frame["row_id"].is_sorted() and set(found.frame["source"]) == {"s0", "s1", "s2"}
    assert found.frame["embedding"].dtype in [pl.Array(pl.Float32, width) for width in (8, 16, 32)]
    assert not found.frame["embedding"].is_null().any() and len(set(map(tuple, vectors(found).values()))) == 24
    [done] = [stage for stage in found.stages if stage.kind in ("embed", "pass")]
    assert (done.computed_rows, done.reused_rows) == (24, 0) and done.seconds > 0
    again = run(small_pool, embedder, model=tiny)
    assert again.frame.equals(found.frame)
    assert [(s.computed_rows, s.reused_rows) for s in again.stages] == [(0, 24)]


def test_views_are_of_other_texts(run, small_pool, embedder, tiny):
    found = {
        view: vectors(run(small_pool, embedder, view=view, model=tiny)) for view in ("conversation", "response", "instruction")
    }
    for row_id in found["response"]:
        assert len({tuple(found[view][row_id]) for view in found}) == 3


@pytest.mark.parametrize("kind", ["tfidf", "encoder"])
def test_a_near_duplicate_is_the_nearest(run, make_pool, kind, request):
    """The twin of a row differs in its last character."""
    names = ["red", "blue", "green", "old", "new", "vast", "tiny", "cold"]
    chats = [
        [("user", f"Name a {name} thing, {i * 3131} of {i}"), ("assistant", f"The {name} one{end}")]
        for i, name in enumerate(names)
        for end in ".!"
    ]
    pool = make_pool(range(16), messages=lambda i: [{"role": role, "content": text} for role, text in chats[i]])
    found = run(pool, str(request.getfixturevalue("encoder")) if kind == "encoder" else kind)
    place = {
        row["messages"][0]["content"] + row["messages"][1]["content"]: i
        for i, row in enumerate(read_pool(pool).frame().iter_rows(named=True))
    }
    values = found.frame["embedding"].to_numpy()
    alike = -np.linalg.norm(values[:, None] - values[None], axis=2) - 1e9 * np.eye(16)
    for k in range(0, 16, 2):
        one, other = (place[chats[i][0][1] + chats[i][1][1]] for i in (k, k + 1))
        assert alike[one].argmax() == other and alike[other].argmax() == one


@pytest.mark.parametrize("kind", ["tfidf", "encoder"])
def test_appended_rows_alone_are_computed(run, make_pool, kind, request, monkeypatch):
    kind = str(request.getfixturevalue("encoder")) if kind == "encoder" else kind
    before = run(make_pool(range(24)), kind)
    embedded, real = [], curate.embedding.record.text_of
    monkeypatch.setattr(
        curate.embedding.record, "text_of", lambda messages, view: embedded.append(real(messages, view)) or embedded[-1]
    )
    after = run(make_pool(range(26)), kind)
    assert work(after) == [(2, 24)] and sorted(text.split(" plus")[0] for text in embedded) == ["What is 24", "What is 25"]
    old, new = vectors(before), vectors(after)
    assert {row_id: new[row_id] for row_id in old} == old and len(new) == 26


def test_new_rows_get_vectors_by_the_old_words(run, make_pool, store):
    def chat(i):
        said = "zebra quagga" if i == 20 else f"zebra {i} thing" if i == 21 else f"small {i % 5} thing"
        return [{"role": "user", "content": said}, {"role": "assistant", "content": "quagga" if i == 20 else f"word {i}"}]

    run(make_pool(range(20), messages=chat), "tfidf:8")
    [folder] = store.root.glob("fits/*")
    after = run(make_pool(range(22), messages=chat), "tfidf:8")
    assert list(store.root.glob("fits/*")) == [folder] and work(after) == [(2, 20)] and not work(after, "fit")
    assert after.notes == [
        f"fit tfidf:8 on 22 rows of pool: the fit {folder.name} was kept although 9.1% of the rows have changed"
    ]
    model, pool = TfidfModel.load(folder), read_pool(make_pool([21], messages=chat))
    [want] = model.encode(["zebra 21 thing\nword 21"])
    assert "zebra" not in model.words and vectors(after)[pool.row_ids[0]] == want.tolist()
    [unknown] = after.frame.filter(pl.col("embedding").is_null()).iter_rows(named=True)
    assert unknown["embedding_null"] == UNKNOWN and "quagga" in json.dumps(
        after.pool.messages(after.pool.row_ids.index(unknown["row_id"]))
    )


@pytest.mark.parametrize(("refit", "grown", "made"), [("drift", 26, 2), ("never", 40, 1), ("always", 21, 2), ("always", 20, 1)])
def test_when_words_are_learned_again(run, make_pool, store, refit, grown, made):
    first = run(make_pool(range(20)), "tfidf")
    assert work(first, "fit") == [(20, 0)] and work(first) == [(20, 0)]
    after = run(make_pool(range(grown)), "tfidf", refit=refit)
    assert len(list(store.root.glob("fits/*"))) == made and len(work(after, "fit")) == made - 1
    assert work(after) == [(grown, 0) if made == 2 else (grown - 20, 20)]
    assert [("was kept although" in note) for note in after.notes] == [True] * (made == 1 and grown > 20)


@pytest.mark.parametrize("kind", ["tfidf:8", "encoder"])
def test_a_killed_run_goes_on(run, make_pool, kind, request, monkeypatch):
    kind = str(request.getfixturevalue("encoder")) if kind == "encoder" else kind
    pool = make_pool(range(24))
    monkeypatch.setattr(curate.embedding.record, "SHARD", 10)
    want = curate.embed(pool, kind, engine=Engine(store=Store(pool.parent / "undisturbed"))).frame
    real, kept = curate.embedding.record.text_of, []

    def killed(messages, view):
        kept.append(view)
        if len(kept) == 39 if kind == "tfidf:8" else len(kept) == 15:  # words are learned from 24 texts first
            raise KeyboardInterrupt
        return real(messages, view)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(curate.embedding.record, "text_of", killed)
        run(pool, kind)
    resumed = run(pool, kind)
    assert work(resumed) == [(14, 10)] and resumed.frame.equals(want)


def test_a_row_without_text_is_null(run, make_pool):
    def chat(i):
        return [{"role": "user", "content": "?" if i else "Who?"}, {"role": "assistant", "content": "I.", "weight": 1 - i}]

    found = run(make_pool(range(2), messages=chat), "tfidf", view="response").frame
    assert found["embedding"].null_count() == 1
    assert found["embedding_null"].drop_nulls().to_list() == ["no token in this view"]
    assert run(make_pool([1], messages=chat), "tfidf", view="response").frame["embedding"].null_count() == 1


def test_tfidf_loads_neither_model_nor_torch(small_pool, store):
    code = """
import sys
import curate
found = curate.embed(sys.argv[2], "tfidf", engine=curate.Engine(store=curate.Store(sys.argv[1])))
assert len(found.frame) == 24
print(sorted({"torch", "transformers", "tokenizers", "sentence_transformers", "prefect", "peft"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code, store.root, small_pool], capture_output=True, text=True, timeout=60)
    assert (found.stdout, found.stderr) == ("[]\n", "")


def test_one_model_at_a_time(run, small_pool, tiny, encoder):
    engine = run(small_pool, "hidden", model=tiny).engine
    assert engine._loaded is not None
    curate.embed(small_pool, str(encoder), engine=engine)
    assert engine._loaded is None


# Asked by methods -----------------------------------------------------------------------------------------------------


class Lonely(Method):
    """How far a row is from the mean of the target."""

    name = "lonely"
    paper = "none"
    cost = "forward"
    power: float = 1.0

    def requests(self, data, seen):
        return [Embed(data.embedder, rows, "instruction") for rows in (data.pool, data.target)]

    def signal(self, data, seen, rng):
        pool, target = (seen[request].values for request in self.requests(data, seen))
        return RowScore.of(np.linalg.norm(pool - target.mean(axis=0), axis=1) ** self.power)


@pytest.mark.parametrize("kind", ["hidden", "tfidf", "encoder"])
def test_methods_share_vectors_and_the_space_of_the_target(store, small_pool, make_pool, tiny, kind, request):
    kind = str(request.getfixturevalue("encoder")) if kind == "encoder" else kind
    target = make_pool([40, 50], "target.jsonl")
    engine = Engine(store=store)
    scores = curate.score(small_pool, [Lonely(), Lonely(power=2.0)], model=tiny, target=target, engine=engine, embedder=kind)
    done = [stage for stage in engine.stages if stage.kind in ("embed", "pass")]
    assert [stage.computed_rows for stage in done] == [24, 2] and scores.frame["lonely"].null_count() == 0
    np.testing.assert_allclose(scores.frame["lonely:power=2.0"], scores.frame["lonely"] ** 2)
    assert len(list(store.root.glob("fits/*"))) == (kind == "tfidf")
    prepared = prepare(engine, read_pool(small_pool), model=ModelSpec(str(tiny)), target=read_pool(target), embedder=kind)
    seen = engine.gather([Lonely()], prepared.data)
    assert engine.cost(seen, Lonely())[0] > 0
    picked = curate.select(small_pool, Lonely(), budget=3, model=tiny, target=target, engine=Engine(store=store), embedder=kind)
    assert picked.manifest["embedder"] == prepared.data.embedder.label
    assert picked.summary["computed_rows"] == 0 and len(picked) == 3
    fits = [(fit["asked"], fit["rows"]["fitted_on"]) for fit in picked.manifest["fits"]]
    assert fits == ([("fit tfidf:256 on 24 rows of pool, instruction", 24)] if kind == "tfidf" else [])


def test_seconds_count_what_was_learned(store, small_pool, tiny):
    engine = Engine(store=store)
    prepared = prepare(engine, read_pool(small_pool), model=ModelSpec(str(tiny)), target=read_pool(small_pool), embedder="tfidf")
    took = engine.cost(engine.gather([Lonely()], prepared.data), Lonely())[0]
    [fit] = [json.loads(path.read_text())["seconds"] for path in store.root.glob("fits/*/fit.json")]
    assert took > fit > 0 and took == pytest.approx(sum(s.seconds for s in engine.stages if s.kind in ("fit", "embed")), rel=0.9)


def test_equal_embeds_are_one():
    plan = merge([Embed(Tfidf(), POOL), Embed(Tfidf(256, POOL), POOL), Embed(Tfidf(64), POOL), Embed(HiddenStates(MODEL), POOL)])
    assert plan.embeds == (Embed(Tfidf(256, POOL), POOL), Embed(Tfidf(64, POOL), POOL))
    assert [step.observables for step in plan.passes] == [("hidden_mean",)] and plan.fits == ()
    assert describe(Embed(Tfidf(64), TARGET)) == "embeddings of target by tfidf:64"


def test_the_embedder_of_data_is_the_model_that_scores():
    assert Data(pool=POOL, model=MODEL).embedder == HiddenStates(MODEL)
    assert Data(pool=POOL, model=MODEL, embedder=Tfidf()).embedder == Tfidf()


def test_asked_about_before_it_was_made(store, small_pool):
    engine = Engine(store=store)
    rows = engine.hold("pool", read_pool(small_pool))
    with pytest.raises(CurateError, match="fit tfidf:256 on 24 rows of pool was asked about before it was made"):
        engine.answer(Embed(Tfidf(), rows))


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("hidden", HiddenStates(MODEL)),
        ("hidden:last", HiddenStates(MODEL, "last")),
        ("hidden:weighted", HiddenStates(MODEL, "weighted")),
        ("tfidf", Tfidf(256, POOL)),
        ("tfidf:64", Tfidf(64, POOL)),
        ("org/encoder", SentenceEncoder("org/encoder")),
        ("org/encoder@v1", SentenceEncoder("org/encoder@v1")),
        (Tfidf(3), Tfidf(3, POOL)),
        (Tfidf(3, TARGET), Tfidf(3, TARGET)),
        (HiddenStates(ModelSpec("org/other")), HiddenStates(ModelSpec("org/other"))),
    ],
)
def test_embedders_by_name(text, want):
    assert make_embedder(text, MODEL, POOL) == want


@pytest.mark.parametrize(
    "text", ["tfdif", "hidden:first", "hidden:", "tfidf:0", "tfidf:-1", "tfidf:x", "tfidf:", "", "./gone", "a/b/c", "org/"]
)
def test_what_is_no_embedder_is_said(run, small_pool, text):
    with pytest.raises(
        InputError, match=r"embedder '.*' is not one of hidden\[:mean\|last\|weighted\], tfidf\[:dimensions\], a folder"
    ):
        run(small_pool, text)


def test_a_view_must_be_of_rows(run, small_pool):
    for view in ("reply", "after_example"):
        with pytest.raises(InputError, match=f"view '{view}' is not one of conversation, response"):
            run(small_pool, "tfidf", view=view)


def test_an_embedder_at_fault_is_said_before_anything_is_computed(store, small_pool, tiny, tmp_path):
    engine = Engine(store=store)
    with pytest.raises(InputError, match="is not a sentence-transformers model"):
        curate.select(small_pool, "longest", budget=3, model=tiny, engine=engine, embedder=str(tmp_path))
    assert engine.stages == []


def test_the_store_says_what_it_keeps(run, small_pool, store, encoder, tmp_path):
    run(small_pool, "tfidf:8", view="response").write(tmp_path / "words")
    run(small_pool, str(encoder)).write(tmp_path / "sentences")
    said = sorted(line["what"] for line in listing(store))
    assert said[0].startswith("embedding by ") and len(said[0]) == len("embedding by ") + 8
    assert said[1:] == ["embedding of the response by the tfidf:8 of the response", "tfidf:8 of the response"]
    run(small_pool, "tfidf:4")  # in no manifest
    for folder in (*store.folders("rows"), *store.folders("fits")):
        os.utime(folder, (0, 0))
    assert sorted(item.path.parent.name for item in collect(store).garbage) == ["fits", "rows"]


def test_written(run, small_pool, tmp_path):
    found = run(small_pool, "tfidf:8")
    found.write(tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out" / "embeddings.parquet").equals(found.frame)
    assert (tmp_path / "out" / "rejected.jsonl").read_text() == ""


def test_rows_that_the_model_cannot_use_are_written(make_pool, store, tiny, tmp_path):
    def chat(i):
        return [{"role": "user", "content": f"{'so ' * (200 if i < 3 else 1)}{i}"}, {"role": "assistant", "content": f"Yes {i}."}]

    pool = make_pool(range(10), messages=chat)
    found = curate.embed(pool, "hidden", model=tiny, engine=Engine(store=store, max_length=64))
    found.write(tmp_path / "out")
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert len(found.frame) == 7 and [row["line"] for row in rejected] == [1, 2, 3]
    assert {row["reason"] for row in rejected} == {"the reply is cut off entirely at 64 tokens"}
    assert len(curate.embed(pool, "tfidf", engine=Engine(store=store)).frame) == 10
