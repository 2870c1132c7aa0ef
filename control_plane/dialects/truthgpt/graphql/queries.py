"""What may be asked: models and optimizations (T-GQL-01..04)."""

from __future__ import annotations

import strawberry

from control_plane.dialects.truthgpt.graphql.types import Model, Optimization, model_of, optimization_of
from control_plane.domain.access import Role
from control_plane.domain.errors import ModelNotFound, OptimizationNotFound
from control_plane.domain.jobs import JobFilter
from control_plane.domain.models import ModelFilter
from control_plane.domain.paging import Page
from control_plane.edge.graphql.context import Info


@strawberry.type
class Query:
    @strawberry.field(description="All models, oldest first; `limit` is 1 to 1000.")
    async def models(self, info: Info, limit: int = 100, offset: int = 0) -> list[Model]:
        page = Page(limit, offset)
        with info.context.entered(Role.VIEWER):
            found = info.context.services.catalog.list(ModelFilter(), page)
            return [model_of(model.stable, model.record) for model in found.items]

    @strawberry.field(description="One model, by name, `name:N` or `name@alias`; null where there is none.")
    async def model(self, info: Info, model_id: str) -> Model | None:
        catalog = info.context.services.catalog
        with info.context.entered(Role.VIEWER):
            try:
                status = catalog.resolve(model_id)
            except ModelNotFound:
                return None
            return model_of(status, catalog.get(status.revision.model).record)

    @strawberry.field(description="All optimizations, newest first; `limit` is 1 to 1000.")
    async def optimizations(self, info: Info, limit: int = 100, offset: int = 0) -> list[Optimization]:
        page = Page(limit, offset)
        with info.context.entered(Role.VIEWER):
            jobs = await info.context.services.optimizations.list(JobFilter(), page)
            return [optimization_of(job) for job in jobs.items]

    @strawberry.field(description="One optimization; null where there is none.")
    async def optimization(self, info: Info, optimization_id: str) -> Optimization | None:
        with info.context.entered(Role.VIEWER):
            try:
                return optimization_of(await info.context.services.optimizations.get(optimization_id))
            except OptimizationNotFound:
                return None
