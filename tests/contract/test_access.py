"""Who may come in over HTTP: C-AUTH-01 to 07, 09, 12 to 14."""

from __future__ import annotations

import json

import jwt
import pytest

from control_plane.domain.access import Role
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served
from tests.doubles.services import JWT_SECRET

PUBLIC = ["/health", "/v1/health", "/health/ready", "/health/live", "/docs", "/redoc", "/openapi.json", "/metrics"]


async def new_key(http: Served, role: Role = Role.USER, name: str = "a test's") -> str:
    reply = await http.client.post("/auth/keys", json={"name": name, "role": role.value}, headers=http.admin)
    assert reply.status_code == 201
    key: str = reply.json()["api_key"]
    return key


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, {"X-API-Key": "tpk_bad"}])
async def test_c_auth_07_public_routes_ignore_credentials(http: Served, path: str, headers: dict[str, str]) -> None:
    assert (await http.client.get(path, headers=headers)).status_code == 200


async def test_c_auth_01_a_token_speaks_for_its_subject(http: Served) -> None:
    reply = await http.client.get("/auth/me", headers=http.as_role("user", "lea"))
    assert reply.json() == {"sub": "lea", "role": "user", "rate_limit_policy": None}


@pytest.mark.parametrize("missing", ["sub", "exp"])
async def test_c_auth_01_a_token_without_subject_or_end_is_refused(http: Served, missing: str) -> None:
    claims = {"sub": "lea", "exp": 4_000_000_000, "role": "admin"}
    del claims[missing]
    token = jwt.encode(claims, JWT_SECRET, "HS256")
    reply = await http.client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 401


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_c_auth_01_a_token_of_another_algorithm_is_refused(http: Served) -> None:
    token = jwt.encode({"sub": "lea", "exp": 4_000_000_000, "role": "admin"}, JWT_SECRET, "HS384")
    assert (await http.client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})).status_code == 401


async def test_c_auth_02_a_key_works_in_both_headers_and_on_lean_routes(serve_http: ServeHttp) -> None:
    http = await serve_http()
    key = await new_key(http)
    ask = {"model_id": "coder", "input_data": {"text": "a"}}
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        assert (await http.client.get("/auth/me", headers=headers)).json()["role"] == "user"
        assert (await http.client.post("/inference", json=ask, headers=headers)).status_code == 200


async def test_c_auth_03_with_both_headers_both_must_be_valid_and_the_bearer_wins(serve_http: ServeHttp) -> None:
    http = await serve_http()
    key = await new_key(http)
    both = {**http.as_role("viewer", "lea"), "X-API-Key": key}
    assert (await http.client.get("/auth/me", headers=both)).json()["sub"] == "lea"
    for broken in ({**both, "X-API-Key": "tpk_bad"}, {**both, "Authorization": "Bearer bad"}):
        assert (await http.client.get("/auth/me", headers=broken)).status_code == 401


async def test_c_auth_06_a_setting_gives_users_the_management_verbs(serve_http: ServeHttp) -> None:
    http = await serve_http(await two_models(user_can_manage=True))
    assert (await http.client.delete("/models/coder", headers=http.user)).status_code == 200
    assert (await http.client.delete("/models/coder", headers=http.viewer)).status_code == 403
    assert (await http.client.get("/auth/keys", headers=http.user)).status_code == 403


async def test_c_auth_07_a_setting_closes_the_metrics(serve_http: ServeHttp) -> None:
    http = await serve_http(metrics_auth=True)
    reply = await http.client.get("/metrics")
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    assert (await http.client.get("/metrics", headers=http.viewer)).status_code == 200


async def test_c_auth_09_any_get_takes_its_token_from_the_query_and_nothing_else_does(http: Served) -> None:
    token = http.world.token(Role.ADMIN)
    assert (await http.client.get("/models", params={"token": token})).status_code == 200
    assert (await http.client.delete("/models/coder", params={"token": token})).status_code == 401


async def test_c_auth_09_a_token_in_the_query_is_never_logged(http: Served, caplog: pytest.LogCaptureFixture) -> None:
    token = http.world.token(Role.VIEWER, "unlogged")
    with caplog.at_level("DEBUG"):
        await http.client.get("/models", params={"token": token})
        await http.client.post("/inference/stream", params={"token": token}, content=b"{")
    ours = [record for record in caplog.records if not record.name.startswith("http")]
    assert not any(token in record.getMessage() for record in ours)


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.USER, 200)])
async def test_c_auth_14_a_request_without_credentials_has_the_anonymous_role(
    serve_http: ServeHttp, role: Role, status: int
) -> None:
    http = await serve_http(await two_models(anonymous_role=role))
    ask = {"model_id": "coder", "input_data": {"text": "a"}}
    assert (await http.client.get("/models")).status_code == 200
    assert (await http.client.post("/inference", json=ask)).status_code == status
    assert (await http.client.get("/models", headers={"X-API-Key": "tpk_bad"})).status_code == 401


async def test_c_auth_12_the_holder_of_a_key_gets_a_token_of_its_own(serve_http: ServeHttp) -> None:
    http = await serve_http()
    key = await new_key(http)
    reply = await http.client.post("/auth/token", headers={"X-API-Key": key})
    body = reply.json()
    assert (body["token_type"], body["expires_in"], body["role"]) == ("bearer", 3600, "user")
    me = await http.client.get("/auth/me", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert me.json()["sub"].startswith("key_")


async def test_c_auth_12_an_admin_gets_a_token_for_somebody_else(serve_http: ServeHttp) -> None:
    http = await serve_http()
    wanted = {"sub": "lea", "role": "viewer", "expires_in": 60, "rate_limit_policy": "truthgpt"}
    body = (await http.client.post("/auth/token", json=wanted, headers=http.admin)).json()
    assert (body["expires_in"], body["role"]) == (60, "viewer")
    me = await http.client.get("/auth/me", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert me.json() == {"sub": "lea", "role": "viewer", "rate_limit_policy": "truthgpt"}


@pytest.mark.parametrize(
    ("wanted", "status"), [({"role": "admin"}, 403), ({"sub": "lea"}, 403), ({"expires_in": 0}, 400)]
)
async def test_c_auth_12_who_is_no_admin_gets_only_its_own(
    serve_http: ServeHttp, wanted: dict[str, object], status: int
) -> None:
    http = await serve_http()
    key = await new_key(http)
    reply = await http.client.post("/auth/token", json=wanted, headers={"X-API-Key": key})
    assert reply.status_code == status
    assert (await http.client.post("/auth/token", json={}, headers=http.user)).status_code == 403


@pytest.mark.parametrize("expires_in", [0, 86_401, "soon", "60", None, True])
async def test_c_auth_12_a_token_lives_a_second_to_a_day(http: Served, expires_in: object) -> None:
    reply = await http.client.post("/auth/token", json={"expires_in": expires_in}, headers=http.admin)
    assert reply.status_code == 400


async def test_c_auth_13_a_key_is_shown_once_listed_without_its_secret_and_stops_at_once(
    serve_http: ServeHttp,
) -> None:
    http = await serve_http()
    wanted = {"name": "ci", "role": "viewer", "expires_at": "2100-01-01T00:00:00Z"}
    made = (await http.client.post("/auth/keys", json=wanted, headers=http.admin)).json()
    assert made["api_key"].startswith("tpk_")
    assert (made["name"], made["role"], made["rate_limit_policy"]) == ("ci", "viewer", None)
    assert made["created_at"] == "2026-11-21T12:00:00.000Z"
    listed = await http.client.get("/auth/keys", headers=http.admin)
    assert [key["key_id"] for key in listed.json()] == [made["key_id"]]
    assert made["api_key"] not in listed.text
    mine = {"X-API-Key": made["api_key"]}
    assert (await http.client.get("/models", headers=mine)).status_code == 200
    assert (await http.client.delete(f"/auth/keys/{made['key_id']}", headers=http.admin)).status_code == 204
    assert (await http.client.get("/models", headers=mine)).status_code == 401
    gone = await http.client.delete(f"/auth/keys/{made['key_id']}", headers=http.admin)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "wanted",
    [
        {"role": "user"},
        {"name": "x"},
        {"name": "", "role": "user"},
        {"name": "x", "role": "root"},
        {"name": "x", "role": "user", "expires_at": "tomorrow"},
        {"name": "x", "role": "user", "expires_at": "2100-01-01T00:00:00"},
        {"name": "x", "role": "user", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x", "role": "user", "expires_at": "9999-12-31T23:59:59-23:59"},
        {"name": "x", "role": "user", "expires_at": "0001-01-01T00:00:00+23:59"},
        {"name": "\ud800", "role": "user"},
    ],
)
async def test_c_auth_13_a_key_that_cannot_be_is_refused(http: Served, wanted: dict[str, str]) -> None:
    headers = {**http.admin, "Content-Type": "application/json"}
    reply = await http.client.post("/auth/keys", content=json.dumps(wanted), headers=headers)
    assert reply.status_code == 400
