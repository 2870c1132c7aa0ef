"""Which model directories were being loaded when a server died, and which of them may not try again."""

from __future__ import annotations

from collections import defaultdict

CRASHES_MAX = 3
WINDOW_S = 60


class LoadLedger:
    """A load that Triton answered, well or badly, is closed; one it took to the grave is held against the model."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._crashed_at_s: dict[str, list[float]] = defaultdict(list)
        self._hung: set[str] = set()

    @property
    def quarantined(self) -> frozenset[str]:
        crashed = {name for name, times in self._crashed_at_s.items() if len(times) >= CRASHES_MAX}
        return frozenset(crashed | self._hung)

    def begin(self, directory: str) -> None:
        self._open.add(directory)

    def answered(self, directory: str) -> None:
        self._open.discard(directory)

    def loaded(self, directory: str) -> None:
        """A directory that loads is free of suspicion."""
        self._open.discard(directory)
        self._crashed_at_s.pop(directory, None)
        self._hung.discard(directory)

    def hung(self, directory: str) -> None:
        """A load that never ended cost the server its life: it is not tried again unasked."""
        self._hung.add(directory)

    def server_died(self, now_s: float) -> None:
        for directory in self._open:
            recent = [at_s for at_s in self._crashed_at_s[directory] if now_s - at_s < WINDOW_S]
            self._crashed_at_s[directory] = [*recent, now_s]
        self._open.clear()
