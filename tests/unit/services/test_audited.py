"""Which methods leave a line: those that are listed exist, and their lines are about what they are about."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import DomainError
from control_plane.services import audited as module
from control_plane.services.audit import Actor, act
from control_plane.services.registry import Services
from tests.doubles.repository import text_revision
from tests.doubles.services import World, make_world

ROOT = Principal("root", Role.ADMIN)


@pytest.fixture
async def world() -> World:
    return await make_world(text_revision("coder"))


async def test_c_audit_01_every_verb_is_a_method_of_a_service(world: World) -> None:
    names = {field.name for field in dataclasses.fields(Services)}
    for service, verbs in module._VERBS.items():
        assert service in names
        for method in verbs:
            assert callable(getattr(getattr(world.services, service)._service, method))


async def test_c_audit_01_what_services_ask_of_each_other_leaves_no_line(world: World) -> None:
    models = world.services.models._service  # type: ignore[attr-defined]
    await models.load("coder")
    assert world.audit.written == []


async def test_c_audit_01_a_line_knows_the_caller_without_a_door(world: World) -> None:
    await world.services.models.load("coder", None, ROOT)
    await world.services.models.load(caller=ROOT, reference="coder")
    for line in world.audit.written:
        assert (line["who"], line["object"], line["door"], line["revision"]) == ("root", "coder", None, "coder:1")


async def test_c_audit_01_a_line_stays_short_whatever_was_asked_for(world: World) -> None:
    with pytest.raises(DomainError):
        await world.services.models.load("x" * 60_000, None, ROOT)
    (line,) = world.audit.written
    assert line["object"] == "x" * 300


async def test_c_audit_01_who_is_at_work_is_known_in_what_he_starts_and_nowhere_else(world: World) -> None:
    async def by(name: str) -> None:
        act(Actor(Principal(name, Role.ADMIN), f"req_{name}", "http", "POST /models"))
        await asyncio.create_task(world.services.models.unload("coder"))  # type: ignore[arg-type]

    await asyncio.gather(by("alice"), by("bob"))
    assert {(line["who"], line["request_id"]) for line in world.audit.written} == {
        ("alice", "req_alice"),
        ("bob", "req_bob"),
    }


async def test_c_audit_01_one_who_is_cancelled_and_a_bug_are_told_too(world: World) -> None:
    world.triton.loads_go_on.clear()
    loading = asyncio.create_task(world.services.models.load("coder"))  # type: ignore[arg-type]
    while not world.triton.loads:  # noqa: ASYNC110 - the double does not tell
        await asyncio.sleep(0)
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    world.triton.loads_go_on.set()
    world.triton.answers_fail = RuntimeError("a bug")  # type: ignore[assignment]
    with pytest.raises(RuntimeError):
        await world.services.models.load("coder")
    assert [line["result"] for line in world.audit.written] == ["CANCELLED", "INTERNAL_ERROR"]


async def test_an_attribute_of_a_service_is_the_services(world: World) -> None:
    jobs = world.services.jobs
    assert jobs.ended is jobs._service.ended  # type: ignore[attr-defined]
    access = world.services.access
    access.management_role = Role.USER
    assert access._service.management_role is Role.USER  # type: ignore[attr-defined]
