"""config.pbtxt as text, as Triton's own protobuf message, and as the signature we speak of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Signature, TensorSpec

ModelConfig: TypeAlias = Any  # tritonclient's generated messages carry no types
_STRING, _BYTES = "TYPE_STRING", "BYTES"
InstanceKind: Any = model_config_pb2.ModelInstanceGroup  # carries KIND_AUTO, KIND_GPU, KIND_CPU, KIND_MODEL


def new_config() -> ModelConfig:
    return model_config_pb2.ModelConfig()


def parse_config(content: bytes) -> ModelConfig:
    """Raises InvalidRequest with the line that is wrong."""
    try:
        return text_format.Parse(content.decode(), new_config())
    except UnicodeDecodeError as error:
        raise InvalidRequest("config.pbtxt is not text") from error
    except text_format.ParseError as error:
        line = f", line {error.GetLine()}" if error.GetLine() else ""
        reason = str(error).split(" : ", 1)[-1].strip()
        raise InvalidRequest(f"config.pbtxt{line}: {reason[:300]}") from error


def render_config(config: ModelConfig) -> bytes:
    text: str = text_format.MessageToString(config)
    if not config.max_batch_size:
        # protobuf text drops zeros, and Triton's auto-completion takes an absent max_batch_size as its to choose.
        text += "max_batch_size: 0\n"
    return text.encode()


def datatype_name(number: int) -> str:
    """Triton's word on the wire for a DataType of the configuration."""
    name: str = model_config_pb2.DataType.Name(number)
    return _BYTES if name == _STRING else name.removeprefix("TYPE_")


def datatype_number(name: str) -> int:
    return int(model_config_pb2.DataType.Value(_STRING if name == _BYTES else f"TYPE_{name}"))


def config_signature(config: ModelConfig) -> Signature:
    """What clients of the model send and get, batch axis included."""
    return Signature(
        inputs=_specs(config.input, config.max_batch_size),
        outputs=_specs(config.output, config.max_batch_size),
        max_batch_size=config.max_batch_size,
        is_decoupled=config.model_transaction_policy.decoupled,
    )


def _specs(tensors: Iterable[Any], max_batch_size: int) -> tuple[TensorSpec, ...]:
    batch = (-1,) if max_batch_size else ()
    return tuple(TensorSpec(t.name, datatype_name(t.data_type), (*batch, *t.dims)) for t in tensors)
