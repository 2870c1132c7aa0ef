"""What the command line does in its own process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from control_plane.bootstrap.making import CONVERTERS, has_gpu, make_environment, make_profiler
from control_plane.domain.diagnosis import Finding
from control_plane.domain.environments import Making
from control_plane.gateways.clock import SystemClock
from control_plane.gateways.processes.diagnosis import converter_environment, perf_analyzer
from control_plane.gateways.processes.packages import Requirements
from control_plane.gateways.triton import diagnosis
from control_plane.gateways.triton.configuration import TritonConfig
from control_plane.ports import Report
from control_plane.settings import Settings


async def diagnose(settings: Settings) -> AsyncIterator[Finding]:
    """What `tritonplane doctor` finds, one by one; the last comes from a Triton of its own, in a temporary folder."""
    config = TritonConfig(settings.state_dir.expanduser().absolute(), settings.triton_bin)
    for check in diagnosis.CHECKS:
        yield await check(config)
    yield await converter_environment(make_environment(settings, has_gpu=has_gpu()), Requirements(CONVERTERS))
    yield await perf_analyzer(make_profiler(settings))
    wanted = {"HTTP": settings.port, "gRPC": settings.grpc_port}
    for finding in diagnosis.ports(wanted):
        yield finding
    for port in settings.extra_ports:
        yield diagnosis.ports({f"HTTP {port}": port})[0]
    yield await diagnosis.round_trip(config, SystemClock())


async def set_up_converter(settings: Settings, making: Making, report: Report) -> dict[str, object]:
    """What `tritonplane setup convert` does: make the converter environment in this process; its facts."""
    made = await make_environment(settings, has_gpu=has_gpu()).make(making, report)
    return {"python": made.python, "versions": made.versions}


async def set_up_perf_analyzer(
    settings: Settings, on_output: Callable[[str], None], report: Report
) -> dict[str, object]:
    """What `tritonplane setup perf` does: fetch the load generator; its facts."""
    profiler = make_profiler(settings)
    await profiler.prepare(report, on_output)
    return {"program": str(profiler.present().program), "version": await profiler.version()}
