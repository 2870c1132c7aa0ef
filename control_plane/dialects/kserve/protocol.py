"""KServe v2's words on HTTP, tensors as JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

Parameters = dict[str, bool | int | float | str]


class RequestInput(Struct):
    """`data` is flat or nested row by row."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: Parameters | None = None


class RequestOutput(Struct):
    name: str
    parameters: Parameters | None = None


class OpenInferenceRequest(Struct):
    inputs: list[RequestInput]
    id: str = ""
    parameters: Parameters | None = None
    outputs: list[RequestOutput] | None = None


class ResponseOutput(Struct):
    """A number that JSON has no word for (NaN, an infinite one) is null."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any]


class OpenInferenceResponse(Struct, omit_defaults=True):
    """`model_version` is the number of the revision that answered."""

    model_name: str
    model_version: str
    outputs: list[ResponseOutput]
    id: str = ""


decoder = msgspec.json.Decoder(OpenInferenceRequest)
encode = msgspec.json.Encoder().encode
