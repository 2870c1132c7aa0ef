"""Requests to measure a served model with, each other inputs of the same shape."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from converters.contract import JsonObject, Sampled, SampleRequest, TensorFact
from converters.formats import Artifact, Format
from converters.onnx_graphs.files import inputs_of
from converters.recipe import Refused
from converters.recognition import recognize
from converters.samples.cutting import Cutter
from converters.samples.data_files import read_texts, thinned
from converters.samples.tensors import DTYPES, fixed_rows, rows_of_file, sample, shape_of
from converters.samples.texts import Part, sentences
from converters.text_files import open_tokenizer

FILE = "sample.json"
# Left for the answer: what is measured is a generation, not the end of a context.
_NEW_TOKENS = 32
_TEXTS = 256
_JSON_BYTES_MAX = 64 * 2**20
# Other random numbers than those of checks and evaluations.
_SEED = 70_000
# Digits of a random number: enough for any precision, and a third of what a double is written with.
_DIGITS = 4

Request = list[JsonObject]


def write_sample(request: SampleRequest, folder: Path) -> Sampled:
    """Raises Refused."""
    for name in ("count", "rows", "length"):
        if type(getattr(request, name)) is not int or getattr(request, name) < 1:
            raise Refused(f"{name} of a sample must be a whole number above 0, got {getattr(request, name)!r}")
    if not Path(request.model).is_dir():
        raise Refused("a model to measure is given as the folder of its graph")
    model = recognize(Path(request.model), folder)
    makers = {Format.TEXT_GENERATION: _prompts, Format.TEXT_ENCODER: _texts, Format.ONNX: _tensors}
    if model.format not in makers:
        raise Refused(f"a model in the format {model.format.value} is not served as it is")
    file = folder / FILE
    file.write_text(_document(makers[model.format](model, request)), "utf-8")
    return Sampled(str(file))


def _document(requests: Iterator[Request]) -> str:
    written, size = [], 0
    for request in requests:
        # NaN would be no JSON.
        written.append(json.dumps(request, ensure_ascii=False, allow_nan=False))
        size += len(written[-1])
        if size > _JSON_BYTES_MAX:
            raise Refused(_too_large())
    return f'{{"requests": [{", ".join(written)}]}}'


def _too_large() -> str:
    return f"the requests are over {_JSON_BYTES_MAX // 2**20} MiB; ask for fewer rows or a shorter length"


def _prompts(model: Artifact, request: SampleRequest) -> Iterator[Request]:
    from converters.causal_lm.files import read_facts

    length = max(1, min(request.length, read_facts(model.directory).context_length - _NEW_TOKENS))
    cutter, step = _cutter(model, request)
    for number in range(request.count):
        yield [_input("text_input", "BYTES", [1], [cutter.text(number * step, length)])]


def _texts(model: Artifact, request: SampleRequest) -> Iterator[Request]:
    from converters.text_encoders.files import read_facts

    length = min(request.length, read_facts(model.directory).max_tokens)
    cutter, step = _cutter(model, request)
    for number in range(request.count):
        begins = range(number * request.rows, (number + 1) * request.rows)
        texts = [cutter.text(begin * step, length) for begin in begins]
        yield [_input("text_input", "BYTES", [request.rows, 1], texts)]


def _cutter(model: Artifact, request: SampleRequest) -> tuple[Cutter, int]:
    """And how far apart the texts begin, so that few of them are read twice."""
    if request.data is None:
        texts = list(islice(sentences(Part.EVALUATION), _TEXTS))
    else:
        texts = [one.text for one in thinned(read_texts(Path(request.data)), _TEXTS)]
    return Cutter(open_tokenizer(model.directory), texts), max(1, len(texts) // (request.count * request.rows))


def _tensors(model: Artifact, request: SampleRequest) -> Iterator[Request]:
    facts = inputs_of(model.graph)
    if request.data is not None:
        yield from _given(Path(request.data), facts, request)
        return
    shapes = [shape_of(fact, request.rows, request.length) for fact in facts]
    if sum(math.prod(shape) for shape in shapes) * request.count > _JSON_BYTES_MAX:  # before they are made
        raise Refused(_too_large())
    for number in range(request.count):
        arrays = sample(facts, request.rows, request.length, _SEED + number)
        yield _request(facts, {name: _short(array) for name, array in arrays.items()})


def _given(file: Path, facts: Sequence[TensorFact], request: SampleRequest) -> Iterator[Request]:
    """Rows of a file in turn, from its beginning again where it ends."""
    import numpy as np

    rows = rows_of_file(file, facts)
    count = len(next(iter(rows.values())))
    taken = fixed_rows(facts) or request.rows
    for number in range(request.count):
        places = np.arange(number * taken, (number + 1) * taken) % count
        yield _request(facts, {name: array[places] for name, array in rows.items()})


def _request(facts: Sequence[TensorFact], arrays: dict[str, Any]) -> Request:
    return [
        _input(fact.name, fact.datatype, list(arrays[fact.name].shape), arrays[fact.name].ravel().tolist())
        for fact in facts
    ]


def _short(array: Any) -> Any:
    return array.astype(DTYPES["FP64"]).round(_DIGITS) if array.dtype.kind == "f" else array


def _input(name: str, datatype: str, shape: list[int], values: list[Any]) -> JsonObject:
    return {"name": name, "datatype": datatype, "shape": shape, "data": values}
