"""A closed loop of one request, by h2load: written in C, and one tool for HTTP/1.1 and gRPC alike."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

STREAMS_PER_CONNECTION = 8  # of HTTP/2: as channels of real clients share connections


@dataclass(frozen=True, slots=True)
class Request:
    """What to send, again and again. With `is_grpc`, `body` is a gRPC frame."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    is_grpc: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What a closed loop saw. `durations_s` are of the answers with status 200, sorted."""

    durations_s: list[float]
    failures: int
    took_s: float
    client_cpu_s: float

    @property
    def requests_per_s(self) -> float:
        return len(self.durations_s) / self.took_s

    def percentile_s(self, share: float) -> float:
        return self.durations_s[min(int(len(self.durations_s) * share), len(self.durations_s) - 1)]


def require_h2load() -> None:
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is missing; run: apt-get install -y nghttp2-client")


def grpc_frame(message: bytes) -> bytes:
    """An uncompressed message with its length before it. Source: gRPC over HTTP/2, "Length-Prefixed-Message"."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def closed_loop(request: Request, concurrency: int, seconds: float) -> Load:
    """As many requests in flight as `concurrency` says, each followed by the next at once."""
    with TemporaryDirectory() as scratch:
        body, log = Path(scratch, "body"), Path(scratch, "log")
        body.write_bytes(request.body)
        command = ["h2load", "-t1", f"--duration={round(seconds * 1000)}ms", f"--data={body}", f"--log-file={log}"]
        command += _connections(request, concurrency)
        command += [f"--header={name}: {value}" for name, value in request.headers.items()]
        before_s = _children_cpu_s()
        subprocess.run([*command, request.url], check=True, stdout=subprocess.DEVNULL)
        return _read(log, _children_cpu_s() - before_s)


def _connections(request: Request, concurrency: int) -> list[str]:
    if not request.is_grpc:
        return ["--h1", f"-c{concurrency}"]
    streams = min(concurrency, STREAMS_PER_CONNECTION)
    return [f"-c{concurrency // streams}", f"-m{streams}"]


def _read(log: Path, client_cpu_s: float) -> Load:
    rows = [tuple(map(int, line.split("\t")[:3])) for line in log.read_text().splitlines()]
    if not rows:
        raise SystemExit("no request was answered")
    took_us = max(start + duration for start, _, duration in rows) - min(start for start, _, _ in rows)
    answered = sorted(duration / 1e6 for _, status, duration in rows if status == 200)
    return Load(answered, len(rows) - len(answered), took_us / 1e6, client_cpu_s)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
