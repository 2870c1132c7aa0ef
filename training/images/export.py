"""Turn checkpoints into what ships: the two ONNX parts, and the two pipelines' files beside them.

Run: python -m training.images.export RUN REPOSITORY
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from training.images.encoder import TextEncoder
from training.images.sample import DIFFUSION, ENCODER, TEXT_TO_IMAGE, UNET
from training.images.schedule import alphas_cumprod
from training.images.train import load_painter
from training.images.train_encoder import load_reader
from training.images.unet import LABELS, NULL_ROW, Painter

# As of the other exported encoders (converters/text_encoders/export.py).
_OPSET = 17
# In the card of digits-diffusion: 1 is recognised less often, 4 no more often.
GUIDANCE = 2.0

Axes = Mapping[str, Mapping[int, str]]


def export(painter: Painter, encoder: TextEncoder, tokenizer: Path, repository: Path) -> None:
    """Write the version directories of all four packages; what people wrote there (config.pbtxt, README) stays."""
    write_unet(painter, _version(repository, UNET))
    write_encoder(encoder, _version(repository, ENCODER))
    table = painter.conditions.digits.weight.numpy()
    labels = [str(digit) for digit in range(LABELS)]
    write_sampler(_version(repository, DIFFUSION), table, facts(labels, NULL_ROW))
    hybrid = _version(repository, TEXT_TO_IMAGE)
    write_sampler(hybrid, table[NULL_ROW:], facts([], 0) | {"text_length": text_length(encoder), "pad_token_id": 0})
    shutil.copyfile(tokenizer, hybrid / "tokenizer.json")


def write_unet(painter: Painter, version: Path) -> None:
    side = 32
    example = (torch.randn(2, 1, side, side), torch.tensor([10, 900]), torch.randn(2, painter.unet.shape.condition))
    names = ("sample", "timestep", "condition")
    axes = {name: {0: "batch"} for name in (*names, "noise")}
    _export(painter.unet.to(memory_format=torch.contiguous_format), example, version, (names, "noise"), axes)


def write_encoder(encoder: TextEncoder, version: Path) -> None:
    example = (torch.tensor([[2, 5, 6, 0], [2, 4, 3, 9]]), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]))
    names = ("input_ids", "attention_mask")
    axes = {name: {0: "batch", 1: "tokens"} for name in names} | {"condition": {0: "batch"}}
    _export(encoder, example, version, (names, "condition"), axes)


def write_sampler(version: Path, conditions: np.ndarray[Any, np.dtype[np.float32]], told: Mapping[str, Any]) -> None:
    np.save(version / "conditions.npy", conditions)
    (version / "diffusion.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def facts(labels: list[str], null_row: int) -> dict[str, Any]:
    """What the sampler must know (triton_backends/diffusion/README.md); the text's part is null."""
    return {
        "image_size": 32,
        "channels": 1,
        "alphas_cumprod": alphas_cumprod().tolist(),
        "labels": labels,
        "null_condition_row": null_row,
        "guidance": GUIDANCE,
        "text_length": None,
        "pad_token_id": None,
    }


def text_length(encoder: TextEncoder) -> int:
    return encoder.reader.places.num_embeddings


def _version(repository: Path, name: str) -> Path:
    version = repository / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    return version


def _export(
    module: nn.Module, example: tuple[Tensor, ...], version: Path, names: tuple[tuple[str, ...], str], axes: Axes
) -> None:
    target = version / "model.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter warns of its age and of every constant; that other sizes work is tested.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            example,
            str(target),
            dynamo=False,
            input_names=list(names[0]),
            output_names=[names[1]],
            dynamic_axes=axes,
            opset_version=_OPSET,
        )
    model = onnx.load(target)
    for node in model.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def main() -> None:
    run, repository = Path(sys.argv[1]), Path(sys.argv[2])
    painter = load_painter(run / "unet.pt")
    encoder = TextEncoder(load_reader(run / "encoder.pt"), painter.conditions)
    export(painter, encoder.eval(), run / "tokenizer.json", repository)


if __name__ == "__main__":
    main()
