"""How much a held WebSocket costs, and how fast the server answers on a thousand of them.

`.venv/bin/python benchmarks/sockets.py` starts the product itself, in a temporary state directory on free ports, opens
the connections to `/ws`, and pings on all of them: first each once a second, then a hundred of them as fast as answers
come. Run it on a quiet machine: "other cores" says how quiet it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, its folder would stand there instead

from benchmarks import report  # noqa: E402 - after the path is set
from benchmarks.server import Server, running_server  # noqa: E402
from benchmarks.socket_client import Connection, open_connections  # noqa: E402

ACTIVE = 100  # connections that ask as fast as they are answered
FIRST = 20  # opened and closed before anything is measured: what the server does once, it has done then


@dataclass(frozen=True, slots=True)
class Answers:
    """How the pings of one phase were answered. `other_cores`: what strangers used meanwhile."""

    name: str
    answers: int
    answers_per_s: float
    p50_ms: float
    p99_ms: float
    server_cores: float
    client_cores: float
    other_cores: float


@dataclass(frozen=True, slots=True)
class Held:
    """`kib_per_connection` is what the server's proportional set size grew by, divided; `lost` were closed by it."""

    connections: int
    connects_per_s: float
    kib_per_connection: float
    kib_per_connection_after: float
    pss_mib: float
    lost: int


def main() -> None:
    options = _options()
    with ExitStack() as opened:
        state_dir = Path(opened.enter_context(TemporaryDirectory())) / "state"
        server = opened.enter_context(running_server(state_dir, RATE_LIMIT_POLICY="unlimited"))
        held, phases = uvloop.run(measured(server, options.connections, options.seconds))
    about = report.machine() | {"seconds": options.seconds}
    print(summary(held, phases, about))
    if options.results is not None:
        kept = {"about": about, "held": asdict(held), "phases": [asdict(phase) for phase in phases]}
        target = options.results / report.name_of(about, "sockets")
        target.write_text(json.dumps(kept, indent=1) + "\n")
        target.with_suffix(".md").write_text(summary(held, phases, about))
        print(f"written: {target}")
    if held.lost:
        raise SystemExit(f"{held.lost} connections were lost; these figures mean nothing")


async def measured(server: Server, count: int, seconds: float) -> tuple[Held, list[Answers]]:
    for connection in await open_connections(server.http, server.key, FIRST):
        await connection.ping()
        connection.close()
    before_bytes = server.process.memory_full_info().pss
    started_s = time.perf_counter()
    connections = await open_connections(server.http, server.key, count)
    took_s = time.perf_counter() - started_s
    idle_bytes = server.process.memory_full_info().pss - before_bytes
    phases = [
        await _phase(server, "each once a second", seconds, connections, _paced),
        await _phase(server, f"{ACTIVE} without a pause", seconds, connections[:ACTIVE], _unpaced),
    ]
    pss_bytes = server.process.memory_full_info().pss
    lost = sum(connection.is_lost for connection in connections)
    per_connection = [used_bytes / count / 1024 for used_bytes in (idle_bytes, pss_bytes - before_bytes)]
    held = Held(count, count / took_s, *per_connection, pss_bytes / 2**20, lost)
    for connection in connections:
        connection.close()
    return held, phases


async def _phase(server: Server, name: str, seconds: float, connections: list[Connection], pinging: object) -> Answers:
    before, client_s, started_s = server.cpu_times(), time.process_time(), time.perf_counter()
    until_s = started_s + seconds
    assert callable(pinging)
    waits = [pinging(connection, until_s, place / len(connections)) for place, connection in enumerate(connections)]
    times_s = sorted(time_s for each in await asyncio.gather(*waits) for time_s in each)
    took_s, after = time.perf_counter() - started_s, server.cpu_times()
    client_s, server_s = time.process_time() - client_s, after.front_s - before.front_s
    other_s = after.machine_s - before.machine_s - server_s - (after.triton_s - before.triton_s) - client_s
    return Answers(
        name=name,
        answers=len(times_s),
        answers_per_s=len(times_s) / took_s,
        p50_ms=times_s[len(times_s) // 2] * 1e3,
        p99_ms=times_s[int(len(times_s) * 0.99)] * 1e3,
        server_cores=server_s / took_s,
        client_cores=client_s / took_s,
        other_cores=max(other_s, 0.0) / took_s,
    )


async def _paced(connection: Connection, until_s: float, offset_s: float) -> list[float]:
    """Spread over the second, or all would ask at once."""
    times_s = []
    next_s = time.perf_counter() + offset_s
    while next_s < until_s:
        await asyncio.sleep(next_s - time.perf_counter())
        times_s.append(await connection.ping())
        next_s += 1
    return times_s


async def _unpaced(connection: Connection, until_s: float, offset_s: float) -> list[float]:
    times_s = []
    while time.perf_counter() < until_s:
        times_s.append(await connection.ping())
    return times_s


def summary(held: Held, phases: list[Answers], about: dict[str, object]) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    head = "| connections | opened/s | KiB each, idle | KiB each, after the pings | server PSS MiB | lost |"
    row = (
        f"| {held.connections} | {held.connects_per_s:.0f} | **{held.kib_per_connection:.1f}** "
        f"| {held.kib_per_connection_after:.1f} | {held.pss_mib:.0f} | {held.lost} |"
    )
    columns = "| pings | answers/s | p50 ms | p99 ms | server cores | client cores | other cores |"
    lines = [
        f"| {phase.name} | {phase.answers_per_s:.0f} | {phase.p50_ms:.2f} | **{phase.p99_ms:.2f}** "
        f"| {phase.server_cores:.2f} | {phase.client_cores:.2f} | {phase.other_cores:.2f} |"
        for phase in phases
    ]
    tables = [head, "|---|---|---|---|---|---|", row, "", columns, "|---|---|---|---|---|---|---|", *lines]
    return f"# WebSockets held open\n\n{facts}\n\n" + "\n".join(tables) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each of the two ways to ping (10)")
    parser.add_argument("--results", type=Path, help="a folder to keep the figures in; default: only printed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
