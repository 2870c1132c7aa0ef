"""The benchmark runs from one command, asks the same both ways, and keeps what it measured."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "rest_vs_triton.py"


@pytest.mark.skipif(shutil.which("h2load") is None, reason="needs h2load: apt-get install -y nghttp2-client")
def test_the_benchmark_runs_every_case_both_ways_without_a_failure(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--seconds=0.3", "--rounds=1", "--concurrency=1", f"--results={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = (json.loads(file.read_text()) for file in tmp_path.glob("*.json"))
    assert [(row["case"], row["way"]) for row in result["rows"]] == [
        (case, way) for case in ("tensors", "text", "text-stream") for way in ("Triton", "REST")
    ]
    for row in result["rows"]:
        assert row["requests"] > 0
        assert row["failures"] == 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
