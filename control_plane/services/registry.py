"""All services of one server, as the dialects are handed them."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.ports import Events
from control_plane.services.access import Access
from control_plane.services.audit import Audit
from control_plane.services.catalog import Catalog
from control_plane.services.drawing import Drawings
from control_plane.services.exports import Exports
from control_plane.services.health import HealthService
from control_plane.services.idempotency import Idempotency
from control_plane.services.imports import Imports
from control_plane.services.inference import InferenceService
from control_plane.services.jobs import JobService
from control_plane.services.models import Models
from control_plane.services.monitoring import Monitoring
from control_plane.services.optimizations import Optimizations


@dataclass(frozen=True, slots=True)
class Services:
    access: Access
    models: Models
    catalog: Catalog
    inference: InferenceService
    health: HealthService
    jobs: JobService
    imports: Imports
    exports: Exports
    events: Events
    monitoring: Monitoring
    optimizations: Optimizations
    drawings: Drawings
    idempotency: Idempotency
    audit: Audit
