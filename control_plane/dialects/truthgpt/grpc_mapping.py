"""What the gRPC messages of TruthGPT mean, and how our answers are written as such messages."""

from __future__ import annotations

from control_plane.dialects.truthgpt.images import output_text, step_text, to_drawing, to_input
from control_plane.dialects.truthgpt.mapping import canonical_id, status_of
from control_plane.dialects.truthgpt.optimization_mapping import STATES, error_of, metrics_of
from control_plane.dialects.truthgpt.rendering import VERSION
from control_plane.domain.generation import Completion, Generation, Sampling, Token
from control_plane.domain.images import Drawing, DrawingStep, Drawn
from control_plane.domain.jobs import Job
from control_plane.domain.models import Model, RevisionStatus
from control_plane.domain.paging import Page, Paged
from control_plane.edge.times import rfc3339, rfc3339_now
from control_plane.pb import optimization_pb2 as pb
from control_plane.services.health import HealthReport

UNKNOWN_SERVICE, UNKNOWN_OPTIMIZATION = "unknown", "not_found"
DEFAULTS, FIRST_PAGE = Sampling(), Page()


InferenceWords = pb.InferenceRequest | pb.StreamInferenceRequest


def to_generation(request: InferenceWords, request_id: str, caller: str) -> Generation:
    """0 on the wire is "not set", and means the default; but a `temperature` of 0 is greedy (D-09)."""
    sampling = Sampling(
        max_tokens=request.max_length or DEFAULTS.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p or DEFAULTS.top_p,
    )
    return Generation(request.model_id, request.input_text, sampling, request_id, caller)


def to_image_request(request: InferenceWords, request_id: str, caller: str) -> Drawing:
    """`input_text` is a prompt or a JSON object of options; the message's own numbers are for texts."""
    return to_drawing(request.model_id, to_input(request.input_text), request_id=request_id, caller=caller)


def to_page(request: pb.ListModelsRequest) -> Page:
    return Page(request.limit or FIRST_PAGE.limit, request.offset)


def inference_response(completion: Completion) -> pb.InferenceResponse:
    return pb.InferenceResponse(
        model_id=completion.model,
        output_text=completion.text,
        tokens=completion.tokens,
        probabilities=completion.probabilities,
        inference_time=completion.inference_time_s,
        tokens_per_second=completion.tokens_per_second,
        created_at=rfc3339_now(),
    )


def inference_token(token: Token) -> pb.InferenceToken:
    return pb.InferenceToken(
        token=token.text, index=token.index, probability=token.probability, is_final=token.is_final
    )


def image_response(drawn: Drawn) -> pb.InferenceResponse:
    """The output object as JSON in place of a text, and no tokens."""
    return pb.InferenceResponse(
        model_id=drawn.model,
        output_text=output_text(drawn),
        inference_time=drawn.inference_time_s,
        tokens_per_second=drawn.steps_per_second,
        created_at=rfc3339_now(),
    )


def image_token(item: DrawingStep | Drawn) -> pb.InferenceToken:
    """A step as JSON, or in the last message the output object."""
    if isinstance(item, Drawn):
        return pb.InferenceToken(token=output_text(item), index=item.num_steps, is_final=True)
    return pb.InferenceToken(token=step_text(item), index=item.step - 1)


def models_response(models: Paged[Model]) -> pb.ListModelsResponse:
    return pb.ListModelsResponse(
        models=[model_info(model, model.stable) for model in models.items], total_count=models.total
    )


def model_info(model: Model, status: RevisionStatus) -> pb.ModelInfo:
    """What is said of one revision of a model. A number or dtype that nobody knows stays unset."""
    revision = status.revision
    return pb.ModelInfo(
        model_id=canonical_id(status, model.record),
        name=model.name,
        type=revision.description.kind.value,
        parameters=revision.description.parameters or 0,
        size_bytes=revision.size_bytes,
        device=revision.device,
        dtype=revision.description.dtype or "",
        status=status_of(status.state),
        created_at=rfc3339(model.record.created_at),
        updated_at=rfc3339(model.record.updated_at),
    )


def optimization_status(job: Job) -> pb.GetOptimizationStatusResponse:
    return pb.GetOptimizationStatusResponse(
        optimization_id=job.id,
        status=STATES[job.state],
        progress=job.progress,
        performance_metrics=metrics_of(job),
        error_message=error_of(job) or "",
    )


def unknown_optimization(optimization_id: str, message: str) -> pb.GetOptimizationStatusResponse:
    return pb.GetOptimizationStatusResponse(
        optimization_id=optimization_id, status=UNKNOWN_OPTIMIZATION, error_message=message
    )


def health_response(report: HealthReport, service: str, own_name: str) -> pb.HealthCheckResponse:
    """`service` is a part of the report; empty or our own name means the server as a whole."""
    parts = {"": report.status, own_name: report.status, **report.services}
    return pb.HealthCheckResponse(
        status=parts[service].value if service in parts else UNKNOWN_SERVICE,
        timestamp=rfc3339(report.checked_at),
        version=VERSION,
        uptime=report.uptime_s,
        services={name: health.value for name, health in report.services.items()},
    )
