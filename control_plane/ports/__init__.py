"""What the services need of the world outside. Each protocol is one outside system, satisfied by one gateway."""

from __future__ import annotations

from control_plane.ports.conversion import Conversion, Converter, Progress, RecipeStatus, Report
from control_plane.ports.jobs import Durability, Step, Steps, Workflow, Workspaces
from control_plane.ports.machine import Clock, Credentials, Gpu
from control_plane.ports.repository import ExportShelf, ModelRepository, OnnxInspector, OnnxModel, Publication
from control_plane.ports.serving import Triton, TritonControl, TritonServer
from control_plane.ports.state import Database, Events, JobStore, KeyStore, MetricStore, ModelStore

__all__ = [
    "Clock",
    "Conversion",
    "Converter",
    "Credentials",
    "Database",
    "Durability",
    "Events",
    "ExportShelf",
    "Gpu",
    "JobStore",
    "KeyStore",
    "MetricStore",
    "ModelRepository",
    "ModelStore",
    "OnnxInspector",
    "OnnxModel",
    "Progress",
    "Publication",
    "RecipeStatus",
    "Report",
    "Step",
    "Steps",
    "Triton",
    "TritonControl",
    "TritonServer",
    "Workflow",
    "Workspaces",
]
