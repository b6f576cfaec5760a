"""Vectors kept in fewer bits: int8 with a scale for each row, or signs alone with the row's length.

int8  x is about code * scale, scale = max |x| / 127: an entry is off by half a scale at most.
1bit  x is about sign * length / sqrt(d). Of projected vectors, whose entries are about normal, the cosine with a whole vector
      comes out sqrt(2 / pi) = 0.80 of what it is, whichever the row, so the order stays but for noise of some
      sqrt((pi / 2 - 1) / d); that of two vectors of signs is 2 / pi arcsin(cosine).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curate.lm.gradient_config import Stored

CODES = pa.struct([("scale", pa.float32()), ("size", pa.int32()), ("codes", pa.binary())])


def stored_type(dtype: Stored) -> pa.DataType:
    """What Arrow keeps a vector as."""
    return {"float32": pa.list_(pa.float32()), "float16": pa.list_(pa.float16())}.get(dtype, CODES)


def encoded(vectors: Sequence[np.ndarray | None], dtype: Stored) -> list[np.ndarray | dict[str, object] | None]:
    """Vectors float [d], or None, as `stored_type` keeps them."""
    if dtype not in ("int8", "1bit"):
        return list(vectors)
    return [None if vector is None else _code(np.asarray(vector, np.float32), dtype) for vector in vectors]


def _code(vector: np.ndarray, dtype: Stored) -> dict[str, object]:
    if dtype == "1bit":
        scale = float(np.linalg.norm(vector.astype(np.float64))) / max(1, len(vector)) ** 0.5
        return {"scale": scale, "size": len(vector), "codes": np.packbits(vector >= 0).tobytes()}
    scale = float(np.abs(vector).max(initial=0)) / 127
    codes = np.rint(vector.astype(np.float64) / scale if scale else vector)
    return {"scale": scale, "size": len(vector), "codes": codes.astype(np.int8).tobytes()}


def decoded(column: pa.ChunkedArray, dtype: Stored) -> pa.ChunkedArray:
    """Lists of float32, null where there was none, of what is kept. Those of float32 and float16 stay as they are."""
    if dtype not in ("int8", "1bit"):
        return column
    return pa.chunked_array([_lists(chunk, dtype) for chunk in column.chunks], pa.list_(pa.float32()))


def _lists(chunk: pa.StructArray, dtype: Stored) -> pa.ListArray:
    there = chunk.is_valid().to_numpy(zero_copy_only=False)
    some = chunk.drop_null()
    scales, sizes, codes = (some.field(name) for name in ("scale", "size", "codes"))
    size = int(sizes[0].as_py()) if len(some) else 0  # one projection has one width
    flat = np.frombuffer(b"".join(codes.to_pylist()), np.uint8).reshape(len(some), size if dtype == "int8" else -(-size // 8))
    values = flat.view(np.int8) if dtype == "int8" else 2.0 * np.unpackbits(flat, axis=1, count=size).astype(np.float32) - 1
    values = values * scales.to_numpy(zero_copy_only=False).astype(np.float32)[:, None]
    offsets = np.concatenate([[0], np.cumsum(np.where(there, size, 0))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, values.ravel(), mask=pa.array(~there))
