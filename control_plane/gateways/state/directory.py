"""The state directory: one server at a time, and the secrets it keeps."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.errors import Conflict, InvalidRequest
from control_plane.domain.paths import is_safe_path

LOCK_FILE = "server.lock"
JWT_FILE = "jwt.secret"
ADMIN_KEY_FILE = "admin.key"
DATABASE_FILE = "state.db"


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """A directory that is ours alone, for as long as `claim_state_directory` holds it."""

    path: Path

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.path / DATABASE_FILE}"

    def jwt_secret(self) -> str:
        """The secret of this installation, made on first use."""
        path = self.path / JWT_FILE
        if not path.exists():
            _write_secret(path, secrets.token_urlsafe(32))
        secret = path.read_text().strip()
        if not secret:
            raise InvalidRequest(f"the JWT secret in {path} is empty; delete the file and a new one is made")
        return secret

    def write_admin_key(self, key: str) -> None:
        """Leave the key for the command line of this machine, readable by its owner only."""
        _write_secret(self.path / ADMIN_KEY_FILE, key)


@contextmanager
def claim_state_directory(path: Path) -> Iterator[StateDirectory]:
    """Make the directory if need be, and hold it until the end of the block or of the process.

    Raises: InvalidRequest for a path that cannot be used, Conflict when another server holds it.
    """
    absolute = path.expanduser().absolute()
    _check(absolute)
    try:
        absolute.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(absolute / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidRequest(f"the state directory {absolute} cannot be used: {error.strerror}") from error
    try:
        _lock(lock, absolute)
        yield StateDirectory(absolute)
    finally:
        # The file stays: deleting it would let two servers hold two locks of one name.
        os.close(lock)


def _check(path: Path) -> None:
    if not is_safe_path(path):
        raise InvalidRequest(
            f"the state directory {str(path)!r} cannot be used, because Triton handles only paths of letters, digits "
            "and '_', '.', '/', '-': set TRITONPLANE_STATE_DIR to such a path"
        )


def _lock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        raise Conflict(
            f"another tritonplane serves from this state directory ({path}, process {holder}): "
            "stop it, or set TRITONPLANE_STATE_DIR to another directory"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _write_secret(path: Path, secret: str) -> None:
    """All of it or nothing, and never readable by others, not even for a moment."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
