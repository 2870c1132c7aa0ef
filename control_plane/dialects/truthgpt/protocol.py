"""TruthGPT's words on HTTP: pydantic for comfortable routes, msgspec structs for inference."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from pydantic import BaseModel, ConfigDict, Field

from control_plane.dialects.truthgpt.image_protocol import Guidance, Label, NumImages, NumSteps
from control_plane.domain.exports import ExportFormat
from control_plane.domain.generation import MAX_NEW_TOKENS, MAX_STOP_SEQUENCES, SEED_MAX
from control_plane.domain.models import ModelKind
from control_plane.domain.references import REFERENCE_PATTERN
from control_plane.edge.http.schemas import Timestamp

Status = Literal["loaded", "unloaded", "optimizing"]


class Words(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class HealthResponse(Words):
    """One body for three APIs (D-02). Units: `uptime` seconds since start."""

    status: str
    timestamp: Timestamp
    version: str
    uptime: float
    services: dict[str, str]
    service: str
    aliases: list[str]


class ModelInfo(Words):
    """T-SCH-01 and more: `state`, `version` (the revision's number) and what follows are ours.

    `parameters` and `dtype` are null where the model's files do not say. Units: bytes.
    """

    model_id: str
    name: str
    type: ModelKind
    parameters: int | None
    size_bytes: int
    device: str
    dtype: str | None
    status: Status
    created_at: Timestamp
    updated_at: Timestamp
    state: str
    version: int
    backend: str
    baseline_model_id: str | None = None
    last_error: str | None = None
    memory_bytes: int | None = None
    internal: bool = Field(default=False, description="a part of a pipeline, or the probe: in no list unless asked for")


class LoadModelRequest(Words):
    """`model_type` may be left out. A value in `config` may be a string whatever its type."""

    model_name: str = Field(
        description="a reference: name, name:N or name@alias", json_schema_extra={"pattern": REFERENCE_PATTERN}
    )
    model_type: ModelKind | None = None
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="device, dtype, instance_count, max_batch_size, dynamic_batching_delay_us, backend, version, "
        "timeout_seconds",
    )


class LoadModelResponse(Words):
    model_id: str
    success: bool
    error_message: str | None = None


class UnloadModelResponse(Words):
    success: bool


class ImportModelResponse(Words):
    model_id: str
    success: bool
    format: str
    size_bytes: int
    sha256: str
    error_message: str | None = None
    revision: int
    state: str


class ExportModelResponse(Words):
    """`file_path` is below the server's import root, for T-REST-15. `download_url` is below the server's own URL."""

    model_id: str
    export_id: str
    export_format: ExportFormat
    file_path: str
    size_bytes: int
    sha256: str
    download_url: str
    created_at: Timestamp


class InferenceMetrics(Words):
    """Null where there was nothing to measure. Percentiles are within 3.2 % of the exact ones.

    `error_count` has all that its callers saw fail: also requests in which the model found a mistake (a 400).

    Units: times in seconds, `tokens_per_second` over the time in which tokens came, `gpu_utilization` in percent of
    all GPUs (0 without one), `avg_queue_time` as Triton tells it.
    """

    inference_count: int
    success_count: int
    error_count: int
    success_rate: float | None
    error_rate: float | None
    avg_inference_time: float | None
    p50_inference_time: float | None
    p95_inference_time: float | None
    p99_inference_time: float | None
    tokens_generated: int
    tokens_per_second: float | None
    avg_queue_time: float | None
    memory_usage_bytes: int | None
    gpu_utilization: float | None
    cache_hit_rate: float | None


class TritonStatistics(Words):
    """Triton's own counters since the load, probes of ours included. Units: microseconds, summed."""

    inference_count: int
    execution_count: int
    queue_us: int
    compute_infer_us: int


class ModelMetricsResponse(Words):
    """`model_id` is the reference that was counted: a bare name stands for all revisions."""

    model_id: str
    start_time: Timestamp
    end_time: Timestamp
    metrics: InferenceMetrics
    triton: TritonStatistics | None = Field(description="null where the model is not loaded")
    reasons: dict[str, str] = Field(description="for each number that is null, why")


# Bounds are told here and kept by the domain, so that every API refuses in the same words.
MaxLength = Annotated[int | None, Meta(extra_json_schema={"minimum": 1, "maximum": MAX_NEW_TOKENS})]
Temperature = Annotated[float | None, Meta(extra_json_schema={"minimum": 0, "maximum": 2})]
TopP = Annotated[float | None, Meta(extra_json_schema={"exclusiveMinimum": 0, "maximum": 1})]
TopK = Annotated[int | None, Meta(extra_json_schema={"minimum": 0, "maximum": 2**31 - 1})]
Seed = Annotated[int | None, Meta(extra_json_schema={"minimum": -SEED_MAX, "maximum": SEED_MAX})]
_STOP_SEQUENCES = {"maxItems": MAX_STOP_SEQUENCES, "items": {"type": "string", "minLength": 1}}
StopSequences = Annotated[list[str] | None, Meta(extra_json_schema=_STOP_SEQUENCES)]
Penalty = Annotated[float | None, Meta(extra_json_schema={"minimum": -2, "maximum": 2})]


class Options(Struct, kw_only=True):
    """How tokens are chosen; what nobody sets takes the domain's default. A model that draws takes only `seed`."""

    max_length: MaxLength = None
    temperature: Temperature = None
    top_p: TopP = None
    top_k: TopK = None
    seed: Seed = None
    stop_sequences: StopSequences = None
    frequency_penalty: Penalty = None
    presence_penalty: Penalty = None


class InputData(Options):
    """What to continue, or to draw, and options where the request itself does not set them (D-06).

    A text model needs `text`, as does a hybrid one. What follows it is for models that draw images.
    """

    text: str | UnsetType = UNSET
    num_steps: NumSteps = None
    num_images: NumImages = None
    label: Label = None
    guidance: Guidance = None


class InferenceRequest(Options):
    """An option here wins over the same option in `input_data`."""

    model_id: Annotated[str, Meta(extra_json_schema={"pattern": REFERENCE_PATTERN})]
    input_data: InputData


class StreamingInferenceRequest(InferenceRequest):
    """`stream` false asks for the whole answer as JSON."""

    stream: bool = True


class Output(Struct):
    """`probabilities` are those of the chosen tokens, at temperature 1."""

    text: str
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]
    finish_reason: str


class InferenceResponse(Struct):
    """Units: `inference_time` seconds."""

    model_id: str
    output: Output
    inference_time: float
    tokens_per_second: float
    created_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    request_id: str


class TokenEvent(Struct, omit_defaults=True):
    """One `data:` line of a stream; the last has the two that are left out of the others."""

    token: str
    index: int
    is_final: bool = False
    finish_reason: str = ""


class FailedEvent(Struct):
    error: str
    code: str
    details: dict[str, Any]


inference_decoder = msgspec.json.Decoder(InferenceRequest)
streaming_decoder = msgspec.json.Decoder(StreamingInferenceRequest)
_encoder = msgspec.json.Encoder(enc_hook=str)
encode = _encoder.encode
