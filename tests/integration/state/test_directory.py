"""The state directory: what is refused, who holds it, and what lies in it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane.domain.errors import Conflict, InvalidRequest
from control_plane.gateways.state import claim_state_directory

HOLDER = """
import subprocess, sys
from pathlib import Path
from control_plane.gateways.state import claim_state_directory

with claim_state_directory(Path(sys.argv[1])):
    child = subprocess.Popen(["sleep", "60"])  # as Triton is: it must not inherit the lock
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    with claim_state_directory(tmp_path / "new" / "state") as state:
        assert state.path == tmp_path / "new" / "state"
        assert mode_of(state.path) == 0o700


def test_the_database_lies_in_it(tmp_path: Path) -> None:
    with claim_state_directory(tmp_path) as state:
        assert state.database_url == f"sqlite+aiosqlite:///{tmp_path}/state.db"


@pytest.mark.parametrize("name", ["with space", "b$(touch x)", "ümlaut", "semi;colon", "per%cent"])
def test_a_path_that_a_shell_inside_triton_could_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="letters, digits and"), claim_state_directory(tmp_path / name):
        pass
    assert not (tmp_path / name).exists()


def test_a_path_where_a_file_stands_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(InvalidRequest, match="cannot be used: File exists"), claim_state_directory(tmp_path / "state"):
        pass


def test_c_persist_01_a_second_server_on_the_directory_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with (
        claim_state_directory(tmp_path),
        pytest.raises(Conflict, match=f"another tritonplane serves .*, process {os.getpid()}\\)"),
        claim_state_directory(tmp_path),
    ):
        pass


def test_the_directory_is_free_again_after_the_block(tmp_path: Path) -> None:
    for _ in range(2):
        with claim_state_directory(tmp_path):
            pass


def test_a_killed_server_frees_the_directory_even_while_a_child_of_it_lives_on(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder.stdin, holder.stdout:
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(Conflict, match=f"process {holder.pid}\\)"), claim_state_directory(tmp_path):
                pass
            holder.kill()
            holder.wait()
            os.kill(child, 0)
            with claim_state_directory(tmp_path):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_the_jwt_secret_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with claim_state_directory(tmp_path) as state:
        secret = state.jwt_secret()
        assert state.jwt_secret() == secret
    assert len(secret) == 43  # 256 bits in base64
    assert mode_of(tmp_path / "jwt.secret") == 0o600
    with claim_state_directory(tmp_path) as state:
        assert state.jwt_secret() == secret


def test_an_emptied_jwt_secret_is_refused_rather_than_used(tmp_path: Path) -> None:
    (tmp_path / "jwt.secret").write_text("\n")
    with claim_state_directory(tmp_path) as state, pytest.raises(InvalidRequest, match="delete the file"):
        state.jwt_secret()


def test_the_admin_key_is_left_for_its_owner_only_and_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "admin.key.draft").write_text("left by a crash")
    with claim_state_directory(tmp_path) as state:
        state.write_admin_key("tpk_first_and_longer")
        state.write_admin_key("tpk_second")
    assert (tmp_path / "admin.key").read_text() == "tpk_second\n"
    assert mode_of(tmp_path / "admin.key") == 0o600
    assert not (tmp_path / "admin.key.draft").exists()
