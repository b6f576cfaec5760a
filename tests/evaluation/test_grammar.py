import pytest

from curate.errors import InputError
from curate.evaluation.grammar import Head, parse_eval, parse_head


@pytest.mark.parametrize(
    ("text", "head", "file"),
    [
        ("deep/dev.test.jsonl", Head("dev"), "deep/dev.test.jsonl"),
        ("hub:org/name", Head("hub:org/name".rpartition("/")[2]), "hub:org/name"),
        ("dev=x.jsonl", Head("dev"), "x.jsonl"),
        ("dev=a=b:c.jsonl", Head("dev"), "a=b:c.jsonl"),
        ("sums:exact_match=x.jsonl", Head("sums", "exact_match"), "x.jsonl"),
        ("sums:exact_match:gsm8k=x.jsonl", Head("sums", "exact_match", {"extractor": "gsm8k"}), "x.jsonl"),
        (
            "s:exact_match:extractor=gsm8k:max_new_tokens=5=x",
            Head("s", "exact_match", {"extractor": "gsm8k", "max_new_tokens": 5}),
            "x",
        ),
        ("s:f1:stop='a:b=c':stop=\\n=x", Head("s", "f1", {"stop": ("a:b=c", "\n")}), "x"),
        (r"s:f1:extractor=regex:pattern='is: (\d+)'=x", Head("s", "f1", {"extractor": "regex", "pattern": r"is: (\d+)"}), "x"),
        ("'a:b=c':f1=x", Head("a:b=c", "f1"), "x"),
        ("mmlu:multiple_choice:letters=yes=x", Head("mmlu", "multiple_choice", {"letters": True}), "x"),
        ("arc:lm_eval:measure=acc_norm=arc.yaml", Head("arc", "lm_eval", {"measure": "acc_norm"}), "arc.yaml"),
    ],
)
def test_what_is_written_on_one_line(text, head, file):
    assert parse_eval(text) == (head, file)


def test_a_file_with_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "split=test.jsonl").write_text("")
    assert parse_eval("split=test.jsonl") == (Head("split=test"), "split=test.jsonl")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("=x.jsonl", "give the evaluation set a name"),
        ("x:accuracy=d", "metric 'accuracy' is not one of response_loss, perplexity, exact_match"),
        ("x:f1:max_new_tokens=many=d", "max_new_tokens 'many' is not a whole number of at least 1"),
        ("x:f1:max_new_tokens=0=d", "max_new_tokens '0' is not a whole number"),
        ("x:f1:letters=maybe=d", "letters 'maybe' is not yes or no"),
        ("x:f1:extractor=text:extractor=text=d", "extractor is given twice"),
        ("x:f1:extrator=gsm8k=d", "there is no setting 'extrator'; there are extractor, pattern"),
        ("x:f1:gsm8k:lenient=d", "there is no setting 'lenient'"),
        ("x:f1:stop='a=d", "a quote is not closed"),
        ("x:f1:extractor=text", "no file"),
        ("x=", "no file behind the last ="),
    ],
)
def test_lines_that_make_no_sense(text, said):
    with pytest.raises(InputError, match=said):
        parse_eval(text)


def test_a_name_alone():
    assert parse_head("dev") == Head("dev") and parse_head("s:f1:max_new_tokens=5").settings == {"max_new_tokens": 5}
    with pytest.raises(InputError, match="cannot hold '=x'"):
        parse_head("dev=x")
