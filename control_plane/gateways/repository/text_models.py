"""What a directory of the `text_generation` backend must hold, before the backend finds out itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from control_plane.domain.errors import InvalidRequest
from control_plane.domain.models import Description, ModelKind, Signature
from control_plane.gateways.repository.layout import VERSION
from control_plane.gateways.repository.pbtxt import ModelConfig
from control_plane.gateways.repository.text_files import check_counts, is_count, read_facts, text_config

BACKEND = "text_generation"
FACTS = f"{VERSION}/generation.json"
_COUNTS = ("context_length", "vocab_size", "num_hidden_layers", "num_key_value_heads", "head_size")
_OUTPUTS = (
    ("text_output", "BYTES", -1),
    ("token_id", "INT32", -1),
    ("probability", "FP32", -1),
    ("top_logprobs", "BYTES", -1),
    ("finish_reason", "BYTES", 1),
    ("index", "INT32", -1),
    ("candidate", "INT32", 1),
)
# What the backend takes where nothing is said, written down so that it can be seen.
_PARAMETERS = {"slots": 8, "queue": 64, "threads": 2}


@dataclass(frozen=True, slots=True)
class GenerationFacts:
    """What generation.json says of the graph."""

    BACKEND: ClassVar = BACKEND
    FILE: ClassVar = FACTS

    context_length: int
    vocab_size: int
    num_hidden_layers: int

    @classmethod
    def read(cls, stage: Path) -> GenerationFacts:
        """Raises InvalidRequest."""
        facts = read_facts(stage, BACKEND, FACTS)
        check_counts(facts, _COUNTS, FACTS)
        ends = facts.get("eos_token_ids")
        if not isinstance(ends, list) or not ends or not all(map(is_count, ends)):
            raise InvalidRequest(f"{FACTS}: 'eos_token_ids' must be a list of token ids", path=FACTS)
        if facts.get("bos_token_id") is not None and not is_count(facts["bos_token_id"]):
            raise InvalidRequest(f"{FACTS}: 'bos_token_id' must be a token id or null", path=FACTS)
        return cls(facts["context_length"], facts["vocab_size"], facts["num_hidden_layers"])

    @property
    def description(self) -> Description:
        return Description(ModelKind.TRANSFORMER, ("text_generation",), context_length=self.context_length)

    def config(self) -> ModelConfig:
        config = text_config(BACKEND, _OUTPUTS, _PARAMETERS)
        config.model_transaction_policy.decoupled = True
        return config

    def check(self, config: ModelConfig, signature: Signature) -> None:
        """It streams and batches by itself; the graph is the decoder that the facts speak of. Raises InvalidRequest."""
        _check_config(config)
        inputs = {spec.name for spec in signature.inputs}
        for needed in ("input_ids", f"past_key_values.{self.num_hidden_layers - 1}.key"):
            if needed not in inputs:
                raise InvalidRequest(
                    f"model.onnx has no input {needed!r}, which generation.json makes the backend expect"
                )
        if f"past_key_values.{self.num_hidden_layers}.key" in inputs:
            raise InvalidRequest(f"model.onnx has more layers than the {self.num_hidden_layers} of generation.json")
        logits = next((spec for spec in signature.outputs if spec.name == "logits"), None)
        if logits is None or logits.shape[-1:] not in ((-1,), (self.vocab_size,)):
            raise InvalidRequest(f"model.onnx gives no 'logits' over the {self.vocab_size} tokens of generation.json")


def _check_config(config: ModelConfig) -> None:
    if not config.model_transaction_policy.decoupled:
        raise InvalidRequest(f"a {BACKEND} model streams: add model_transaction_policy {{ decoupled: true }}")
    if config.max_batch_size or config.HasField("dynamic_batching"):
        raise InvalidRequest(f"a {BACKEND} model batches by itself: say max_batch_size: 0, without dynamic_batching")
    if [tensor.name for tensor in config.input] != ["text_input"]:
        raise InvalidRequest(f"a {BACKEND} model has one input, 'text_input' of TYPE_STRING")
    if "text_output" not in [tensor.name for tensor in config.output]:
        raise InvalidRequest(f"a {BACKEND} model has the output 'text_output' of TYPE_STRING")
