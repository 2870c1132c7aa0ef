"""Which credentials are remembered, and for how long."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from control_plane.domain.access import Role
from control_plane.domain.errors import NotAuthenticated
from control_plane.services import access as access_module
from control_plane.services.access import Presented, raw_credential
from tests.unit.access.worlds import ROOT, World, a_world, bearer


async def test_a_verified_credential_is_recalled_by_its_raw_bytes_without_another_look_up(world: World) -> None:
    _, secret = await world.key()
    assert world.access.recall(raw_credential(b"", secret.encode())) is None
    principal = await world.access.identify(Presented(api_key=secret))
    assert world.access.recall(raw_credential(b"", secret.encode())) == principal
    assert await world.access.identify(Presented(api_key=secret)) == principal
    assert world.keys.lookups == 1


async def test_a_key_is_not_recalled_from_the_header_it_was_not_sent_in(world: World) -> None:
    _, secret = await world.key()
    await world.access.identify(bearer(secret))
    assert world.access.recall(f"Bearer {secret}".encode()) is not None
    assert world.access.recall(raw_credential(b"", f"Bearer {secret}".encode())) is None
    assert world.access.recall(secret.encode()) is None


async def test_a_credential_is_recalled_for_thirty_seconds(world: World) -> None:
    presented = bearer(world.token())
    await world.access.identify(presented)
    world.clock.advance(29.9)
    assert world.access.recall(presented.raw) is not None
    world.clock.advance(0.1)
    assert world.access.recall(presented.raw) is None


async def test_a_token_is_never_recalled_past_its_expiry(world: World) -> None:
    presented = bearer(world.token(lives_s=5))
    await world.access.identify(presented)
    world.clock.advance(4)
    assert world.access.recall(presented.raw) is not None
    world.clock.advance(1)
    assert world.access.recall(presented.raw) is None


async def test_a_key_does_not_work_past_its_expiry(world: World) -> None:
    _, secret = await world.key(expires_at=world.clock.now() + timedelta(seconds=5))
    await world.access.identify(Presented(api_key=secret))
    world.clock.advance(5)
    assert world.access.recall(Presented(api_key=secret).raw) is None
    with pytest.raises(NotAuthenticated, match="expired"):
        await world.access.identify(Presented(api_key=secret))


async def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "REMEMBERED_MAX", 3)
    presented = [bearer(world.token(f"user-{number}")) for number in range(10)]
    for one in presented:
        await world.access.identify(one)
    recalled = [world.access.recall(one.raw) is not None for one in presented]
    assert recalled[-1]
    assert sum(recalled) <= 3


async def test_what_is_longer_than_any_token_is_looked_up_each_time(world: World) -> None:
    _, secret = await world.key()
    for blanks, lookups in ((3000, 1), (60_000, 3)):
        presented, before = Presented(authorization="Bearer " + " " * blanks + secret), world.keys.lookups
        for _ in range(3):
            assert (await world.access.identify(presented)).role is Role.USER
        assert world.keys.lookups == before + lookups


async def test_c_auth_13_a_deleted_key_stops_working_at_once_in_every_header(world: World) -> None:
    key, secret = await world.key()
    ways = [Presented(api_key=secret), bearer(secret), Presented(f"Bearer {world.token()}", secret)]
    for presented in ways:
        await world.access.identify(presented)
    await world.access.delete_key(key.id, ROOT)
    for presented in ways:
        assert world.access.recall(presented.raw) is None
        with pytest.raises(NotAuthenticated):
            await world.access.identify(presented)


async def test_c_auth_13_a_key_deleted_while_it_is_looked_up_is_not_remembered(world: World) -> None:
    key, secret = await world.key()
    world.keys.gate.clear()
    looking = asyncio.create_task(world.access.identify(Presented(api_key=secret)))
    await asyncio.sleep(0)
    await world.access.delete_key(key.id, ROOT)
    world.keys.gate.set()
    assert (await looking).id == key.id  # it was valid when that request came
    assert world.access.recall(Presented(api_key=secret).raw) is None


async def test_the_anonymous_role_outlives_the_deletion_of_a_key() -> None:
    world = a_world(Role.USER)
    key, _ = await world.key()
    await world.access.delete_key(key.id, ROOT)
    assert world.access.recall(b"") is not None
