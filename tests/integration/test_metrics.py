"""T-REST-10 on the real server: what clients measured and what the server says they did."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
import pytest

from tests.product import ServerProcess

MODEL = "stdlib-coder"
ASK: dict[str, Any] = {"model_id": MODEL, "input_data": {"text": "def f("}, "max_length": 4, "temperature": 0}


def metrics(client: httpx.Client, **query: str) -> Any:
    return client.get(f"/models/{MODEL}/metrics", params=query).raise_for_status().json()


def until(predicate: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_T_REST_10_counts_and_times_are_those_that_the_clients_saw(product: ServerProcess) -> None:
    with product.client() as client:
        before = metrics(client)
        tokens, took_s = 0, []
        for _ in range(6):
            began_s = time.monotonic()
            reply = client.post("/inference", json=ASK).raise_for_status().json()
            took_s.append(time.monotonic() - began_s)
            tokens += len(reply["output"]["tokens"])
        too_long = client.post("/inference", json={**ASK, "input_data": {"text": "x = 1\n" * 5000}})
        assert too_long.status_code == 400
        after = metrics(client)

    def grown(name: str) -> Any:
        return after["metrics"][name] - before["metrics"][name]

    assert (grown("success_count"), grown("error_count"), grown("inference_count")) == (6, 1, 7)
    assert grown("tokens_generated") == tokens
    spent_s = [one["metrics"]["success_count"] * (one["metrics"]["avg_inference_time"] or 0) for one in (after, before)]
    assert 0 < (spent_s[0] - spent_s[1]) / 6 <= mean(took_s)
    assert after["triton"]["inference_count"] > before["triton"]["inference_count"]
    assert after["metrics"]["memory_usage_bytes"] > 1_000_000
    assert after["metrics"]["success_rate"] + after["metrics"]["error_rate"] == pytest.approx(1)


def test_T_REST_10_tritons_queue_is_measured_while_there_is_traffic(product: ServerProcess) -> None:
    start = datetime.now(UTC).isoformat()
    with product.client() as client:

        def is_measured() -> bool:
            client.post("/inference", json=ASK).raise_for_status()
            return metrics(client, start_time=start)["metrics"]["avg_queue_time"] is not None

        until(is_measured)
        assert 0 <= metrics(client, start_time=start)["metrics"]["avg_queue_time"] < 1


def test_c_persist_01_what_was_counted_survives_a_kill_once_it_is_recorded(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "state").start().wait_ready()
    try:
        with server.client() as client:
            for _ in range(3):
                client.post("/inference", json=ASK).raise_for_status()
            counted = metrics(client)["metrics"]
            until(lambda: _recorded(server) == 3)
        server.kill()
        server.start()
        until(lambda: _answers(server), 60)
        with server.client() as client:
            found = metrics(client)["metrics"]
            names = ("inference_count", "tokens_generated", "avg_inference_time", "p99_inference_time")
            assert [found[name] for name in names] == [counted[name] for name in names]
            assert found["inference_count"] == 3
            past = datetime.now(UTC) - timedelta(days=1)
            assert metrics(client, end_time=past.isoformat())["metrics"]["inference_count"] == 0
    finally:
        server.stop()


def _recorded(server: ServerProcess) -> int:
    """How many inferences are safe on disk."""
    with closing(sqlite3.connect(server.state_dir / "state.db")) as database:
        (count,) = database.execute("SELECT sum(successes) FROM metric_rollups WHERE resolution_s = 1").fetchone()
    return count or 0


def _answers(server: ServerProcess) -> bool:
    try:
        return httpx.get(f"{server.url}/models", headers=server.headers).is_success
    except httpx.TransportError:
        return False
