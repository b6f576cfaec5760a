import numpy as np
import pyarrow as pa
import pytest

from curate.pool import gather as module
from curate.pool.gather import gather, gather_table


def test_any_order_over_many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    values = [[{"x": str(i)}] * (i % 3) for i in range(100)]
    type_ = pa.list_(pa.struct([("x", pa.string())]))
    chunks = [pa.array(values[at : at + 13], type_) for at in range(0, 100, 13)]
    chunks.insert(2, pa.array([], type_))
    positions = np.random.default_rng(0).integers(0, 100, 250)
    assert gather(chunks, positions, type_).to_pylist() == [values[i] for i in positions]
    table = pa.table({"a": pa.chunked_array(chunks), "b": range(100)})
    assert gather_table(table, positions)["b"].to_pylist() == positions.tolist()


def test_nothing() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert gather([], none, pa.string()).type == pa.string()
    assert gather([pa.array(["a"])], none, pa.string()).to_pylist() == []
    assert gather_table(pa.table({"a": [1]}), none).num_rows == 0


def test_a_block_too_large_for_one_array_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._gather_block

    def small_only(chunks: object, starts: object, positions: np.ndarray) -> pa.Array:
        if len(positions) > 3:
            raise pa.ArrowInvalid("offset overflow while concatenating arrays")
        return real(chunks, starts, positions)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_gather_block", small_only)
    positions = np.arange(10)[::-1]
    assert gather([pa.array([str(i) for i in range(10)])], positions, pa.string()).to_pylist() == list("9876543210")
