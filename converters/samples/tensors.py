"""Inputs to try a tensor model on: reproducible, and of values that most models can take."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.contract import TensorFact
from converters.recipe import Refused

DTYPES = {"FP32": "float32", "FP64": "float64", "FP16": "float16", "BOOL": "bool", "INT8": "int8", "INT16": "int16",
          "INT32": "int32", "INT64": "int64", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32",
          "UINT64": "uint64"}  # fmt: skip
BATCH = 2
# A free axis that is no batch may be an image's side or a text's length: enough for a few strided convolutions.
AXIS = 32
_SEED = 2026
# Of an .npz, unpacked: all of it is read at once.
ARRAYS_BYTES_MAX = 2**30


def sample(facts: Sequence[TensorFact], batch: int = BATCH, axis: int = AXIS, seed: int = _SEED) -> dict[str, Any]:
    """One array for each input. Whole numbers are 0 or 1, so that they are in every vocabulary; masks are all ones.

    Raises: Refused for strings, which have no sane random value.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    arrays = {}
    for fact in facts:
        if fact.datatype not in DTYPES:
            raise Refused(f"the input {fact.name!r} is {fact.datatype}: such inputs cannot be tried without examples")
        shape = shape_of(fact, batch, axis)
        dtype = np.dtype(DTYPES[fact.datatype])
        if dtype.kind == "f":
            arrays[fact.name] = random.standard_normal(shape).astype(dtype)
        elif "mask" in fact.name.lower():
            arrays[fact.name] = np.ones(shape, dtype)
        else:
            arrays[fact.name] = random.integers(0, 2, shape).astype(dtype)
    return arrays


def shape_of(fact: TensorFact, batch: int, axis: int) -> list[int]:
    """With `batch` for a free first axis, `axis` for the other free ones."""
    free = (batch, *[axis] * len(fact.shape))
    return [size if size >= 0 else free[position] for position, size in enumerate(fact.shape)]


def rows_of_file(file: Path, facts: Sequence[TensorFact]) -> dict[str, Any]:
    """The arrays of an .npz, one for each input, [rows, ...]. Raises: Refused for what does not fit the inputs."""
    arrays = arrays_of_file(file)
    missing = {fact.name for fact in facts} - set(arrays)
    if missing:
        raise Refused(f"{file.name} has no array {min(missing)!r}; it has: {', '.join(sorted(arrays))}")
    rows = {len(arrays[fact.name]) if arrays[fact.name].ndim else 0 for fact in facts}
    if len(rows) != 1 or rows == {0}:
        raise Refused(f"the arrays of {file.name} must have equally many rows, at least one; they have {sorted(rows)}")
    return {fact.name: _fitting(arrays[fact.name], fact, file.name) for fact in facts}


def arrays_of_file(file: Path) -> dict[str, Any]:
    """Raises: Refused."""
    import numpy as np

    if not file.is_file():
        raise Refused(f"there is no file {file.name}")
    if _unpacked_bytes(file) > ARRAYS_BYTES_MAX:
        raise Refused(f"{file.name} holds over {ARRAYS_BYTES_MAX // 2**20} MiB; a part of its rows will do")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise Refused(f"{file.name} must be an .npz of arrays (numpy.savez), one for each input") from error


def _unpacked_bytes(file: Path) -> int:
    """An .npz may be compressed; what is none is found out when it is read."""
    try:
        with zipfile.ZipFile(file) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return file.stat().st_size


def _fitting(array: Any, fact: TensorFact, name: str) -> Any:
    rest = fact.shape[1:]
    fits = array.ndim == len(fact.shape) and all(
        wanted in (-1, found) for wanted, found in zip(rest, array.shape[1:], strict=True)
    )
    if not fits or fact.datatype not in DTYPES:
        raise Refused(
            f"the array {fact.name!r} of {name} has the shape {list(array.shape)}; "
            f"{fact.datatype} of [rows, {', '.join(map(str, rest))}] was expected"
        )
    converted = array.astype(DTYPES[fact.datatype])
    if converted.dtype.kind == "f" and not math.isfinite(float(abs(converted).max(initial=0))):
        raise Refused(f"the array {fact.name!r} of {name} holds values that are not finite")
    return converted


def fixed_rows(facts: Sequence[TensorFact]) -> int | None:
    """How many rows a graph takes at a time whose first axis is fixed; None: any number."""
    return next((max(1, fact.shape[0]) for fact in facts if fact.shape and fact.shape[0] >= 0), None)


def batches(rows: Mapping[str, Any], facts: Sequence[TensorFact], size: int) -> Iterator[dict[str, Any]]:
    """Slices of `size` rows; where the model's first axis is fixed, slices of just that many."""
    fixed, count = fixed_rows(facts), len(next(iter(rows.values())))
    step = fixed or min(size, count)
    for start in range(0, count if not fixed else count - step + 1, step):
        yield {fact.name: rows[fact.name][start : start + step] for fact in facts}
