"""What identifies a model, and loading it without reading a pickle."""

import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer

from curate.engine import Engine
from curate.errors import InputError
from curate.lm.models import (
    TOKENIZER_FILES,
    WEIGHT_FILES,
    ModelSpec,
    context_length,
    hash_files,
    load_model,
    load_tokenizer,
    parameter_count,
    resolve_device,
    resolve_dtype,
)
from curate.pool import read_pool
from curate.store import Store


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "copy")


def test_a_fingerprint_is_of_the_contents(tiny, copy):
    assert hash_files(tiny, WEIGHT_FILES) == hash_files(copy, WEIGHT_FILES)
    weights, tokenizer = hash_files(copy, WEIGHT_FILES), hash_files(copy, TOKENIZER_FILES)
    assert weights != tokenizer and len(weights) == 32
    (copy / "generation_config.json").write_text("{}")
    assert (hash_files(copy, WEIGHT_FILES), hash_files(copy, TOKENIZER_FILES)) == (weights, tokenizer)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(data))
    assert hash_files(copy, WEIGHT_FILES) != weights and hash_files(copy, TOKENIZER_FILES) == tokenizer
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert hash_files(copy, TOKENIZER_FILES) != tokenizer


def test_a_file_is_read_once(copy):
    cache = {}
    found = hash_files(copy, WEIGHT_FILES, cache)
    assert len(cache) == 2
    assert hash_files(copy, WEIGHT_FILES, dict.fromkeys(cache, "from the cache")) != found
    assert hash_files(copy, WEIGHT_FILES, cache) == found
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")  # another size: the cache does not hold
    assert hash_files(copy, WEIGHT_FILES, cache) != found


def test_parameters_and_context_are_read_from_the_files(tiny, base4m):
    model = load_model(tiny, device="cpu", dtype="float32")
    assert parameter_count(tiny) == sum(p.numel() for p in model.parameters())
    assert parameter_count(base4m) == 4_229_568
    assert (context_length(tiny), context_length(base4m)) == (256, 512)


def test_other_configs_state_their_context_elsewhere(tmp_path):
    for config, want in (({"n_positions": 7}, 7), ({"text_config": {"max_position_embeddings": 9}}, 9), ({}, None)):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert context_length(tmp_path) == want


def test_a_loaded_model_is_ready_to_score(tiny):
    model = load_model(tiny, device="cpu", dtype="bfloat16")
    assert not model.training and {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert load_tokenizer(tiny).is_fast


def test_a_spec_names_its_folder(tiny):
    assert ModelSpec(str(tiny)).folder() == tiny.resolve()
    assert ModelSpec(str(tiny)).label == "tiny" and ModelSpec("org/name").label == "org/name"


@pytest.mark.parametrize("name", ["no-such-model", "./no/such", "a/b/c", "/nowhere"])
def test_a_folder_that_is_not_there(name):
    with pytest.raises(InputError, match="there is no model folder"):
        ModelSpec(name).folder()


def test_a_model_that_the_hub_does_not_give():
    with pytest.raises(InputError, match="neither a folder nor to be had from the hub"):
        ModelSpec("no-such-org/no-such-model").folder()


def test_a_folder_without_a_model(tmp_path, copy):
    with pytest.raises(InputError, match="has no config.json"):
        ModelSpec(str(tmp_path)).folder()
    (copy / "config.json").write_text('{"model_type": "bert"}')
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(copy, device="cpu", dtype="float32")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_tokenizer(tmp_path)


def test_no_pickle_is_read(copy):
    (copy / "model.safetensors").unlink()
    torch.save(load_model_weights(), copy / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(copy, device="cpu", dtype="float32")


def load_model_weights():
    return {"model.norm.weight": torch.ones(32)}


def test_a_damaged_file_is_one_sentence(copy):
    (copy / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="cannot be loaded") as error:
        load_model(copy, device="cpu", dtype="float32")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("dtype", "device", "want"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "mps", "float32"),
        ("auto", "cuda:1", "bfloat16"),
        ("bf16", "cpu", "bfloat16"),
        ("fp16", "cuda", "float16"),
        ("float32", "cuda", "float32"),
    ],
)
def test_dtypes(dtype, device, want):
    assert resolve_dtype(dtype, device) == want


def test_what_is_asked_for_is_taken():
    assert resolve_device("cpu") == "cpu" and resolve_device() in ("cpu", "cuda", "mps")
    with pytest.raises(InputError, match="'int8' is not one of auto"):
        resolve_dtype("int8", "cpu")


def test_an_added_token_beyond_the_embedding_costs_the_rows_that_have_it(tiny, tmp_path, make_pool):
    """As Gemma 3's token for images, which its text models have no embedding for."""
    folder = shutil.copytree(tiny, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    assert len(tokenizer) == 8193 == tokenizer.convert_tokens_to_ids("<image>") + 1

    def turns(i):
        return [{"role": "user", "content": "See <image>." if i == 1 else f"See {i}."}, {"role": "assistant", "content": "Yes."}]

    pool = read_pool(make_pool(range(3), messages=turns))
    engine = Engine(store=Store(tmp_path / "store"))
    usable, _, failed = engine.add("pool", pool, ModelSpec(str(folder)))
    assert len(usable) == 2 and list(failed.values()) == ["its token 8192 is beyond the 8,192 rows of the model's embedding"]
    assert engine.add("pool", pool, ModelSpec(str(folder)))[2] == failed


@pytest.mark.parametrize(
    "vocabulary, more, highest", [({"a": 0, "b": 7}, [], 7), ([["a", 0.0], ["b", -1.0]], [], 1), ({"a": 3}, [9], 3)]
)
def test_a_tokenizer_with_ids_that_the_embedding_has_not(tmp_path, vocabulary, more, highest):
    tokenizer = {"model": {"vocab": vocabulary}, "added_tokens": [{"id": number} for number in more]}
    for rows in (highest, highest + 1):
        folder = tmp_path / str(rows)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"text_config": {"vocab_size": rows}}))
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        if rows > highest:
            assert ModelSpec(str(folder)).folder() == folder
        else:
            with pytest.raises(InputError, match=f"ids up to {highest}, but the model's embedding has only {rows} rows"):
                ModelSpec(str(folder)).folder()


def test_a_relative_name_is_of_the_working_folder(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "config.json").write_text("{}")
        monkeypatch.chdir(tmp_path / name)
        assert ModelSpec("model").folder() == tmp_path / name / "model"


def test_a_plain_tokenizer_is_the_one_that_transformers_takes(base4m, tiny):
    """The short way, which needs no torch, leads to the same object."""
    for folder in (base4m, tiny):
        ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
        assert type(ours) is type(theirs) and ours.init_kwargs == theirs.init_kwargs
        assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
        assert ours.chat_template == theirs.chat_template and ours.special_tokens_map == theirs.special_tokens_map
