"""JWT by PyJWT, and API keys that are kept as hashes."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from control_plane.domain.access import Claims, Principal, Role
from control_plane.domain.errors import InvalidRequest, NotAuthenticated, Unsupported

KEY_PREFIX = "tpk_"
SIGNING_ALGORITHM = "HS256"
SUBJECT_LENGTH_MAX = 255  # OpenID Connect Core, "ID Token"
FAR_S = 2**53  # what a float still holds exactly; a token may say 10**400
REASONS: dict[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.InvalidSignatureError: "the token's signature is wrong",
    jwt.InvalidAlgorithmError: "the token is signed with an algorithm that is not configured here",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidIssuerError: "the token is from another issuer",
    jwt.InvalidAudienceError: "the token is for another audience",
}


@dataclass(frozen=True, slots=True)
class JwtConfig:
    """Which tokens are believed: `secret` for HS256, `public_key` (PEM) for RS256 or ES256, whichever it is.

    With both, tokens of both kinds are. `algorithm` narrows that to one. `issuer`, `audience`: checked when given.
    """

    secret: str | None = None
    public_key: str | None = None
    algorithm: str | None = None
    issuer: str | None = None
    audience: str | None = None


class LocalCredentials:
    """Raises InvalidRequest for a configuration that could never verify a token."""

    def __init__(self, config: JwtConfig) -> None:
        self._config = config
        self._verification_keys = _verification_keys(config)
        # The issue time is not checked: an issuer's clock may run ahead of ours, and only `exp` and `nbf` bind.
        self._options: Any = {
            "require": ["sub", "exp"],
            "verify_iat": False,
            "verify_iss": config.issuer is not None,
            "verify_aud": config.audience is not None,
        }

    def verify(self, token: str) -> Principal:
        try:
            algorithm = str(jwt.get_unverified_header(token).get("alg"))
            if algorithm not in self._verification_keys:
                raise jwt.InvalidAlgorithmError
            # One key per algorithm: a public key can never pass for the secret of an HS256 token.
            said = jwt.decode(
                token,
                self._verification_keys[algorithm],
                algorithms=[algorithm],
                options=self._options,
                issuer=self._config.issuer,
                audience=self._config.audience,
            )
        except jwt.MissingRequiredClaimError as error:
            raise NotAuthenticated(f"the token lacks the claim {error.claim!r}") from error
        except jwt.PyJWTError as error:
            raise NotAuthenticated(REASONS.get(type(error), "the token is not a valid JWT")) from error
        except (ValueError, TypeError, RecursionError) as error:
            raise NotAuthenticated("the token is not a valid JWT") from error
        return _principal(said)

    def sign(self, claims: Claims) -> str:
        secret = self._verification_keys.get(SIGNING_ALGORITHM)
        if secret is None:
            raise Unsupported(
                "tokens cannot be signed here: only the public key of another issuer is configured",
                requires="TRITONPLANE_JWT_SECRET",
            )
        said = {
            "sub": claims.subject,
            "role": claims.role.value,
            "exp": int(claims.expires_at_s),
            "rate_limit_policy": claims.rate_limit_policy,
            "iss": self._config.issuer,
            "aud": self._config.audience,
        }
        return jwt.encode(
            {name: value for name, value in said.items() if value is not None}, secret, algorithm=SIGNING_ALGORITHM
        )

    def new_key(self) -> str:
        return KEY_PREFIX + secrets.token_urlsafe(32)

    def digest(self, key: str) -> str:
        # No salt and no stretching: what is hashed has 256 random bits.
        return hashlib.sha256(key.encode()).hexdigest()


def _verification_keys(config: JwtConfig) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if config.secret:
        keys[SIGNING_ALGORITHM] = _secret(config.secret)
    if config.public_key:
        algorithm, key = _public_key(config.public_key)
        keys[algorithm] = key
    chosen = {name: key for name, key in keys.items() if config.algorithm in (None, name)}
    if not chosen:
        wanted = config.algorithm or "any algorithm"
        raise InvalidRequest(
            f"no JWT key for {wanted}: HS256 needs a secret, RS256 an RSA public key, ES256 a P-256 public key"
        )
    return chosen


def _secret(secret: str) -> bytes:
    try:
        return jwt.get_algorithm_by_name(SIGNING_ALGORITHM).prepare_key(secret)  # type: ignore[no-any-return]
    except jwt.InvalidKeyError as error:
        raise InvalidRequest("the JWT secret is a PEM key; a public key belongs into the JWT public key") from error


def _public_key(pem: str) -> tuple[str, RSAPublicKey | EllipticCurvePublicKey]:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidRequest("the JWT public key is not a PEM public key ('-----BEGIN PUBLIC KEY-----')") from error
    if isinstance(key, RSAPublicKey):
        return "RS256", key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256", key
    raise InvalidRequest("the JWT public key must be an RSA key (RS256) or an EC key on curve P-256 (ES256)")


def _principal(said: Mapping[str, Any]) -> Principal:
    role, policy = said.get("role", Role.USER.value), said.get("rate_limit_policy")
    if role not in [known.value for known in Role]:
        raise NotAuthenticated("the token's role is none of viewer, user, admin")
    if not (1 <= len(said["sub"]) <= SUBJECT_LENGTH_MAX and said["sub"].isprintable()):
        raise NotAuthenticated(f"the token's subject is not 1 to {SUBJECT_LENGTH_MAX} printable characters")
    if policy is not None and not isinstance(policy, str):
        raise NotAuthenticated("the token's rate_limit_policy is not a string")
    return Principal(said["sub"], Role(role), policy, float(min(int(said["exp"]), FAR_S)))
