"""What a model that draws answers in the tests: PNG files of 8 x 8 pixels, each made of its request and number."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator

from control_plane.domain.tensors import Inference, Prediction, bytes_tensor, pack, text_tensor

SIZE = 8


def draws(inference: Inference) -> bool:
    return any(tensor.name == "seed" for tensor in inference.inputs)


def steps_and_images(inference: Inference) -> Iterator[Prediction]:
    """The steps if they are asked for, then the images: of the same request, seed and options the same bytes."""
    options = dict(inference.parameters)
    steps, count = int(options["num_steps"]), int(options.get("num_images", 1))
    if options["stream"]:
        for step in range(1, steps + 1):
            yield Prediction((pack("step", "INT32", (1,), [step]), pack("num_steps", "INT32", (1,), [steps])), False)
    told = [(tensor.name, tensor.raw.hex()) for tensor in inference.inputs]
    asked = json.dumps([told, options.get("label"), options.get("guidance"), steps])
    images = [image(f"{asked} {index}") for index in range(count)]
    parts = ["parts-encoder--r1", "parts-unet--r1"] if len(told) > 1 else ["parts-unet--r1"]
    stages = json.dumps([{"model": part, "time_ms": 1.5} for part in parts])
    yield Prediction(
        (
            bytes_tensor("images", (count,), images),
            pack("size", "INT32", (2,), [SIZE, SIZE]),
            text_tensor("stages", stages),
        )
    )


def image(of: str) -> bytes:
    """A PNG file in grey; other words give another one."""
    grey = hashlib.sha512(of.encode()).digest()
    rows = b"".join(b"\0" + grey[at : at + SIZE] for at in range(0, SIZE * SIZE, SIZE))
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
