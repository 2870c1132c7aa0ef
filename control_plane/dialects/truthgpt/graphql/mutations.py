"""What may be done: loading, unloading, optimizing and running models (T-GQL-05..08, 11)."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry.scalars import JSON

from control_plane.dialects.truthgpt.graphql.inferences import wanted_of
from control_plane.dialects.truthgpt.graphql.scalars import BigInt
from control_plane.dialects.truthgpt.graphql.types import (
    InferenceResult,
    Model,
    Optimization,
    image_result,
    model_of,
    optimization_of,
    text_result,
)
from control_plane.dialects.truthgpt.mapping import to_loading
from control_plane.dialects.truthgpt.optimization_mapping import to_optimizing
from control_plane.domain.access import Role
from control_plane.domain.errors import InvalidRequest
from control_plane.domain.generation import Sampling
from control_plane.domain.images import Drawing
from control_plane.domain.limits import LimitClass
from control_plane.edge.graphql.context import Info


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Answers once the model answers a probe. A config of its own makes a new revision."
    )
    async def load_model(self, info: Info, name: str, model_type: str, config: JSON | None = None) -> Model:
        context, services = info.context, info.context.services
        wanted = to_loading(name, model_type, _object("config", config))
        with context.entered(services.access.management_role, LimitClass.MODEL_MANAGEMENT):
            wanted.check_kind(services.catalog.resolve(wanted.reference).revision.description.kind)
            status = await services.models.load(wanted.reference, wanted.options, context.principal)
            return model_of(status, services.catalog.get(status.revision.model).record)

    @strawberry.mutation(description="Requests in flight finish first. Unloading what is not loaded is fine.")
    async def unload_model(self, info: Info, model_id: str) -> bool:
        services = info.context.services
        with info.context.entered(services.access.management_role, LimitClass.MODEL_MANAGEMENT):
            await services.models.unload(model_id)
            return True

    @strawberry.mutation(description="Answers at once; the work is a job, which optimizationProgress tells of.")
    async def optimize_model(
        self, info: Info, model_id: str, optimization_level: str, parameters: JSON | None = None
    ) -> Optimization:
        context, services = info.context, info.context.services
        wanted = to_optimizing(model_id, optimization_level, _object("parameters", parameters))
        with context.entered(services.access.management_role, LimitClass.OPTIMIZATION):
            job = await services.optimizations.submit(
                wanted.reference, wanted.options, wanted.ignored, context.principal
            )
            return optimization_of(job)

    @strawberry.mutation(description="For who asked for it and for admins. Answers when nothing of its work is left.")
    async def cancel_optimization(self, info: Info, optimization_id: str) -> Optimization:
        context, services = info.context, info.context.services
        with context.entered(services.access.management_role):  # what was asked for too much can still be stopped
            return optimization_of(await services.optimizations.cancel(optimization_id, context.principal))

    @strawberry.mutation(
        description="`inputData` is the text to continue; for a model that draws, a prompt or a JSON object as text."
    )
    async def run_inference(
        self,
        info: Info,
        model_id: str,
        input_data: str,
        max_length: int = 100,
        temperature: float = 0.7,
        top_p: float = 0.9,
        seed: BigInt | None = None,
    ) -> InferenceResult:
        context, services = info.context, info.context.services
        sampling = Sampling(max_tokens=max_length, temperature=temperature, top_p=top_p, seed=seed)
        with context.entered(Role.USER, LimitClass.INFERENCE):
            wanted, found = wanted_of(context, model_id, input_data, sampling)
            if isinstance(wanted, Drawing):
                return image_result(await services.drawings.draw(wanted, found))
            return text_result(await services.inference.generate(wanted, found))


def _object(name: str, given: object) -> dict[str, Any]:
    """A JSON argument that must be an object, or may be left out."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidRequest(f"{name} must be a JSON object", field=name)
    return given
