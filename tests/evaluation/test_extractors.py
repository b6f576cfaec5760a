import pytest

from curate.errors import InputError
from curate.evaluation.extractors import make_extractor


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("text", " as it is. ", " as it is. "),
        ("gsm8k", "She pays 3 * 4 = 12.\n#### 12", "12"),
        ("gsm8k", "#### 1,234", "1234"),
        ("gsm8k", "#### $1,234.50", "1234.5"),
        ("gsm8k", "#### -7", "-7"),
        ("gsm8k", "first #### 3 then #### 4 apples of 5", "4"),
        ("gsm8k", "It is 5, so 6.", "6"),
        ("gsm8k", "It costs 18.00 dollars", "18"),
        ("gsm8k", "10-5", "5"),
        ("gsm8k", "x = -5", "-5"),
        ("gsm8k", "#### none, after 3", "3"),
        ("gsm8k", "3 eggs #### none", "3"),
        ("gsm8k", "no number", None),
        ("gsm8k", "", None),
        ("last_number", "#### 3 and then 4.50", "4.5"),
        ("last_number", "none", None),
        ("letter", "B", "B"),
        ("letter", "(C) because A is wrong", "C"),
        ("letter", "B. A dog", "B"),
        ("letter", "d)", None),
        ("letter", "The answer is (d).", "D"),
        ("letter", "Answer: E", "E"),
        ("letter", "A dog barks, so it must be C", "C"),
        ("letter", "A dog barks", None),
        ("letter", "the answer is A, no, the answer is **B**", "B"),
        ("letter", "It's a Boy", None),
        ("letter", "F", None),
        ("boxed", r"so \boxed{3} and \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        ("boxed", r"\boxed{ 42 }", "42"),
        ("boxed", r"\boxed{4", None),
        ("boxed", "42", None),
    ],
)
def test_extractors(name, text, answer):
    assert make_extractor(name)(text) == answer


def test_a_pattern_of_the_user():
    assert make_extractor("regex", r"is (\w+)")("it is blue, it is red") == "red"
    assert make_extractor("regex", r"\d+")("1 and 23") == "23"
    assert make_extractor("regex", r"is (\w+)")("nothing") is None


@pytest.mark.parametrize(
    ("name", "pattern", "said"),
    [
        ("sql", None, "extractor 'sql' is not one of text, gsm8k, last_number, letter, boxed, regex"),
        ("regex", None, "needs a pattern"),
        ("regex", "(", "no regular expression"),
        ("gsm8k", "x", "goes with the extractor regex, not gsm8k"),
    ],
)
def test_extractors_that_cannot_be(name, pattern, said):
    with pytest.raises(InputError, match=said):
        make_extractor(name, pattern)
