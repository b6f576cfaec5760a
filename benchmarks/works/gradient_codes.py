"""What vectors of gradients keep in fewer bits

LESS's scores of real conversations: the mean cosine of a row's projected gradient with those of 16 target rows, a model of 28
million weights with fresh adapters of rank 16 whose B was drawn anew, onto 4,096 numbers, the target's vectors whole. Timed is
coding and reading back. `rank` is Spearman's correlation of the scores with those of float32 vectors, `bytes` what a row takes.
"""

from typing import Any

import numpy as np
from language import encoded
from speed import load

REACH = "int8 and 1-bit codes with the rank correlation they keep"
SIZES = {"rows=256": {"rows": 256}, "rows=48": {"rows": 48}}
TARGETS = 16


def kept(dtype: str) -> Any:
    def contestant(rows: int):  # type: ignore[no-untyped-def]
        import pyarrow as pa
        from scipy.stats import spearmanr

        from curate.lm.gradient_codes import decoded, stored_type
        from curate.lm.gradient_codes import encoded as codes
        from curate.lm.gradient_config import GradientConfig
        from curate.selectors.influence import cosines
        from curate.signals import as_vectors
        from curate.work.gradients import projected

        works = load("projected_gradients")
        config = GradientConfig(projection="sketch", dimensions=works.DIMENSIONS)
        found = dict(projected(works.adapted(), encoded(rows + TARGETS, works.LIMIT), config))
        vectors = np.stack([found[i] for i in range(rows + TARGETS)])
        pool, target = vectors[TARGETS:], vectors[:TARGETS]
        want = cosines(pool, target).mean(axis=1)
        pool = pool / np.linalg.norm(pool, axis=1, keepdims=True) if dtype == "float16" else pool

        def run() -> dict[str, float]:
            array = pa.array(
                codes(list(pool.astype(np.float16 if dtype == "float16" else np.float32)), dtype), stored_type(dtype)
            )
            back = as_vectors(decoded(pa.chunked_array([array]), dtype), np.arange(rows), np.full(rows, None, dtype=object))
            scores = cosines(back.values, target).mean(axis=1)
            return {"rank": float(spearmanr(scores, want).statistic), "bytes": array.nbytes / rows}

        return run

    return contestant


CONTESTANTS = {"curate": kept("1bit"), "int8": kept("int8"), "float16": kept("float16"), "float32": kept("float32")}
