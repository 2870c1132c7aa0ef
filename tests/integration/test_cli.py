"""The command line and the Python client against the real product."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tritonplane_client import ApiClient, AsyncApiClient, AuthenticationError, BadRequestError, NotFoundError
from tritonplane_client.schemas import TensorInput

from tests.product import TRITONPLANE, ServerProcess

ROOT = Path(__file__).parents[2]
CLIENT_README = ROOT / "clients" / "python" / "README.md"
MLP = ROOT / "tests" / "fixtures" / "mlp" / "model.onnx"
FEATURES: TensorInput = {"name": "features", "shape": [1, 8], "datatype": "FP32", "data": [0.5] * 8}
CODER = "stdlib-coder"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(product: ServerProcess) -> dict[str, str]:
    return {**product.environment(), "TRITONPLANE_URL": product.url}


@pytest.fixture(scope="module")
def run(environment: dict[str, str]) -> Run:
    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [TRITONPLANE, *arguments]
        return subprocess.run(
            command, env={**environment, **more}, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.fixture(scope="module")
def client(product: ServerProcess) -> Iterator[ApiClient]:
    with ApiClient(product.url, product.admin_key) as client:
        yield client


@pytest.fixture
def new_model(client: ApiClient) -> Iterator[str]:
    """A name for a model that is gone after the test."""
    yield "imported-by-test"
    with contextlib.suppress(NotFoundError):
        client.purge_model("imported-by-test")


def _json(result: subprocess.CompletedProcess[str]) -> Any:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_shipped_model_is_listed_shown_and_has_a_stable_revision(run: Run) -> None:
    [listed] = [model for model in _json(run("models", "list", "--json")) if model["name"] == CODER]
    assert (listed["type"], listed["state"], listed["version"]) == ("transformer", "loaded", 1)
    assert _json(run("models", "show", CODER, "--json"))["parameters"] == listed["parameters"] > 0
    assert _json(run("models", "revisions", CODER, "--json"))["aliases"] == {"stable": 1}
    for command in (("list",), ("show", CODER), ("revisions", CODER)):
        assert "text_generation" in run("models", *command).stdout


def test_a_prompt_is_continued_the_same_streamed_or_whole(run: Run) -> None:
    arguments = ("infer", CODER, "def read_json(path):\n", "--max-tokens", "24", "--temperature", "0")
    streamed, whole = run(*arguments), run(*arguments, "--no-stream")

    assert (streamed.returncode, whole.returncode) == (0, 0), streamed.stderr + whole.stderr
    assert streamed.stdout == whole.stdout
    assert streamed.stdout.strip()
    assert re.match(r"\d+ tokens in \d+\.\d\d s \(.* tokens/s, first after \d+ ms\), finished: \w+\n", streamed.stderr)
    reply = _json(run(*arguments, "--json"))
    assert reply["output"]["text"] + "\n" == whole.stdout


def test_every_sampling_option_is_understood_by_the_server(run: Run) -> None:
    options = ("--max-tokens", "8", "--temperature", "0.9", "--top-p", "0.8", "--top-k", "20", "--seed", "3")
    first = run("infer", CODER, "import ", *options, "--stop", "\n", "-q")
    second = run("infer", CODER, "import ", *options, "--stop", "\n", "-q")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout

    refused = run("infer", CODER, "x", "--temperature", "3")
    assert (refused.returncode, "INVALID_REQUEST" in refused.stderr) == (1, True)


def test_a_bare_onnx_file_is_imported_loaded_asked_and_purged(run: Run, client: ApiClient, new_model: str) -> None:
    imported = run("models", "import", str(MLP), "--name", new_model)
    assert imported.stdout.startswith(f"imported {new_model}:1 (onnx"), imported.stderr
    assert _json(run("models", "show", new_model, "--json"))["state"] == "unloaded"
    assert run("models", "load", new_model).stdout == f"loaded {new_model}\n"

    [scores] = client.infer(new_model, [FEATURES])["outputs"]
    assert (scores["name"], scores["shape"], len(scores["data"])) == ("scores", [1, 3], 3)
    assert run("models", "unload", new_model).returncode == 0
    assert client.get_model(new_model)["state"] == "unloaded"
    assert run("models", "unload", new_model, "--purge").stdout == f"purged {new_model}\n"
    assert run("models", "show", new_model).returncode == 1


def test_a_model_directory_is_zipped_sent_and_loaded(
    run: Run, client: ApiClient, new_model: str, tmp_path: Path
) -> None:
    directory = tmp_path / "any-name"
    (directory / "1").mkdir(parents=True)
    shutil.copy(MLP, directory / "1" / "model.onnx")
    (directory / "config.pbtxt").write_text('backend: "onnxruntime"\n')

    result = run("models", "import", str(directory), "--name", new_model)

    assert result.returncode == 0, result.stderr
    assert run("models", "load", new_model).returncode == 0
    assert client.infer(new_model, [FEATURES])["outputs"][0]["shape"] == [1, 3]


def test_what_is_no_model_is_refused_and_leaves_nothing(run: Run, new_model: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not onnx")
    result = run("models", "import", str(tmp_path / "model.onnx"), "--name", new_model)
    assert (result.returncode, "INVALID_REQUEST" in result.stderr) == (1, True), result.stderr
    assert run("models", "show", new_model).returncode == 1


def test_a_key_opens_what_its_role_may_and_nothing_once_it_is_revoked(run: Run, product: ServerProcess) -> None:
    made = _json(run("keys", "create", "test", "--role", "viewer", "--expires-in", "1h", "--json"))
    key = made["api_key"]

    assert run("models", "list", TRITONPLANE_API_KEY=key).returncode == 0
    refused = run("models", "unload", CODER, TRITONPLANE_API_KEY=key)
    assert (refused.returncode, "(FORBIDDEN)" in refused.stderr) == (1, True)
    assert made["key_id"] in run("keys", "list").stdout
    assert key not in run("keys", "list", "--json").stdout

    assert run("keys", "revoke", made["key_id"]).returncode == 0
    late = run("models", "list", TRITONPLANE_API_KEY=key)
    assert (late.returncode, "(UNAUTHORIZED)" in late.stderr) == (1, True)


def test_a_token_of_the_command_line_is_a_credential(run: Run, product: ServerProcess) -> None:
    token = run("keys", "token", "--role", "viewer", "--expires-in", "5m", "--subject", "ann").stdout.strip()
    with ApiClient(product.url, token=token) as ann:
        assert (ann.me()["sub"], ann.me()["role"]) == ("ann", "viewer")
    with ApiClient(product.url, token=token[:-2] + "xx") as forged, pytest.raises(AuthenticationError):
        forged.me()


def test_an_unknown_model_is_one_sentence_with_a_suggestion(run: Run) -> None:
    result = run("infer", "stdlib-codr", "x")
    assert "(MODEL_NOT_FOUND)" in result.stderr
    assert f"hint: Use '{CODER}' instead" in result.stderr
    assert (result.stdout, result.returncode) == ("", 1)
    hostile = run("models", "load", "b$(touch x)")
    assert (hostile.returncode, "Traceback" in hostile.stderr) == (1, False)


def test_ctrl_c_ends_a_generation_and_the_next_one_is_answered(run: Run, environment: dict[str, str]) -> None:
    command = [TRITONPLANE, "infer", CODER, "def main():\n", "--max-tokens", "900", "--temperature", "1.5"]
    command += ["--seed", "1"]  # with another one the text may end by itself
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
    assert (process.returncode, b"Traceback" in complaint) == (130, False)
    assert run("infer", CODER, "x = ", "--max-tokens", "2").returncode == 0


def test_options_of_serve_win_over_the_environment_and_dev_lets_everybody_manage(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "state", {"PORT": "1", "AUTH_ANONYMOUS_ROLE": "viewer"})
    server.start("--dev", "--port", str(server.port)).wait_ready()
    try:
        with ApiClient(server.url) as anybody:
            assert anybody.me()["role"] == "admin"
            assert anybody.unload_model(CODER) == {"success": True}
    finally:
        assert server.stop() == 0


def test_doctor_finds_the_ports_in_use_by_our_own_server_and_calls_that_no_fault(run: Run) -> None:
    found = _json(run("doctor", "--json"))
    assert found["ok"] is True
    reasons = {finding["name"]: finding["reason"] for finding in found["findings"]}
    assert "by the tritonplane that runs here" in reasons["port HTTP"]
    assert "Triton" in reasons["round trip"]


def test_doctor_names_a_fault_its_reason_and_a_remedy(run: Run) -> None:
    result = run("doctor", "--json", TRITONPLANE_STATE_DIR="/tmp/not a plain path")
    faults = [finding for finding in json.loads(result.stdout)["findings"] if not finding["ok"]]
    assert [fault["name"] for fault in faults] == ["paths"]
    assert faults[0]["reason"]
    assert faults[0]["remedy"]
    assert result.returncode == 1


async def test_the_asynchronous_client_streams_what_the_blocking_one_gets_whole(
    product: ServerProcess, client: ApiClient
) -> None:
    async with AsyncApiClient(product.url, product.admin_key) as asynchronous:
        tokens = [token async for token in asynchronous.stream(CODER, "class Stack:\n", max_tokens=16, temperature=0)]
    whole = client.generate(CODER, "class Stack:\n", max_tokens=16, temperature=0)["output"]

    assert "".join(token.text for token in tokens) == whole["text"]
    assert [token.index for token in tokens] == list(range(len(tokens)))
    assert (tokens[-1].is_final, tokens[-1].finish_reason) == (True, whole.get("finish_reason"))


async def test_a_bad_option_is_refused_before_the_stream_begins(product: ServerProcess) -> None:
    async with AsyncApiClient(product.url, product.admin_key) as asynchronous:
        with pytest.raises(BadRequestError) as caught:
            await anext(asynchronous.stream(CODER, "x", top_p=0))
    assert (caught.value.status, caught.value.code) == (400, "INVALID_REQUEST")
    assert caught.value.request_id


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", CLIENT_README.read_text(), re.DOTALL))
def test_the_examples_of_the_readme_run_as_they_are(product: ServerProcess, tmp_path: Path, example: str) -> None:
    shutil.copy(MLP, tmp_path / "model.onnx")
    known = {"TRITONPLANE_URL": product.url, "TRITONPLANE_API_KEY": product.admin_key}
    done = subprocess.run(
        [sys.executable, "-c", example],
        env={**os.environ, **known},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
