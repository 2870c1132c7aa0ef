"""What the server takes and gives, as typed dictionaries: the JSON itself, nothing renamed and nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NotRequired, TypedDict

Role = Literal["viewer", "user", "admin"]
ProgressCallback = Callable[[int, int], None]
"""Called while a file is sent or fetched, with (bytes so far, bytes in all)."""


class SamplingOptions(TypedDict, total=False):
    """How tokens are chosen; what is left out is the server's default. `temperature` 0 is greedy."""

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop_sequences: Sequence[str]
    frequency_penalty: float
    presence_penalty: float


class LoadConfig(TypedDict, total=False):
    """What a load may set. Setting anything but `timeout_seconds` and `device` may make a new revision."""

    timeout_seconds: float
    device: str
    dtype: str
    backend: str
    instance_count: int
    max_batch_size: int
    dynamic_batching_delay_us: int


class TensorInput(TypedDict):
    """A KServe input; `data` is flat or nested row by row."""

    name: str
    shape: Sequence[int]
    datatype: str
    data: Sequence[Any]


class TensorOutput(TypedDict):
    """A KServe output; `data` is flat."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class HealthReply(TypedDict):
    status: str
    service: str
    timestamp: str
    version: str
    uptime: float
    services: dict[str, str]


class ModelInfo(TypedDict):
    """A model as `/models` shows it. Units: `parameters` counts weights; a number that is not known is None."""

    model_id: str
    name: str
    type: str
    parameters: int | None
    size_bytes: int
    device: str
    dtype: str | None
    status: str
    created_at: str
    updated_at: str
    state: NotRequired[str]
    version: NotRequired[int]
    backend: NotRequired[str]
    baseline_model_id: NotRequired[str | None]
    last_error: NotRequired[str | None]
    memory_bytes: NotRequired[int | None]


class LoadReply(TypedDict):
    """`model_id` is `name:N` where the options made a new revision."""

    model_id: str
    success: bool
    error_message: str | None


class UnloadReply(TypedDict):
    success: bool


class ImportOptions(TypedDict, total=False):
    """`precision`: fp32, fp16, bf16, int8, int8_static, q8 or q4; left out, the model's own. `inputs`: what a
    TorchScript file takes, which it does not say itself, each as `NAME:FP32:-1,16`."""

    precision: str | None
    inputs: Sequence[str]


class SubmittedReply(TypedDict):
    job_id: str


class ImportReply(TypedDict):
    model_id: str
    success: bool
    format: str
    size_bytes: int
    sha256: str
    error_message: str | None
    revision: NotRequired[int]
    state: NotRequired[str]


class ExportReply(TypedDict):
    """`file_path` is below the server's import root, for `import_from_server`."""

    model_id: str
    export_id: str
    export_format: str
    file_path: str
    size_bytes: int
    sha256: str
    download_url: str
    created_at: str


class RevisionHealth(TypedDict):
    status: str
    since: str | None
    reason: str | None


class RevisionInfo(TypedDict):
    revision: int
    state: str
    health: RevisionHealth
    source: str
    digest: str
    backend: str
    precision: str | None
    labels: dict[str, str]
    size_bytes: int
    memory_bytes: int | None
    created_at: str
    created_by: str
    evidence: bool
    last_error: NotRequired[str | None]


class ModelNumbers(TypedDict):
    """What a model did in a period; None where there was nothing to measure, see `reasons`.

    Units: times in seconds, `gpu_utilization` in percent.
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


class TritonNumbers(TypedDict):
    """Triton's own counters since the model was loaded. Units: microseconds, summed."""

    inference_count: int
    execution_count: int
    queue_us: int
    compute_infer_us: int


class MetricsReply(TypedDict):
    """`triton` is None where the model is not loaded. `reasons` says why a number is None."""

    model_id: str
    start_time: str
    end_time: str
    metrics: ModelNumbers
    triton: TritonNumbers | None
    reasons: NotRequired[dict[str, str]]


class RevisionsReply(TypedDict):
    model: str
    aliases: dict[str, int]
    revisions: list[RevisionInfo]


class GenerationOutput(TypedDict):
    text: str
    tokens: list[str]
    probabilities: list[float]
    finish_reason: NotRequired[str]


class GenerationReply(TypedDict):
    """Units: `inference_time` is seconds at the server."""

    model_id: str
    output: GenerationOutput
    inference_time: float
    tokens_per_second: float
    created_at: str
    request_id: NotRequired[str]


class InferReply(TypedDict):
    model_name: str
    outputs: list[TensorOutput]
    model_version: NotRequired[str]
    id: NotRequired[str]
    parameters: NotRequired[dict[str, Any]]


class KeyInfo(TypedDict):
    key_id: str
    name: str
    role: Role
    rate_limit_policy: str | None
    created_at: str
    expires_at: NotRequired[str | None]


class NewKeyReply(KeyInfo):
    """`api_key` is shown this once; the server keeps only its hash."""

    api_key: str


class TokenReply(TypedDict):
    access_token: str
    token_type: str
    expires_in: int
    role: Role


class MeReply(TypedDict):
    sub: str
    role: Role
    rate_limit_policy: str | None
