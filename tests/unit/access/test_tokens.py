"""Tokens that are issued: whose, for how long, and to whom."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.access import Principal, Role
from control_plane.domain.errors import InvalidRequest, NotPermitted
from control_plane.services.access import Presented, TokenRequest
from tests.unit.access.worlds import ROOT, World, bearer


async def test_c_auth_12_a_key_is_exchanged_for_a_token_of_its_own(world: World) -> None:
    key, secret = await world.key(Role.VIEWER)
    presented = Presented(api_key=secret)
    caller = await world.access.identify(presented)
    issued = world.access.issue_token(TokenRequest(), caller, presented)
    assert (issued.role, issued.expires_in_s) == (Role.VIEWER, 3600)
    expires_at_s = float(int(world.clock.seconds()) + 3600)
    mine = Principal(key.id, Role.VIEWER, "ai-services", expires_at_s)
    assert await world.access.identify(bearer(issued.token)) == mine


@pytest.mark.parametrize("expires_in_s", [0, -1, 86_401])
def test_c_auth_12_a_token_lives_a_second_to_a_day(world: World, expires_in_s: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        world.access.issue_token(TokenRequest(expires_in_s=expires_in_s), ROOT, Presented())
    assert caught.value.details["field"] == "expires_in"


@pytest.mark.parametrize(
    "wanted",
    [
        TokenRequest(role=Role.ADMIN),
        TokenRequest(role=Role.VIEWER),
        TokenRequest(subject="somebody else"),
        TokenRequest(rate_limit_policy="unlimited"),
    ],
)
async def test_c_auth_12_who_is_no_admin_only_gets_his_own_role(world: World, wanted: TokenRequest) -> None:
    _, secret = await world.key(Role.USER)
    caller = await world.access.identify(Presented(api_key=secret))
    with pytest.raises(NotPermitted):
        world.access.issue_token(wanted, caller, Presented(api_key=secret))


async def test_c_auth_12_a_token_cannot_prolong_itself(world: World) -> None:
    presented = bearer(world.token())
    caller = await world.access.identify(presented)
    with pytest.raises(NotPermitted, match="API key"):
        world.access.issue_token(TokenRequest(), caller, presented)


async def test_c_auth_12_a_key_as_a_bearer_is_exchanged_as_well(world: World) -> None:
    _, secret = await world.key()
    caller = await world.access.identify(bearer(secret))
    assert world.access.issue_token(TokenRequest(), caller, bearer(secret)).role is Role.USER


async def test_c_auth_12_a_token_does_not_outlive_the_key_it_was_issued_for(world: World) -> None:
    _, secret = await world.key(expires_at=world.clock.now() + timedelta(seconds=100))
    caller = await world.access.identify(Presented(api_key=secret))
    assert world.access.issue_token(TokenRequest(), caller, Presented(api_key=secret)).expires_in_s in (99, 100)


async def test_c_auth_12_an_admin_says_whom_a_token_is_for(world: World) -> None:
    wanted = TokenRequest("carol", Role.VIEWER, "ai-services", 60)
    issued = world.access.issue_token(wanted, ROOT, Presented())
    principal = await world.access.identify(bearer(issued.token))
    assert (principal.id, principal.role, principal.rate_limit_policy) == ("carol", Role.VIEWER, "ai-services")
    assert issued.expires_in_s == 60


async def test_c_auth_12_an_admins_token_for_another_is_a_users_unless_it_says_more(world: World) -> None:
    assert world.access.issue_token(TokenRequest("carol"), ROOT, Presented()).role is Role.USER
    assert world.access.issue_token(TokenRequest(), ROOT, Presented()).role is Role.ADMIN
