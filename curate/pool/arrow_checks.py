"""What must hold of a table that others wrote before its rows become Python objects, and that they can be written again."""

from collections.abc import Iterator

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import InputError
from curate.pool import reasons
from curate.pool.reasons import listed

_PLAIN = 8  # bytes of what is neither text nor a collection
_YEARS = (-62_135_596_800, 253_402_300_799)  # seconds since 1970 at which the years 1 and 9999 begin and end
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400


def row_bytes(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """int64 [n]: how large each value is once it stands by itself, not shared in a dictionary."""
    if isinstance(column, pa.ChunkedArray):
        return np.concatenate([np.zeros(0, np.int64), *(row_bytes(chunk) for chunk in column.chunks)])
    type_ = column.type
    if pa.types.is_dictionary(type_):
        sizes = np.append(row_bytes(column.dictionary), 0)
        return sizes[column.indices.fill_null(len(sizes) - 1).to_numpy(zero_copy_only=False).astype(np.int64)]
    if _is_text(type_):
        return _numbers(pc.binary_length(column))
    if pa.types.is_fixed_size_binary(type_):
        return np.full(len(column), type_.byte_width, np.int64)
    if pa.types.is_struct(type_):
        return sum((row_bytes(field) for field in column.flatten()), np.full(len(column), _PLAIN, np.int64))
    if pa.types.is_map(type_):
        column = column.cast(pa.list_(pa.struct([("key", type_.key_type), ("value", type_.item_type)])))
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        lengths = _numbers(pc.list_value_length(column))
        sums = np.append(0, np.cumsum(row_bytes(column.flatten()) + _PLAIN))
        ends = np.cumsum(lengths)
        return sums[ends] - sums[ends - lengths]
    return np.full(len(column), _PLAIN, np.int64)


def _numbers(column: pa.Array) -> np.ndarray:
    return column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _is_text(type_: pa.DataType) -> bool:
    return any(
        check(type_)
        for check in (
            pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary
        )
    )  # fmt: skip


def check_schema(schema: pa.Schema, name: str) -> None:
    """Raises InputError for columns of one name, and for one of a type that JSON and Parquet cannot both hold."""
    twice = sorted({column for column in schema.names if schema.names.count(column) > 1})[:1]
    if twice:
        raise InputError(f"{name}: more than one column is called {listed(twice)}")
    for field in schema:
        for type_ in _types(field.type):
            if why := _unwritable_type(type_):
                raise InputError(f"{name}: the column {listed([field.name])} {why}; cast it to another type, or leave it out")


def _types(type_: pa.DataType) -> Iterator[pa.DataType]:
    """A type and all that are inside it."""
    yield type_
    for inner in [type_.value_type] if pa.types.is_dictionary(type_) else [type_.field(i).type for i in range(type_.num_fields)]:
        yield from _types(inner)


def _unwritable_type(type_: pa.DataType) -> str:
    """Why values of a type cannot be written, without regard for what is inside it; nothing where they can."""
    if pa.types.is_struct(type_) and len({field.name for field in type_}) < type_.num_fields:
        return "has two fields of one name"
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        try:
            pa.scalar(0, type_).as_py()
        except Exception:  # of zoneinfo, pytz or Arrow
            return f"has the unknown time zone {listed([type_.tz])}"
    if pa.types.is_union(type_) or pa.types.is_interval(type_) or pa.types.is_run_end_encoded(type_) or "_view" in str(type_):
        return f"has the type {str(type_)[:60]}, which is not supported"
    return ""


def unwritable(table: pa.Table) -> list[str]:
    """For each row why JSON cannot hold it, of `curate.pool.reasons`; "" where it can.

    Arrow also holds text that is not UTF-8, and dates beyond the year 9999.

    Raises pa.ArrowInvalid for a table of which not only values are wrong.
    """
    suspicious = any(_out_of_range(leaf) for column in table.columns for chunk in column.chunks for leaf in _leaves(chunk))
    if not suspicious:
        try:
            table.validate(full=True)
            return [""] * len(table)
        except pa.ArrowInvalid:
            table.validate()
    return [_fault(table.take(pa.array([at]))) for at in range(len(table))]


def _fault(row: pa.Table) -> str:
    """Of a row by itself, not a slice: of one, Arrow looks at what lies beside it too."""
    try:
        row.validate(full=True)
        if any(_out_of_range(leaf) for column in row.columns for chunk in column.chunks for leaf in _leaves(chunk)):
            return reasons.UNWRITABLE
        orjson.dumps(row.to_pylist()[0], default=str)
    except (ValueError, OverflowError, orjson.JSONEncodeError, pa.ArrowException) as error:
        return reasons.NOT_UTF8 if "UTF8" in str(error) else reasons.UNWRITABLE
    return ""


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """The arrays of plain values in a column."""
    type_ = column.type
    if pa.types.is_dictionary(type_):
        yield from _leaves(column.dictionary)
    elif pa.types.is_struct(type_):
        for field in column.flatten():
            yield from _leaves(field)
    elif pa.types.is_map(type_):
        yield from _leaves(column.keys)
        yield from _leaves(column.items)
    elif type_.num_fields:
        yield from _leaves(column.flatten())
    else:
        yield column


def _out_of_range(column: pa.Array) -> bool:
    """Whether a value is a time that Python has not, or that changes its sign in the units of Parquet."""
    type_ = column.type
    if pa.types.is_date32(type_):
        column, unit = column.cast(pa.int32()), _DAY
        low, high = _YEARS[0] // unit, _YEARS[1] // unit
    elif pa.types.is_timestamp(type_) or pa.types.is_date64(type_) or pa.types.is_duration(type_):
        per_second = 10**3 if pa.types.is_date64(type_) else _PER_SECOND[type_.unit]
        low, high = (edge * per_second for edge in _YEARS)
        if pa.types.is_duration(type_):
            low, high = -high, high
        column = column.view(pa.int64())
    else:
        return False
    found = pc.min_max(column).as_py()
    return found["min"] is not None and (found["min"] < low or found["max"] > high)
