"""The APIs that HTTP serves: one line for each."""

from __future__ import annotations

from starlette.types import ASGIApp

from control_plane.dialects.kserve.rest import DIALECT as KSERVE
from control_plane.dialects.llmgine.rest import DIALECT as LLMGINE
from control_plane.dialects.native.rest import DIALECT as NATIVE
from control_plane.dialects.truthgpt.graphql.api import DIALECT as GRAPHQL
from control_plane.dialects.truthgpt.rest import DIALECT as TRUTHGPT
from control_plane.edge.http import app
from control_plane.edge.http.app import HttpConfig
from control_plane.edge.http.operations import TritonMetrics, no_triton_metrics
from control_plane.edge.quotas import Quotas
from control_plane.services.registry import Services

DIALECTS = (TRUTHGPT, GRAPHQL, LLMGINE, KSERVE, NATIVE)


def build_http(
    services: Services, config: HttpConfig, quotas: Quotas, triton_metrics: TritonMetrics = no_triton_metrics
) -> ASGIApp:
    """The whole HTTP side of the server. Call it inside the event loop that serves."""
    return app.build_http(services, config, DIALECTS, quotas, triton_metrics)
