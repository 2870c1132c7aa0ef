"""Which processes each load of a model directory has begun, and which are left of the loads before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psutil import Process

from control_plane.gateways.triton.executors import executors, lives


class Instances:
    """Where Triton loads anew what was loaded, the old processes end with their last requests, and nobody misses them.

    `server_pid` tells the process whose children execute the models.
    """

    def __init__(self, server_pid: Callable[[], int | None]) -> None:
        self._server_pid = server_pid
        self._serving: dict[str, Sequence[Process]] = {}  # a dead one can no longer be told from its arguments
        self._known: dict[str, set[Process]] = {}  # of all loads that ended well

    def serving(self, directory: str) -> Sequence[Process]:
        """Those of the last load that ended well, dead or alive; none where Triton's processes are not ours to see."""
        return self._serving.get(directory, ())

    def begun(self, directory: str) -> Sequence[Process]:
        """Those that no load before has ended with: a load under way has begun them."""
        pid, known = self._server_pid(), self._known.get(directory, ())
        return [] if pid is None else [process for process in executors(pid, directory) if process not in known]

    def loaded(self, directory: str) -> Sequence[Process]:
        """Those that serve from now on and did not before; none where Triton had nothing to do."""
        begun = self.begun(directory)
        if begun:
            self._serving[directory] = begun
            self._known[directory] = {*begun, *filter(lives, self._known.get(directory, ()))}
        return begun

    def unloaded(self, directory: str) -> None:
        self._serving.pop(directory, None)

    def server_ended(self) -> None:
        self._serving.clear()
        self._known.clear()
