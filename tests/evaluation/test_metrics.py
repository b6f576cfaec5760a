import pytest

from curate.evaluation.metrics import exact_match, extract_gsm8k


@pytest.mark.parametrize(
    ("prediction", "reference", "same"),
    [
        ("Yes.", "yes", True),
        ("  The\n quick  FOX ", "the quick fox", True),
        ("yes", "no", False),
        ("3.5", "3.5.", True),
        ("3.5", "35", False),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_exact_match(prediction, reference, same):
    assert exact_match(prediction, reference) is same


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("She pays 3 * 4 = 12.\n#### 12", "12"),
        ("#### 1,234", "1234"),
        ("#### $1,234.50", "1234.5"),
        ("#### -7", "-7"),
        ("first #### 3 then #### 4 apples of 5", "4"),
        ("It is 5, so 6.", "6"),
        ("It costs 18.00 dollars", "18"),
        ("10-5", "5"),
        ("x = -5", "-5"),
        ("#### none, after 3", "3"),
        ("3 eggs #### none", "3"),
        ("no number", None),
        ("", None),
    ],
)
def test_extract_gsm8k(text, answer):
    assert extract_gsm8k(text) == answer
