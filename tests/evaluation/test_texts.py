"""Text metrics against values worked out by hand."""

from math import exp, log

import pytest

from curate.evaluation.texts import bleu, chrf, contains, exact_match, f1, rouge


@pytest.mark.parametrize(
    ("prediction", "reference", "same"),
    [
        ("Yes.", "yes", 1),
        ("  The\n quick  FOX ", "the quick fox", 1),
        ("yes", "no", 0),
        ("3.5", "3.5.", 1),
        ("3.5", "35", 0),
        ("", "", 1),
        ("", "a", 0),
    ],
)
def test_exact_match(prediction, reference, same):
    assert exact_match(prediction, reference) == same


@pytest.mark.parametrize(
    ("prediction", "reference", "held"),
    [
        ("It is 4.", "4", 1),
        ("It is 14.", "4", 0),
        ("The (big) Red house!", "red house", 1),
        ("a house that is red", "red house", 0),
        ("3.5", "3", 0),
        ("-4", "4", 0),
        ("anything", "!", 0),
        ("?", "!", 1),
    ],
)
def test_contains(prediction, reference, held):
    assert contains(prediction, reference) == held


@pytest.mark.parametrize(
    ("prediction", "reference", "value"),
    [
        ("the cat sat", "a cat sat down", 2 * (1 * 2 / 3) / (1 + 2 / 3)),  # precision 2/2, recall 2/3
        ("cat cat", "cat", 2 * 0.5 / 1.5),
        ("The, cat!", "cat", 1),
        ("dog", "cat", 0),
        ("the", "", 1),
        ("", "cat", 0),
    ],
)
def test_f1(prediction, reference, value):
    assert f1(prediction, reference) == pytest.approx(value)


def test_rouge():
    """Precision over the prediction's words, recall over the reference's; L by the longest common subsequence."""
    pytest.importorskip("rouge_score", reason="the extra curate[metrics] is not installed")
    prediction, reference = "the police killed the gunman now", "the gunman police killed"
    assert rouge("rouge1")(prediction, reference) == pytest.approx(2 * (4 / 6) * 1 / (4 / 6 + 1))
    assert rouge("rouge2")(prediction, reference) == pytest.approx(2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3))
    assert rouge("rougeL")(prediction, reference) == pytest.approx(2 * (3 / 6) * (3 / 4) / (3 / 6 + 3 / 4))
    assert rouge("rougeL")("cats running", "cat runs") == 1  # stems
    assert rouge("rougeL")("", "cat") == 0


def test_bleu():
    pytest.importorskip("sacrebleu", reason="the extra curate[metrics] is not installed")
    assert bleu("the cat is on the mat", "the cat is on the mat") == pytest.approx(1)
    # Words 2 of 2, their pair 1 of 1, no longer order; half as long as the reference: exp(1 - 4 / 2).
    assert bleu("the cat", "the cat sat down") == pytest.approx(exp(1 - 4 / 2))
    # 3 of 4 words, 1 of 3 pairs, no triple and no quadruple, which count as 1/2 of 1 of 2 and 1/4 of 1 of 1.
    smoothed = exp((log(3 / 4) + log(1 / 3) + log(1 / 2 / 2) + log(1 / 4 / 1)) / 4)
    assert bleu("a b x c", "a b c d") == pytest.approx(smoothed)


def test_chrf():
    """By the definition: F2 of the precisions and recalls in characters, orders 1 to 6, blanks left out."""
    pytest.importorskip("sacrebleu", reason="the extra curate[metrics] is not installed")
    assert chrf("abc", "abc") == pytest.approx(1)
    assert chrf("xyz", "abc") == 0
    # abcd, abce: shared 3 of 4 characters, 2 of 3 pairs, 1 of 2 triples, 0 of 1; precision and recall are the same.
    assert chrf("abcd", "abce") == pytest.approx((3 / 4 + 2 / 3 + 1 / 2 + 0) / 4)
