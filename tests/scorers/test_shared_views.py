"""Methods of one and two views together: a pass over the conversations and one over the replies alone, and no more."""

import pytest

import curate.lm.forward
from curate.engine import Engine
from curate.pool import read_pool
from curate.scoring import score
from curate.store import Store

ROWS, MOST = 50, 1.7  # times the pool's tokens
TOGETHER = ["longest", "perplexity", "grape", "el2n", "ifd", "ifd:ratio=ppl", "superfiltering:proxy={model}"]


@pytest.fixture
def forwarded(monkeypatch):
    """(row id, tokens) of all that a model runs over."""
    real, rows = curate.lm.forward._batch, []

    def watched(model, head, encodings, *rest):
        rows.extend(zip(encodings.row_ids, encodings.lengths.tolist(), strict=True))
        return real(model, head, encodings, *rest)

    monkeypatch.setattr(curate.lm.forward, "_batch", watched)
    return rows


def test_a_pass_over_conversations_and_one_over_replies_serve_them_all(forwarded, base4m, tiny, tmp_path):
    """On rows of the embedded pool, whose replies are about half of its tokens; each reply alone has a start token before it."""
    methods = [name.format(model=tiny) for name in TOGETHER]
    pool = read_pool(base4m.parents[1] / "sample" / "pool.parquet", limit=ROWS)
    found = score(pool, methods, model=tiny, engine=Engine(store=Store(tmp_path / "store")))
    tokens, replies = int(found.frame["tokens"].sum()), int(found.frame["response_tokens"].sum())
    assert len(found.frame) == ROWS and sum(length for _, length in forwarded) == tokens + replies + ROWS <= MOST * tokens
    assert len([stage for stage in found.stages if stage.kind == "pass"]) == 2
