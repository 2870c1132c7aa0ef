"""What a directory of the `text_encoder` backend must hold, before the backend finds out itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, ModelKind, Signature, TensorSpec
from control_plane.gateways.repository.layout import VERSION
from control_plane.gateways.repository.pbtxt import ModelConfig, datatype_name
from control_plane.gateways.repository.text_files import check_counts, is_count, read_facts, text_config

BACKEND = "text_encoder"
FACTS = f"{VERSION}/encoder.json"
# What the graph of each task gives, and what the model is described as.
_OUTPUTS = {"embedding": ("embedding",), "classification": ("logits", "probabilities")}
_TASKS = {"embedding": "embedding", "classification": "text_classification"}
_LABEL = "label"  # a classifier's best one, which the backend adds
_KEYS = frozenset({"task", "max_tokens", "pad_token_id", "dimensions", "labels"})
_NEEDED = frozenset({"input_ids", "attention_mask"})
_INPUTS = _NEEDED | {"token_type_ids"}
# What Triton hands over at once; the backend makes batches of texts of about one length of it.
_MAX_BATCH_SIZE = 64
# What the backend takes where nothing is said, written down so that it can be seen.
_PARAMETERS = {"threads": 2, "max_batch_tokens": 4096}


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """encoder.json."""

    BACKEND: ClassVar = BACKEND
    FILE: ClassVar = FACTS

    task: str
    max_tokens: int
    pad_token_id: int
    dimensions: int
    labels: list[str] | None

    @classmethod
    def read(cls, stage: Path) -> EncoderFacts:
        """Raises InvalidRequest."""
        facts = read_facts(stage, BACKEND, FACTS)
        if set(facts) != _KEYS:
            different = ", ".join(sorted(set(facts) ^ _KEYS))[:200]
            raise InvalidRequest(f"{FACTS} must have exactly the keys {sorted(_KEYS)}; see {different}", path=FACTS)
        if facts["task"] not in tuple(_TASKS):
            raise InvalidRequest(f"{FACTS}: 'task' must be one of {sorted(_TASKS)}", path=FACTS)
        check_counts(facts, ("max_tokens", "dimensions"), FACTS)
        if not is_count(facts["pad_token_id"]):
            raise InvalidRequest(f"{FACTS}: 'pad_token_id' must be a token id", path=FACTS)
        _check_labels(facts)
        return cls(**facts)

    @property
    def description(self) -> Description:
        return Description(ModelKind.GENERIC, (_TASKS[self.task],), context_length=self.max_tokens)

    def config(self) -> ModelConfig:
        outputs = [(name, "FP32", self.dimensions) for name in _OUTPUTS[self.task]]
        if self.labels is not None:
            outputs.append((_LABEL, "BYTES", 1))
        config = text_config(BACKEND, outputs, _PARAMETERS)
        config.max_batch_size = _MAX_BATCH_SIZE
        config.dynamic_batching.SetInParent()
        return config

    def check(self, config: ModelConfig, signature: Signature) -> None:
        """It takes a text a row; the graph takes tokens and gives what the facts say. Raises InvalidRequest."""
        _check_inputs(signature)
        outputs = {spec.name: spec for spec in signature.outputs}
        for name in _OUTPUTS[self.task]:
            if name not in outputs:
                raise InvalidRequest(f"model.onnx gives no {name!r}, which an encoder for {self.task} needs")
            output = outputs[name]
            if output.datatype != "FP32" or output.shape not in ((-1, self.dimensions), (-1, -1)):
                raise _unfit("output", output, f"FP32 [-1, {self.dimensions}] by {FACTS}")
        _check_batching(config)
        if [_port(tensor) for tensor in config.input] != [("text_input", "BYTES", [1])]:
            raise InvalidRequest(f"a {BACKEND} model has one input, 'text_input' of TYPE_STRING with dims: [ 1 ]")
        self._check_outputs(config)

    def _check_outputs(self, config: ModelConfig) -> None:
        known = {name: (datatype, dims) for name, datatype, dims in map(_port, self.config().output)}
        for name, datatype, dims in map(_port, config.output):
            if name not in known:
                raise InvalidRequest(
                    f"config.pbtxt lists the output {name!r}; an encoder for {self.task} has {', '.join(known)}"
                )
            if (datatype, dims) != known[name]:
                raise InvalidRequest(
                    f"output {name!r}: config.pbtxt says {datatype} {dims}, by {FACTS} it is "
                    f"{known[name][0]} {known[name][1]}"
                )


def _check_labels(facts: Mapping[str, Any]) -> None:
    labels, count = facts["labels"], facts["dimensions"]
    if facts["task"] == "embedding":
        if labels is not None:
            raise InvalidRequest(f"{FACTS}: 'labels' must be null for an embedding", path=FACTS)
        return
    if not isinstance(labels, list) or len(labels) != count or not all(isinstance(label, str) for label in labels):
        raise InvalidRequest(f"{FACTS}: 'labels' must be a list of {count} texts, one for each dimension", path=FACTS)


def _check_inputs(signature: Signature) -> None:
    names = {spec.name for spec in signature.inputs}
    if not _NEEDED <= names <= _INPUTS:
        raise InvalidRequest(
            f"model.onnx takes {', '.join(sorted(names))}; a {BACKEND} model takes input_ids, attention_mask "
            "and maybe token_type_ids"
        )
    for spec in signature.inputs:
        if (spec.datatype, spec.shape) != ("INT64", (-1, -1)):
            raise _unfit("input", spec, "INT64 [-1, -1]: any number of texts, of any length")


def _check_batching(config: ModelConfig) -> None:
    if config.model_transaction_policy.decoupled or config.HasField("sequence_batching"):
        raise InvalidRequest(f"a {BACKEND} model answers each request once: remove decoupled and sequence_batching")
    if not config.max_batch_size:
        raise InvalidRequest(f"a {BACKEND} model takes batches: say max_batch_size: {_MAX_BATCH_SIZE}")


def _port(tensor: Any) -> tuple[str, str, list[int]]:
    return tensor.name, datatype_name(tensor.data_type), list(tensor.dims)


def _unfit(role: str, spec: TensorSpec, wanted: str) -> InvalidRequest:
    return InvalidRequest(
        f"{role} {spec.name!r} of model.onnx is {spec.datatype} {list(spec.shape)}; a {BACKEND} model needs {wanted}"
    )
