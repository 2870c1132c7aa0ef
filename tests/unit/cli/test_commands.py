"""What each command prints, and that --json is the server's own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.doubles.plane import ANSWER, KEY, Miniature
from tests.doubles.plane_exports import CONTENT
from tests.unit.cli.conftest import Command


def test_models_are_listed_in_columns(command: Command) -> None:
    lines = command("models", "list").stdout.splitlines()

    assert lines[0].split() == ["NAME", "TYPE", "STATE", "REVISION", "BACKEND", "DTYPE", "PARAMS", "SIZE"]
    assert lines[1].split() == ["coder", "transformer", "loaded", "1", "text_generation", "int8", "8.7M", "9.0", "MiB"]
    assert lines[2].split()[:3] == ["adder", "transformer", "unloaded"]


def test_a_filter_is_passed_on(command: Command, plane: Miniature) -> None:
    command("models", "list", "--type", "diffusion", "--status", "loaded")
    assert (plane.seen[0].query["model_type"], plane.seen[0].query["status"]) == ("diffusion", "loaded")


def test_a_model_is_shown_with_everything_known_of_it(command: Command) -> None:
    shown = dict(line.split(maxsplit=1) for line in command("models", "show", "coder").stdout.splitlines())
    assert shown["parameters"].strip() == "8.7M"
    assert shown["memory_bytes"].strip() == "-"
    assert shown["device"].strip() == "cpu"


def test_revisions_are_listed_with_the_aliases_that_point_at_them(command: Command) -> None:
    row = command("models", "revisions", "coder").stdout.splitlines()[1].split()
    assert row[:6] == ["1", "stable", "loaded", "HEALTHY", "text_generation", "int8"]


def test_metrics_are_shown_with_their_units_and_what_is_not_known_as_a_dash(command: Command, plane: Miniature) -> None:
    lines = command("models", "metrics", "coder", "--since", "1h").stdout.splitlines()

    shown = {name: value.strip() for name, value in (line.split(maxsplit=1) for line in lines)}
    assert (shown["inferences"], shown["errors"]) == ("4", "1 (25.0 %)")
    assert (shown["p95"], shown["tokens/s"], shown["queue"], shown["memory"]) == ("12.3 ms", "45.0", "-", "-")
    since = datetime.now(UTC) - datetime.fromisoformat(plane.seen[0].query["start_time"])
    assert timedelta(hours=1) <= since < timedelta(hours=1, minutes=1)
    assert command("models", "metrics", "coder", "--since", "soon").exit_code == 2


def test_a_model_is_imported_loaded_unloaded_and_purged(command: Command, plane: Miniature, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"onnx")

    imported = command("models", "import", str(tmp_path / "model.onnx"), "--name", "new", "--precision", "q8")
    assert imported.stdout == "imported new:1 (onnx, 4.0 KiB)\n"
    assert plane.seen[0].query == {"precision": "q8"}
    assert command("models", "load", "new", "--instances", "2").stdout == "loaded new:2\n"
    assert plane.seen[-1].json["config"] == {"timeout_seconds": 300, "instance_count": 2}
    assert command("models", "unload", "new").stdout == "unloaded new\n"
    assert command("models", "unload", "new", "--purge").stdout == "purged new\n"
    assert "new" not in plane.models


def test_an_import_that_fails_says_why_and_where_more_is_to_read(command: Command, plane: Miniature) -> None:
    result = command("models", "import", "mamba", "--name", "bad", "--on-server", "--input", "x:FP32:-1")
    assert result.exit_code == 1
    assert "no recipe for 'mamba' (UNSUPPORTED_FORMAT)" in result.stderr
    assert "jobs log job_bad" in result.stderr
    assert plane.seen[0].query == {"file_path": "mamba", "input": "x:FP32:-1"}


def test_a_model_is_exported_into_a_file_or_a_folder(command: Command, plane: Miniature, tmp_path: Path) -> None:
    result = command("models", "export", "coder:1", "--format", "triton", "--output", str(tmp_path / "mine.zip"))
    assert result.stdout == f"exported coder:1 to {tmp_path / 'mine.zip'} (256.0 KiB)\n"
    assert (tmp_path / "mine.zip").read_bytes() == CONTENT
    assert plane.seen[0].query == {"export_format": "triton"}

    result = command("models", "export", "coder", "-o", str(tmp_path), "--json")
    assert json.loads(result.stdout)["result"]["export_id"] == "exp_1"
    assert (tmp_path / "model.onnx").read_bytes() == CONTENT


def test_an_export_that_fails_says_why_and_fetches_nothing(command: Command, plane: Miniature, tmp_path: Path) -> None:
    result = command("models", "export", "bad", "-o", str(tmp_path / "new.onnx"))
    assert result.exit_code == 1
    assert "UNSUPPORTED_FORMAT" in result.stderr
    assert not (tmp_path / "new.onnx").exists()


def test_an_export_into_a_folder_that_is_not_there_is_not_begun(command: Command, plane: Miniature) -> None:
    result = command("models", "export", "coder", "-o", "nowhere/at/all.onnx")
    assert result.exit_code == 2
    assert "there is no folder 'nowhere/at'" in result.stderr
    assert plane.seen == []


def test_a_prompt_is_streamed_and_the_figures_go_to_stderr(command: Command, plane: Miniature) -> None:
    options = ("--max-tokens", "5", "--temperature", "0", "--top-p", "0.5", "--top-k", "3", "--seed", "9")
    result = command("infer", "coder", "def", *options, "--stop", "\n\n", "--stop", "class")

    assert result.stdout == "def f(x)\n"
    assert result.stderr.startswith("5 tokens in ")
    assert result.stderr.endswith("finished: stop\n")
    asked = {"text": "def", "max_length": 5, "temperature": 0.0, "top_p": 0.5, "top_k": 3, "seed": 9}
    assert plane.seen[-1].json["input_data"] == {**asked, "stop_sequences": ["\n\n", "class"]}
    assert plane.seen[-1].path == "/v1/inference/stream"


def test_a_prompt_is_read_from_stdin(command: Command, plane: Miniature) -> None:
    result = command("infer", "coder", "-", "--quiet", "--no-stream", stdin="def f(x):\n    return")
    assert plane.seen[-1].json["input_data"] == {"text": "def f(x):\n    return"}
    assert (result.stdout, result.stderr) == ("".join(ANSWER) + "\n", "")


def test_a_key_is_the_only_thing_on_stdout_when_it_is_made(command: Command, plane: Miniature) -> None:
    result = command("keys", "create", "ci", "--role", "viewer", "--expires-in", "2d", "--policy", "truthgpt")

    assert result.stdout == "tpk_new\n"
    asked = plane.seen[0].json
    expires_in = datetime.fromisoformat(asked.pop("expires_at")) - datetime.now(UTC)
    assert timedelta(days=2, minutes=-1) < expires_in <= timedelta(days=2)
    assert asked == {"name": "ci", "role": "viewer", "rate_limit_policy": "truthgpt"}


def test_keys_are_listed_and_revoked(command: Command, plane: Miniature) -> None:
    command("keys", "create", "ci")
    assert command("keys", "list").stdout.splitlines()[1].split()[:3] == ["key_1", "ci", "user"]
    assert command("keys", "revoke", "key_1").stdout == "revoked key_1\n"
    assert plane.keys == []


def test_a_token_is_the_only_thing_on_stdout(command: Command, plane: Miniature) -> None:
    result = command("keys", "token", "--role", "user", "--expires-in", "15m")
    assert result.stdout == "aaa.bbb.ccc\n"
    assert plane.seen[0].json == {"role": "user", "expires_in": 900}


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("models", "list"), "/v1/models"),
        (("models", "show", "coder"), "/v1/models/coder"),
        (("models", "revisions", "coder"), "/native/v1/models/coder/revisions"),
        (("models", "metrics", "coder"), "/v1/models/coder/metrics"),
        (("models", "load", "coder"), "/v1/models"),
        (("models", "unload", "coder"), "/v1/models/coder"),
        (("infer", "coder", "x"), "/v1/inference"),
        (("keys", "list"), "/auth/keys"),
        (("keys", "create", "ci"), "/auth/keys"),
        (("keys", "token"), "/auth/token"),
    ],
)
def test_json_is_what_the_server_said(
    command: Command, plane: Miniature, arguments: tuple[str, ...], path: str
) -> None:
    result = command(*arguments, "--json")

    assert plane.said[-1] == json.loads(result.stdout)
    assert (plane.seen[-1].path, result.stderr, result.exit_code) == (path, "", 0)


def test_the_local_admin_key_is_used_when_none_is_given(command: Command, plane: Miniature) -> None:
    command("models", "list")
    assert plane.seen[0].headers["x-api-key"] == KEY


def test_a_key_that_is_given_wins_over_the_local_one(command: Command, plane: Miniature) -> None:
    result = command("models", "list", "--api-key", "tpk_other")
    assert plane.seen[0].headers["x-api-key"] == "tpk_other"
    assert result.exit_code == 1
