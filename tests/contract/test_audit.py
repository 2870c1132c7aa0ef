"""The audit log (C-AUDIT-01): every management verb by every API, who did it, and how it went; never a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.domain.errors import EngineFailed
from control_plane.gateways.line_files import LineFile
from tests.contract.conftest import ServeHttp
from tests.contract.served import Served
from tests.contract.truthgpt.graphql_client import asked, opened

CHANGED = ("verb", "object", "result", "who", "role", "door")
OPTIMIZE = {"model_id": "coder", "optimization_level": "basic"}


@pytest.fixture
async def http(serve_http: ServeHttp) -> Served:
    """A server that has told of nothing yet."""
    http = await serve_http()
    http.world.audit.written.clear()
    return http


def told(http: Served) -> list[tuple[Any, ...]]:
    return [tuple(line[name] for name in CHANGED) for line in http.world.audit.written]


async def test_c_audit_01_each_verb_over_rest_leaves_a_line(http: Served) -> None:
    send, admin = http.client.request, {**http.admin, "X-Request-ID": "mine-1"}
    await send("DELETE", "/models/coder", headers=admin)
    await send("POST", "/native/v1/models/coder/load", headers=admin)
    made = (await send("POST", "/optimize", json=OPTIMIZE, headers=admin)).json()["optimization_id"]
    await send("POST", f"/optimize/{made}/cancel", headers=admin)
    await send("POST", "/native/v1/models/coder/exports?export_format=triton", headers=admin)
    await send("DELETE", "/models/coder?purge=true", headers=admin)
    by = ("somebody", "admin", "http")
    assert told(http) == [
        ("model.unload", "coder", "OK", *by),
        ("model.load", "coder", "OK", *by),
        ("model.optimize", "coder", "OK", *by),
        ("job.cancel", made, http.world.audit.written[3]["result"], *by),
        ("model.export", "coder", "OK", *by),
        ("model.purge", "coder", "CONFLICT", *by),  # it is in the box
    ]
    assert {line["request_id"] for line in http.world.audit.written} == {"mine-1"}
    assert http.world.audit.written[1]["revision"] == "coder:1"
    assert http.world.audit.written[2]["job_id"] == made
    assert http.world.audit.written[0]["at"] == http.world.clock.now()


async def test_c_audit_01_a_failure_and_a_refusal_are_told_with_their_code(http: Served) -> None:
    await http.world.services.models.unload("coder")
    http.world.audit.written.clear()
    http.world.triton.refusals["coder--r1"] = EngineFailed("out of memory")
    await http.client.post("/native/v1/models/coder/load", headers=http.admin)
    await http.client.post("/native/v1/models/absent/load", headers=http.admin)
    await http.client.post("/native/v1/models/coder/load", headers=http.viewer)
    await http.client.get("/auth/keys", headers=http.viewer)  # refused too, but it would have changed nothing
    assert told(http) == [
        ("model.load", "coder", "PROCESSING_FAILED", "somebody", "admin", "http"),
        ("model.load", "absent", "MODEL_NOT_FOUND", "somebody", "admin", "http"),
        ("request.refused", "POST /native/v1/models/coder/load", "FORBIDDEN", "somebody", "viewer", "http"),
    ]


async def test_c_audit_01_keys_and_tokens_for_others_are_told_without_their_secrets(http: Served) -> None:
    made = (await http.client.post("/auth/keys", json={"name": "ci", "role": "user"}, headers=http.admin)).json()
    given = (await http.client.post("/auth/token", json={"sub": "alice"}, headers=http.admin)).json()
    await http.client.post("/auth/token", headers={"X-API-Key": made["api_key"]})  # his own
    await http.client.delete(f"/auth/keys/{made['key_id']}", headers=http.admin)
    verbs = [(line["verb"], line["object"], line["result"]) for line in http.world.audit.written]
    assert verbs == [
        ("key.create", "ci", "OK"),
        ("token.issue", "alice", "OK"),
        ("key.delete", made["key_id"], "OK"),
    ]
    assert http.world.audit.written[0]["key_id"] == made["key_id"]
    written = json.dumps(http.world.audit.written, default=str)
    assert made["api_key"] not in written
    assert given["access_token"] not in written


async def test_c_audit_01_each_verb_over_graphql_leaves_a_line(http: Served) -> None:
    unload = 'mutation { unloadModel(modelId: "coder") }'
    await asked(http, unload)
    await asked(http, unload, http.viewer)
    async with opened(http, "graphql-transport-ws") as socket:
        await socket.begin(Authorization=http.admin["Authorization"])
        await socket.start('mutation { loadModel(name: "coder", modelType: "transformer") { status } }')
        await socket.results()
    assert told(http) == [
        ("model.unload", "coder", "OK", "somebody", "admin", "http"),
        ("request.refused", "POST /graphql", "FORBIDDEN", "somebody", "viewer", "http"),
        ("model.load", "coder", "OK", "somebody", "admin", "websocket"),
    ]


async def test_c_audit_01_a_replayed_answer_is_no_second_deed(http: Served) -> None:
    for _ in range(2):
        headers = {**http.admin, "Idempotency-Key": "once"}
        assert (await http.client.post("/optimize", json=OPTIMIZE, headers=headers)).status_code == 200
    assert [line["verb"] for line in http.world.audit.written] == ["model.optimize"]


async def test_c_audit_01_an_inference_leaves_no_line(http: Served) -> None:
    ask = {"model_id": "coder", "input_data": {"text": "a b"}}
    assert (await http.client.post("/inference", json=ask, headers=http.user)).status_code == 200
    assert http.world.audit.written == []


async def test_c_audit_01_an_admin_reads_the_newest_lines_first(http: Served, tmp_path: Path) -> None:
    assert (await http.client.get("/admin/audit", headers=http.admin)).json() == []
    await http.client.delete("/models/coder", headers=http.admin)
    await http.client.post("/native/v1/models/coder/load", headers=http.admin)
    http.world.audit.path = tmp_path / "audit.log"
    LineFile(http.world.audit.path).append(http.world.audit.written)
    for limit, verbs in ((1, ["model.load"]), (100, ["model.load", "model.unload"])):
        lines = (await http.client.get("/admin/audit", params={"limit": limit}, headers=http.admin)).json()
        assert [line["verb"] for line in lines] == verbs
    assert lines[0]["at"] == "2026-11-21T12:00:00.000Z"
    assert (await http.client.get("/admin/audit", headers=http.user)).status_code == 403
    assert (await http.client.get("/admin/audit?limit=0", headers=http.admin)).status_code == 400


async def test_c_audit_01_lines_that_cannot_be_read_are_left_out(http: Served, tmp_path: Path) -> None:
    await http.client.delete("/models/coder", headers=http.admin)
    http.world.audit.path = tmp_path / "audit.log"
    http.world.audit.path.write_bytes(b'{"at": "2026-\n{}\n\xff\n')
    LineFile(http.world.audit.path).append(http.world.audit.written)
    reply = await http.client.get("/admin/audit", headers=http.admin)
    assert reply.status_code == 200
    assert [line["verb"] for line in reply.json()] == ["model.unload"]
