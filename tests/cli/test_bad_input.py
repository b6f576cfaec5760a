"""Whatever is wrong with the input: one sentence that names it, the right exit code, nothing lost."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

VERBS = {
    "inspect": [],
    "score": ["--methods", "longest", "--out", "out"],
    "select": ["--method", "longest", "--budget", "30%", "--out", "out"],
    "train": ["--steps", "1", "--batch-tokens", "64", "--out", "out"],
    "compare": ["--methods", "longest", "--budget", "50%", "--eval", "dev.jsonl", "--seeds", "1", "--tokens", "64", "--no-full",
                "--out", "out"],
}  # fmt: skip
WRITING = [verb for verb in VERBS if verb != "inspect"]


def turns(*said):
    """A row: (role, content) pairs."""
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in said]}).encode()


def pair(number):
    return turns(("user", f"What is {number}?"), ("assistant", f"It is {number}. " * (1 + number % 3)))


# What a line holds, and what is said of it.
LINES = {
    "malformed": (b"{no json", "not JSON"),
    "cut off": (pair(1)[:-5], "not JSON"),
    "a list": (b"[1, 2]", "not an object: it is list"),
    "a number": (b"5", "not an object: it is int"),
    "messages are a number": (b'{"messages": 5}', "messages not a list: it is int"),
    "a message is text": (b'{"messages": ["hi"]}', "message not an object"),
    "content is a number": (turns(("user", 3), ("assistant", "y")), "content not text: message 1 has int"),
    "no role": (b'{"messages": [{"content": "x"}, {"role": "assistant", "content": "y"}]}', "missing role: message 1"),
    "an unknown role": (turns(("wizard", "x"), ("assistant", "y")), "unknown role: 'wizard' in message 1"),
    "an empty reply": (turns(("user", "x"), ("assistant", "")), "empty reply: message 2"),
    "white space for a reply": (turns(("user", "x"), ("assistant", " \n\t")), "empty reply: message 2"),
    "null content": (turns(("user", "x"), ("assistant", None)), "content null: message 2"),
    "no reply": (turns(("user", "x")), "no assistant message"),
    "not UTF-8": (turns(("user", "x"), ("assistant", "y")).replace(b"x", b"\xff"), "not UTF-8: at byte "),
    "5 MB": (turns(("user", "x" * 5_000_000), ("assistant", "y")), "too large: more than 4,194,304 bytes"),
    "an empty alpaca output": (b'{"instruction": "x", "input": "", "output": ""}', "empty reply: message 2"),
}


@pytest.fixture
def go(run, tmp_path, tiny):
    """Runs a verb on a file of the given bytes, with a small model."""
    (tmp_path / "dev.jsonl").write_bytes(b"\n".join(pair(number) for number in range(100, 104)))

    def call(verb, content, *more, model=tiny, name="pool.jsonl"):
        (tmp_path / name).write_bytes(content)
        return run(verb, name, "--model", model, *VERBS[verb], *more)

    return call


def refused(result, *words, code=2):
    """The exit code, nothing on standard output, and one sentence on standard error with the words."""
    found, out, err = result
    [said] = [line for line in err.splitlines() if not line.startswith(("done: ", "note: "))]
    assert (found, out) == (code, "") and said.startswith("curate: ") and "Traceback" not in err
    for word in words:
        assert word in said, said
    return said


# Rows -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", LINES)
def test_a_file_of_one_bad_row(go, tmp_path, verb, name):
    line, reason = LINES[name]
    refused(go(verb, line + b"\n"), "the only row cannot be used: pool.jsonl, line 1: ", reason)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_files_without_rows_or_shape(go, tmp_path, verb):
    refused(go(verb, b""), "pool.jsonl: no rows")
    refused(go(verb, b"\n \r\n\n"), "pool.jsonl: no rows")
    refused(go(verb, b'{"a": 1}\n{"b": 2}\n'), "pool.jsonl: no known shape in the columns a, b; accepted are messages")
    refused(go(verb, b"{}", name="pool.json"), "pool.json: the JSON object holds 0 lists")
    refused(go(verb, b"[{", name="pool.json"), "pool.json: not JSON")
    refused(go(verb, b"a,a\n1,2\n", name="pool.csv"), "pool.csv: more than one column is called a")
    refused(go(verb, b"PAR1", name="pool.parquet"), "pool.parquet: ")
    refused(go(verb, b"\x1f\x8b\x08", name="pool.jsonl.gz"), "pool.jsonl.gz: ")
    refused(go(verb, b"", name="pool.txt"), "pool.txt: cannot tell the format from its name")
    assert not (tmp_path / "out").exists()


MIXED = [pair(0), *(line for line, _ in LINES.values()), *(pair(number) for number in range(1, 12)), pair(0)]
MIXED_SHAPES = [
    b'{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}',
    b'{"instruction": "i", "input": "", "output": "o"}',
    b'{"prompt": "p", "completion": "c"}',
    b'{"question": "q", "answer": "a b"}',
]


@pytest.mark.parametrize("verb", VERBS)
def test_bad_rows_among_good_ones(go, tmp_path, verb):
    """The good rows are used, each bad one is listed with its line, and the counts add up."""
    bad = len(LINES)
    refused(go(verb, b"\n".join(MIXED), "--strict"), f"--strict: {bad} rows rejected, the first in pool.jsonl line 2: not JSON")
    assert not (tmp_path / "out").exists()
    code, out, err = go(verb, b"\n".join([*MIXED, *MIXED_SHAPES]), "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    if verb != "compare":
        counts = [found[f"rows_{name}"] for name in ("in", "pool", "rejected", "duplicate")]
        assert counts == [len(MIXED) + len(MIXED_SHAPES), 16, bad, 1] and sum(counts[1:]) == counts[0]
    if verb in WRITING:
        rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
        assert [(row["file"], row["line"]) for row in rejected] == [("pool.jsonl", 2 + i) for i in range(bad)]
        assert all(row["reason"].startswith(reason) for row, (_, reason) in zip(rejected, LINES.values(), strict=True))


@pytest.mark.parametrize("verb", VERBS)
def test_a_bom_crlf_and_no_newline_at_the_end(go, verb):
    code, out, err = go(verb, b"\xef\xbb\xbf" + b"\r\n".join(pair(number) for number in range(6)), "--strict", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out).get("rows_pool", 6) == 6


@pytest.mark.parametrize("content", [pair(1), b"\n".join([pair(1)] * 9)], ids=["one row", "identical rows"])
def test_one_row(go, tmp_path, content):
    lines = content.count(b"\n") + 1
    for verb in ("inspect", "score", "train"):
        code, out, err = go(verb, content, "--json", *(["--overwrite"] if verb == "train" else []))
        assert (code, err) == (0, "")
        assert json.loads(out)["rows_pool"] == 1
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    refused(go("select", content), "a budget of 30% picks not even the only row; give a larger one")
    refused(go("compare", content), "random picks no row at a budget of 50%")
    code, out, err = go("select", content, "--budget", "1")
    assert (code, err) == (0, "") and f"read      {'1 row' if lines == 1 else '9 rows'} in = 1 in the pool" in out
    assert "picked    1 row (100.0%)" in out and "1 rows" not in out


# Options --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", ["0", "0%", "0 tokens", "101%", "-5", "-5%", "abc", "", "nan", "inf", "1e3", "10%%", "1.5"])
def test_budgets(go, tmp_path, budget):
    for verb in ("select", "compare"):
        refused(go(verb, pair(1), f"--budget={budget}"), f"budget {budget!r}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "mapping, words",
    [
        ("messages=talk", "pool.jsonl: 'messages' is mapped to talk, which no usable row has; there are: messages"),
        ("source=origin", "'source' is mapped to origin, which no usable row has; there are: messages"),
        ("massages=messages", "cannot map 'massages': the names that can be mapped are messages"),
        ("messages", "--map 'messages': write key=value"),
    ],
)
def test_mappings(go, verb, mapping, words):
    refused(go(verb, pair(1), "--map", mapping), words)


@pytest.mark.parametrize(
    "setting, words",
    [
        ("epochs=x", "lobass: setting 'epochs': a number is wanted, not 'x'"),
        ("epochs=-1", "lobass: setting 'epochs': it must be greater than 0, not '-1'"),
        ("epochs=nan", "lobass: setting 'epochs'"),
        ("min_response_tokens=1.5", "lobass: setting 'min_response_tokens': a whole number is wanted, not '1.5'"),
        ("exclude_unlearnable=maybe", "lobass: setting 'exclude_unlearnable': true or false is wanted, not 'maybe'"),
    ],
)
def test_settings(go, setting, words):
    refused(go("select", pair(1), "--method", "lobass", "--set", setting), words)
    refused(go("compare", pair(1), "--methods", f"longest,lobass:{setting}"), words)


@pytest.mark.parametrize(
    "stage, words",
    [
        ("{train: {learning_rate: fast}}", "key 'stages.0.train.learning_rate': a number is wanted, not 'fast'"),
        ("{train: {steps: 1.5}}", "key 'stages.0.train.steps': a whole number is wanted, not 1.5"),
        ("{train: {epochs: .nan}}", "key 'stages.0.train.epochs': it must be a finite number, not nan"),
        ("{train: {adapter: qlora}}", "key 'stages.0.train.adapter': it must be 'lora' or 'none', not 'qlora'"),
        ("{select: {method: longest, budget: [1]}}", "key 'stages.0.select.budget': a number or text is wanted, not [1]"),
        ("{select: {method: 5, budget: 5}}", "key 'stages.0.select.method': text is wanted, not 5"),
        ("{select: {method: longest}}", "key 'stages.0.select.budget': it is missing"),
        ("{select: {method: longest, budget: 101%}}", "key 'stages.0.select': The budget '101%' is more than the whole pool"),
        ("{compare: {methods: longest, evals: {}}}", "key 'stages.0.compare.methods': a list is wanted, not 'longest'"),
        ("5", "key 'stages.0': a mapping is wanted, not 5"),
    ],
)
def test_recipes(run, tmp_path, stage, words):
    (tmp_path / "pool.jsonl").write_bytes(pair(1))
    (tmp_path / "recipe.yaml").write_text(f"pool: pool.jsonl\nstages: [{stage}]\n")
    refused(run("run", "recipe.yaml", "--out", "out"), f"the recipe recipe.yaml: {words}")


# Output folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", WRITING)
def test_output_folders(go, tmp_path, verb):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("1")
    refused(go(verb, pair(1), "--out", "full"), "the output folder full is not empty; choose another or pass --overwrite")
    refused(go(verb, pair(1), "--out", "full", "--overwrite"), "full is not one that curate wrote")
    assert (tmp_path / "full" / "mine").read_text() == "1"
    refused(go(verb, pair(1), "--out", "pool.jsonl"), "the output pool.jsonl is a file")
    refused(go(verb, pair(1), "--out", "pool.jsonl/deep"), "the output folder pool.jsonl/deep cannot be made", "is a file")
    if Path("/proc/self").exists():
        refused(go(verb, pair(1), "--out", "/proc/x"), "the output folder /proc/x cannot be written: ", " in /proc")


# Models ---------------------------------------------------------------------------------------------------------------


def edited(folder, **settings):
    """config.json with other settings."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))


def add_word(folder):
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["more"] = 8192
    (folder / "tokenizer.json").write_text(json.dumps(content))


def damage(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:3000])


RAISES = "{{ raise_exception('only haiku') }}"
MODELS = {  # what is done to a folder, what is said, whether counting tokens is enough to notice
    "no config": (lambda f: (f / "config.json").unlink(), "broken is not a model folder: it has no config.json", True),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "broken/config.json cannot be read", True),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "broken/config.json is not a JSON object", True),
    "no context": (lambda f: edited(f, max_position_embeddings="x"), "max_position_embeddings is 'x', not a whole number", True),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "the tokenizer in ", True),
    "a broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "broken cannot be loaded: ", True),
    "too many tokens": (add_word, "has ids up to 8192, but the model's embedding has only 8192 rows", True),
    "too few embeddings": (lambda f: edited(f, vocab_size=4000), "ids up to 8191, but the model's embedding has only 4000 rows", True),
    "a template that raises": (
        lambda f: (f / "chat_template.jinja").write_text(RAISES), "can be used by broken: the chat template failed: only haiku", True
    ),
    "a template that is none": (
        lambda f: (f / "chat_template.jinja").write_text("{% for %}"), "can be used by broken: the chat template failed: ", True
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "the model in ", False),
    "cut weights": (damage, "broken cannot be loaded: ", False),
    "other weights": (lambda f: edited(f, intermediate_size=100), "its weights have other sizes than config.json says", False),
    "an unknown kind": (lambda f: edited(f, model_type="zzz"), "broken cannot be loaded: ", False),
}  # fmt: skip


@pytest.fixture
def broken(base4m, tmp_path):
    """A copy of the embedded model, to be damaged."""
    return shutil.copytree(base4m, tmp_path / "broken")


@pytest.mark.parametrize("name", MODELS)
def test_models(go, run, broken, tmp_path, name):
    spoil, words, soon = MODELS[name]
    spoil(broken)
    for verb in VERBS if soon else ["train"]:
        refused(go(verb, b"\n".join([pair(1), pair(2)]), model="broken"), words)
    if not soon:
        refused(go("select", b"\n".join([pair(1), pair(2)]), "--method", "perplexity", model="broken"), words)
    refused(run("evaluate", "--eval", "dev.jsonl", "--model", "broken"), "broken")
    assert not (tmp_path / "out").exists()


def test_a_folder_and_a_file_that_are_no_models(go, tmp_path):
    (tmp_path / "empty").mkdir()
    for verb in VERBS:
        refused(go(verb, pair(1), model="empty"), "empty is not a model folder")
        refused(go(verb, pair(1), model="pool.jsonl"), "pool.jsonl is not a model folder")
        refused(go(verb, pair(1), model="./gone"), "there is no model folder ./gone")


PICKY = (
    "{% for m in messages %}{% if '3' in m.content %}{{ raise_exception('no threes') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.mark.parametrize("verb", VERBS)
def test_rows_that_the_model_cannot_use(go, broken, tmp_path, verb):
    """They count as rejected, are listed with their lines, and --strict heeds them."""
    (broken / "chat_template.jinja").write_text(PICKY)
    content = b"\n".join(pair(number) for number in (1, 2, 3, 4, 13, 5))
    refused(go(verb, content, "--strict", model="broken"),
            "--strict: 2 rows rejected, the first in pool.jsonl line 3: the chat template failed: no threes")  # fmt: skip
    assert not (tmp_path / "out").exists()
    code, out, err = go(verb, content, "--json", model="broken")
    assert (code, err) == (0, "")
    found = json.loads(out)
    if verb != "compare":
        assert [found[f"rows_{name}"] for name in ("in", "pool", "rejected", "duplicate")] == [6, 4, 2, 0]
    if verb in WRITING:
        rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
        assert [(row["file"], row["line"]) for row in rejected] == [("pool.jsonl", 3), ("pool.jsonl", 5)]
        assert all(row["reason"] == "the chat template failed: no threes" for row in rejected)


@pytest.mark.parametrize("verb", [["observe"], ["embed", "--embedder", "tfidf"]])
def test_strict_holds_for_verbs_that_only_look(run, broken, tmp_path, verb):
    (broken / "chat_template.jinja").write_text(PICKY)
    (tmp_path / "pool.jsonl").write_bytes(b"\n".join([pair(1), pair(3)]))
    refused(run(*verb, "pool.jsonl", "--model", "broken", "--strict", "--out", "out"), "--strict: 1 row rejected", "line 2")


def test_strict_asks_the_model_that_scores_too(go, broken):
    (broken / "chat_template.jinja").write_text(PICKY)
    content = b"\n".join([pair(1), pair(3)])
    refused(go("select", content, "--strict", "--scorer-model", "broken"), "--strict: 1 row rejected", "line 2", "no threes")


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def not_a_number(monkeypatch):
    def broken(model, encodings, **_):
        losses = np.ones(len(encodings))
        losses[0] = np.nan
        return losses, np.ones(len(encodings), dtype=np.int64)

    monkeypatch.setattr("curate.lm.forward.mean_losses", broken)


def test_a_held_out_loss_that_is_not_a_number(go, run, not_a_number):
    content = b"\n".join(pair(number) for number in range(8))
    said = "is not a finite number"
    refused(
        go("compare", content),
        "the arm ",
        "50% seed 0: the response_loss of 1 of 4 items of dev",
        said,
        "smaller learning rate",
        code=1,
    )
    refused(run("evaluate", "--eval", "dev.jsonl"), "the model base-4m: the response_loss of 1 of 4 items of dev", said, code=1)
