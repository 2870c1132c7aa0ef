"""The log of an optimization: what its children and its Triton said, when all of their folders are gone."""

from __future__ import annotations

import os
from pathlib import Path

from control_plane.domain.errors import EngineFailed
from control_plane.domain.jobs import JobState
from control_plane.domain.optimization import Level
from control_plane.services.job_logs import gather_logs
from tests.doubles.optimizing import Place, candidate, in_no_time, level


def write(file: Path, text: str, at_s: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.utime(file, (at_s, at_s))


def test_the_logs_of_all_folders_become_one_in_the_order_in_which_they_ended(tmp_path: Path) -> None:
    write(tmp_path / "scratch" / "logs" / "triton.log", "I ended last\n", 3)
    write(tmp_path / "candidates" / "int8" / "log.txt", "Traceback\n", 2)
    write(tmp_path / "baseline" / "log.txt", "x" * 2**19 + "the end", 1)
    for _ in range(2):  # as after a restart: written anew, not twice
        gather_logs(tmp_path)
    told = (tmp_path / "log.txt").read_text()
    assert told.startswith("== baseline/log.txt\nxxx")
    assert told.endswith("xthe end\n== candidates/int8/log.txt\nTraceback\n== scratch/logs/triton.log\nI ended last\n")
    assert len(told) < 2**18 + 200


def test_an_optimization_that_failed_leaves_the_log_that_its_reason_speaks_of() -> None:
    place = Place(level("basic", candidate("fast")), fast=0.01)

    async def failed() -> str:
        server = await place.open()
        place.converter.failures["evaluation"] = EngineFailed("the evaluation failed; its log says more")
        job = await server.submit(Level.BASIC)
        folder = place.workspaces.log_file(job.id).parent
        write(folder / "evaluation" / "log.txt", "MemoryError", 1)
        job = await server.jobs.wait(job.id)
        assert job.state is JobState.FAILED
        return place.workspaces.log_file(job.id).read_text()

    assert in_no_time(failed()) == "== evaluation/log.txt\nMemoryError\n"
