"""The winner of an optimization: made anew from its source to prove how, then published and deployed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from control_plane.domain.errors import DomainError
from control_plane.domain.jobs import JsonObject
from control_plane.domain.optimization import Deploy
from control_plane.domain.optimization_records import Tried
from control_plane.ports import Converter, Progress
from control_plane.services.artifacts import artifacts_of
from control_plane.services.grounds import SHIPPED_DATA, SOURCE, VERSION, Ground
from control_plane.services.job_runs import to_its_end
from control_plane.services.jobs import Run
from control_plane.services.models import Models
from control_plane.services.publishing import NewRevision, Publisher

_PROOF, _PACKAGE = "proof", "package"  # folders of the workspace
_SCRIPT, _EVIDENCE = "reproduce.sh", "evidence.json"


class OptimizedModels:
    """Each method is the work of one durable step."""

    def __init__(self, models: Models, publisher: Publisher, converter: Converter) -> None:
        self._models, self._publisher, self._converter = models, publisher, converter

    async def prove(self, run: Run, ground: Ground, winner: Tried | None) -> JsonObject:
        """Make the winner once more, from the very beginning: its `reproduce.sh` does just that.

        Gives the tools that made it, and whether every file came out the same.
        """
        if winner is None:
            return {}
        run.report(Progress(0.9, f"making {winner.name} again from its source"))
        source = str(run.workspace / winner.origin)
        request: JsonObject = {
            "source": source,
            "steps": list(winner.plan),
            "inputs": list(ground.inputs),
            "compare": False,
        }
        made = await self._converter.convert(run.workspace / _PROOF, request, lambda progress: None)
        again = await asyncio.to_thread(artifacts_of, made.directory / VERSION)
        before = {str(one["path"]): one["sha256"] for one in winner.artifacts}
        after = {str(one["path"]): one["sha256"] for one in again}
        differing = sorted(path for path in before | after if before.get(path) != after.get(path))
        return {"conversion": made.record, "is_reproduced": not differing, "differing_files": differing}

    async def reserve(self, run: Run) -> JsonObject:
        return {"revision": await self._publisher.reserve(run.job.model)}

    async def publish(
        self, run: Run, ground: Ground, winner: Tried, number: int, proof: Mapping[str, object]
    ) -> JsonObject:
        """The files that were measured, with their evidence beside them; `proof` is what `prove` gave."""
        conversion = proof["conversion"]
        assert isinstance(conversion, dict)
        package = run.workspace / _PACKAGE
        await to_its_end(asyncio.to_thread(_pack, run.workspace, ground, winner, package))
        wanted = NewRevision(
            run.job.model,
            package,
            f"{run.job.model}:{ground.revision}",
            winner.description,
            {**conversion, "optimization": run.job.id},
            is_own=True,
            settings=winner.load_options,
        )
        revision = await self._models.publish(wanted, number, run.job.created_by)
        return {"revision": revision.number, "sha256": revision.digest}

    async def deploy(self, run: Run, wanted: Deploy, number: int) -> JsonObject:
        """Loaded, and with `promote` what the bare name means from now on; the one before stays loaded.

        Gives what was done, and why it was not more: what was measured and published is no less true for it.
        """
        reference, done = f"{run.job.model}:{number}", Deploy.NONE
        try:
            if wanted in (Deploy.LOAD, Deploy.PROMOTE):
                await self._models.load(reference)
                done = Deploy.LOAD
            if wanted is Deploy.PROMOTE:
                await self._models.promote(reference)
                done = Deploy.PROMOTE
        except DomainError as error:
            return {"deployed": done.value, "reason": error.message}
        return {"deployed": done.value, "reason": None}


def write_evidence(workspace: Path, evidence: JsonObject) -> None:
    """Whole or not at all: somebody may be reading it, or the server may die."""
    draft = workspace / f"{_EVIDENCE}.draft"
    draft.write_text(json.dumps(evidence, indent=1, allow_nan=False), "utf-8")
    draft.replace(workspace / _EVIDENCE)


def _pack(workspace: Path, ground: Ground, winner: Tried, package: Path) -> None:
    """A model directory: the files that were measured, what `reproduce.sh` makes them of, and the evidence."""
    assert winner.folder is not None
    shutil.rmtree(package, ignore_errors=True)
    _link(workspace / winner.folder / VERSION, package / VERSION)
    source = winner.origin if winner.plan else ground.source
    if source is not None:
        _link(workspace / source, package / SOURCE)
    if ground.data is not None:
        os.link(workspace / ground.data, package / SHIPPED_DATA)
    shutil.copyfile(workspace / _EVIDENCE, package / _EVIDENCE)
    shutil.copyfile(workspace / _PROOF / _SCRIPT, package / _SCRIPT)


def _link(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=os.link)
