"""What the services need of the world outside. Each protocol is one outside system, satisfied by one gateway."""

from __future__ import annotations

from control_plane.ports.conversion import (
    CandidatePlan,
    Conversion,
    Converter,
    ConverterCatalog,
    LevelPlan,
    Progress,
    RecipeStatus,
    Report,
)
from control_plane.ports.jobs import Durability, Step, Steps, Workflow, Workspaces
from control_plane.ports.machine import Clock, Credentials, Gpu, LineLog
from control_plane.ports.optimization import Profile, Profiler, ProfileRequest, ScratchTriton, ScratchTritons
from control_plane.ports.repository import ExportShelf, ModelRepository, OnnxInspector, OnnxModel, Publication
from control_plane.ports.serving import Triton, TritonControl, TritonServer
from control_plane.ports.state import AnswerStore, Database, Events, JobStore, KeyStore, MetricStore, ModelStore

__all__ = [
    "AnswerStore",
    "CandidatePlan",
    "Clock",
    "Conversion",
    "Converter",
    "ConverterCatalog",
    "Credentials",
    "Database",
    "Durability",
    "Events",
    "ExportShelf",
    "Gpu",
    "JobStore",
    "KeyStore",
    "LevelPlan",
    "LineLog",
    "MetricStore",
    "ModelRepository",
    "ModelStore",
    "OnnxInspector",
    "OnnxModel",
    "Profile",
    "ProfileRequest",
    "Profiler",
    "Progress",
    "Publication",
    "RecipeStatus",
    "Report",
    "ScratchTriton",
    "ScratchTritons",
    "Step",
    "Steps",
    "Triton",
    "TritonControl",
    "TritonServer",
    "Workflow",
    "Workspaces",
]
