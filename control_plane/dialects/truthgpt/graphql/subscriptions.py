"""What may be followed: an optimization, and a generation as it comes (T-GQL-09, 10)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import strawberry

from control_plane.dialects.truthgpt.graphql.inferences import wanted_of
from control_plane.dialects.truthgpt.graphql.scalars import BigInt
from control_plane.dialects.truthgpt.graphql.types import Optimization, optimization_of
from control_plane.dialects.truthgpt.images import output_text, step_text
from control_plane.domain.access import Role
from control_plane.domain.generation import Sampling
from control_plane.domain.images import Drawing, DrawingStep
from control_plane.domain.limits import LimitClass
from control_plane.edge.graphql.context import Context, Info


@strawberry.type
class Subscription:
    @strawberry.subscription(description="How it is now, then each change, and last how it ended.")
    async def optimization_progress(self, info: Info, optimization_id: str) -> AsyncGenerator[Optimization, None]:
        with info.context.entered(Role.VIEWER):
            async with aclosing(info.context.services.optimizations.follow(optimization_id)) as jobs:
                async for job in jobs:
                    yield optimization_of(job)

    @strawberry.subscription(
        description="Each piece of the text; of a model that draws, each step and then the images, as JSON objects. "
        "Unsubscribing ends the work."
    )
    async def inference_stream(
        self,
        info: Info,
        model_id: str,
        input_data: str,
        max_length: int = 100,
        temperature: float = 0.7,
        seed: BigInt | None = None,
    ) -> AsyncGenerator[str, None]:
        sampling = Sampling(max_tokens=max_length, temperature=temperature, seed=seed)
        with info.context.entered(Role.USER, LimitClass.INFERENCE):
            async with aclosing(_pieces(info.context, model_id, input_data, sampling)) as pieces:
                async for piece in pieces:
                    yield piece


async def _pieces(context: Context, model: str, given: str, sampling: Sampling) -> AsyncGenerator[str, None]:
    services, (wanted, found) = context.services, wanted_of(context, model, given, sampling)
    if isinstance(wanted, Drawing):
        async with aclosing(services.drawings.stream(wanted, found)) as items:
            async for item in items:
                yield step_text(item) if isinstance(item, DrawingStep) else output_text(item)
        return
    async with aclosing(services.inference.stream(wanted, found)) as tokens:
        async for token in tokens:
            yield token.text
