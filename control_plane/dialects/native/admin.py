"""What an operator asks of a running server: who uses it, how it is set, who changed what (X-ADM-01, C-AUDIT-01)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request
from pydantic import ValidationError

from control_plane.dialects.native.admin_protocol import (
    AuditLine,
    CallerUsageInfo,
    ClassUsage,
    ConfigResponse,
    ModelUsage,
    RouteUsage,
    SettingInfo,
    UsageResponse,
)
from control_plane.domain.access import Principal
from control_plane.domain.limits import LimitClass
from control_plane.domain.paging import LIMIT_MAX
from control_plane.edge.http.log_tails import last_lines
from control_plane.edge.http.routing import Admin, Routes, ServicesDep
from control_plane.edge.quotas import Quotas
from control_plane.edge.tallies import Tallies
from control_plane.edge.usage import Asked
from control_plane.services.inference import InferenceService

routes = Routes("Administration")


@routes.get("/admin/usage", summary="Who uses the server")
async def get_usage(request: Request, caller: Admin, services: ServicesDep) -> UsageResponse:
    """By caller, by model and by route, since the server started; the quotas as they are now."""
    quotas: Quotas = request.app.state.quotas
    return UsageResponse(
        since=services.health.started_at,
        callers=list(_callers(quotas)),
        models=list(_models(services.inference)),
        routes=list(_routes(request.app.state.tallies)),
    )


@routes.get("/admin/config", summary="How the server is set")
async def get_config(request: Request, caller: Admin) -> ConfigResponse:
    """Every setting with where it comes from; of secrets only whether they are set."""
    effective = request.app.state.http_config.effective
    return ConfigResponse(settings=[SettingInfo(name=s.name, value=s.value, origin=s.origin) for s in effective])


@routes.get("/admin/audit", summary="Who changed what")
async def get_audit(
    caller: Admin, services: ServicesDep, limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 100
) -> list[AuditLine]:
    """The newest lines of the audit log, the newest first. Older ones are in its turned over files on the server."""
    lines = await asyncio.to_thread(last_lines, services.audit.file, limit)
    return list(_audit_lines(reversed(lines.splitlines())))


def _audit_lines(lines: Iterable[bytes]) -> Iterator[AuditLine]:
    """A crash or a full disk may have broken one off: the others are told all the same."""
    for line in lines:
        with suppress(ValidationError):
            yield AuditLine.model_validate_json(line)


def _callers(quotas: Quotas) -> Iterator[CallerUsageInfo]:
    for usage in quotas.usage:
        who = usage.principal
        yield CallerUsageInfo(
            principal=who.id,
            role=who.role,
            rate_limit_policy=who.rate_limit_policy,
            in_flight=quotas.in_flight(who),
            classes=[_class_usage(quotas, who, limit, asked) for limit, asked in usage.asked.items()],
        )


def _class_usage(quotas: Quotas, who: Principal, limit: LimitClass, asked: Asked) -> ClassUsage:
    quota = quotas.left(who, limit)
    return ClassUsage(
        limit_class=limit,
        requests=asked.requests,
        refused=asked.refused,
        limit=None if quota is None else quota.limit,
        used=None if quota is None else quota.limit - quota.remaining,
        reset_at=None if quota is None else datetime.fromtimestamp(quota.reset_at_s, UTC),
    )


def _models(inference: InferenceService) -> Iterator[ModelUsage]:
    for model, tally in inference.tallies.items():
        yield ModelUsage(
            model=model,
            successes=tally.successes,
            failures=tally.failures,
            refusals=tally.refusals,
            in_flight=tally.in_flight,
            tokens=tally.tokens,
            seconds=tally.seconds.sum_s,
        )


def _routes(tallies: Tallies) -> Iterator[RouteUsage]:
    for tally in tallies:
        if tally.statuses:
            yield RouteUsage(
                dialect=tally.dialect,
                method=tally.method,
                route=tally.route,
                statuses={str(status): count for status, count in tally.statuses.items()},
            )
