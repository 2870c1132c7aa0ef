"""Jobs and events, for both clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence

from tritonplane_client import operations
from tritonplane_client.caller import AsyncCaller, Caller
from tritonplane_client.job_schemas import Event, Job, JobEvent
from tritonplane_client.watching import PATIENCE_S, event_watch, job_watch


class JobCalls(Caller):
    """What `ApiClient` does with jobs."""

    def list_jobs(
        self,
        *,
        kind: str | None = None,
        model: str | None = None,
        state: str | Sequence[str] | None = None,
        skip: int = 0,
        limit: int = 100,
    ) -> list[Job]:
        """Newest first. `state` is one or several."""
        return self._call(operations.list_jobs(kind=kind, model=model, state=state, skip=skip, limit=limit))

    def get_job(self, job_id: str) -> Job:
        """Raises NotFoundError, also 30 days after the job's end."""
        return self._call(operations.get_job(job_id))

    def watch_job(
        self, job_id: str, *, after: int | None = None, patience: float = PATIENCE_S
    ) -> Generator[JobEvent, None, None]:
        """What happened to a job from its first event on (or after number `after`), then what happens, to its end.

        Goes on where it was after a broken connection or a restart of the server, until nobody has answered for
        `patience` seconds. Leaving it does not cancel the job.
        """
        return self._follow(job_watch(operations.watch_job(job_id, after), patience))

    def wait_job(self, job_id: str, *, patience: float = PATIENCE_S) -> Job:
        """The job when it is over, however that came; see `state` and `error`."""
        for _ in self.watch_job(job_id, patience=patience):
            pass
        return self.get_job(job_id)

    def cancel_job(self, job_id: str) -> Job:
        """Returns when nothing of its work is left. Raises ConflictError where it has ended otherwise."""
        return self._call(operations.cancel_job(job_id))

    def job_log(self, job_id: str, lines: int | None = None) -> str:
        """What its processes wrote: the last `lines` lines, by default 1000."""
        return self._call(operations.job_log(job_id, lines))

    def events(
        self,
        topics: Sequence[str] = (),
        *,
        subject: str | None = None,
        after: int | None = None,
        patience: float = PATIENCE_S,
    ) -> Generator[Event, None, None]:
        """What happens on the server, without end. With `after`, first what happened after that number; 0 is all.

        `topics`: job, model, revision, health; all if none is named. Reconnects as `watch_job` does.
        """
        return self._follow(event_watch(operations.events(topics, subject, after), patience))


class AsyncJobCalls(AsyncCaller):
    """What `AsyncApiClient` does with jobs."""

    async def list_jobs(
        self,
        *,
        kind: str | None = None,
        model: str | None = None,
        state: str | Sequence[str] | None = None,
        skip: int = 0,
        limit: int = 100,
    ) -> list[Job]:
        return await self._call(operations.list_jobs(kind=kind, model=model, state=state, skip=skip, limit=limit))

    async def get_job(self, job_id: str) -> Job:
        return await self._call(operations.get_job(job_id))

    def watch_job(
        self, job_id: str, *, after: int | None = None, patience: float = PATIENCE_S
    ) -> AsyncGenerator[JobEvent, None]:
        return self._follow(job_watch(operations.watch_job(job_id, after), patience))

    async def wait_job(self, job_id: str, *, patience: float = PATIENCE_S) -> Job:
        async for _ in self.watch_job(job_id, patience=patience):
            pass
        return await self.get_job(job_id)

    async def cancel_job(self, job_id: str) -> Job:
        return await self._call(operations.cancel_job(job_id))

    async def job_log(self, job_id: str, lines: int | None = None) -> str:
        return await self._call(operations.job_log(job_id, lines))

    def events(
        self,
        topics: Sequence[str] = (),
        *,
        subject: str | None = None,
        after: int | None = None,
        patience: float = PATIENCE_S,
    ) -> AsyncGenerator[Event, None]:
        return self._follow(event_watch(operations.events(topics, subject, after), patience))
