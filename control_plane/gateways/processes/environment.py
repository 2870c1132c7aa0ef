"""The converter environment: a virtual environment of pinned packages in the state directory, or a given Python."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from control_plane.domain.environments import TORCH_BUILDS, Choice, Making
from control_plane.domain.errors import Conflict, InvalidRequest
from control_plane.gateways.processes.locks import alone, locked
from control_plane.gateways.processes.making import Installation, fill, told_when_disk_fails
from control_plane.gateways.processes.packages import Requirements, imported_versions, lacking, our_python
from control_plane.ports import Progress, Report

MARKER, LOG_FILE = "environment.json", "setup.log"
_WAITING = Progress(0.0, "waiting for another process that makes the converter environment")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that conversions run under. `stamp` changes when what is installed there may have changed.

    `versions` of what conversions import, as far as they are known.
    """

    python: str
    stamp: str
    versions: dict[str, str] = field(default_factory=dict)


class Environment(Protocol):
    async def prepare(self, report: Report) -> None:
        """Make it if it is not there. Raises Unsupported."""

    async def make(self, making: Making, report: Report) -> Interpreter:
        """Make it as somebody decided. Raises Unsupported, InvalidRequest, Conflict."""

    def current(self) -> Interpreter | None: ...

    def in_use(self) -> AbstractContextManager[Interpreter]:
        """Nobody deletes it meanwhile. Raises Unsupported when it is not there."""


class GivenEnvironment:
    """A Python that an operator has prepared."""

    def __init__(self, python: Path) -> None:
        # Not resolved: the link in a virtual environment is what makes it one.
        self._interpreter = Interpreter(str(python.expanduser().absolute()), "given")
        self._is_checked = False

    async def prepare(self, report: Report) -> None:
        if not self._is_checked:
            report(Progress(0.0, "looking at the converter environment"))
            await imported_versions(self._interpreter.python)
            self._is_checked = True

    async def make(self, making: Making, report: Report) -> Interpreter:
        raise InvalidRequest("conversions use the Python of TRITONPLANE_CONVERTER_PYTHON; unset it to have one made")

    def current(self) -> Interpreter | None:
        return self._interpreter if Path(self._interpreter.python).exists() else None

    @contextmanager
    def in_use(self) -> Iterator[Interpreter]:
        if self.current() is None:
            raise lacking("the Python of TRITONPLANE_CONVERTER_PYTHON does not exist")
        yield self._interpreter


class MadeEnvironment:
    """Made by `python -m venv` and pip, as its user configured pip.

    Layout: <key>/ with a marker that is written last, so that nothing half-made is ever used; <key>.lock, held shared
    by who uses it; maker.lock; setup.log, what pip said the last time. `has_gpu` decides what the build `auto` is.
    """

    def __init__(self, folder: Path, requirements: Requirements, *, has_gpu: bool) -> None:
        self._folder, self._requirements, self._has_gpu = folder, requirements, has_gpu

    def current(self) -> Interpreter | None:
        """That of today's requirements and Python, whatever was chosen beside them; the newest of several."""
        for made_at, mark in self._marks():
            if self._fits(_read(mark)) and _python(mark.parent).exists():
                return Interpreter(str(_python(mark.parent)), str(made_at), _read(mark).get("versions", {}))
        return None

    @contextmanager
    def in_use(self) -> Iterator[Interpreter]:
        found = self.current()
        if found is None:
            raise lacking("it is not made yet")
        with locked(_lock_of(Path(found.python).parents[1]), fcntl.LOCK_SH) as is_held:
            if not is_held or self.current() is None:
                raise lacking("it is being made anew")
            yield found

    async def prepare(self, report: Report) -> None:
        """Made as it was chosen the last time. Raises Unsupported."""
        if self.current() is None:
            await self.make(Making(self._last_choice()), report)

    async def make(self, making: Making, report: Report) -> Interpreter:
        """Make it unless it is there, and then delete others.

        Raises: InvalidRequest for an unknown choice, Unsupported when it cannot be made, Conflict when it is to be
        made anew while a conversion runs in it.
        """
        self._check(making.choice)
        folder = self._folder / self._key(making.choice)
        with told_when_disk_fails():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            async with alone(self._folder / "maker.lock", lambda: report(_WAITING)):
                if making.force or not (folder / MARKER).exists() or not _python(folder).exists():
                    await self._make(folder, making, report)
                os.utime(folder / MARKER)  # of several that are whole, the one wanted last is used
                await asyncio.to_thread(self._delete_others, folder)
        made = self.current()
        if made is None:
            raise lacking("it was deleted at once")
        report(Progress(1.0, "the converter environment is ready"))
        return made

    async def _make(self, folder: Path, making: Making, report: Report) -> None:
        if not await asyncio.to_thread(_delete, folder):
            raise Conflict("a conversion runs in the converter environment; make it anew when that is over")
        await asyncio.to_thread(folder.mkdir)
        with (self._folder / LOG_FILE).open("w", buffering=1) as log:

            def on_output(line: str) -> None:
                log.write(f"{line}\n")
                making.on_output(line)

            files = self._files(making.choice)
            build = self._torch_build(making.choice)
            if build is not None:
                files.append(folder / "torch.txt")
                files[-1].write_text(f"{build}\n")
            try:
                versions = await fill(folder, Installation(files, making.extra_index_urls, report, on_output))
                self._mark(folder, making.choice, versions)
            except BaseException:
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
                raise

    def _check(self, choice: Choice) -> None:
        known = self._requirements.extras()
        for extra in choice.extras:
            if extra not in known:
                raise InvalidRequest(f"the converter environment has no extra {extra!r}; it has: {', '.join(known)}")
        if choice.torch not in TORCH_BUILDS:
            raise InvalidRequest(f"the build of torch must be one of {', '.join(TORCH_BUILDS)}; got {choice.torch!r}")

    def _torch_build(self, choice: Choice) -> str | None:
        """The requirement beside the pin. None: whatever is offered, a CPU build before others (PEP 440 sorts so)."""
        pin = self._requirements.pins().get("torch")
        if choice.torch == "cpu":
            return f"torch=={pin}+cpu"
        if choice.torch == "cuda" or self._has_gpu:
            return f"torch!={pin}+cpu"
        return None

    def _files(self, choice: Choice) -> list[Path]:
        return [self._requirements.main, *(self._requirements.of_extra(name) for name in sorted(set(choice.extras)))]

    def _key(self, choice: Choice) -> str:
        decisive = [*map(_digest, self._files(choice)), our_python(), self._torch_build(choice)]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]

    def _marks(self) -> list[tuple[int, Path]]:
        """When each whole environment was last wanted, and its marker; the newest first."""
        found = []
        for mark in self._folder.glob(f"*/{MARKER}"):
            with suppress(FileNotFoundError):
                found.append((mark.stat().st_mtime_ns, mark))
        return sorted(found, reverse=True)

    def _fits(self, mark: dict[str, Any]) -> bool:
        return (mark.get("requirements"), mark.get("python")) == (_digest(self._requirements.main), our_python())

    def _last_choice(self) -> Choice:
        for _, mark in self._marks():
            if chosen := _read(mark).get("choice"):
                return Choice(chosen["torch"], tuple(chosen["extras"]))
        return Choice()

    def _mark(self, folder: Path, choice: Choice, versions: dict[str, str]) -> None:
        mark = {"requirements": _digest(self._requirements.main), "python": our_python(), "choice": asdict(choice)}
        draft = folder / f"{MARKER}.draft"
        draft.write_text(json.dumps({**mark, "versions": versions}))
        draft.replace(folder / MARKER)

    def _delete_others(self, kept: Path) -> None:
        """Those in use stay until the next time."""
        for folder in self._folder.iterdir():
            if folder != kept and folder.is_dir() and (folder / "pyvenv.cfg").exists():
                _delete(folder)


def _delete(folder: Path) -> bool:
    """False when it is in use. The marker goes first: what is half-deleted is not used."""
    with locked(_lock_of(folder), fcntl.LOCK_EX) as is_held:
        if is_held and folder.exists():
            (folder / MARKER).unlink(missing_ok=True)
            shutil.rmtree(folder)
        return is_held


def _lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _read(mark: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(mark.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
