"""What perf_analyzer reads and writes: its input data, its options, its report, its last words.

Source: Perf Analyzer, docs/input_data.md, docs/cli.md; what they leave open was tried with 2.51.0.
"""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from control_plane.domain.errors import EngineFailed, InvalidRequest
from control_plane.domain.tensors import BYTES, Parameter, Tensor, bytes_elements, bytes_tensor
from control_plane.gateways.processes.scrubbing import scrubbed
from control_plane.ports import Profile, ProfileRequest

WINDOWS = 3  # perf_analyzer calls what it measured stable when its last three windows agree
# They always do with this (percent): how sure a number is, the caller finds out by measuring again.
_STABILITY_PERCENT = 999_999
_WARM_UP = 2  # requests of each concurrent caller before the first window
_INT_MAX = 2**31 - 1
_COUNT = re.compile(r"^\s*Request count: (\d+)", re.MULTILINE)
_TOO_SHORT = "use a larger time window"
Elements = TypeVar("Elements", bytes, list[bytes])
_SAID = re.compile(r"^(?:Thread \[\d+\] had error|[Ee]rror): *(.+)", re.MULTILINE)


def input_data(requests: Sequence[tuple[Tensor, ...]], *, has_batch_axis: bool) -> tuple[str, int]:
    """The JSON of `--input-data`, and the batch size `-b`.

    With a batch axis perf_analyzer takes rows without it, and batches that many of them which follow each other.
    Raises: InvalidRequest where requests differ in their number of rows, or have several and differ in shape.
    """
    if not requests:
        raise InvalidRequest("a profile needs at least one request to send")
    steps, rows = list(requests), 1
    if has_batch_axis:
        rows = _rows(requests)
        steps = [row for request in requests for row in _split(request, rows)]
    entries = [{tensor.name: _entry(tensor) for tensor in step} for step in steps]
    return json.dumps({"data": entries}), rows


def options(request: ProfileRequest, data: Path, report: Path, rows: int, window_s: float) -> list[str]:
    """The command line without the program. Raises InvalidRequest for a parameter that it cannot carry."""
    windows = {
        "--measurement-interval": max(1, round(window_s * 1000)),
        "--max-trials": WINDOWS,
        "--stability-percentage": _STABILITY_PERCENT,
        "--warmup-request-count": _WARM_UP * request.concurrency,
        "--concurrency-range": request.concurrency,
    }
    parameters = [word for name, value in request.parameters for word in ("--request-parameter", _told(name, value))]
    return [
        *("-m", request.directory, "-u", request.address, "-i", "grpc", "--async", "-b", str(rows)),
        *(["--streaming"] if request.is_streaming else []),
        *("--input-data", str(data), "-f", str(report)),
        *(word for name, value in windows.items() for word in (name, str(value))),
        *parameters,
    ]


def profile_of(request: ProfileRequest, report: str, said: str, rows: int, tool: str) -> Profile:
    """A report (CSV), with the number of requests from what was said beside it. Latencies are microseconds there.

    A stream's latency ends with its last answer that holds anything, though it says "using the first response".
    Source: perf_analyzer, src/inference_profiler.cc, ValidLatencyMeasurement.
    """
    lines, count = list(csv.DictReader(report.splitlines())), _COUNT.search(said)
    try:
        line = lines[0]
        p50, p95, p99 = (float(line[f"p{share} latency"]) / 1e6 for share in (50, 95, 99))
        rate = float(line["Inferences/Second"]) / rows
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise EngineFailed("perf_analyzer wrote no report that can be read") from error
    if count is None or not rate:
        raise EngineFailed("perf_analyzer reports no request that was answered")
    return Profile(tool, request.concurrency, rate, p50, p95, p99, int(count[1]))


def is_too_short(said: str) -> bool:
    """A window in which no request came to its end."""
    return _TOO_SHORT in said


def last_words(said: str, returncode: int) -> str:
    """Why it ended with this code, fit for a client."""
    found = _SAID.search(said)
    if found is not None:
        return scrubbed(found[1])
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return scrubbed(lines[-1]) if lines else f"it ended with code {returncode}"


def _rows(requests: Sequence[tuple[Tensor, ...]]) -> int:
    counts = {tensor.shape[0] if tensor.shape else 0 for request in requests for tensor in request}
    if len(counts) != 1 or 0 in counts:
        told = ", ".join(map(str, sorted(counts)))
        raise InvalidRequest(f"perf_analyzer sends equally many rows with each request; these have {told}")
    shapes = {tuple((tensor.name, tensor.shape) for tensor in request) for request in requests}
    if counts != {1} and len(shapes) > 1:
        raise InvalidRequest("perf_analyzer sends requests of several rows only where all of them have the same shapes")
    return counts.pop()


def _split(request: tuple[Tensor, ...], rows: int) -> list[tuple[Tensor, ...]]:
    return list(zip(*(_split_tensor(tensor, rows) for tensor in request), strict=True))


def _split_tensor(tensor: Tensor, rows: int) -> list[Tensor]:
    shape = tensor.shape[1:]
    if tensor.datatype == BYTES:
        texts = list(bytes_elements(tensor.raw))
        return [bytes_tensor(tensor.name, shape, part) for part in _parts(texts, rows)]
    return [Tensor(tensor.name, tensor.datatype, shape, part) for part in _parts(tensor.raw, rows)]


def _parts(whole: Elements, count: int) -> list[Elements]:
    size = len(whole) // count
    return [whole[number * size : (number + 1) * size] for number in range(count)]


def _entry(tensor: Tensor) -> dict[str, object]:
    """Raw bytes, for every datatype: BYTES keep the length before each element."""
    return {"b64": base64.b64encode(tensor.raw).decode(), "shape": list(tensor.shape)}


def _told(name: str, value: Parameter) -> str:
    """`name:value:type`. What Triton's client would drop (double) or fail at (int64) goes as text."""
    if isinstance(value, bool):
        text, kind = str(value).lower(), "bool"
    elif isinstance(value, int) and abs(value) <= _INT_MAX:
        text, kind = str(value), "int"
    else:
        text, kind = str(value), "string"
    if not name or ":" in name or ":" in text:
        raise InvalidRequest(f"perf_analyzer cannot carry the parameter {name!r}: a colon ends its name or value")
    return f"{name}:{text}:{kind}"
