"""The best few candidates measured again, on fresh samples: which of them are better than the baseline for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
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

ROUNDS, PARTS = 10, 3  # of each repeat; most of what noise brought here is gone after the first part


class Finals:
    """`repeats`: how often both sides of a final are loaded anew and measured."""

    def __init__(self, trials: Trials, objective: Objective, repeats: int, is_out_of_time: Callable[[], bool]) -> None:
        self._trials, self._objective = trials, objective
        self._repeats, self._is_out_of_time = repeats, is_out_of_time

    async def run(self, run: Run, tried: Sequence[Tried], report: Report) -> list[Final]:
        """Best first: until one stands, and as long as there is time for one that may be better still."""
        finals: list[Final] = []
        for finalist in verdicts.finalists(tried, self._objective):
            if not verdicts.may_be_best(finalist, finals, self._objective):
                continue
            report(Progress(0.0, f"measuring {finalist.name} again"))
            one_stands = any(final.stands for final in finals)

            async def again(finalist: Tried = finalist, one_stands: bool = one_stands) -> JsonObject:
                # Asked inside the step: a server that takes the job up again has another time, and does the same.
                return {} if one_stands and self._is_out_of_time() else await self._again(finalist, report)

            fields = await run.step(f"again {finalist.name}", again)
            finals += [_final(fields)] if fields else []
        return finals

    async def _again(self, finalist: Tried, report: Report) -> JsonObject:
        """Both are loaded anew for each repeat; the verdict is about all of their rounds together.

        It is given up as soon as it looks no better, which makes no verdict kinder.
        """
        trials, name = self._trials, finalist.name
        try:
            repeated: list[Comparison] = []
            while True:
                repeated.append(await trials.again(finalist, ROUNDS, report, parts=PARTS, renews_baseline=True))
                comparison = await asyncio.to_thread(pooled, repeated)
                if len(repeated) == self._repeats or not verdicts.looks_better(comparison, self._objective):
                    break
        except (EngineFailed, TimedOut) as error:
            assert finalist.comparison is not None
            return asdict(Final(name, finalist.comparison, stands=False, reason=f"failed: {error.message}"))
        stands = verdicts.stands(comparison, self._objective)
        reason = None if stands else "on fresh samples it is not better than the baseline for certain"
        return asdict(Final(name, comparison, stands, reason))


def _final(fields: Mapping[str, Any]) -> Final:
    return Final(**{**fields, "comparison": comparison_from_json(fields["comparison"])})
