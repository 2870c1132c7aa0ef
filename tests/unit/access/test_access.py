"""Who is identified, what is remembered and for how long; keys and tokens and who may make them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from control_plane.domain.access import ApiKey, Claims, Principal, Role
from control_plane.domain.errors import InvalidRequest, NotAuthenticated, NotFound, NotPermitted
from control_plane.gateways.credentials import JwtConfig, LocalCredentials
from control_plane.services import access as access_module
from control_plane.services.access import Access, NewKey, Presented, TokenRequest, raw_credential
from tests.doubles.clock import FixedClock
from tests.doubles.stores import InMemoryKeyStore

ROOT = Principal("root", Role.ADMIN)
SECRET = "a secret of at least thirty-two bytes"


class CountingKeyStore(InMemoryKeyStore):
    """Counts look-ups, and holds them back while `gate` is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.lookups = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def by_digest(self, digest: str) -> ApiKey | None:
        self.lookups += 1
        found = await super().by_digest(digest)
        await self.gate.wait()
        return found


@dataclass
class World:
    access: Access
    keys: CountingKeyStore
    clock: FixedClock
    credentials: LocalCredentials

    def token(self, subject: str = "alice", role: Role = Role.USER, lives_s: float = 3600) -> str:
        return self.credentials.sign(Claims(subject, role, self.clock.seconds() + lives_s))

    async def key(self, role: Role = Role.USER, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
        return await self.access.create_key(NewKey("a key", role, "ai-services", expires_at), ROOT)


def a_world(anonymous_role: Role | None = None, config: JwtConfig | None = None) -> World:
    # The clock stands still at the present, since PyJWT looks at the real one.
    keys, clock = CountingKeyStore(), FixedClock(datetime.now(UTC))
    credentials = LocalCredentials(config or JwtConfig(secret=SECRET))
    return World(Access(credentials, keys, clock, anonymous_role), keys, clock, credentials)


@pytest.fixture
def world() -> World:
    return a_world()


def bearer(secret: str) -> Presented:
    return Presented(authorization=f"Bearer {secret}")


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
