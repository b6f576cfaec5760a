"""Datasets as the Hugging Face `datasets` library holds them: saved on disk, or on the hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.errors import InputError
from curate.pool.batches import BATCH_ROWS

SPLIT = "train"


def saved_tables(folder: Path) -> Iterator[pa.Table]:
    """A dataset saved with `save_to_disk`; of several splits, train. Raises InputError naming the splits there are."""
    import datasets

    try:
        data: Any = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise InputError(f"{folder}: not a dataset that can be loaded ({_first_line(error)})") from None
    if isinstance(data, datasets.DatasetDict):
        if SPLIT not in data:
            where = f"name one, such as {folder / next(iter(data))}" if data else "there are none"
            raise InputError(f"{folder}: no split '{SPLIT}'; the splits are {', '.join(data) or 'none'}; {where}")
        data = data[SPLIT]
    yield from data.with_format("arrow").iter(BATCH_ROWS)


def hub_tables(name: str, limit: int | None) -> Iterator[pa.Table]:
    """The train split of a dataset on the hub; streamed where only the first rows are wanted.

    Raises InputError in one sentence when it cannot be had: offline, unknown, private, or without that split.
    """
    import datasets

    try:
        with _offline_where_unreachable(name):
            data: Any = datasets.load_dataset(name, split=SPLIT, streaming=limit is not None)
        if limit is not None:
            data = data.take(limit)
        yield from data.with_format("arrow").iter(BATCH_ROWS)
    except (pa.ArrowException, InputError, GeneratorExit):
        raise
    except Exception as error:  # the library raises what its parts raise: network, hub, builder
        raise InputError(f"hub:{name}: the dataset cannot be loaded from the hub ({_first_line(error)})") from None


@contextmanager
def _offline_where_unreachable(name: str) -> Iterator[None]:
    """Without a network the library tries for half a minute: one request tells, and then only what was fetched is looked at."""
    import datasets
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    try:
        if not any(before):
            HfApi().dataset_info(name, timeout=10)
    except HfHubHTTPError:
        pass  # the hub has answered; the library says better what is missing
    except Exception:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _first_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first if len(first) <= 300 else first[:297] + "..."
