"""Every call of the API as a value: verb, path, what is sent, and the type of what comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from tritonplane_client.drawings import DrawingOptions, DrawingReply
from tritonplane_client.errors import InvalidArgument
from tritonplane_client.job_schemas import Job
from tritonplane_client.optimization_schemas import (
    CancelReply,
    CatalogReply,
    Evidence,
    OptimizationParameters,
    OptimizationResults,
    OptimizationStatus,
    OptimizeReply,
)
from tritonplane_client.schemas import (
    ExportReply,
    GenerationReply,
    HealthReply,
    ImportOptions,
    ImportReply,
    InferReply,
    KeyInfo,
    LoadConfig,
    LoadReply,
    MeReply,
    MetricsReply,
    ModelInfo,
    NewKeyReply,
    RevisionsReply,
    SamplingOptions,
    SubmittedReply,
    TensorInput,
    TokenReply,
    UnloadReply,
)

T = TypeVar("T")
Query = Mapping[str, str | int | Sequence[str] | None]
_KEY = re.compile(r"[!-~]{1,255}")
EVENTS, TEXT, FILE = "text/event-stream", "text/plain", "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One request; `T` is the shape of its reply. `is_work`: the answer comes when the server has done something.

    `is_watch`: the answer is a stream of events; `last_event_id`: the one after which it goes on.
    """

    method: str
    path: str
    query: Query = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    accept: str = "application/json"
    is_work: bool = False
    is_watch: bool = False
    last_event_id: int | None = None
    idempotency_key: str | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether the server does it once, however often it is sent."""
        return self.method in ("GET", "HEAD") or self.idempotency_key is not None

    def under(self, key: str | None) -> Operation[T]:
        """The same under an idempotency key. Raises InvalidArgument for one that the server would not take."""
        if key is not None and not _KEY.fullmatch(key):
            raise InvalidArgument("an idempotency key is 1 to 255 visible ASCII characters")
        return replace(self, idempotency_key=key)


def health() -> Operation[HealthReply]:
    return Operation("GET", "/v1/health")


def list_models(*, skip: int, limit: int, model_type: str | None, status: str | None) -> Operation[list[ModelInfo]]:
    return Operation("GET", "/v1/models", {"skip": skip, "limit": limit, "model_type": model_type, "status": status})


def get_model(model: str) -> Operation[ModelInfo]:
    return Operation("GET", f"/v1/models/{_segment(model)}")


def load_model(model: str, config: LoadConfig) -> Operation[LoadReply]:
    return Operation("POST", "/v1/models", body={"model_name": model, "config": dict(config)}, is_work=True)


def unload_model(model: str, *, purge: bool = False) -> Operation[UnloadReply]:
    return Operation("DELETE", f"/v1/models/{_segment(model)}", {"purge": "true"} if purge else {}, is_work=True)


def import_model(name: str, options: ImportOptions, server_path: str | None = None) -> Operation[ImportReply]:
    """From a file that is sent along, or with `server_path` from below the server's own import root."""
    return Operation("POST", f"/v1/models/{_segment(name)}/import", _import_query(options, server_path), is_work=True)


def submit_import(name: str, options: ImportOptions, server_path: str | None = None) -> Operation[SubmittedReply]:
    query = _import_query(options, server_path)
    return Operation("POST", f"/native/v1/models/{_segment(name)}/revisions", query, is_work=True)


def export_model(model: str, export_format: str) -> Operation[ExportReply]:
    return Operation("POST", f"/v1/models/{_segment(model)}/export", {"export_format": export_format}, is_work=True)


def submit_export(model: str, export_format: str) -> Operation[SubmittedReply]:
    return Operation("POST", f"/native/v1/models/{_segment(model)}/exports", {"export_format": export_format})


def download_export(export_id: str) -> Operation[None]:
    return Operation("GET", f"/v1/exports/{_segment(export_id)}/download", accept=FILE)


def metrics(model: str, start: datetime | str | None, end: datetime | str | None) -> Operation[MetricsReply]:
    query = {"start_time": _time(start), "end_time": _time(end)}
    return Operation("GET", f"/v1/models/{_segment(model)}/metrics", query)


def revisions(model: str) -> Operation[RevisionsReply]:
    return Operation("GET", f"/native/v1/models/{_segment(model)}/revisions")


def generate(model: str, prompt: str, options: SamplingOptions) -> Operation[GenerationReply]:
    return Operation("POST", "/v1/inference", body=_generation(model, prompt, options), is_work=True)


def stream(model: str, prompt: str, options: SamplingOptions) -> Operation[None]:
    body = {**_generation(model, prompt, options), "stream": True}
    return Operation("POST", "/v1/inference/stream", body=body, accept=EVENTS, is_work=True)


def draw(model: str, prompt: str | None, options: DrawingOptions) -> Operation[DrawingReply]:
    return Operation("POST", "/v1/inference", body=_drawing(model, prompt, options), is_work=True)


def stream_drawing(model: str, prompt: str | None, options: DrawingOptions) -> Operation[None]:
    body = {**_drawing(model, prompt, options), "stream": True}
    return Operation("POST", "/v1/inference/stream", body=body, accept=EVENTS, is_work=True)


def infer(
    model: str,
    inputs: Sequence[TensorInput],
    outputs: Sequence[str] | None,
    parameters: Mapping[str, Any] | None,
) -> Operation[InferReply]:
    body: dict[str, object] = {"inputs": list(inputs)}
    if outputs is not None:
        body["outputs"] = [{"name": name} for name in outputs]
    if parameters is not None:
        body["parameters"] = dict(parameters)
    return Operation("POST", f"/v2/models/{_segment(model)}/infer", body=body, is_work=True)


def create_key(
    name: str, role: str, *, rate_limit_policy: str | None, expires_at: str | None
) -> Operation[NewKeyReply]:
    body = {"name": name, "role": role, "rate_limit_policy": rate_limit_policy, "expires_at": expires_at}
    return Operation("POST", "/auth/keys", body=_without_none(body))


def list_keys() -> Operation[list[KeyInfo]]:
    return Operation("GET", "/auth/keys")


def delete_key(key_id: str) -> Operation[None]:
    return Operation("DELETE", f"/auth/keys/{_segment(key_id)}")


def token(
    *, subject: str | None, role: str | None, expires_in: int | None, rate_limit_policy: str | None
) -> Operation[TokenReply]:
    body = {"sub": subject, "role": role, "expires_in": expires_in, "rate_limit_policy": rate_limit_policy}
    return Operation("POST", "/auth/token", body=_without_none(body))


def me() -> Operation[MeReply]:
    return Operation("GET", "/auth/me")


def list_jobs(
    *, kind: str | None, model: str | None, state: str | Sequence[str] | None, skip: int, limit: int
) -> Operation[list[Job]]:
    states = [state] if isinstance(state, str) else state
    return Operation(
        "GET", "/native/v1/jobs", {"kind": kind, "model": model, "state": states, "skip": skip, "limit": limit}
    )


def get_job(job_id: str) -> Operation[Job]:
    return Operation("GET", f"/native/v1/jobs/{_segment(job_id)}")


def watch_job(job_id: str, after: int | None) -> Operation[None]:
    path = f"/native/v1/jobs/{_segment(job_id)}/events"
    return Operation("GET", path, accept=EVENTS, is_watch=True, last_event_id=after)


def cancel_job(job_id: str) -> Operation[Job]:
    return Operation("POST", f"/native/v1/jobs/{_segment(job_id)}/cancel", is_work=True)


def job_log(job_id: str, lines: int | None) -> Operation[str]:
    return Operation("GET", f"/native/v1/jobs/{_segment(job_id)}/log", {"lines": lines}, accept=TEXT)


def events(topics: Sequence[str], subject: str | None, after: int | None) -> Operation[None]:
    query: Query = {"topic": topics, "subject": subject}
    return Operation("GET", "/native/v1/events", query, accept=EVENTS, is_watch=True, last_event_id=after)


def optimize(model: str, level: str, parameters: OptimizationParameters) -> Operation[OptimizeReply]:
    body = {"model_id": model, "optimization_level": level, "parameters": dict(parameters)}
    return Operation("POST", "/v1/optimize", body=body)


def optimization(optimization_id: str) -> Operation[OptimizationStatus]:
    return Operation("GET", f"/v1/optimize/{_segment(optimization_id)}")


def optimizations(
    *, level: str | None, status: str | None, skip: int, limit: int
) -> Operation[list[OptimizationStatus]]:
    query: Query = {"optimization_level": level, "status": status, "skip": skip, "limit": limit}
    return Operation("GET", "/v1/optimizations", query)


def optimization_results(optimization_id: str) -> Operation[OptimizationResults | OptimizationStatus]:
    return Operation("GET", f"/v1/optimizations/{_segment(optimization_id)}/results")


def cancel_optimization(optimization_id: str) -> Operation[CancelReply]:
    return Operation("POST", f"/v1/optimize/{_segment(optimization_id)}/cancel", is_work=True)


def optimization_evidence(optimization_id: str) -> Operation[Evidence]:
    return Operation("GET", f"/v1/optimize/{_segment(optimization_id)}/evidence")


def catalog() -> Operation[CatalogReply]:
    # Asked for the first time, the server starts a child process that looks at the machine.
    return Operation("GET", "/native/v1/catalog", is_work=True)


def _import_query(options: ImportOptions, server_path: str | None) -> Query:
    inputs = options.get("inputs")
    return {"file_path": server_path, "precision": options.get("precision"), "input": list(inputs) if inputs else None}


def _generation(model: str, prompt: str, options: SamplingOptions) -> dict[str, object]:
    # Everything beside the prompt: it is where both inference routes read every option (contract T-REST-08, 09).
    asked: dict[str, object] = {"text": prompt, **options}
    if "max_tokens" in asked:
        asked["max_length"] = asked.pop("max_tokens")
    return {"model_id": model, "input_data": asked}


def _drawing(model: str, prompt: str | None, options: DrawingOptions) -> dict[str, object]:
    return {"model_id": model, "input_data": {**({} if prompt is None else {"text": prompt}), **options}}


def _segment(text: str) -> str:
    """Text as one segment of a path; ':' and '@' stay readable in model references."""
    try:
        if text not in ("", ".", ".."):
            return quote(text, safe=":@")
    except UnicodeEncodeError:
        pass  # half of a surrogate pair
    raise InvalidArgument(f"{text!r} cannot be part of a path")


def _time(at: datetime | str | None) -> str | None:
    if not isinstance(at, datetime):
        return at
    if at.tzinfo is None:
        raise InvalidArgument(f"{at.isoformat()} has no time zone: give an aware datetime, as datetime.now(UTC) is")
    return at.isoformat()


def _without_none(body: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in body.items() if value is not None}
