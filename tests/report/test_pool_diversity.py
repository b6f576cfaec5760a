"""`curate inspect --diversity`: a pool's log-determinant distance, and all that it depends on."""

import json

import numpy as np
import pytest

import curate
from curate.cli import _main
from curate.diversity import log_determinant_distance
from curate.engine import Engine
from curate.errors import InputError
from curate.preparation import as_pool
from curate.report.diversity import pool_diversity
from curate.selectors.similarity import Similarity
from curate.store import Store


@pytest.fixture
def measured(tmp_path):
    def call(pool, embedder, **keys):
        return pool_diversity(as_pool(pool), embedder, Engine(store=Store(tmp_path / "store")), **keys)

    return call


@pytest.mark.parametrize(("embedder", "gamma"), [("hidden", 10.0), ("tfidf:8", 1.0)])
def test_it_is_the_distance_of_the_embeddings(measured, small_pool, tiny, tmp_path, embedder, gamma):
    found = measured(small_pool, embedder, model=str(tiny))
    vectors = curate.embed(small_pool, embedder, model=tiny, engine=Engine(store=Store(tmp_path / "store"))).frame["embedding"]
    want = log_determinant_distance(vectors.to_numpy(), similarity=Similarity("sphere", gamma))
    assert {key: found[key] for key in want.report()} == want.report()
    assert (found["rows_pool"], found["rows_sampled"], found["rows"], found["picks"]) == (24, 24, 24, 24)
    assert found["gamma"] == gamma and found["embedder"].startswith(embedder)


def test_a_large_pool_is_sampled_by_row_id(measured, make_pool, monkeypatch):
    monkeypatch.setattr("curate.report.diversity.SAMPLE", 30)
    pool = as_pool(make_pool(range(50)))
    found = measured(pool, "tfidf:8")
    assert (found["rows_pool"], found["rows_sampled"], found["rows"], found["picks"]) == (50, 30, 30, 30)
    assert found == measured(pool.subset(pool.row_ids[:30]), "tfidf:8") | {"rows_pool": 50}


def test_a_pool_of_one_question_is_less_diverse(measured, make_pool, tiny):
    rng = np.random.default_rng(0)

    def chat(i):
        words = rng.choice(["zebra", "quartz", "harbour", "violin", "ledger", "comet", "yeast", "tariff"], 12)
        return [{"role": "user", "content": " ".join(words)}, {"role": "assistant", "content": f"{i}"}]

    many = measured(make_pool(range(60), "many.jsonl", messages=chat), "hidden", model=str(tiny))
    few = measured(make_pool(range(60), "few.jsonl"), "hidden", model=str(tiny))
    assert few["distance"] > many["distance"] + 0.1
    assert few["note"] is None is many["note"]
    assert "learned from this pool" in measured(make_pool(range(60)), "tfidf:16")["note"]


def test_no_row_to_measure(measured, make_pool):
    def chat(i):
        return [{"role": "user", "content": "?"}, {"role": "assistant", "content": f"{'!' * (i + 1)}"}]

    with pytest.raises(InputError, match="no row of the pool has an embedding by tfidf:256"):
        measured(make_pool(range(3), messages=chat), "tfidf")


def test_one_row_is_not_said_to_be_diverse(measured, make_pool, tiny, tmp_path, capsys):
    found = measured(make_pool(range(1)), "hidden", model=str(tiny))
    assert found["distance"] is None and found["rows"] == 1
    assert found["note"] == "it is of 2 rows or more, and 1 row can be used"
    assert measured(make_pool(range(2)), "hidden", model=str(tiny))["distance"] is not None
    command = ["inspect", str(make_pool(range(1))), "--model", str(tiny), "--store", str(tmp_path / "store"), "--examples", "0"]
    assert _main([*command, "--diversity"]) == 0
    assert "diversity: not measured; it is of 2 rows or more" in " ".join(capsys.readouterr().out.split())
    assert _main([*command, "--diversity", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["diversity"]["distance"] is None


def test_on_the_command_line(make_pool, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    pool = str(make_pool(range(24)))
    command = ["inspect", pool, "--model", str(tiny), "--store", str(tmp_path / "store"), "--examples", "0"]
    assert _main([*command, "--json"]) == 0 and json.loads(capsys.readouterr().out)["diversity"] is None
    assert _main([*command, "--diversity", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["diversity"]
    assert np.isfinite(found["distance"]) and found["dimensions"] == 32 and found["seeds"] == [0, 1, 2]
    assert _main([*command, "--diversity"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"diversity: {found['distance']:.3f} nats a row from points spread evenly" in said
    for part in (
        "24 of 24 rows",
        "24 picks",
        "2,000 points of 32 dimensions",
        "sphere",
        "gamma 10",
        "hidden:mean of tiny",
        "mean over 3 references",
        "below 0 more diverse than such points",
    ):
        assert part in said
    assert _main([*command, "--embedder", "tfidf"]) == 2
    assert "--embedder is of --diversity" in capsys.readouterr().err
    assert _main([*command, "--diversity", "--embedder", "tfdif"]) == 2 and "embedder 'tfdif'" in capsys.readouterr().err
