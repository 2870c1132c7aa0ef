"""Which tokens are believed, and what keys look like; every token here is really signed."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from control_plane.domain.access import Claims, Principal, Role
from control_plane.domain.errors import InvalidRequest, NotAuthenticated, Unsupported
from control_plane.gateways.credentials import JwtConfig, LocalCredentials

SECRET = "a secret that is long enough for HS512, which wants sixty-four bytes"
HOUR = 3600
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def said(**changes: Any) -> dict[str, Any]:
    claims = {"sub": "alice", "role": "user", "exp": int(time.time()) + HOUR} | changes
    return {name: value for name, value in claims.items() if value is not None}


def token(key: Any = SECRET, algorithm: str | None = "HS256", **changes: Any) -> str:
    return jwt.encode(said(**changes), key, algorithm=algorithm)


def segment(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.fixture
def credentials() -> LocalCredentials:
    return LocalCredentials(JwtConfig(secret=SECRET))


def refuses(credentials: LocalCredentials, presented: str) -> str:
    with pytest.raises(NotAuthenticated) as caught:
        credentials.verify(presented)
    return caught.value.message


def test_c_auth_01_a_token_says_who_calls_and_what_he_may(credentials: LocalCredentials) -> None:
    expires = int(time.time()) + HOUR
    presented = token(role="admin", rate_limit_policy="strict", exp=expires)
    assert credentials.verify(presented) == Principal("alice", Role.ADMIN, "strict", float(expires))


def test_c_auth_01_a_token_without_a_role_is_a_users(credentials: LocalCredentials) -> None:
    assert credentials.verify(token(role=None)).role is Role.USER


@pytest.mark.parametrize("claim", ["sub", "exp"])
def test_c_auth_01_a_token_without_a_subject_or_an_expiry_is_refused(credentials: LocalCredentials, claim: str) -> None:
    assert refuses(credentials, token(**{claim: None})) == f"the token lacks the claim {claim!r}"


@pytest.mark.parametrize("role", ["root", "ADMIN", "", 3, ["admin"], {"admin": True}, True])
def test_c_auth_01_a_role_that_is_none_of_ours_is_refused(credentials: LocalCredentials, role: object) -> None:
    assert "role" in refuses(credentials, token(role=role))


def test_c_auth_01_a_null_role_is_refused_rather_than_guessed(credentials: LocalCredentials) -> None:
    assert "role" in refuses(credentials, jwt.encode({**said(), "role": None}, SECRET))


@pytest.mark.parametrize("subject", ["", "x" * 256, "line\nbreak"])
def test_a_subject_that_cannot_be_logged_is_refused(credentials: LocalCredentials, subject: str) -> None:
    assert "subject" in refuses(credentials, token(sub=subject))


def test_a_subject_that_is_no_text_is_refused(credentials: LocalCredentials) -> None:
    body = f"{segment({'alg': 'HS256'})}.{segment(said(sub=7))}"
    refuses(credentials, f"{body}.{hmac_of(body)}")


def hmac_of(body: str) -> str:
    signature = jwt.get_algorithm_by_name("HS256").sign(body.encode(), SECRET.encode())
    return base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


@pytest.mark.parametrize("expiry", ["soon", 10**400, float("inf"), [1], {}])
def test_an_absurd_expiry_is_no_crash(credentials: LocalCredentials, expiry: object) -> None:
    body = f"{segment({'alg': 'HS256'})}.{segment(said(exp=expiry))}"
    presented = f"{body}.{hmac_of(body)}"
    if expiry == 10**400:
        assert credentials.verify(presented).expires_at_s == float(2**53)
    else:
        refuses(credentials, presented)


def test_c_auth_04_a_token_changed_after_signing_is_refused(credentials: LocalCredentials) -> None:
    header, _, signature = token().split(".")
    forged = f"{header}.{segment(said(role='admin'))}.{signature}"
    assert refuses(credentials, forged) == "the token's signature is wrong"


def test_c_auth_04_a_token_signed_with_another_secret_is_refused(credentials: LocalCredentials) -> None:
    assert refuses(credentials, token(SECRET.upper())) == "the token's signature is wrong"


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
def test_c_auth_05_a_token_without_a_signature_is_refused(credentials: LocalCredentials, name: str) -> None:
    unsigned = f"{segment({'alg': name, 'typ': 'JWT'})}.{segment(said(role='admin'))}."
    assert "algorithm" in refuses(credentials, unsigned)


def test_c_auth_05_an_expired_token_is_refused_without_leeway(credentials: LocalCredentials) -> None:
    assert refuses(credentials, token(exp=int(time.time()) - 1)) == "the token has expired"


def test_a_token_that_is_not_valid_yet_is_refused(credentials: LocalCredentials) -> None:
    assert refuses(credentials, token(nbf=int(time.time()) + HOUR)) == "the token is not valid yet"


def test_a_token_from_an_issuer_whose_clock_runs_ahead_is_believed(credentials: LocalCredentials) -> None:
    assert credentials.verify(token(iat=int(time.time()) + 60)).id == "alice"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_c_auth_01_an_algorithm_that_is_not_configured_is_refused(
    credentials: LocalCredentials, algorithm: str
) -> None:
    assert "algorithm" in refuses(credentials, token(algorithm=algorithm))


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "tpk_x", "ä.ö.ü", "\ud800.x.y", "e30.e30.e30", "9" * 5000])
def test_text_that_is_no_token_is_refused(credentials: LocalCredentials, text: str) -> None:
    assert refuses(credentials, text)


@pytest.mark.parametrize(("key", "algorithm"), [(RSA_KEY, "RS256"), (EC_KEY, "ES256")])
def test_c_auth_01_tokens_of_another_issuer_are_believed_by_his_public_key(key: Any, algorithm: str) -> None:
    credentials = LocalCredentials(JwtConfig(public_key=pem(key)))
    presented = token(key, algorithm, role="viewer")
    assert credentials.verify(presented).role is Role.VIEWER
    header, _, signature = presented.split(".")
    assert "signature" in refuses(credentials, f"{header}.{segment(said(role='admin'))}.{signature}")


def test_c_auth_01_a_public_key_is_never_taken_for_the_secret_of_hs256() -> None:
    public = pem(RSA_KEY)
    body = f"{segment({'alg': 'HS256', 'typ': 'JWT'})}.{segment(said(role='admin'))}"
    digest = jwt.get_algorithm_by_name("HS256").sign(body.encode(), public.encode())
    forged = f"{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
    assert "algorithm" in refuses(LocalCredentials(JwtConfig(public_key=public)), forged)
    assert "signature" in refuses(LocalCredentials(JwtConfig(public_key=public, secret=SECRET)), forged)


def test_with_a_secret_and_a_public_key_both_kinds_of_tokens_are_believed() -> None:
    credentials = LocalCredentials(JwtConfig(secret=SECRET, public_key=pem(EC_KEY)))
    assert credentials.verify(token()).id == credentials.verify(token(EC_KEY, "ES256")).id == "alice"


def test_a_chosen_algorithm_narrows_two_keys_to_one() -> None:
    credentials = LocalCredentials(JwtConfig(secret=SECRET, public_key=pem(EC_KEY), algorithm="ES256"))
    assert credentials.verify(token(EC_KEY, "ES256")).id == "alice"
    assert "algorithm" in refuses(credentials, token())
    with pytest.raises(Unsupported):
        credentials.sign(Claims("alice", Role.USER, time.time() + HOUR))


def test_c_auth_01_issuer_and_audience_are_checked_when_configured() -> None:
    credentials = LocalCredentials(JwtConfig(secret=SECRET, issuer="https://id.example", audience="tritonplane"))
    right: dict[str, Any] = {"iss": "https://id.example", "aud": "tritonplane"}
    assert credentials.verify(token(**right)).id == "alice"
    assert credentials.verify(token(**right | {"aud": ["other", "tritonplane"]})).id == "alice"
    assert refuses(credentials, token(**right | {"iss": "https://evil.example"})) == "the token is from another issuer"
    assert refuses(credentials, token(**right | {"aud": "other"})) == "the token is for another audience"
    assert "'aud'" in refuses(credentials, token(iss="https://id.example"))
    assert "'iss'" in refuses(credentials, token(aud="tritonplane"))


def test_issuer_and_audience_of_a_token_do_not_matter_when_none_is_configured(credentials: LocalCredentials) -> None:
    assert credentials.verify(token(iss="anyone", aud="anything")).id == "alice"


def test_what_is_signed_here_is_believed_here() -> None:
    credentials = LocalCredentials(JwtConfig(secret=SECRET, issuer="us", audience="ours"))
    expires = int(time.time()) + HOUR
    signed = credentials.sign(Claims("bob", Role.VIEWER, expires + 0.7, "strict"))
    assert credentials.verify(signed) == Principal("bob", Role.VIEWER, "strict", float(expires))


def test_only_a_public_key_cannot_sign() -> None:
    with pytest.raises(Unsupported) as caught:
        LocalCredentials(JwtConfig(public_key=pem(RSA_KEY))).sign(Claims("bob", Role.USER, 0))
    assert caught.value.details == {"requires": ["TRITONPLANE_JWT_SECRET"]}


@pytest.mark.parametrize(
    "config",
    [
        JwtConfig(),
        JwtConfig(secret=""),
        JwtConfig(secret=SECRET, algorithm="RS256"),
        JwtConfig(secret=SECRET, algorithm="none"),
        JwtConfig(public_key=pem(RSA_KEY), algorithm="ES256"),
        JwtConfig(public_key="no key"),
        JwtConfig(public_key=pem(ed25519.Ed25519PrivateKey.generate())),
        JwtConfig(public_key=pem(ec.generate_private_key(ec.SECP384R1()))),
        JwtConfig(secret=pem(RSA_KEY)),
    ],
)
def test_a_configuration_that_could_never_verify_a_token_is_refused_at_start(config: JwtConfig) -> None:
    with pytest.raises(InvalidRequest):
        LocalCredentials(config)


def test_c_auth_02_an_api_key_has_our_prefix_and_256_random_bits(credentials: LocalCredentials) -> None:
    first, second = credentials.new_key(), credentials.new_key()
    assert first.startswith("tpk_")
    assert len(base64.urlsafe_b64decode(first.removeprefix("tpk_") + "=")) == 32
    assert first != second


def test_c_auth_02_the_digest_of_a_key_is_its_sha_256(credentials: LocalCredentials) -> None:
    assert credentials.digest("tpk_example") == hashlib.sha256(b"tpk_example").hexdigest()
