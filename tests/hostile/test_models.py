"""Folders of models that others made: no pickle is opened, and no code of theirs runs that nobody asked for."""

import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from curate.errors import InputError
from curate.lm.models import load_model, load_tokenizer


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "model")


def load(folder):
    return load_model(folder, device="cpu", dtype="float32")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "model.bin", "adapter_model.bin"])
@pytest.mark.parametrize("by", ["pickle", "torch"])
def test_pickled_weights_are_not_opened(folder, tmp_path, name, by):
    (folder / "model.safetensors").unlink()
    data = Evil(tmp_path / "pwned")
    (folder / name).write_bytes(pickle.dumps(data)) if by == "pickle" else torch.save(data, folder / name)
    with pytest.raises(InputError, match="cannot be loaded: ") as caught:
        load(folder)
    assert len(str(caught.value).splitlines()) == 1 and not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("file", ["pool.parquet", "pool.arrow", "pool.jsonl", "pool.json", "pool.csv", "pool.jsonl.gz"])
def test_a_pickle_under_the_name_of_a_pool_is_not_opened(tmp_path, file):
    from curate.pool import read_pool

    (tmp_path / file).write_bytes(pickle.dumps(Evil(tmp_path / "pwned")))
    with pytest.raises(InputError):
        read_pool(tmp_path / file)
    assert not (tmp_path / "pwned").exists()


def test_a_tokenizer_that_wants_its_own_code(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}, "tokenizer_class": "Own"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_tokenizer(folder)
    assert not (tmp_path / "pwned").exists()


def test_an_index_that_leads_out_of_the_folder(folder, tmp_path):
    """Weights by a path of the index: a file elsewhere is not to be had so, or is safetensors all the same."""
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.bin")
    (folder / "elsewhere.bin").write_bytes(pickle.dumps(Evil(tmp_path / "pwned")))
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "elsewhere.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="names elsewhere.bin, which is not a safetensors file beside it"):
        load(folder)
    assert not (tmp_path / "pwned").exists()


def test_weights_that_are_not_all_there(folder):
    """Nothing is scored by random numbers in their place."""
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="its weights lack model.layers.1.mlp.up_proj.weight"):
        load(folder)


@pytest.mark.parametrize("header", [b"\xff" * 8, (10**9).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"{}"])
def test_safetensors_that_lie_about_their_header(folder, header):
    (folder / "model.safetensors").write_bytes(header)
    with pytest.raises(InputError, match="cannot be loaded"):
        load(folder)
