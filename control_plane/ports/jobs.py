"""Long work: run to its end whatever dies, in a folder of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from control_plane.domain.jobs import JsonObject

# A step is done once: after a restart its recorded result is returned in place of doing it again.
Step = Callable[[], Awaitable[JsonObject]]


class Steps(Protocol):
    """What a running workflow does its work through."""

    @property
    def attempts(self) -> int:
        """How many servers have taken the workflow up, this one included."""

    async def step(self, name: str, work: Step) -> JsonObject:
        """Do `work`, or return what it returned when it was done before a restart.

        A workflow asks for the same steps in the same order each time it runs; `work` may run twice if the server died
        before its end was recorded. What it raises is raised here, and not recorded.
        """


Workflow = Callable[[str, Steps], Awaitable[None]]


class Durability(Protocol):
    """Runs workflows by id so that each is run to its end, whatever dies in between."""

    async def open(self, workflow: Workflow) -> None:
        """Take up what was running when the last server died; from now on `start` works. Raises Unavailable."""

    async def start(self, job_id: str) -> None:
        """Queue a job, from its last finished step on if it is known. Starting what waits or runs already is fine."""

    async def cancel(self, job_id: str) -> None:
        """Interrupt its work (CancelledError) and return when that has ended; it is not taken up again."""


class Workspaces(Protocol):
    """A folder for each job on the repository's file system: sources, intermediate files, `log.txt`, `reproduce.sh`."""

    def create(self, job_id: str) -> Path:
        """Its folder, made if need be."""

    def empty_folder(self, job_id: str, name: str) -> Path:
        """A folder of that name in it, without what an interrupted run left there."""

    def clean(self, job_id: str) -> None:
        """Delete all that is large; the log, the evidence and `reproduce.sh` stay until `delete`."""

    def delete(self, job_id: str) -> None: ...

    def ids(self) -> Sequence[str]:
        """The jobs that have a folder."""

    def log_file(self, job_id: str) -> Path: ...

    def evidence_file(self, job_id: str) -> Path:
        """All that an optimization measured; kept as long as the log."""
