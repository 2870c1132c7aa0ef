"""A run of the benchmark as JSON that keeps everything, and as a table to read."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

COLUMNS = (
    "| case | in flight | way | requests/s | p50 ms | p99 ms | front CPU us | Triton CPU us | client CPU us "
    "| other cores | failed |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One round of one case one way. `_cpu_us` are for each request; `other_cores` is what strangers used meanwhile."""

    case: str
    concurrency: int
    way: str
    round: int
    requests: int
    failures: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    front_cpu_us: float
    triton_cpu_us: float
    client_cpu_us: float
    other_cores: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """REST beside bare Triton: the median over the rounds of requests per second, one divided by the other."""

    case: str
    concurrency: int
    ratio: float
    lowest: float
    highest: float


def ratios(rows: list[Row]) -> list[Ratio]:
    rates = {(row.case, row.concurrency, row.round, row.way): row.requests_per_s for row in rows}
    found = []
    for case, concurrency in dict.fromkeys((row.case, row.concurrency) for row in rows):
        rounds = sorted({row.round for row in rows})
        each = [
            rates[case, concurrency, number, "REST"] / rates[case, concurrency, number, "Triton"] for number in rounds
        ]
        found.append(Ratio(case, concurrency, median(each), min(each), max(each)))
    return found


def table(rows: list[Row]) -> str:
    """One line for all rounds of a case one way: the median of each number, and all failures."""
    lines = []
    for case, concurrency, way in dict.fromkeys((row.case, row.concurrency, row.way) for row in rows):
        same = [row for row in rows if (row.case, row.concurrency, row.way) == (case, concurrency, way)]
        names = ("requests_per_s", "p50_ms", "p99_ms", "front_cpu_us", "triton_cpu_us", "client_cpu_us", "other_cores")
        middle = {name: median(getattr(row, name) for row in same) for name in names}
        lines.append(
            f"| {case} | {concurrency} | {way} | {middle['requests_per_s']:.0f} | {middle['p50_ms']:.2f} "
            f"| {middle['p99_ms']:.2f} | {middle['front_cpu_us']:.0f} | {middle['triton_cpu_us']:.0f} "
            f"| {middle['client_cpu_us']:.0f} | {middle['other_cores']:.2f} | {sum(row.failures for row in same)} |"
        )
    return "\n".join([COLUMNS, *lines])


def summary(rows: list[Row], about: dict[str, object]) -> str:
    lines = [f"| {each.case} | {each.concurrency} | **{each.ratio:.2f}** | {each.lowest:.2f} to {each.highest:.2f} |"
             for each in ratios(rows)]  # fmt: skip
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    head = "| case | in flight | REST / Triton | over the rounds |\n|---|---|---|---|"
    return f"# REST beside bare Triton\n\n{facts}\n\n" + "\n".join([head, *lines]) + f"\n\n{table(rows)}\n"


def machine() -> dict[str, object]:
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": f"{cpu.group(1) if cpu else platform.machine()}, {os.cpu_count()} cores",
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in ("tritonplane", "nvidia-pytriton", "grpcio")),
        "commit": _said_by("git", "describe", "--always", "--dirty") or "unknown",
        "load generator": _said_by("h2load", "--version"),
    }


def write(rows: list[Row], about: dict[str, object], folder: Path) -> Path:
    """`<date>-<processor>.json` and a `.md` beside it, in `folder`; the path of the first."""
    target = folder / name_of(about)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"about": about, "ratios": [asdict(each) for each in ratios(rows)], "rows": [asdict(row) for row in rows]}
    target.write_text(json.dumps(kept, indent=1) + "\n")
    target.with_suffix(".md").write_text(summary(rows, about))
    return target


def name_of(about: dict[str, object], kind: str = "") -> str:
    """Of the file that keeps a result: date, processor, and the kind of benchmark where it is not the usual one."""
    processor = re.sub(r"[^a-z0-9]+", "-", str(about["processor"]).lower()).strip("-")
    return "-".join(filter(None, (str(datetime.now(UTC).date()), processor, kind))) + ".json"


def _said_by(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "none"
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=Path(__file__).parent
    ).stdout.strip()
