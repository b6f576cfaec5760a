"""Datasets saved by the `datasets` library, and on the hub (which no test goes to)."""

from pathlib import Path
from typing import Any

import datasets
import pytest

from curate.errors import InputError
from curate.pool import read_pool

from .conftest import chat

RECORDS = [chat(f"q{i}", f"a{i}", score=i) for i in range(4)]


@pytest.fixture
def dataset() -> datasets.Dataset:
    return datasets.Dataset.from_list(RECORDS)


def test_saved_on_disk(dataset: datasets.Dataset, tmp_path: Path) -> None:
    dataset.save_to_disk(str(tmp_path / "saved"))
    pool = read_pool(tmp_path / "saved")
    assert sorted(pool.column("score").to_pylist()) == [0, 1, 2, 3]
    assert pool.rows["file"].to_pylist() == [str(tmp_path / "saved")] * 4
    dataset.select([3, 1]).save_to_disk(str(tmp_path / "some"))
    some = read_pool(tmp_path / "some")
    assert sorted(zip(some.column("score").to_pylist(), some.rows["line"].to_pylist(), strict=True)) == [(1, 2), (3, 1)]


def test_of_several_splits_train_is_read(dataset: datasets.Dataset, tmp_path: Path) -> None:
    datasets.DatasetDict({"train": dataset, "test": dataset.select([0])}).save_to_disk(str(tmp_path / "both"))
    assert len(read_pool(tmp_path / "both")) == 4
    datasets.DatasetDict({"dev": dataset, "test": dataset}).save_to_disk(str(tmp_path / "neither"))
    with pytest.raises(InputError, match="no split 'train'; the splits are dev, test; name one, such as .*neither/dev"):
        read_pool(tmp_path / "neither")
    assert len(read_pool(tmp_path / "neither" / "dev")) == 4


def test_a_broken_saved_dataset(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    with pytest.raises(InputError, match="saved: not a dataset that can be loaded"):
        read_pool(tmp_path / "saved")


@pytest.mark.parametrize("name", ["org/name", "hub:org/name"])
@pytest.mark.parametrize("limit", [None, 2])
def test_hub(name: str, limit: int | None, dataset: datasets.Dataset, monkeypatch: pytest.MonkeyPatch,
             tmp_path: Path) -> None:  # fmt: skip
    def load(asked: str, *, split: str, streaming: bool) -> Any:
        assert (asked, split, streaming) == ("org/name", "train", limit is not None)
        return dataset.to_iterable_dataset() if streaming else dataset

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    pool = read_pool(name, limit=limit)
    assert len(pool) == (limit or 4) and pool.report.files == ("hub:org/name",)


def test_hub_offline_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(*_: object, **__: object) -> Any:
        raise ConnectionError("Couldn't reach 'org/name' on the Hub\nwith a long tail\n of lines")

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        read_pool("org/name")
    assert str(error.value) == ("hub:org/name: the dataset cannot be loaded from the hub (Couldn't reach 'org/name' on the Hub)")
    with pytest.raises(InputError, match="looks like org/name"):
        read_pool("hub:name")


@pytest.mark.parametrize("reachable", [True, False])
def test_a_hub_out_of_reach_is_asked_once(reachable: bool, dataset: datasets.Dataset, monkeypatch: pytest.MonkeyPatch,
                                          tmp_path: Path) -> None:  # fmt: skip
    """The library's own attempts take half a minute, so it is told that there is no network."""
    import huggingface_hub
    from huggingface_hub import constants

    asked, seen = [], []

    def info(_: object, name: str, timeout: float) -> None:
        asked.append(name)
        if not reachable:
            raise ConnectionError("no network")

    def load(*_: object, **__: object) -> Any:
        seen.append((constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE))
        return dataset

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    assert len(read_pool("org/name")) == 4
    assert asked == ["org/name"] and seen == [(not reachable, not reachable)]
    assert (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE) == (False, False)
