"""TruthGPT's GraphQL types, and our models, optimizations and answers said in them."""

from __future__ import annotations

from datetime import UTC, datetime

import strawberry
from strawberry.scalars import JSON

from control_plane.dialects.truthgpt.graphql.scalars import BigInt
from control_plane.dialects.truthgpt.images import output_text
from control_plane.dialects.truthgpt.mapping import canonical_id, status_of
from control_plane.dialects.truthgpt.optimization_mapping import STATES, metrics_of
from control_plane.domain.generation import Completion
from control_plane.domain.images import Drawn
from control_plane.domain.jobs import Job
from control_plane.domain.models import ModelRecord, RevisionStatus


@strawberry.type(description="A model of the repository, loaded or not.")
class Model:
    model_id: str
    name: str
    type: str = strawberry.field(description="transformer, diffusion, hybrid or generic")
    parameters: BigInt = strawberry.field(description="how many weights; 0 where the model's files do not say")
    size_bytes: BigInt
    device: str
    dtype: str = strawberry.field(description="empty where the model's files do not say")
    status: str = strawberry.field(description="loaded, unloaded or optimizing")
    created_at: datetime
    updated_at: datetime


@strawberry.type(description="A job that makes a model faster or smaller.")
class Optimization:
    optimization_id: str
    model_id: str
    optimization_level: str
    status: str = strawberry.field(description="running (also while it waits), completed, failed or cancelled")
    progress: float = strawberry.field(description="0 to 100; 100 once completed")
    performance_metrics: JSON | None = strawberry.field(description="null until something is measured")
    created_at: datetime
    completed_at: datetime | None


@strawberry.type(description="A whole answer.")
class InferenceResult:
    model_id: str
    output: str = strawberry.field(description="the text; of a model that draws, the images as a JSON object")
    inference_time: float = strawberry.field(description="seconds")
    tokens_per_second: float = strawberry.field(description="of a model that draws: denoising steps of an image")
    created_at: datetime


def model_of(status: RevisionStatus, record: ModelRecord) -> Model:
    revision, description = status.revision, status.revision.description
    return Model(
        model_id=canonical_id(status, record),
        name=revision.model,
        type=description.kind.value,
        parameters=BigInt(description.parameters or 0),
        size_bytes=BigInt(revision.size_bytes),
        device=revision.device,
        dtype=description.dtype or "",
        status=status_of(status.state),
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def optimization_of(job: Job) -> Optimization:
    return Optimization(
        optimization_id=job.id,
        model_id=job.model,
        optimization_level=str(job.parameters["level"]),
        status=STATES[job.state],
        progress=job.progress,
        performance_metrics=JSON(metrics_of(job) or None),
        created_at=job.created_at,
        completed_at=job.finished_at,
    )


def text_result(completion: Completion) -> InferenceResult:
    return InferenceResult(
        model_id=completion.model,
        output=completion.text,
        inference_time=completion.inference_time_s,
        tokens_per_second=completion.tokens_per_second,
        created_at=datetime.now(UTC),
    )


def image_result(drawn: Drawn) -> InferenceResult:
    return InferenceResult(
        model_id=drawn.model,
        output=output_text(drawn),
        inference_time=drawn.inference_time_s,
        tokens_per_second=drawn.steps_per_second,
        created_at=datetime.now(UTC),
    )
