"""What a client may bring as a model, and what it may ask to be made of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from control_plane.domain.models import TensorSpec


class SourceFormat(StrEnum):
    """What a source is, told from its files; also the wire's `format`."""

    TRITON = "triton"  # a Triton model directory, imported as it is
    ONNX = "onnx"  # a bare graph
    SAFETENSORS = "safetensors"  # a Hugging Face directory
    TORCH = "torch"  # a TorchScript or torch.export file

    @property
    def must_be_converted(self) -> bool:
        return self in (SourceFormat.SAFETENSORS, SourceFormat.TORCH)


class Precision(StrEnum):
    """What the weights of an import are to be."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"  # weights and activations; ranges of activations are found as it runs
    INT8_STATIC = "int8_static"  # weights and activations; ranges were found beforehand, on samples
    Q8 = "q8"  # weights only, 8 bits in blocks
    Q4 = "q4"  # weights only, 4 bits in blocks


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """`precision` None: as the source is. `inputs`: what a TorchScript file takes, which it does not say itself."""

    precision: Precision | None = None
    inputs: tuple[TensorSpec, ...] = ()
