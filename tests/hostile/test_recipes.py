"""Recipes that others wrote: nothing runs, nothing grows, and what is wrong is said in one sentence."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.recipe import read_recipe
from curate.yamltext import MAX_BYTES, MAX_VALUES, NotYaml, parse_yaml

LAUGHS = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 60))])
MERGES = "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))])
HOSTILE = {
    "an object": ("pool: !!python/object/apply:os.system ['touch pwned']\nstages: [{train: {}}]\n", "could not determine a constructor"),
    "a new object": ("pool: !!python/object/new:os.system ['touch pwned']\n", "could not determine a constructor"),
    "a module": ("pool: !!python/module:os\n", "could not determine a constructor"),
    "a tag of its own": ("!pwn {}\n", "could not determine a constructor"),
    "laughs": (LAUGHS, f"with its aliases it has more than {MAX_VALUES:,} values"),
    "laughs in a field": (f"{LAUGHS}\npool: *a59\nstages: [{{train: {{}}}}]\n", "with its aliases it has more than"),
    "merges": (MERGES, "with its aliases it has more than"),
    "itself": ("pool: &a [*a]\nstages: []\n", "a value holds itself"),
    "itself as a key": ("&a ? *a\n: 1\n", ""),
    "depth": ("pool: " + "[" * 5000 + "]" * 5000, "too deeply nested"),
    "a date that is none": ("pool: 2024-99-99\n", "it is not YAML"),
    "a long line": ("pool: " + "x" * MAX_BYTES, "more than 1,048,576 bytes"),
    "many values": ("pool: [" + "x," * 20_000 + "]", "more than 10,000 values"),
    "a key that is a number": ("1: 2\npool: x\n", "not a mapping"),
    "two documents": ("pool: x\n---\npool: y\n", "line 2: "),
    "zeros": ("\x00\x01", "it is not YAML"),
    "an escape": ('pool: "\\e[31mred"\nstages: []\n', "key 'stages'"),
    "an unknown key with an escape": ('"\\e[31mred": 1\npool: x\nstages: [{train: {}}]\n', "there is no key"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_one_sentence(tmp_path, monkeypatch, name):
    text, words = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        read_recipe("recipe.yaml")
    assert time.process_time() - began < 10
    said = str(caught.value)
    assert said.startswith("the recipe recipe.yaml") and words in said and len(said.splitlines()) == 1 and len(said) < 400, said
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_aliases_that_are_few_are_read(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "pool: x\nstages:\n- train: &train {epochs: 2}\n- compare: {methods: [longest], evals: {a: b}, train: *train}\n"
    )
    recipe = read_recipe(tmp_path / "recipe.yaml")
    assert recipe.stages[1].compare.train.epochs == 2


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_a_file_without_an_end():
    with pytest.raises(InputError, match="more than"):
        read_recipe("/dev/zero")


WORDS = st.sampled_from([
    "pool", "stages", "&a", "*a", "<<", ":", "- ", "[", "]", "{", "}", ",", "?", "!!int", "!!timestamp", "!!binary", "!!set",
    "!!omap", "!!float", "|", ">", "'", '"', "\n", "  ", "0x", "1_", "2024-13-01", "%YAML 9", "---", "...", "\t", "#",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS | st.text(max_size=3), max_size=30))
def test_any_text_is_values_or_refused(words):
    data = "".join(words).encode(errors="surrogatepass")
    try:
        found = parse_yaml(data)
    except NotYaml as error:
        assert len(str(error).splitlines()) == 1
        return
    assert repr(found) == repr(yaml.safe_load(data.decode()))
