"""Who is calling, what credentials there are, and who may make new ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ulid import ULID

from control_plane.domain.access import ApiKey, Claims, Principal, Role
from control_plane.domain.errors import InvalidRequest, NotAuthenticated, NotFound, NotPermitted
from control_plane.domain.limits import POLICIES
from control_plane.ports import Clock, Credentials, KeyStore

REMEMBER_S = 30.0  # how long a verified credential is not looked up again; a deleted key is forgotten at once
REMEMBERED_MAX = 10_000
REMEMBERED_BYTES_MAX = 4096  # of one; a header may have 64 KiB, and blanks make a new one of the same key
TOKEN_S_DEFAULT, TOKEN_S_MAX = 3600, 86_400
NAME_LENGTH_MAX = 200
ANONYMOUS = "anonymous"
BOOTSTRAP_KEY = "key_bootstrap"


@dataclass(frozen=True, slots=True)
class Presented:
    """The credentials of one request as it carried them: the values of `Authorization` and of `X-API-Key`."""

    authorization: str | None = None
    api_key: str | None = None

    @property
    def raw(self) -> bytes:
        return raw_credential(
            (self.authorization or "").encode("utf-8", "surrogatepass"),
            (self.api_key or "").encode("utf-8", "surrogatepass"),
        )

    @property
    def holds_api_key(self) -> bool:
        return bool(self.api_key) or (bool(self.authorization) and not _is_token(_bearer(self.authorization or "")))


@dataclass(frozen=True, slots=True)
class NewKey:
    """What an API key shall be. `name` says what it is for; `expires_at` None: it works until it is deleted."""

    name: str
    role: Role
    rate_limit_policy: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a token shall say; None means: as the caller's own."""

    subject: str | None = None
    role: Role | None = None
    rate_limit_policy: str | None = None
    expires_in_s: int = TOKEN_S_DEFAULT


@dataclass(frozen=True, slots=True)
class IssuedToken:
    token: str
    role: Role
    expires_in_s: int


def raw_credential(authorization: bytes, api_key: bytes) -> bytes:
    """What `Access.recall` knows a request by; no credentials are b''."""
    # A header value cannot hold a NUL, so the two never run into each other.
    return authorization + b"\0" + api_key if api_key else authorization


class Access:
    """Verifies credentials, remembers them for a short while, and keeps the API keys.

    `anonymous_role` is the role of a request without credentials; None refuses it. `policies` are the rate limit
    policies that a key or token may name.
    """

    def __init__(
        self,
        credentials: Credentials,
        keys: KeyStore,
        clock: Clock,
        anonymous_role: Role | None = None,
        *,
        user_can_manage: bool = False,
        policies: Collection[str] = POLICIES.keys(),
    ) -> None:
        self._credentials = credentials
        self._keys = keys
        self._clock = clock
        self._policies = policies
        self._anonymous = (
            Principal(ANONYMOUS, anonymous_role, is_anonymous=True) if anonymous_role is not None else None
        )
        self._known: dict[bytes, tuple[Principal, float]] = {}
        self._revocations = 0
        self.management_role = Role.USER if user_can_manage else Role.ADMIN
        self._forget()

    def recall(self, raw: bytes) -> Principal | None:
        """The principal of a credential verified a moment ago: one dict lookup, no await. See `raw_credential`."""
        found = self._known.get(raw)
        return found[0] if found is not None and self._clock.seconds() < found[1] else None

    async def identify(self, presented: Presented) -> Principal:
        """Whom the credentials speak for; where both are sent, both must be valid and the bearer's identity wins.

        Raises: NotAuthenticated.
        """
        raw = presented.raw
        known = self.recall(raw)
        if known is not None:
            return known
        if not raw:
            raise NotAuthenticated("no credential: send 'Authorization: Bearer <token or key>' or 'X-API-Key: <key>'")
        if not raw.isascii():
            raise NotAuthenticated("the credential holds characters that no token or key has")
        revocations = self._revocations
        principal = await self._verified(presented)
        # A key deleted while it was being looked up must not be remembered as valid.
        if revocations == self._revocations and len(raw) <= REMEMBERED_BYTES_MAX:
            self._remember(raw, principal)
        return principal

    async def create_key(self, wanted: NewKey, caller: Principal) -> tuple[ApiKey, str]:
        """A new key and its secret, which is never seen again."""
        caller.require(Role.ADMIN)
        _check_name("name", wanted.name)
        self._check_policy(wanted.rate_limit_policy)
        wanted = replace(wanted, expires_at=_in_utc(wanted.expires_at))
        if wanted.expires_at is not None and wanted.expires_at <= self._clock.now():
            raise InvalidRequest("expires_at must be in the future", field="expires_at")
        secret = self._credentials.new_key()
        return await self._add(f"key_{ULID()}", secret, wanted), secret

    async def list_keys(self, caller: Principal) -> Sequence[ApiKey]:
        caller.require(Role.ADMIN)
        return await self._keys.list()

    async def delete_key(self, key_id: str, caller: Principal) -> None:
        """The key stops working at once; tokens that were issued for it live until they expire."""
        caller.require(Role.ADMIN)
        if not await self._keys.delete(key_id):
            raise NotFound(f"no API key with the id {key_id[:100]!r}")
        self._forget()

    async def ensure_admin_key(self, given: str | None, keep: Callable[[str], None]) -> str | None:
        """See to it that some admin key works; returns a key that was made for that, else None.

        `given` is the operator's own key, and replaces the one given before. Without one, a key is made when no
        admin key is left; `keep` writes it down before it is valid, so that a crash in between loses nothing.
        """
        if given is not None:
            await self._replace_bootstrap_key(given)
            return None
        if any(key.role is Role.ADMIN and not self._is_over(key) for key in await self._keys.list()):
            return None
        secret = self._credentials.new_key()
        keep(secret)
        await self._add(f"key_{ULID()}", secret, NewKey("made on first start", Role.ADMIN))
        return secret

    def issue_token(self, wanted: TokenRequest, caller: Principal, presented: Presented) -> IssuedToken:
        """A JWT: for whomever an admin says, or for the holder of an API key a token of its own.

        Raises: InvalidRequest, NotPermitted, Unsupported where only a public key is configured.
        """
        if not 1 <= wanted.expires_in_s <= TOKEN_S_MAX:
            raise InvalidRequest(
                f"expires_in must be 1 to {TOKEN_S_MAX} seconds, got {wanted.expires_in_s}", field="expires_in"
            )
        now_s = int(self._clock.seconds())
        expires_at_s = now_s + wanted.expires_in_s
        if not caller.role.covers(Role.ADMIN):
            _require_own(wanted, caller, presented)
            expires_at_s = int(min(expires_at_s, caller.expires_at_s or math.inf))
        self._check_policy(wanted.rate_limit_policy)
        claims = _claims(wanted, caller, expires_at_s)
        return IssuedToken(self._credentials.sign(claims), claims.role, expires_at_s - now_s)

    def _check_policy(self, name: str | None) -> None:
        if name is not None and name not in self._policies:
            known = ", ".join(self._policies)
            raise InvalidRequest(f"no rate limit policy {name[:100]!r}; there are {known}", field="rate_limit_policy")

    async def _verified(self, presented: Presented) -> Principal:
        keyed = await self._holder(presented.api_key) if presented.api_key else None
        if not presented.authorization:
            assert keyed is not None
            return keyed
        secret = _bearer(presented.authorization)
        bearer = self._credentials.verify(secret) if _is_token(secret) else await self._holder(secret)
        if keyed is None or keyed.expires_at_s is None:
            return bearer
        return replace(bearer, expires_at_s=min(keyed.expires_at_s, bearer.expires_at_s or math.inf))

    async def _holder(self, secret: str) -> Principal:
        key = await self._keys.by_digest(self._credentials.digest(secret))
        if key is None:
            raise NotAuthenticated("the API key is unknown or was deleted")
        if self._is_over(key):
            raise NotAuthenticated("the API key has expired")
        expires_at_s = key.expires_at.timestamp() if key.expires_at is not None else None
        return Principal(key.id, key.role, key.rate_limit_policy, expires_at_s)

    def _is_over(self, key: ApiKey) -> bool:
        return key.expires_at is not None and key.expires_at <= self._clock.now()

    def _remember(self, raw: bytes, principal: Principal) -> None:
        if len(self._known) >= REMEMBERED_MAX:
            self._clear()
        until_s = min(self._clock.seconds() + REMEMBER_S, principal.expires_at_s or math.inf)
        self._known[raw] = (principal, until_s)

    def _forget(self) -> None:
        # Everything: two headers are remembered under the bearer's name, and deleting a key is rare.
        self._revocations += 1
        self._clear()

    def _clear(self) -> None:
        self._known.clear()
        if self._anonymous is not None:
            self._known[b""] = (self._anonymous, math.inf)

    async def _add(self, key_id: str, secret: str, wanted: NewKey) -> ApiKey:
        key = ApiKey(
            id=key_id,
            digest=self._credentials.digest(secret),
            name=wanted.name,
            role=wanted.role,
            created_at=self._clock.now(),
            rate_limit_policy=wanted.rate_limit_policy,
            expires_at=wanted.expires_at,
        )
        await self._keys.add(key)
        return key

    async def _replace_bootstrap_key(self, secret: str) -> None:
        if not (secret.isascii() and secret.isprintable()) or " " in secret or not secret:
            raise InvalidRequest("the bootstrap admin key must be printable ASCII without spaces")
        known = await self._keys.by_digest(self._credentials.digest(secret))
        if known is not None and known.id == BOOTSTRAP_KEY:
            return
        if known is not None and (known.role is not Role.ADMIN or self._is_over(known)):
            raise InvalidRequest(f"the bootstrap admin key is already the key {known.id!r}, which is no admin's")
        await self._keys.delete(BOOTSTRAP_KEY)
        if known is None:
            await self._add(BOOTSTRAP_KEY, secret, NewKey("TRITONPLANE_BOOTSTRAP_ADMIN_KEY", Role.ADMIN))
        self._forget()


def _in_utc(at: datetime | None) -> datetime | None:
    try:
        return None if at is None else at.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest("expires_at is no time of the years 1 to 9999 in UTC", field="expires_at") from None


def _bearer(authorization: str) -> str:
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise NotAuthenticated("the Authorization header must be 'Bearer <token or key>'")
    return secret.strip()


def _is_token(secret: str) -> bool:
    """A JWT has two dots, and an API key of ours has none."""
    return secret.count(".") == 2


def _require_own(wanted: TokenRequest, caller: Principal, presented: Presented) -> None:
    if not presented.holds_api_key:
        raise NotPermitted("a token is issued for an API key; only an admin may ask for one in another way")
    if wanted.subject not in (None, caller.id) or wanted.role not in (None, caller.role):
        raise NotPermitted(
            "only an admin may ask for a token of another subject or role", required_role=Role.ADMIN.value
        )
    if wanted.rate_limit_policy not in (None, caller.rate_limit_policy):
        raise NotPermitted("only an admin may choose a rate limit policy", required_role=Role.ADMIN.value)


def _claims(wanted: TokenRequest, caller: Principal, expires_at_s: int) -> Claims:
    """An admin's token for somebody else has no more rights than it names."""
    if wanted.subject is None or wanted.subject == caller.id:
        policy = wanted.rate_limit_policy or caller.rate_limit_policy
        return Claims(caller.id, wanted.role or caller.role, expires_at_s, policy)
    _check_name("sub", wanted.subject)
    return Claims(wanted.subject, wanted.role or Role.USER, expires_at_s, wanted.rate_limit_policy)


def _check_name(field: str, name: str) -> None:
    if not (1 <= len(name) <= NAME_LENGTH_MAX and name.isprintable() and name.strip()):
        raise InvalidRequest(f"{field} must be 1 to {NAME_LENGTH_MAX} printable characters", field=field)
