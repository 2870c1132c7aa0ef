"""Searching the serving settings of a model: the most requests a second of which 99 in 100 are fast enough."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from control_plane.domain.errors import DomainError, EngineFailed, InvalidRequest, TimedOut, Unavailable, Unsupported
from control_plane.domain.models import Description, LoadOptions, Signature
from control_plane.domain.tensors import Parameter, Tensor
from control_plane.ports import ModelRepository, Profile, Profiler, ProfileRequest, ScratchTriton
from control_plane.services.loading import UNLOAD_TIMEOUT_S
from control_plane.services.measuring import LOAD_TIMEOUT_S
from control_plane.services.scratch_deaths import has_died

# Fields of LoadOptions, in the order in which they are turned: those that decide most come first.
SETTINGS = ("instance_count", "threads", "max_batch_size", "queue_delay_us")
_CONCURRENCY, _WINDOW_S = (1, 4, 16), 2.0
_SWEEPS_MAX = 3  # over all settings; most searches stand still after the second
_CONFIRMED_MAX = 3  # of the best, until one keeps what it promised


@dataclass(frozen=True, slots=True)
class Subject:
    """A model folder as `ModelRepository.stage` takes it, the settings that it has so far, and what it is asked.

    `parameters` travel with each request.
    """

    source: Path
    directory: str
    description: Description
    settings: LoadOptions
    requests: Sequence[tuple[Tensor, ...]]
    parameters: tuple[tuple[str, Parameter], ...] = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """The values of each setting that are tried, and with how many requests at a time. Units: seconds."""

    settings: Mapping[str, tuple[int, ...]]
    concurrency: tuple[int, ...] = _CONCURRENCY
    window_s: float = _WINDOW_S


@dataclass(frozen=True, slots=True)
class Limits:
    """`slo_p99_ms`: what 99 of 100 requests must not exceed; None: throughput alone decides."""

    slo_p99_ms: float | None
    is_out_of_time: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings, and what load they stood. `reason`: why they were not measured, or not further."""

    settings: LoadOptions
    profiles: tuple[Profile, ...]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Every trial in its order; the first has the settings that the model came with.

    `best`: None where nothing could be measured, or nothing keeps the SLO. `confirmed`: what it showed once more,
    alone, after the search; None where the time was over. `is_whole`: the time was enough for all that was to be tried.
    """

    trials: tuple[Trial, ...]
    best: Trial | None
    confirmed: Profile | None
    is_whole: bool


def grid_of(table: Mapping[str, Any]) -> Grid:
    """A level's `[search.serving]`. Raises ValueError for what is no setting, or no list of whole numbers."""
    known = {*SETTINGS, "concurrency", "window_s"}
    if unknown := sorted(set(table) - known):
        raise ValueError(f"the serving search knows no {unknown[0]!r}; it knows {', '.join(sorted(known))}")
    lists = {name: table[name] for name in table if name != "window_s"}
    for name, values in lists.items():
        if not isinstance(values, list) or not values or any(type(value) is not int for value in values):
            raise ValueError(f"{name} of the serving search must be a list of whole numbers, got {values!r}")
    concurrency = tuple(sorted(lists.pop("concurrency", _CONCURRENCY)))
    settings = {name: tuple(lists[name]) for name in SETTINGS if name in lists}
    return Grid(settings, concurrency, float(table.get("window_s", _WINDOW_S)))


def best_profile(trial: Trial, slo_p99_ms: float | None) -> Profile | None:
    """The most requests a second within the SLO."""
    kept = [profile for profile in trial.profiles if keeps(profile, slo_p99_ms)]
    return max(kept, key=lambda profile: profile.requests_per_s, default=None)


def keeps(profile: Profile, slo_p99_ms: float | None) -> bool:
    return slo_p99_ms is None or profile.latency_p99_s * 1000 <= slo_p99_ms


def merit(trial: Trial, slo_p99_ms: float | None) -> tuple[int, float]:
    """More is better: requests a second within the SLO, before any that is out of it; those by how little."""
    best = best_profile(trial, slo_p99_ms)
    if best is not None:
        return 2, best.requests_per_s
    if trial.profiles:
        return 1, -min(profile.latency_p99_s for profile in trial.profiles)
    return 0, 0.0


class ServingSearch:
    """Tries settings one after the other in a scratch Triton; between trials the model is unloaded."""

    def __init__(self, scratch: ScratchTriton, repository: ModelRepository, profiler: Profiler) -> None:
        self._scratch, self._repository, self._profiler = scratch, repository, profiler

    async def search(
        self, subject: Subject, grid: Grid, limits: Limits, folder: Path, on_trial: Callable[[Trial], None]
    ) -> Found:
        """Turn one setting after the other, keep its best value, and begin again until nothing gets better.

        `folder` is made, used for the files of profiles, and deleted. The profiler is prepared before (`prepare`).
        Raises: Unsupported where the profiler cannot run here; Unavailable where Triton does not come back.
        """
        work = _Work(subject, grid, limits, folder, on_trial)
        try:
            is_whole = await self._descend(work)
            best, confirmed = await self._confirmed(work)
        finally:
            await asyncio.shield(asyncio.to_thread(_delete, folder, self._scratch.repository / subject.directory))
        return Found(tuple(work.trials.values()), best, confirmed, is_whole)

    async def _descend(self, work: _Work) -> bool:
        """Coordinate descent; False when the time was over first."""
        best = await self._trial(work, work.subject.settings)
        for _ in range(_SWEEPS_MAX):
            before = best
            for name, values in work.grid.settings.items():
                for value in values:
                    changes: dict[str, Any] = {name: value}
                    settings = replace(best.settings, **changes)
                    if settings not in work.trials and work.limits.is_out_of_time():
                        return False
                    trial = await self._trial(work, settings)
                    best = max(best, trial, key=work.merit)
            if best is before:
                break
        return True

    async def _trial(self, work: _Work, settings: LoadOptions) -> Trial:
        if settings not in work.trials:
            trial = await self._measured(work, settings, work.grid.concurrency)
            work.trials[settings] = trial
            work.on_trial(trial)
        return work.trials[settings]

    async def _confirmed(self, work: _Work) -> tuple[Trial | None, Profile | None]:
        """Of many noisy numbers the best is best by luck too, so it has to show it once more."""
        slo = work.limits.slo_p99_ms
        ranking = sorted(work.trials.values(), key=work.merit, reverse=True)
        for trial in ranking[:_CONFIRMED_MAX]:
            promised = best_profile(trial, slo)
            if promised is None:
                break
            if work.limits.is_out_of_time():
                return trial, None
            again = await self._measured(work, trial.settings, (promised.concurrency,))
            if again.profiles and keeps(again.profiles[0], slo):
                return trial, again.profiles[0]
        return None, None

    async def _measured(self, work: _Work, settings: LoadOptions, concurrency: Sequence[int]) -> Trial:
        """Staged, loaded and profiled; what keeps it from that is its reason.

        Interrupted, it leaves the model loaded: its Triton ends with the job, which has no second for an unload.
        """
        subject = work.subject
        try:
            signature = await self._repository.stage(
                subject.source, subject.directory, subject.description, settings, self._scratch.repository
            )
        except (InvalidRequest, Unsupported) as error:
            return Trial(settings, (), error.message)
        life, profiles, reason = self._scratch.deaths, list[Profile](), None
        try:
            await self._scratch.control.load(subject.directory, LOAD_TIMEOUT_S)
            for count in concurrency:
                profiles.append(await self._profiler.profile(_request(work, self._scratch.address, signature, count)))
                if not keeps(profiles[-1], work.limits.slo_p99_ms):
                    break  # with more at a time each waits longer still
        except (InvalidRequest, EngineFailed, TimedOut, Unavailable) as error:
            reason = error.message
        except Unsupported:
            await self._unloaded(subject.directory)
            raise
        is_there = await self._unloaded(subject.directory)
        if await has_died(self._scratch, life, is_likely=not is_there):
            await self._scratch.ready()
            return Trial(settings, (), f"Triton died under these settings{f': {reason}' if reason else ''}")
        return Trial(settings, tuple(profiles), reason)

    async def _unloaded(self, directory: str) -> bool:
        """False when Triton did not answer."""
        try:
            await self._scratch.control.unload(directory, UNLOAD_TIMEOUT_S)
        except DomainError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Work:
    """One search, and what it has tried so far."""

    subject: Subject
    grid: Grid
    limits: Limits
    folder: Path
    on_trial: Callable[[Trial], None]
    trials: dict[LoadOptions, Trial] = field(default_factory=dict)

    def merit(self, trial: Trial) -> tuple[int, float]:
        return merit(trial, self.limits.slo_p99_ms)


def _request(work: _Work, address: str, signature: Signature, concurrency: int) -> ProfileRequest:
    subject = work.subject
    return ProfileRequest(
        address,
        subject.directory,
        subject.requests,
        concurrency,
        work.folder,
        signature.is_decoupled,
        subject.parameters,
        work.grid.window_s,
        has_batch_axis=signature.max_batch_size > 0,
    )


def _delete(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
