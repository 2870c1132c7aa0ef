"""What programs say, bounded and without the places of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.gateways.processes.bounded_log import BoundedLog
from control_plane.gateways.processes.pip import PipOutput, pip_environment
from control_plane.gateways.processes.scrubbing import scrubbed
from control_plane.ports import Progress


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("cannot open /srv/state/jobs/j/model.onnx: it is odd", "cannot open model.onnx: it is odd"),
        ("see https://me:secret@index.example/simple/torch/ now", "see ... now"),
        ("HTTPSConnectionPool(host='index.example', port=443)", "HTTPSConnectionPool(host=..., port=443)"),
        ("1/2 of fp16/bf16 and a/b\nnext", "1/2 of fp16/bf16 and a/b next"),
        ("'/tmp/x y/z'", "'x y/z'"),
    ],
)
def test_addresses_hosts_and_paths_are_left_out(said: str, told: str) -> None:
    assert scrubbed(said) == told


def test_a_log_keeps_its_end(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_text("from the run before\n")
    log = BoundedLog(file, bytes_max=1000)
    for number in range(500):
        log.write(b"line %d\n" % number)
    log.close()

    lines = file.read_text().splitlines()
    assert file.stat().st_size <= 1000
    assert lines[0] == "[... earlier lines are left out ...]"
    numbers = [int(line.removeprefix("line ")) for line in lines[1:]]
    assert numbers == list(range(numbers[0], 500))
    assert len(numbers) > 30


def test_progress_of_downloads_is_told_with_their_sizes() -> None:
    said: list[Progress] = []
    output = PipOutput(2, said.append)
    for line in (
        "Collecting torch==2.13.0 (from -r requirements.txt (line 1))",
        "  Downloading torch-2.13.0-cp311-cp311-linux.whl.metadata (28 kB)",
        "  Downloading https://index.example/torch-2.13.0-cp311-cp311-linux.whl (555.3 MB)",
        "Collecting nvidia-cublas (from torch==2.13.0)",
        "Collecting sympy>=1.13 (from torch==2.13.0)",
        "Installing collected packages: sympy, nvidia-cublas, torch",
    ):
        output.read(line)
    output.installed(2)
    assert [progress.message for progress in said] == [
        "collecting torch (1 of 2)",
        "downloading torch (555.3 MB) (1 of 2)",
        "collecting nvidia-cublas (2 of 2)",
        "collecting sympy (2 of 2)",
        "installing 0 of 3 packages",
        "installing 2 of 3 packages",
    ]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"],
            "the disk is full",
        ),
        (
            [
                "WARNING: 401 Error, Credentials not correct for https://index.example/",
                "ERROR: No matching distribution found for torch==2.13.0",
            ],
            "the package index refuses the credentials it is given, so torch==2.13.0 cannot be had",
        ),
        (["ERROR: pkg from https://index.example/p.whl does not match"], "pkg from ... does not match"),
        ([], "pip failed with code 2"),
    ],
)
def test_why_pip_failed_is_half_a_sentence(lines: list[str], told: str) -> None:
    output = PipOutput(1, lambda _: None)
    for line in lines:
        output.read(line)
    assert output.failure(2) == told


def test_pip_gets_its_users_configuration_and_nothing_of_ours(tmp_path: Path) -> None:
    ours = {
        **{"PIP_INDEX_URL": "i", "HTTPS_PROXY": "p", "no_proxy": "n", "HOME": "/h", "SSL_CERT_FILE": "c"},
        **{"TRITONPLANE_JWT_SECRET": "s", "PIP_TARGET": "/elsewhere", "PYTHONPATH": "/x", "VIRTUAL_ENV": "/v"},
    }
    passed = pip_environment(ours, tmp_path)
    assert passed.keys() == {
        *("PIP_INDEX_URL", "HTTPS_PROXY", "no_proxy", "HOME", "SSL_CERT_FILE"),
        *("TMPDIR", "PIP_USER", "PYTHONUNBUFFERED"),
    }
