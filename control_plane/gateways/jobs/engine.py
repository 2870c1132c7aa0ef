"""DBOS, the library that records how far workflows are, as we use it. Importing this takes about a second.

Its instance is one for the process. It runs what it takes up after a restart in the loop it was launched in.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID, error
from sqlalchemy.exc import SQLAlchemyError

from control_plane.domain.errors import Conflict, Unavailable
from control_plane.domain.jobs import JsonObject
from control_plane.ports import Step

Body = Callable[[str], Coroutine[Any, Any, None]]
UNFINISHED = ["PENDING", "ENQUEUED"]
# DBOS takes up only what bears its own version: ours says that a job goes on whichever release of the product reads it.
APPLICATION_VERSION = "1"
LOG_LEVEL = "ERROR"
# DBOS makes its threads the loop's, unlimited by default; what waits for one of them is lost when DBOS is destroyed.
THREADS = 64
# Closing waits for a thread that sleeps so long. Nothing is looked up each time: we use no notifications.
NOTIFICATIONS_S = 0.2
_BROKEN = (error.DBOSException, SQLAlchemyError)


class _Json(Serializer):
    """Instead of pickle: what is read back from a file must not be able to run code."""

    def serialize(self, data: Any) -> str:
        return json.dumps(data, default=str)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    def name(self) -> str:
        return "tritonplane_json"


class _Raised(BaseException):
    """What a step raised, past DBOS, which records every Exception and would raise it again for ever."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure


class Engine:
    """The launched DBOS. Raises Unavailable when its file cannot be read or written."""

    def __init__(self, body: Body) -> None:
        self._workflow = DBOS.workflow(name="job", max_recovery_attempts=None)(_entry(body))

    async def unfinished(self) -> list[str]:
        """What the last server left, oldest first; what is over is forgotten."""
        try:
            found = await DBOS.list_workflows_async(load_input=False, load_output=False)
        except _BROKEN as broken:
            raise Unavailable(f"what the last server left cannot be read: {broken}") from broken
        for status in found:
            if status.status not in UNFINISHED:
                with suppress(Unavailable):  # there is another next time
                    await self.forget(status.workflow_id)
        return [status.workflow_id for status in found if status.status in UNFINISHED]

    async def take_up(self) -> None:
        """Begin what other servers left unfinished. Done once, however often it is asked for.

        Raises: Unavailable while that cannot be recorded; DBOS itself would try once and leave it at that.
        """
        if left := await self._left_by_others():
            await asyncio.to_thread(DBOS._recover_pending_workflows, sorted(left))
            if await self._left_by_others():
                raise Unavailable("what the last server left cannot be taken up: is the disk full?")

    async def _left_by_others(self) -> set[str]:
        """Names of servers that died with work in their hands."""
        try:
            running = await DBOS.list_workflows_async(status="PENDING", load_input=False, load_output=False)
        except _BROKEN as broken:
            raise Unavailable(f"what the last server left cannot be read: {broken}") from broken
        return {status.executor_id for status in running if status.executor_id} - {DBOS.executor_id}

    async def attempts(self, job_id: str) -> int:
        """How often a workflow was begun or taken up. Not to be called from within one: it would count as a step."""
        status = await DBOS.get_workflow_status_async(job_id)
        return (status and status.recovery_attempts) or 1

    async def start(self, job_id: str) -> None:
        """From its beginning, whatever is known of it."""
        try:
            await DBOS.delete_workflow_async(job_id)
            with SetWorkflowID(job_id):
                await DBOS.start_workflow_async(self._workflow, job_id)
        except _BROKEN as broken:
            raise Unavailable(f"the job cannot be recorded: {broken}") from broken

    async def forget(self, job_id: str) -> None:
        try:
            await DBOS.delete_workflow_async(job_id)
        except _BROKEN as broken:
            raise Unavailable(f"the job cannot be forgotten: {broken}") from broken

    async def step(self, name: str, work: Step) -> JsonObject:
        async def attempt() -> JsonObject:
            try:
                return await work()
            except Exception as failure:
                raise _Raised(failure) from failure

        try:
            return await DBOS.run_step_async({"name": name}, attempt)
        except _Raised as raised:
            raise raised.failure from None
        except SQLAlchemyError as broken:
            raise Unavailable("the end of a step cannot be recorded: is the disk full?") from broken
        except error.DBOSException as broken:
            raise Conflict(f"the job was begun by another version of tritonplane: {broken}") from broken


def prepare(path: Path) -> None:
    """Make the tables; may take a second, in any thread. Raises Unavailable."""
    _quieten()
    try:
        DBOS.migrate(_url(path))
    except _BROKEN as broken:
        raise Unavailable(f"{path.name} cannot be opened: {broken}") from broken


def launch(path: Path, body: Body) -> Engine:
    """To be called in the loop that the workflows are to run in, after `prepare`. Raises Unavailable."""
    DBOS(
        config=DBOSConfig(
            name="tritonplane",
            system_database_url=_url(path),
            application_version=APPLICATION_VERSION,
            executor_id=f"server-{uuid.uuid4().hex}",  # of its own: what another had is for `take_up`
            serializer=_Json(),
            enable_otlp=False,
            log_level=LOG_LEVEL,
            max_executor_threads=THREADS,
            notification_listener_polling_interval_sec=NOTIFICATIONS_S,
        )
    )
    engine = Engine(body)
    try:
        DBOS.launch()
    except _BROKEN as broken:
        destroy()
        raise Unavailable(f"{path.name} cannot be opened: {broken}") from broken
    return engine


def destroy() -> None:
    """Ends its threads; blocks up to NOTIFICATIONS_S, and needs the loop meanwhile."""
    DBOS.destroy(destroy_registry=True)


def _entry(body: Body) -> Body:
    async def job(job_id: str) -> None:
        await body(job_id)

    return job


def _url(path: Path) -> str:
    return f"sqlite:///{path}"


def _quieten() -> None:
    """Without a handler of its own DBOS would make one, to the console; this way its errors go into our log."""
    logger = logging.getLogger("dbos")
    logger.setLevel(LOG_LEVEL)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
