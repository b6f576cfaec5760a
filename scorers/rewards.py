"""How near what a model replied comes to a row's own reply, by the metrics that evaluations have."""

from collections.abc import Sequence

import numpy as np

from curate.errors import InputError
from curate.evaluation.extractors import make_extractor
from curate.evaluation.metrics import find_metric
from curate.evaluation.replies import TextMetric

METRIC = "what says how near a reply comes to the row's own: exact_match, contains, f1, rouge_l or another text metric"
EXTRACTOR = "what of both is compared: text (all), gsm8k, last_number, letter or boxed"


def rewards(said: Sequence[str | None], own: Sequence[str | None], metric: str, extractor: str) -> np.ndarray:
    """float64 [n], 0 to 1: of each reply against the row's own; NaN where there is no reply, or no answer in the row's own.

    Raises InputError for a metric that does not compare texts, and an extractor that there is not.
    """
    found, extract = find_metric(metric), make_extractor(extractor)
    if not isinstance(found, TextMetric):
        raise InputError(f"the metric {metric} does not compare two texts; exact_match, contains, f1 and rouge_l do")

    def one(reply: str | None, gold: str | None) -> float:
        wanted = None if gold is None else extract(gold)
        if reply is None or wanted is None:
            return np.nan
        given = extract(reply)
        return 0.0 if given is None else found.compare(given, wanted)

    return np.array([one(*pair) for pair in zip(said, own, strict=True)], dtype=np.float64)
