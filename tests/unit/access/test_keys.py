"""API keys, who may make them, and the admin's first one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.access import ApiKey, Principal, Role
from control_plane.domain.errors import InvalidRequest, NotAuthenticated, NotFound, NotPermitted
from control_plane.gateways.credentials import JwtConfig, LocalCredentials
from control_plane.services.access import Access, NewKey, Presented
from tests.doubles.clock import FixedClock
from tests.doubles.stores import InMemoryKeyStore
from tests.unit.access.worlds import ROOT, SECRET, World, bearer


async def test_c_auth_13_a_new_key_is_kept_as_a_digest_only(world: World) -> None:
    expires_at = world.clock.now() + timedelta(days=1)
    key, secret = await world.access.create_key(NewKey("ci", Role.VIEWER, "ai-services", expires_at), ROOT)
    assert key == ApiKey(
        key.id, world.credentials.digest(secret), "ci", Role.VIEWER, world.clock.now(), "ai-services", expires_at
    )
    assert list(await world.access.list_keys(ROOT)) == [key]
    assert secret not in repr(key)


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "two\nlines"])
async def test_a_key_needs_a_name_that_can_be_shown(world: World, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await world.access.create_key(NewKey(name, Role.USER), ROOT)
    assert list(await world.keys.list()) == []


async def test_a_key_cannot_be_born_expired(world: World) -> None:
    with pytest.raises(InvalidRequest, match="expires_at"):
        await world.access.create_key(NewKey("late", Role.USER, expires_at=world.clock.now()), ROOT)


async def test_deleting_a_key_that_is_not_there_is_told(world: World) -> None:
    with pytest.raises(NotFound, match="key_absent"):
        await world.access.delete_key("key_absent", ROOT)


async def test_c_auth_06_only_an_admin_sees_makes_or_deletes_keys(world: World) -> None:
    key, _ = await world.key()
    for role in (Role.VIEWER, Role.USER):
        caller = Principal("bob", role)
        for attempt in (
            world.access.create_key(NewKey("more", role), caller),
            world.access.list_keys(caller),
            world.access.delete_key(key.id, caller),
        ):
            with pytest.raises(NotPermitted):
                await attempt
    assert list(await world.keys.list()) == [key]


@pytest.mark.parametrize(("user_can_manage", "role"), [(False, Role.ADMIN), (True, Role.USER)])
def test_c_auth_06_the_setting_gives_users_the_management_verbs(user_can_manage: bool, role: Role) -> None:
    credentials = LocalCredentials(JwtConfig(secret=SECRET))
    access = Access(credentials, InMemoryKeyStore(), FixedClock(), user_can_manage=user_can_manage)
    assert access.management_role is role


async def test_the_first_start_makes_an_admin_key_and_the_second_does_not(world: World) -> None:
    kept: list[str] = []
    secret = await world.access.ensure_admin_key(None, kept.append)
    assert secret is not None
    assert kept == [secret]
    assert (await world.access.identify(Presented(api_key=secret))).role is Role.ADMIN
    assert await world.access.ensure_admin_key(None, kept.append) is None
    assert kept == [secret]


async def test_a_key_that_could_not_be_written_down_is_not_made(world: World) -> None:
    def fail(_secret: str) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        await world.access.ensure_admin_key(None, fail)
    assert list(await world.keys.list()) == []


async def test_when_the_last_admin_key_has_expired_a_new_one_is_made(world: World) -> None:
    await world.key(Role.ADMIN, world.clock.now() + timedelta(seconds=1))
    await world.key(Role.USER)
    assert await world.access.ensure_admin_key(None, lambda _: None) is None
    world.clock.advance(2)
    assert await world.access.ensure_admin_key(None, lambda _: None) is not None


async def test_a_given_bootstrap_key_works_and_replaces_the_one_given_before(world: World) -> None:
    for given in ("first-key", "first-key", "second-key"):
        assert await world.access.ensure_admin_key(given, pytest.fail) is None
        assert (await world.access.identify(Presented(api_key=given))).role is Role.ADMIN
        assert (await world.access.identify(bearer(given))).role is Role.ADMIN
    with pytest.raises(NotAuthenticated):
        await world.access.identify(Presented(api_key="first-key"))
    assert len(await world.keys.list()) == 1


async def test_giving_the_key_that_was_made_on_first_start_changes_nothing_but_ends_the_one_given_before(
    world: World,
) -> None:
    made = await world.access.ensure_admin_key(None, lambda _: None)
    assert made is not None
    await world.access.ensure_admin_key("given-key", pytest.fail)
    await world.access.ensure_admin_key(made, pytest.fail)
    assert (await world.access.identify(Presented(api_key=made))).role is Role.ADMIN
    with pytest.raises(NotAuthenticated):
        await world.access.identify(Presented(api_key="given-key"))


@pytest.mark.parametrize("given", ["", "two words", "schlüssel", "tab\tbed"])
async def test_a_bootstrap_key_that_no_header_can_carry_is_refused(world: World, given: str) -> None:
    with pytest.raises(InvalidRequest):
        await world.access.ensure_admin_key(given, pytest.fail)


async def test_a_users_key_does_not_become_an_admins_by_the_setting(world: World) -> None:
    _, secret = await world.key(Role.USER)
    with pytest.raises(InvalidRequest):
        await world.access.ensure_admin_key(secret, pytest.fail)
    assert (await world.access.identify(Presented(api_key=secret))).role is Role.USER
