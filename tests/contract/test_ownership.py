"""Who reads and ends what of whom (C-OWN-01): optimizations belong to the model, logs and ends to who asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from control_plane.domain.jobs import JobKind
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.doubles.optimizations import StubOptimizing
from tests.doubles.repository import tensor_revision
from tests.doubles.services import make_world

Headers = dict[str, str]


@dataclass
class Owned:
    """An optimization that alice asked for; it goes on until `work.gate` is set."""

    http: Served
    work: StubOptimizing
    id: str

    def by(self, role: str, subject: str) -> Headers:
        return self.http.as_role(role, subject)


@pytest.fixture
async def owned(serve_http: ServeHttp) -> AsyncIterator[Owned]:
    """Where users may manage, so that only the owner makes the difference."""
    world = await make_world(tensor_revision("adder"), user_can_manage=True)
    work = StubOptimizing(gate=asyncio.Event())
    world.services.jobs.register(JobKind.OPTIMIZE, work)
    http = await serve_http(world)
    body = {"model_id": "adder", "optimization_level": "basic"}
    asked = await http.client.post("/optimize", json=body, headers=http.as_role("user", "alice"))
    yield Owned(http, work, asked.json()["optimization_id"])
    assert work.gate is not None
    work.gate.set()


async def test_c_own_01_every_viewer_reads_an_optimization(owned: Owned) -> None:
    client, bob = owned.http.client, owned.by("viewer", "bob")
    assert owned.work.gate is not None
    for path in (f"/optimize/{owned.id}", f"/native/v1/jobs/{owned.id}", f"/optimizations/{owned.id}/results"):
        assert (await client.get(path, headers=bob)).status_code in (200, 202)
    listed = (await client.get("/optimizations", headers=bob)).json()
    assert [one["optimization_id"] for one in listed] == [owned.id]
    owned.work.gate.set()
    await owned.http.world.services.jobs.wait(owned.id)
    results = await client.get(f"/optimizations/{owned.id}/results", headers=bob)
    assert (results.status_code, results.json()["status"]) == (200, "completed")


@pytest.mark.parametrize("path", ["/optimize/{id}/cancel", "/native/v1/jobs/{id}/cancel"])
async def test_c_own_01_only_who_asked_and_admins_end_it(owned: Owned, path: str) -> None:
    client, path = owned.http.client, path.format(id=owned.id)
    refused = await client.post(path, headers=owned.by("user", "bob"))
    assert refused.status_code == 403
    assert (await client.get(f"/optimize/{owned.id}", headers=owned.by("viewer", "bob"))).json()["status"] == "running"
    assert (await client.post(path, headers=owned.by("user", "alice"))).status_code == 200


async def test_c_own_01_an_admin_ends_what_another_asked_for(owned: Owned) -> None:
    ended = await owned.http.client.delete(f"/optimize/{owned.id}", headers=owned.by("admin", "root"))
    assert (ended.status_code, ended.json()["status"]) == (200, "cancelled")


async def test_c_own_01_only_who_asked_and_admins_read_its_log(owned: Owned) -> None:
    """What its processes wrote may tell of paths and of what was uploaded."""
    path = f"/native/v1/jobs/{owned.id}/log"
    statuses = {
        who: (await owned.http.client.get(path, headers=owned.by(role, who))).status_code
        for who, role in (("alice", "user"), ("bob", "user"), ("root", "admin"))
    }
    assert statuses == {"alice": 200, "bob": 403, "root": 200}


async def test_c_own_01_a_stranger_is_told_nothing_of_a_kept_answer(serve_http: ServeHttp) -> None:
    http = await serve_http(await two_models())
    body = {"model_id": "coder", "optimization_level": "basic"}
    for subject in ("alice", "bob"):
        headers = {**http.as_role("admin", subject), "Idempotency-Key": "the same"}
        reply = await http.client.post("/optimize", json=body, headers=headers)
        assert "Idempotent-Replayed" not in reply.headers
