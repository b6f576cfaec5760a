"""Sentence encoders against the library's own encode, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from curate.embedding import sentence
from curate.embedding.sentence import ENCODER_FILES, NOT_FINITE, SentenceModel, encoder_folder
from curate.errors import CurateError, InputError
from curate.lm.models import hash_files

TEXTS = [f"{'so ' * (i % 7)}what is {i} plus {i * 3}?" for i in range(30)]


def test_the_library_says_the_same(encoder, monkeypatch):
    from sentence_transformers import SentenceTransformer

    want = np.stack([SentenceTransformer(str(encoder), device="cpu").encode(text) for text in TEXTS[:4]])
    model = SentenceModel(str(encoder), "cpu")
    found = model.encode(TEXTS)
    assert found[0].dtype == np.float32 and found[0].shape == (16,)
    np.testing.assert_allclose(np.stack(found[:4]), want, atol=1e-5)
    monkeypatch.setattr(sentence, "BATCH_CHARACTERS", 60)
    np.testing.assert_allclose(np.stack(model.encode(TEXTS)), np.stack(found), atol=1e-5)
    assert len({vector.tobytes() for vector in found}) == 30


def test_results_are_those_of_this_version(encoder):
    """When this fails and the library is the same, the same texts get other vectors: raise EMBED_VERSION."""
    from curate.embedding.record import EMBED_VERSION

    [vector] = SentenceModel(str(encoder), "cpu").encode(["one and two"])
    np.testing.assert_allclose(vector[:4], [1.3845, -1.5716, 1.3641, 0.3541], atol=1e-3)
    assert EMBED_VERSION == 1


def test_half_precision_weights_are_read_as_float32(encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    half = shutil.copytree(encoder, tmp_path / "half")
    [weights] = half.rglob("model.safetensors")
    save_file({key: value.half() for key, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    model = SentenceModel(str(half), "cpu")
    assert {p.dtype for p in model.model.parameters()} == {torch.float32}


def test_memory_that_runs_out_halves_the_batch(encoder, monkeypatch):
    model = SentenceModel(str(encoder), "cpu")
    want, real = model.encode(TEXTS), model.model.encode

    def scarce(texts, **keys):
        if len(texts) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(texts, **keys)

    monkeypatch.setattr(model.model, "encode", scarce)
    np.testing.assert_allclose(np.stack(model.encode(TEXTS)), np.stack(want), atol=1e-5)

    def none(texts, **keys):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.model, "encode", none)
    with pytest.raises(CurateError, match="runs out of memory on one text, 17 characters"):
        model.encode(TEXTS[:1])


def test_numbers_that_are_none_are_said(encoder, monkeypatch):
    model = SentenceModel(str(encoder), "cpu")
    monkeypatch.setattr(model.model, "encode", lambda texts, **keys: np.full((len(texts), 2), np.nan, np.float32))
    assert model.encode(TEXTS[:2]) == [NOT_FINITE] * 2


@pytest.mark.parametrize("file", ["modules.json", "1_Pooling/config.json", "tokenizer.json", "model.safetensors"])
def test_every_file_is_in_the_fingerprint(encoder, tmp_path, file):
    other = shutil.copytree(encoder, tmp_path / "other")
    assert hash_files(other, ENCODER_FILES) == hash_files(encoder, ENCODER_FILES)
    [path] = [path for path in other.rglob("*") if str(path).endswith(file)][:1]
    path.write_bytes(path.read_bytes() + b" ")
    assert hash_files(other, ENCODER_FILES) != hash_files(encoder, ENCODER_FILES)


@pytest.fixture
def broken(encoder, tmp_path):
    encoder_folder.cache_clear()
    yield shutil.copytree(encoder, tmp_path / "broken")
    encoder_folder.cache_clear()


def test_code_of_the_repository_does_not_run(broken):
    modules = json.loads((broken / "modules.json").read_text())
    modules[0]["type"] = "own.Evil"
    (broken / "modules.json").write_text(json.dumps(modules))
    (broken / "own.py").write_text("raise SystemExit('it ran')\n")
    with pytest.raises(InputError, match="the embedder .*broken cannot be loaded"):
        SentenceModel(str(broken), "cpu")


def test_pickled_weights_are_not_read(broken):
    [weights] = broken.rglob("model.safetensors")
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(InputError, match="has pickled weights, .*pytorch_model.bin; only safetensors are read"):
        encoder_folder(str(broken))


def test_what_is_not_to_be_had(broken, tmp_path, monkeypatch):
    [weights] = broken.rglob("model.safetensors")
    weights.write_bytes(b"{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        SentenceModel(str(broken), "cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is not a sentence-transformers model: it has neither"):
        encoder_folder(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="embedder org/gone is neither a folder nor to be had from the hub"):
        encoder_folder("org/gone")
    monkeypatch.setattr(sentence, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package sentence-transformers: pip install 'curate\[embed\]'"):
        encoder_folder("org/other")
