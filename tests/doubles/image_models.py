"""The smallest models that draw: a UNet of one convolution, an encoder of a few words, and the samplers over them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests.doubles import onnx_files as onnx

SIZE, WIDTH, TRAINED_STEPS, TEXT_LENGTH = 8, 4, 50, 6
LABELS = ("circle", "square")
WORDS = ("zero", "one", "two", "seven")
ALPHAS = [0.999 * (1 - (step + 1) / (TRAINED_STEPS + 1)) for step in range(TRAINED_STEPS)]
CONDITIONS = np.linspace(-1, 1, 3 * WIDTH, dtype=np.float32).reshape(3, WIDTH)  # one a label, then none

_OUTPUTS = """
output [
  { name: "step" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "num_steps" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "images" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "size" data_type: TYPE_INT32 dims: [ 2 ] },
  { name: "stages" data_type: TYPE_STRING dims: [ 1 ] }
]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
_SAMPLER = (
    'backend: "diffusion"\nmax_batch_size: 0\nmodel_transaction_policy { decoupled: true }\n'
    'input [ { name: "seed" data_type: TYPE_INT64 dims: [ 1 ] } ]\n'
)
_PROMPT = 'input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] } ]\n'
_PART = 'backend: "onnxruntime"\nmax_batch_size: 0\ninstance_group [ { count: 1 kind: KIND_CPU } ]\n'
_ONE_THREAD = 'parameters { key: "intra_op_thread_count" value: { string_value: "1" } }\n'
_UNET = """
input [
  { name: "sample" data_type: TYPE_FP32 dims: [ -1, 1, 8, 8 ] },
  { name: "timestep" data_type: TYPE_INT64 dims: [ -1 ] },
  { name: "condition" data_type: TYPE_FP32 dims: [ -1, 4 ] }
]
output [ { name: "noise" data_type: TYPE_FP32 dims: [ -1, 1, 8, 8 ] } ]
"""
_ENCODER = """
input [
  { name: "input_ids" data_type: TYPE_INT64 dims: [ 1, -1 ] },
  { name: "attention_mask" data_type: TYPE_INT64 dims: [ 1, -1 ] }
]
output [ { name: "condition" data_type: TYPE_FP32 dims: [ 1, 4 ] } ]
"""


def write_unet(folder: Path) -> Path:
    """noise = conv(sample) + condition . w + timestep / 100, so that each input counts."""
    _write(folder, _PART + _UNET + _ONE_THREAD)
    (folder / "1/model.onnx").write_bytes(unet())
    return folder


def write_encoder(folder: Path) -> Path:
    """The condition is the mean of the words' rows."""
    _write(folder, _PART + _ENCODER + _ONE_THREAD)
    (folder / "1/model.onnx").write_bytes(encoder())
    return folder


def write_diffusion(folder: Path, unet: str, **settings: str) -> Path:
    """Draws by label. `settings`: parameters of the configuration."""
    _write(folder, _SAMPLER + _OUTPUTS + _parameters({"part.unet": unet, **settings}))
    write_facts(folder)
    return folder


def write_hybrid(folder: Path, unet: str, encoder: str, **settings: str) -> Path:
    """Draws what a text says, in `WORDS`."""
    parts = {"part.unet": unet, "part.text_encoder": encoder, **settings}
    _write(folder, _SAMPLER + _PROMPT + _OUTPUTS + _parameters(parts))
    write_facts(folder, labels=[], text_length=TEXT_LENGTH, pad_token_id=0)
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(("[UNK]", *WORDS))}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "1/tokenizer.json"))
    return folder


def write_facts(folder: Path, **changes: object) -> None:
    facts = {
        "image_size": SIZE,
        "channels": 1,
        "alphas_cumprod": ALPHAS,
        "labels": list(LABELS),
        "null_condition_row": 2,
        "guidance": 2.0,
        "text_length": None,
        "pad_token_id": None,
    }
    (folder / "1/diffusion.json").write_text(json.dumps(facts | changes))
    np.save(folder / "1/conditions.npy", CONDITIONS)


def unet() -> bytes:
    kernel = np.linspace(-0.3, 0.5, 9, dtype=np.float32)
    mix = np.linspace(0.1, 0.4, WIDTH, dtype=np.float32)
    nodes = [
        onnx.node("Conv", ["sample", "kernel"], ["blurred"], _ints("pads", [1, 1, 1, 1])),
        onnx.node("Cast", ["timestep"], ["time"], _int("to", onnx.FLOAT)),
        onnx.node("Mul", ["time", "hundredth"], ["scaled"]),
        onnx.node("MatMul", ["condition", "mix"], ["mixed"]),
        onnx.node("Unsqueeze", ["scaled", "axis"], ["column"]),
        onnx.node("Add", ["mixed", "column"], ["shift"]),
        onnx.node("Unsqueeze", ["shift", "axes"], ["shifts"]),
        onnx.node("Add", ["blurred", "shifts"], ["noise"]),
    ]
    shape = ("rows", 1, SIZE, SIZE)
    inputs = [
        onnx.value("sample", shape),
        onnx.value("timestep", ("rows",), onnx.INT64),
        onnx.value("condition", ("rows", WIDTH)),
    ]
    tensors = [
        onnx.tensor("kernel", (1, 1, 3, 3), raw=kernel.tobytes()),
        onnx.tensor("mix", (WIDTH, 1), raw=mix.tobytes()),
        onnx.tensor("hundredth", (1,), raw=struct.pack("<f", 0.01)),
        onnx.tensor("axis", (1,), onnx.INT64, raw=struct.pack("<q", 1)),
        onnx.tensor("axes", (2,), onnx.INT64, raw=struct.pack("<2q", 2, 3)),
    ]
    return onnx.model(onnx.graph(nodes, inputs, [onnx.value("noise", shape)], tensors))


def encoder() -> bytes:
    table = np.linspace(-1, 1, (len(WORDS) + 1) * WIDTH, dtype=np.float32)
    nodes = [
        onnx.node("Gather", ["table", "input_ids"], ["rows"]),
        onnx.node("Cast", ["attention_mask"], ["mask"], _int("to", onnx.FLOAT)),
        onnx.node("Unsqueeze", ["mask", "axis"], ["masks"]),
        onnx.node("Mul", ["rows", "masks"], ["seen"]),
        onnx.node("ReduceMean", ["seen"], ["condition"], _ints("axes", [1]), _int("keepdims", 0)),
    ]
    inputs = [onnx.value(name, (1, "length"), onnx.INT64) for name in ("input_ids", "attention_mask")]
    tensors = [
        onnx.tensor("table", (len(WORDS) + 1, WIDTH), raw=table.tobytes()),
        onnx.tensor("axis", (1,), onnx.INT64, raw=struct.pack("<q", 2)),
    ]
    return onnx.model(onnx.graph(nodes, inputs, [onnx.value("condition", (1, WIDTH))], tensors))


def _write(folder: Path, config: str) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)


def _parameters(values: dict[str, str]) -> str:
    return "".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n' for key, value in values.items()
    )


def _int(name: str, value: int) -> bytes:
    return onnx.text(1, name) + onnx.number(3, value) + onnx.number(20, 2)


def _ints(name: str, values: Sequence[int]) -> bytes:
    return onnx.text(1, name) + b"".join(onnx.number(8, value) for value in values) + onnx.number(20, 7)
