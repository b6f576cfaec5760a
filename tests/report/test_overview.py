"""What reports show of a pool, against slow and obvious code."""

import json
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import kendalltau

import curate
from curate.budget import Budget
from curate.choices import choices
from curate.overview import Picked, overview
from curate.overview.embedded import embed_some
from curate.overview.examples import examples
from curate.preparation import as_method, as_model, counts, prepare


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """60 conversations, and what three methods picked among them."""
    words = ["apple", "pear", "plum", "fig", "lemon", "quince", "grape", "melon", "berry", "cherry"]
    rows = [
        {
            "source": f"s{i % 3}",
            "messages": [
                {"role": "user", "content": f"Name {words[i % 10]} and {words[i // 10]}, number {i}."},
                {"role": "assistant", "content": " ".join([words[i % 10]] * (1 + i % 7))},
            ],
        }
        for i in range(60)
    ]
    engine, spec = curate.Engine(store=curate.Store(tmp_path_factory.mktemp("store"))), as_model(tiny)
    pool = curate.read_pool(rows)
    prepared = prepare(engine, pool, model=spec)
    methods = [as_method(name) for name in ("longest", "perplexity", "random")]
    picked = [Picked.of(one) for one in choices(engine, prepared, methods, [Budget.parse("20%")], 0, keep_scores=True)]
    account = counts(pool, prepared.pool, prepared.truncated)
    return engine, prepared, picked, spec, account, overview(engine, prepared, picked, spec, account, budget="20%")


def test_it_is_json_and_the_same_again(run):
    engine, prepared, picked, spec, account, found = run
    text = json.dumps(found, allow_nan=False)
    assert json.dumps(overview(engine, prepared, picked, spec, account, budget="20%"), allow_nan=False) == text
    assert found["rows"] == 60 and found["picks"] == {"longest": 12, "perplexity": 12, "random": 12}


def test_scores_are_counted_in_bins(run):
    *_, found = run
    assert set(found["scores"]) == {"longest", "perplexity"}  # a random score says nothing
    for name, spread in found["scores"].items():
        assert sum(spread["pool"]) == 60 and sum(spread["kept"]) == 12, name
        assert all(kept <= pool for kept, pool in zip(spread["kept"], spread["pool"], strict=True))
    assert found["scores"]["longest"]["larger"] is True and found["scores"]["perplexity"]["larger"] is None


def test_lengths_and_sources_are_those_of_the_picks(run):
    _, prepared, picked, *_, found = run
    lengths, sources = prepared.table["response_tokens"].to_numpy(), prepared.pool.sources
    for one in picked:
        assert found["replies"]["median"][one.name] == np.median([lengths[i] for i in one.index])
        kept = dict(zip(found["sources"]["names"], found["sources"]["kept"][one.name], strict=True))
        assert kept == {name: sum(sources[i] == name for i in one.index) for name in ("s0", "s1", "s2")}
        edges = found["replies"]["edges"]
        for low, high, count in zip(edges, edges[1:], found["replies"]["kept"][one.name], strict=False):
            last = high == edges[-1]
            assert count == sum(low <= lengths[i] and (lengths[i] < high or last) for i in one.index)


def test_methods_are_alike_as_sets_and_as_rankings(run):
    _, _, picked, *_, found = run
    for (a, b), line in zip(combinations(picked, 2), found["likeness"]["picks"], strict=True):
        one, other = set(a.index.tolist()), set(b.index.tolist())
        assert line[:2] == [a.name, b.name] and line[2] == pytest.approx(len(one & other) / len(one | other))
        assert 0.05 < line[3] < 0.2
    [[a, b, tau]] = found["likeness"]["ranks"]
    assert (a, b) == ("longest", "perplexity")
    assert tau == pytest.approx(kendalltau(picked[0].preference, picked[1].preference).statistic)


def test_the_nearest_kept_row_is_the_nearest(run):
    _, prepared, picked, *_ = run
    some = embed_some(prepared, picked, np.random.default_rng(0))
    assert some.rows.tolist() == list(range(60))
    for one in picked:
        for position in range(0, 60, 7):
            kept = [int(i) for i in sorted(one.index) if i != position]
            cosines = [float(some.vectors[position] @ some.vectors[i]) for i in kept]
            near, cosine = some.nearest(position, one.name)
            assert cosine == pytest.approx(max(cosines), abs=1e-6) and cosines[kept.index(near)] == pytest.approx(
                cosine, abs=1e-6
            )


def test_examples_are_picks_and_rows_that_were_left(run):
    _, prepared, picked, *_ = run
    some = embed_some(prepared, picked, np.random.default_rng(0))
    for one in picked:
        found = examples(prepared, one, some)
        ids = {prepared.pool.row_ids[i] for i in one.index}
        assert {row["row_id"] for row in found["kept"]} <= ids
        assert found["kept"][0]["row_id"] == prepared.pool.row_ids[one.index[0]] and found["kept"][0]["pick"] == 1
        assert found["dropped"] and not {row["row_id"] for row in found["dropped"]} & ids
        assert all(row["neighbour"]["row_id"] in ids for row in found["dropped"])
    longest = examples(prepared, picked[0], some)
    scores = picked[0].scores.values
    left = np.delete(scores, picked[0].index)
    assert longest["dropped"][0]["score"] == left.max() and longest["dropped"][-1]["score"] == left.min()


def test_groups_tell_kinds_of_rows_apart(run):
    """Shares add up to 1 and a method that keeps one kind alone has it in one group."""
    *_, found = run
    assert sum(found["clusters"]["pool"]) == pytest.approx(1)
    assert all(sum(kept) == pytest.approx(1) for kept in found["clusters"]["kept"].values())
    assert len(found["clusters"]["names"]) == len(found["clusters"]["pool"]) >= 1


def test_masks_show_the_replies(run):
    *_, found = run
    for row in found["masks"]:
        learned = "".join(text for text, weight in row["pieces"] if weight)
        assert learned and "Name" not in learned
        assert "Name" in "".join(text for text, weight in row["pieces"] if not weight)
