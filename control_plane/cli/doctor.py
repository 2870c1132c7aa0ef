"""`tritonplane doctor`: what of this machine would keep the server from working, and what to do about it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import tritonplane_client as client
import typer

from control_plane.cli.console import print_json, side_console, visible
from control_plane.cli.failures import REFUSED
from control_plane.cli.local import local_settings

if TYPE_CHECKING:
    from control_plane.domain.diagnosis import Finding
    from control_plane.settings import Settings

PORT = "port "  # how the names of findings about ports begin


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at this machine: Python, libpython, numpy, glibc, /dev/shm, disk, ports, a trip through Triton.

    Also at the converter environment and perf_analyzer, which may be absent until they are needed.
    Each fault has a name, a reason and a remedy. The exit code is 1 where there is any.
    """
    findings = asyncio.run(_look(local_settings(), as_json=as_json))
    sound = all(finding.ok for finding in findings)
    if as_json:
        print_json({"ok": sound, "findings": [asdict(finding) for finding in findings]})
    else:
        faults = sum(not finding.ok for finding in findings)
        typer.echo(f"{faults} {'fault' if faults == 1 else 'faults'}" if faults else "all is well")
    raise typer.Exit(0 if sound else REFUSED)


async def _look(settings: Settings, *, as_json: bool) -> list[Finding]:
    from control_plane.bootstrap import diagnose  # noqa: PLC0415 - with it comes the whole product

    findings: list[Finding] = []
    with side_console().status("looking; the round trip starts a Triton of its own"):
        async for found in diagnose(settings):
            finding = await _excused(found, settings)
            findings.append(finding)
            if not as_json:
                _print(finding)
    return findings


def _print(finding: Finding) -> None:
    mark = typer.style("ok   ", fg="green") if finding.ok else typer.style("FAULT", fg="red", bold=True)
    typer.echo(f"{mark} {finding.name}: {visible(finding.reason)}")
    if not finding.ok and finding.remedy:
        typer.echo(f"      remedy: {visible(finding.remedy)}")
    sys.stdout.flush()


async def _excused(finding: Finding, settings: Settings) -> Finding:
    """A port is in use, but by our own server: no fault."""
    if finding.ok or not finding.name.startswith(PORT) or not await _serves(settings):
        return finding
    return replace(finding, ok=True, reason=f"{finding.reason}, by the tritonplane that runs here", remedy="")


async def _serves(settings: Settings) -> bool:
    async with client.AsyncApiClient(
        f"http://127.0.0.1:{settings.port}", timeout=2, retries=client.NO_RETRIES
    ) as server:
        try:
            return (await server.health())["service"] == "llmgine-api"
        except client.UnavailableError as error:
            return "services" in error.details  # it is ours, and not well
        except (client.TritonplaneError, KeyError, TypeError):
            return False
