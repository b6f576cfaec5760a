"""Text metrics: how near a prediction comes to a reference, from 0 to 1."""

import re
import string
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

from curate.errors import InputError

TextScore = Callable[[str, str], float]

_ENDS = "".join(set(string.punctuation) - set("-+$%#&@/\\"))  # marks that are of the sentence and not of the word
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Without case, without white space at the ends or in runs, without a full stop at the end."""
    return " ".join(text.casefold().split()).removesuffix(".").rstrip()


def exact_match(prediction: str, reference: str) -> float:
    """1 where both say the same once normalised, else 0."""
    return float(normalise(prediction) == normalise(reference))


def contains(prediction: str, reference: str) -> float:
    """1 where the words of the reference stand in the prediction one after the other, else 0; case and marks aside."""
    said, wanted = (" ".join(filter(None, (word.strip(_ENDS) for word in t.casefold().split()))) for t in (prediction, reference))
    return float(f" {wanted} " in f" {said} " if wanted else not said)


def f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall in words, without case, punctuation and articles.

    Source: SQuAD's evaluation, arXiv 1606.05250.
    """
    said, wanted = (Counter(_squad_words(text)) for text in (prediction, reference))
    if not said or not wanted:
        return float(said == wanted)
    return 2 * (said & wanted).total() / (said.total() + wanted.total())


def _squad_words(text: str) -> list[str]:
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return _ARTICLES.sub(" ", bare).split()


def rouge(kind: str) -> TextScore:
    """F-measure of ROUGE (Lin 2004) by rouge-score, words stemmed. kind: rouge1, rouge2, rougeL."""

    def score(prediction: str, reference: str) -> float:
        return float(_rouge_scorer(kind).score(reference, prediction)[kind].fmeasure)

    return score


@cache
def _rouge_scorer(kind: str) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise InputError("ROUGE needs rouge-score: pip install 'curate[metrics]'") from None
    return RougeScorer([kind], use_stemmer=True)


def chrf(prediction: str, reference: str) -> float:
    """chrF2 (Popović 2015) by sacrebleu, divided by 100."""
    return float(_sacrebleu().sentence_chrf(prediction, [reference]).score) / 100


def bleu(prediction: str, reference: str) -> float:
    """Sentence BLEU (Papineni 2002) by sacrebleu, divided by 100: exponential smoothing, effective order."""
    return float(_sacrebleu().sentence_bleu(prediction, [reference], use_effective_order=True).score) / 100


def _sacrebleu() -> Any:
    try:
        import sacrebleu
    except ImportError:
        raise InputError("BLEU and chrF need sacrebleu: pip install 'curate[metrics]'") from None
    return sacrebleu
