"""Gateways, made as the settings say."""

from __future__ import annotations

import shutil
from pathlib import Path

from control_plane.gateways.clock import SystemClock
from control_plane.gateways.credentials import JwtConfig, LocalCredentials
from control_plane.gateways.processes.conversions import ConverterRunner
from control_plane.gateways.processes.converter import ConverterInspector
from control_plane.gateways.processes.environment import Environment, GivenEnvironment, MadeEnvironment
from control_plane.gateways.processes.packages import Requirements
from control_plane.gateways.processes.perf_analyzer import PerfAnalyzer
from control_plane.gateways.repository.configuration import Abilities
from control_plane.gateways.repository.repository import LocalRepository
from control_plane.gateways.repository.safety import ImportLimits
from control_plane.gateways.state.database import SqlDatabase
from control_plane.gateways.state.directory import StateDirectory
from control_plane.gateways.state.keys import SqlKeyStore
from control_plane.gateways.triton.backend_directory import PYTHON_BACKEND, our_backends
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.gateways.triton.external import ExternalTriton
from control_plane.gateways.triton.scratch import LocalScratchTritons
from control_plane.gateways.triton.supervisor import Supervisor
from control_plane.services.access import Access
from control_plane.settings import Settings

CONVERTERS = Path(__file__).parents[2] / "converters"


def has_gpu() -> bool:
    """Whether an NVIDIA driver is at work on this machine."""
    return shutil.which("nvidia-smi") is not None and Path("/dev/nvidiactl").exists()


def make_access(settings: Settings, state: StateDirectory, database: SqlDatabase, clock: SystemClock) -> Access:
    return Access(
        LocalCredentials(_jwt_config(settings, state)),
        SqlKeyStore(database),
        clock,
        settings.auth_anonymous_role,
        user_can_manage=settings.auth_user_can_manage,
        policies=settings.policies.keys(),
    )


def _jwt_config(settings: Settings, state: StateDirectory) -> JwtConfig:
    secret = settings.jwt_secret
    if secret is None and settings.jwt_public_key is None:
        secret = state.jwt_secret()
    return JwtConfig(secret, settings.jwt_public_key, settings.jwt_alg, settings.jwt_issuer, settings.jwt_audience)


def make_triton(settings: Settings, state_dir: Path, clock: SystemClock) -> Supervisor | ExternalTriton:
    config = TritonConfig(state_dir, settings.triton_bin, drain_timeout_s=settings.drain_seconds)
    if settings.triton_endpoints:
        return ExternalTriton(config, settings.triton_endpoints, clock)
    return Supervisor(config, clock)


def make_scratch(settings: Settings, state_dir: Path, clock: SystemClock) -> LocalScratchTritons:
    """Local ones also where an external Triton serves: what is only tried has no place there."""
    return LocalScratchTritons(state_dir, settings.triton_bin, clock)


def make_converter(settings: Settings, state_dir: Path, *, has_gpu: bool) -> ConverterRunner:
    return ConverterRunner(make_environment(settings, has_gpu=has_gpu), state_dir / "converter" / "code", CONVERTERS)


def make_environment(settings: Settings, *, has_gpu: bool) -> Environment:
    if settings.converter_python is not None:
        return GivenEnvironment(settings.converter_python)
    folder = settings.state_dir.expanduser().absolute() / "converter"
    return MadeEnvironment(folder, Requirements(CONVERTERS), has_gpu=has_gpu)


def make_profiler(settings: Settings) -> PerfAnalyzer:
    return PerfAnalyzer(settings.state_dir.expanduser().absolute() / "tools", settings.perf_analyzer)


def make_repository(settings: Settings, state_dir: Path, clock: SystemClock, *, has_gpu: bool) -> LocalRepository:
    abilities = Abilities(frozenset(folder.name for folder in our_backends()) | {PYTHON_BACKEND}, has_gpu)
    limits = ImportLimits(allow_code=settings.import_allow_code)
    return LocalRepository(state_dir, ConverterInspector(), clock, abilities, limits)
