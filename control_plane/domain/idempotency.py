"""What is answered once and told again to who asks the same under the same key (C-IDEM-01)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

KEPT_FOR = timedelta(hours=24)
SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class Asked:
    """Both are SHA-256 in hex. `scope`: of who asks, where, and under which key; `fingerprint`: of what is asked."""

    scope: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    media_type: str
    body: bytes

    @property
    def is_kept(self) -> bool:
        """Only what was done: a refusal did nothing and a failure may pass, so who asks again is heard again."""
        return self.status in SUCCESS


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    asked: Asked
    answer: Answer
    kept_at: datetime
