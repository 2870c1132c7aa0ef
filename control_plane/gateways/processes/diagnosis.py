"""What the doctor says of the converter environment and of perf_analyzer."""

from __future__ import annotations

from control_plane.domain.diagnosis import Finding
from control_plane.domain.errors import Unsupported
from control_plane.gateways.processes.environment import Environment, GivenEnvironment
from control_plane.gateways.processes.packages import Requirements, imported_versions
from control_plane.gateways.processes.perf_analyzer import PerfAnalyzer
from control_plane.gateways.processes.perf_analyzer_bundle import PROGRAM, SETTING

NAME = "converter environment"


async def converter_environment(environment: Environment, requirements: Requirements) -> Finding:
    """Imports what is there; what is not there yet is no fault."""
    is_given = isinstance(environment, GivenEnvironment)
    current = environment.current()
    if current is None and not is_given:
        return Finding(NAME, True, "not made yet: made on first need, or now by `tritonplane setup convert`")
    remedy = "tritonplane setup convert --force"
    if is_given:
        remedy = "set TRITONPLANE_CONVERTER_PYTHON to a Python with what converters/requirements.txt lists, or unset it"
    if current is None:
        return Finding(
            NAME, ok=False, reason="the Python of TRITONPLANE_CONVERTER_PYTHON does not exist", remedy=remedy
        )
    try:
        found = await imported_versions(current.python)
    except Unsupported as error:
        return Finding(NAME, False, error.message, remedy)
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    differences = requirements.differences(found)
    warning = f"; not as tested: {', '.join(differences)}" if differences else ""
    return Finding(NAME, True, f"{told}{warning}")


async def perf_analyzer(profiler: PerfAnalyzer) -> Finding:
    """Which one would put load on models, and whether it runs; what is not fetched yet is no fault."""
    try:
        if not profiler.is_given and profiler.current() is None:
            told = f"{profiler.wanted} is not fetched yet: on first need, or now by `tritonplane setup perf`"
            return Finding(PROGRAM, True, told)
        version = await profiler.version()
    except Unsupported as error:
        remedy = f"set {SETTING} to a perf_analyzer that runs, or unset it"
        if not profiler.is_given:
            remedy = f"delete {profiler.place} and run `tritonplane setup perf`, or set {SETTING} to one that runs"
        return Finding(PROGRAM, False, error.message, remedy)
    return Finding(PROGRAM, True, f"{version}, {f'of {SETTING}' if profiler.is_given else 'in the state directory'}")
