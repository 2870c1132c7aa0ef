"""The best few candidates measured again, on fresh samples: which of them are better than the baseline for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from control_plane.domain.errors import EngineFailed, TimedOut
from control_plane.domain.jobs import JsonObject
from control_plane.domain.optimization import Comparison, Objective, pooled
from control_plane.domain.optimization_records import Tried, comparison_from_json
from control_plane.ports import Progress, Report
from control_plane.services import verdicts
from control_plane.services.evidence import Final
from control_plane.services.job_runs import Run
from control_plane.services.trials import Trials

# Of a final, and of each load: within one, all rounds of the same files were 1.13 once, and 1.37 another time.
LOADS, ROUNDS = 5, 5


class Finals:
    """`repeats`: how often all loads of a final are done."""

    def __init__(self, trials: Trials, objective: Objective, repeats: int, is_out_of_time: Callable[[], bool]) -> None:
        self._trials, self._objective = trials, objective
        self._loads, self._is_out_of_time = LOADS * repeats, is_out_of_time

    async def run(self, run: Run, tried: Sequence[Tried], report: Report) -> list[Final]:
        """Best first, each that deserves it."""
        finals: list[Final] = []
        for finalist in verdicts.finalists(tried, self._objective):
            again = partial(self._again_if_deserved, finalist, tuple(finals), report)
            fields = await run.step(f"again {finalist.name}", again)
            finals += [_final(fields)] if fields else []
        return finals

    async def _again_if_deserved(self, finalist: Tried, finals: Sequence[Final], report: Report) -> JsonObject:
        """As a step: a server that takes the job up again has another time, and is to do the same."""
        if not verdicts.deserves_a_final(finalist, finals, self._objective, is_late=self._is_out_of_time()):
            return {}
        doing = f"measuring {finalist.name} again"
        report(Progress(0.0, doing))
        return await self._again(finalist, lambda fraction: report(Progress(fraction, doing)))

    async def _again(self, finalist: Tried, tell: Callable[[float], None]) -> JsonObject:
        """Both are loaded anew each time; the verdict is about all rounds together.

        It is given up as soon as it looks no better, which makes no verdict kinder.
        """
        name, measured = finalist.name, list[Comparison]()
        try:
            while True:
                again = self._trials.again(finalist, ROUNDS, lambda progress: None, renews_baseline=True)
                measured.append(await again)
                tell(min(1.0, len(measured) / self._loads))
                comparison = await asyncio.to_thread(pooled, measured)
                if self._is_told(len(measured), comparison):
                    break
        except (EngineFailed, TimedOut) as error:
            assert finalist.comparison is not None
            return asdict(Final(name, finalist.comparison, stands=False, reason=f"failed: {error.message}"))
        stands = verdicts.stands(comparison, self._objective)
        reason = None if stands else "on fresh samples it is not better than the baseline for certain"
        return asdict(Final(name, comparison, stands, reason))

    def _is_told(self, loads: int, comparison: Comparison) -> bool:
        """Where it still looks better after all loads, and not for certain, some more are to tell."""
        if not verdicts.looks_better(comparison, self._objective):
            return loads > 1
        if loads == self._loads:
            return verdicts.stands(comparison, self._objective)
        return loads == self._loads + LOADS


def _final(fields: Mapping[str, Any]) -> Final:
    return Final(**{**fields, "comparison": comparison_from_json(fields["comparison"])})
