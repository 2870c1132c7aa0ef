"""NVIDIA's perf_analyzer as the load generator: fetched on first need, one child process for each profile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from control_plane.domain.errors import EngineFailed
from control_plane.gateways.processes.perf_analyzer_bundle import (
    PROGRAM,
    SETTING,
    Analyzer,
    bundle_for,
    fetch,
    fetched,
    given,
    our_glibc,
    unfetched,
    unusable,
    version_of,
)
from control_plane.gateways.processes.perf_analyzer_words import (
    WINDOWS,
    input_data,
    is_too_short,
    last_words,
    options,
    profile_of,
)
from control_plane.gateways.processes.spawn import ChildResult, run_child
from control_plane.ports import Profile, ProfileRequest, Report

_DATA_FILE, _REPORT_FILE = "requests.json", "profile.csv"
# Before and after its windows: connecting, warm-up, and requests in flight that it waits for.
_AROUND_S = 60.0
_LONGER, _LENGTHENINGS = 4.0, 3  # a window in which nothing came to its end is made longer, so often


def _unheard(_: str) -> None:
    pass


class PerfAnalyzer:
    """Satisfies Profiler. `folder` holds what is fetched; `program`: an operator's own, and then nothing is fetched."""

    def __init__(self, folder: Path, program: Path | None = None) -> None:
        self._folder, self._program = folder, program
        self._version: str | None = None

    @property
    def is_given(self) -> bool:
        return self._program is not None

    @property
    def place(self) -> Path:
        """The folder of the one that is fetched. Raises Unsupported where there is none for this machine."""
        return self._folder / f"{PROGRAM}-{bundle_for(our_glibc()).version}"

    @property
    def wanted(self) -> str:
        """What would be fetched, in words. Raises as `place`."""
        bundle = bundle_for(our_glibc())
        return f"{bundle.version} (of {bundle.package})"

    def current(self) -> Analyzer | None:
        """The one that a profile would run; None while it is not there. Raises Unsupported where there is none."""
        return given(self._program) if self._program is not None else fetched(self.place)

    def present(self) -> Analyzer:
        """As `current`; raises Unsupported where it is not there."""
        found = self.current()
        if found is not None:
            return found
        raise unfetched("it is not there yet") if self._program is None else unusable(f"{SETTING} names no file")

    async def prepare(self, report: Report, on_output: Callable[[str], None] = _unheard) -> None:
        """`on_output` gets what pip says. Raises Unsupported."""
        if self._program is None and self.current() is None:
            await fetch(bundle_for(our_glibc()), self.place, report, on_output)
        await self.version()

    async def version(self) -> str:
        """What the one that is there says of itself. Raises Unsupported when it is not, or does not run."""
        self._version = self._version or await version_of(self.present())
        return self._version

    async def profile(self, request: ProfileRequest) -> Profile:
        """Three windows of together `window_s`, or longer where a request takes longer; then what they held.

        Raises: Unsupported, InvalidRequest for requests that it cannot send, EngineFailed, TimedOut.
        """
        analyzer, tool = self.present(), f"{PROGRAM} {await self.version()}"
        request.folder.mkdir(parents=True, exist_ok=True)
        data, file = request.folder / _DATA_FILE, request.folder / _REPORT_FILE
        rows = await asyncio.to_thread(_write, request, data)
        window_s = request.window_s / WINDOWS
        for _ in range(1 + _LENGTHENINGS):
            file.unlink(missing_ok=True)
            arguments = options(request, data, file, rows, window_s)
            result = await _run(analyzer, arguments, WINDOWS * window_s + _AROUND_S)
            said = (result.stdout + b"\n" + result.stderr).decode(errors="replace")
            if not is_too_short(said):
                break
            window_s *= _LONGER
        if result.returncode != 0 or not file.exists():
            raise EngineFailed(f"perf_analyzer failed: {last_words(said, result.returncode)}")
        return profile_of(request, file.read_text("utf-8", "replace"), said, rows, tool)


async def _run(analyzer: Analyzer, arguments: list[str], timeout_s: float) -> ChildResult:
    # TimedOut of the child is the port's own.
    return await run_child([str(analyzer.program), *arguments], env=analyzer.environment, timeout_s=timeout_s)


def _write(request: ProfileRequest, file: Path) -> int:
    text, rows = input_data(request.requests, has_batch_axis=request.has_batch_axis)
    file.write_text(text)
    return rows
