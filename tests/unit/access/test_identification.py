"""Who a credential identifies."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import NotAuthenticated
from control_plane.services.access import Presented
from tests.unit.access.worlds import World, a_world, bearer


async def test_c_auth_01_a_bearer_token_identifies_its_subject(world: World) -> None:
    principal = await world.access.identify(bearer(world.token("alice", Role.VIEWER)))
    assert (principal.id, principal.role, principal.is_anonymous) == ("alice", Role.VIEWER, False)


async def test_c_auth_02_a_key_identifies_itself_in_its_header_and_as_a_bearer(world: World) -> None:
    key, secret = await world.key(Role.ADMIN)
    expected = Principal(key.id, Role.ADMIN, "ai-services")
    assert await world.access.identify(Presented(api_key=secret)) == expected
    assert await world.access.identify(bearer(secret)) == expected


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer", "Bearer  "])
async def test_the_scheme_is_read_in_any_case(world: World, scheme: str) -> None:
    assert (await world.access.identify(Presented(f"{scheme} {world.token()}"))).id == "alice"


async def test_c_auth_03_with_both_headers_the_bearers_identity_wins(world: World) -> None:
    _, secret = await world.key(Role.ADMIN)
    principal = await world.access.identify(Presented(f"Bearer {world.token()}", secret))
    assert (principal.id, principal.role) == ("alice", Role.USER)


async def test_c_auth_03_with_both_headers_either_one_that_is_invalid_refuses(world: World) -> None:
    _, secret = await world.key()
    for presented in (Presented(f"Bearer {world.token()}x", secret), Presented(f"Bearer {world.token()}", "tpk_wrong")):
        with pytest.raises(NotAuthenticated):
            await world.access.identify(presented)


async def test_c_auth_03_both_headers_are_good_only_as_long_as_the_shorter_lived(world: World) -> None:
    soon = world.clock.now() + timedelta(seconds=10)
    _, secret = await world.key(expires_at=soon)
    presented = Presented(f"Bearer {world.token()}", secret)
    assert (await world.access.identify(presented)).expires_at_s == soon.timestamp()
    world.clock.advance(11)
    with pytest.raises(NotAuthenticated, match="expired"):
        await world.access.identify(presented)


@pytest.mark.parametrize(
    "presented",
    [
        Presented(),
        Presented("", ""),
        Presented("Bearer"),
        Presented("Bearer "),
        Presented("Basic YWxpY2U6cHc="),
        Presented("tpk_without_a_scheme"),
        Presented(api_key="tpk_unknown"),
        bearer("tpk_unknown"),
        bearer("a.b.c"),
        bearer("ключ"),
        Presented(api_key="\ud800"),
    ],
)
async def test_without_a_valid_credential_nobody_is_identified(world: World, presented: Presented) -> None:
    with pytest.raises(NotAuthenticated):
        await world.access.identify(presented)


async def test_c_auth_14_a_request_without_credentials_has_the_anonymous_role_where_one_is_set() -> None:
    world = a_world(Role.VIEWER)
    anonymous = Principal("anonymous", Role.VIEWER, is_anonymous=True)
    assert await world.access.identify(Presented()) == anonymous
    assert world.access.recall(b"") == anonymous


async def test_c_auth_14_a_bad_credential_is_refused_even_where_none_is_needed() -> None:
    with pytest.raises(NotAuthenticated):
        await a_world(Role.ADMIN).access.identify(bearer("tpk_wrong"))
