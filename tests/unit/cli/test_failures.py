"""What people are told when something goes wrong: a sentence, a hint, an exit code; never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse, Response

from control_plane.cli import console
from control_plane.cli.keys import seconds
from control_plane.cli.remote import local_admin_key
from tests.doubles.plane import Miniature, refusal
from tests.unit.cli.conftest import Command


def test_an_unknown_model_is_said_with_what_there_is_instead(command: Command) -> None:
    result = command("models", "show", "absent")
    assert result.stderr == "tritonplane: no model named 'absent' (MODEL_NOT_FOUND)\nhint: coder\n"
    assert (result.stdout, result.exit_code) == ("", 1)


@pytest.mark.parametrize(
    ("refused", "hint"),
    [
        (refusal(401, "expired", "UNAUTHORIZED"), "hint: give --api-key"),
        (refusal(403, "needs admin", "FORBIDDEN"), "hint: use a key of a higher role"),
        (refusal(409, "not loaded", "MODEL_NOT_READY"), "hint: `tritonplane models load NAME`"),
        (refusal(429, "too many", "RATE_LIMIT_EXCEEDED", retry_after="77"), "hint: try again in 77 s"),
        (
            refusal(501, "no GPU", "NOT_SUPPORTED_HERE", details={"requires": ["nvidia_gpu"]}),
            "hint: it needs nvidia_gpu",
        ),
        (refusal(500, "Triton failed", "PROCESSING_FAILED"), "hint: the server's log says more about request r-1"),
    ],
)
def test_each_refusal_comes_with_what_to_do(command: Command, plane: Miniature, refused: Response, hint: str) -> None:
    plane.refusals = [refused]
    result = command("models", "load", "coder")
    assert hint in result.stderr
    assert "Traceback" not in result.stderr
    assert result.exit_code == 1


def test_a_key_of_another_role_is_not_advised_where_a_path_was_refused(command: Command, plane: Miniature) -> None:
    plane.refusals = [refusal(403, "eval_data must stay below", "FORBIDDEN", details={"field": "eval_data"})]
    result = command("models", "list")
    assert (result.stderr, result.exit_code) == ("tritonplane: eval_data must stay below (FORBIDDEN)\n", 1)


def test_no_server_is_exit_code_3_with_the_command_that_starts_one(command: Command) -> None:
    result = command("models", "list", "--url", "http://127.0.0.1:9")
    assert "no tritonplane server answers at http://127.0.0.1:9; start one with `tritonplane serve`" in result.stderr
    assert result.exit_code == 3


def test_a_server_of_another_kind_is_exit_code_3(command: Command, plane: Miniature) -> None:
    plane.refusals = [PlainTextResponse("<html></html>")]
    assert command("models", "list").exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "list", "--url", "localhost:8000"),
        ("models", "show", ".."),
        ("models", "import", "/absent/model.onnx", "--name", "x"),
        ("keys", "create", "ci", "--role", "king"),
        ("keys", "create", "ci", "--expires-in", "soon"),
        ("keys", "create", "ci", "--expires-in", "999999999w"),
        ("infer",),
        ("serve", "--dev", "--host", "0.0.0.0"),
        ("serve", "--port", "99999"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_exit_code_2(command: Command, plane: Miniature, arguments: tuple[str, ...]) -> None:
    result = command(*arguments)
    assert (result.exit_code, plane.seen) == (2, [])
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_a_stream_that_breaks_keeps_what_came_and_says_so(command: Command) -> None:
    result = command("infer", "coder", "!cut")
    assert result.stdout == "def f\n"
    assert "the stream broke" in result.stderr
    assert result.exit_code == 1


def test_an_error_inside_a_stream_is_said_after_what_came(command: Command) -> None:
    result = command("infer", "coder", "!fail")
    assert result.stdout == "def f\n"
    assert "Triton executed and failed (PROCESSING_FAILED)" in result.stderr
    assert result.exit_code == 1


def test_the_local_key_never_leaves_this_machine(state_dir: Path) -> None:
    assert local_admin_key("http://127.0.0.1:8000") is not None
    assert local_admin_key("http://[::1]:8000") is not None
    assert local_admin_key("http://localhost:8000") is not None
    for elsewhere in ("http://example.org", "http://127.0.0.1.example.org", "http://10.0.0.1:8000", "nonsense"):
        assert local_admin_key(elsewhere) is None


def test_a_local_key_that_others_can_read_is_refused(command: Command, state_dir: Path, plane: Miniature) -> None:
    (state_dir / "admin.key").chmod(0o644)
    result = command("models", "list")
    assert "chmod 600" in result.stderr
    assert (result.exit_code, plane.seen) == (2, [])


def test_without_any_key_the_server_decides(command: Command, state_dir: Path, plane: Miniature) -> None:
    (state_dir / "admin.key").unlink()
    assert command("models", "list").exit_code == 1
    assert "x-api-key" not in plane.seen[0].headers


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("2w", 1_209_600)]
)
def test_durations_are_read(text: str, expected: int) -> None:
    assert seconds(text) == expected


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert console.visible("a\x1b]0;title\x07b\tc\nd\x9b2J") == "a\\x1b]0;title\\x07b\tc\nd\\x9b2J"


def test_brackets_in_what_the_server_says_are_not_markup(command: Command, plane: Miniature) -> None:
    plane.models["adder"] = "[red]dead[/red]"
    assert "[red]dead[/red]" in command("models", "list").stdout
