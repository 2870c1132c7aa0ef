"""What every HTTP route does with bad input: C-ERR-05 to 09, C-PATH-01."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.domain.access import Claims, Role
from tests.contract.conftest import ServeHttp
from tests.contract.served import Served

INFER = {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
# Every route that takes a body: path, a good body, a field of a wrong type.
BODIES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/models", {"model_name": "coder"}, {"model_name": 7}),
    ("/v1/models", {"model_name": "coder"}, {"config": []}),
    ("/inference", {"model_id": "coder", "input_data": {"text": "a"}}, {"input_data": 7}),
    ("/inference/stream", {"model_id": "coder", "input_data": {"text": "a"}}, {"stream": "yes"}),
    ("/v1/inference", {"model_id": "coder", "input_data": {"text": "a"}}, {"model_id": None}),
    ("/v1/inference/stream", {"model_id": "coder", "input_data": {"text": "a"}}, {"max_length": []}),
    ("/v2/models/adder/infer", INFER, {"inputs": {}}),
    ("/v2/models/adder/versions/1/infer", INFER, {"inputs": [{"name": 7}]}),
    ("/auth/token", {}, {"expires_in": "soon"}),
    ("/auth/keys", {"name": "x", "role": "user"}, {"role": "emperor"}),
    ("/native/v1/models/coder/load", {}, {"instance_count": "many"}),
    ("/native/v1/models/coder/load", {}, {"instance_count": True}),
    ("/native/v1/models/coder/load", {}, {"timeout_seconds": True}),
]
# Every route of this server that needs a credential: method and path.
GUARDED = [
    ("GET", "/models"),
    ("GET", "/models/coder"),
    ("DELETE", "/models/coder"),
    ("POST", "/models/coder/import"),
    ("GET", "/auth/me"),
    ("GET", "/auth/keys"),
    ("DELETE", "/auth/keys/key_1"),
    ("GET", "/native/v1/models/coder/revisions"),
    ("POST", "/native/v1/models/coder/unload"),
    ("GET", "/v1/models"),
    *[("POST", path) for path, _, _ in BODIES],
]


def said(path: str, body: Any) -> tuple[str | None, dict[str, Any]]:
    """The code and details of an error in the envelope that the path has; KServe has neither."""
    if path.startswith("/v2"):
        assert set(body) == {"error"}
        assert isinstance(body["error"], str)
        return None, {}
    if path.startswith(("/auth", "/native")):
        assert set(body["error"]) == {"code", "message", "details", "timestamp", "request_id"}
        return body["error"]["code"], body["error"]["details"]
    assert {"error", "code", "details"} == set(body)
    assert {"request_id", "timestamp"} <= set(body["details"])
    return body["code"], body["details"]


@pytest.mark.parametrize(("path", "_", "__"), BODIES, ids=[path for path, _, _ in BODIES])
@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b'{"a": NaN', b'{"a":' * 100_000], ids=["cut", "no utf-8", "nan", "deep"]
)
async def test_c_err_06_malformed_json_is_refused(http: Served, path: str, content: bytes, _: Any, __: Any) -> None:
    headers = {**http.admin, "Content-Type": "application/json"}
    reply = await http.client.post(path, content=content, headers=headers)
    assert reply.status_code == 400
    code, details = said(path, reply.json())
    assert code in ("INVALID_REQUEST", None)
    if len(content) < 1000:  # in a deep one the form may be found wrong before its end is missed
        assert details.get("reason") in ("json", None)


@pytest.mark.parametrize(("path", "good", "wrong"), BODIES, ids=[path for path, _, _ in BODIES])
async def test_c_err_06_a_wrong_type_is_refused_with_its_place(
    http: Served, path: str, good: dict[str, Any], wrong: dict[str, Any]
) -> None:
    reply = await http.client.post(path, json={**good, **wrong}, headers=http.admin)
    assert reply.status_code == 400
    code, details = said(path, reply.json())
    assert (next(iter(wrong)) in json.dumps(reply.json())) or path.startswith("/v2")
    if code:
        assert (code, details["reason"]) == ("INVALID_REQUEST", "schema")
        assert all(set(error) == {"loc", "msg"} for error in details["errors"])
        assert details["errors"][0]["loc"][0] == "body"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_c_err_06_a_body_that_is_not_said_to_be_json_is_refused_with_a_remedy(
    http: Served, content_type: str | None
) -> None:
    headers = {**http.admin, **({"Content-Type": content_type} if content_type else {})}
    reply = await http.client.post("/models", content=b'{"model_name": "coder"}', headers=headers)
    assert (reply.status_code, reply.json()["details"]["reason"]) == (400, "json")
    assert "Content-Type: application/json" in reply.json()["error"]


@pytest.mark.parametrize(("path", "good", "_"), BODIES, ids=[path for path, _, _ in BODIES])
async def test_c_err_06_a_body_that_is_no_object_is_refused(http: Served, path: str, good: Any, _: Any) -> None:
    for body in ([], "text", 7):
        reply = await http.client.post(path, json=body, headers=http.admin)
        assert reply.status_code == 400


@pytest.mark.parametrize(("path", "_", "__"), BODIES, ids=[path for path, _, _ in BODIES])
async def test_c_err_07_a_body_of_20_mib_is_refused_and_the_server_lives(
    http: Served, path: str, _: Any, __: Any
) -> None:
    big = b'{"a": "' + b"x" * (20 * 1024 * 1024) + b'"}'
    for headers in (http.admin, {}):  # the size comes before the credential
        reply = await http.client.post(path, content=big, headers={**headers, "Content-Type": "application/json"})
        assert reply.status_code == 413
        assert said(path, reply.json())[0] in ("PAYLOAD_TOO_LARGE", None)
    assert (await http.client.get("/health")).status_code == 200


@pytest.mark.parametrize(("path", "_", "__"), BODIES, ids=[path for path, _, _ in BODIES])
async def test_c_err_07_a_body_that_does_not_say_how_long_it_is_is_counted(
    http: Served, path: str, _: Any, __: Any
) -> None:
    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    headers = {**http.admin, "Content-Type": "application/json"}
    reply = await http.client.post(path, content=chunks(), headers=headers)
    assert reply.status_code == 413
    assert said(path, reply.json())[0] in ("PAYLOAD_TOO_LARGE", None)


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_c_auth_04_05_no_route_works_without_a_good_credential(http: Served, method: str, path: str) -> None:
    good = http.world.token(Role.ADMIN)
    head, payload, signature = good.split(".")
    tampered = f"{head}.{payload}.{signature[:-4]}AAAA"
    none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + payload + "."
    expired = http.world.credentials.sign(Claims("somebody", Role.ADMIN, http.world.clock.seconds() - 60))
    for headers in [
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": f"Bearer {tampered}"},
        {"Authorization": f"Bearer {none}"},
        {"Authorization": f"Bearer {expired}"},
        {"X-API-Key": "tpk_unknown"},
        {"X-API-Key": "schlüssel".encode("latin-1")},
        {"Authorization": f"Bearer {good}", "X-API-Key": "tpk_unknown"},
    ]:
        reply = await http.client.request(method, path, headers=headers)  # type: ignore[arg-type]
        assert reply.status_code == 401, headers
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert said(path, reply.json())[0] in ("UNAUTHORIZED", None)


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("POST", "/models", "user"),
        ("DELETE", "/models/coder", "user"),
        ("POST", "/models/coder/import", "user"),
        ("POST", "/native/v1/models/coder/load", "user"),
        ("POST", "/native/v1/models/coder/unload", "user"),
        ("GET", "/auth/keys", "user"),
        ("POST", "/auth/keys", "user"),
        ("DELETE", "/auth/keys/key_1", "user"),
        ("POST", "/inference", "viewer"),
        ("POST", "/inference/stream", "viewer"),
        ("POST", "/v2/models/adder/infer", "viewer"),
    ],
)
async def test_c_auth_06_a_role_that_is_too_low_is_refused(http: Served, method: str, path: str, role: str) -> None:
    good = {body_path: body for body_path, body, _ in BODIES}.get(path)
    reply = await http.client.request(method, path, json=good, headers=http.as_role(role))
    assert reply.status_code == 403
    assert said(path, reply.json())[0] in ("FORBIDDEN", None)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models/{}"),
        ("DELETE", "/models/{}"),
        ("DELETE", "/models/{}?purge=true"),
        ("GET", "/native/v1/models/{}/revisions"),
        ("POST", "/native/v1/models/{}/load"),
        ("POST", "/native/v1/models/{}/unload"),
        ("POST", "/v2/models/{}/infer"),
        ("POST", "/v2/models/{}/versions/1/infer"),
    ],
)
@pytest.mark.parametrize("name", ["nobody", "b$(touch x)", "..", "a b", "%00", "x" * 300, "é"])
async def test_a_name_that_names_nothing_is_refused_and_touches_nothing(
    http: Served, method: str, path: str, name: str
) -> None:
    reply = await http.client.request(
        method, path.format(name), json=INFER if path.startswith("/v2") else None, headers=http.admin
    )
    assert reply.status_code in (400, 404, 405)
    body = reply.json()
    assert "error" in body
    assert "Traceback" not in reply.text


@pytest.mark.parametrize("model", ["nobody", "b$(touch x)", "../../etc/passwd", "", "coder:0", "coder@", "\ud800"])
@pytest.mark.parametrize("path", ["/models", "/inference", "/inference/stream"])
async def test_a_name_in_a_body_that_names_nothing_is_refused(http: Served, path: str, model: str) -> None:
    body = {"model_name": model} if path == "/models" else {"model_id": model, "input_data": {"text": "a"}}
    reply = await http.client.post(
        path, content=json.dumps(body), headers={**http.admin, "Content-Type": "application/json"}
    )
    assert reply.status_code in (400, 404)
    assert reply.json()["code"] in ("INVALID_REQUEST", "MODEL_NOT_FOUND")


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/models/",
        "/v1/nope",
        "/v1/ai/nope",
        "/api/sessions/nope",
        "/api/v1/nope",
        "/openai/v1/nope",
        "/v2/nope",
        "/auth/nope",
        "/native/v1/nope",
        "/graphql/nope",
        "/optimize/a/b",
        "/ws",
        "/v1/optimizations/a",
    ],
)
async def test_c_err_05_an_unknown_route_is_not_found_in_the_words_of_its_prefix(http: Served, path: str) -> None:
    reply = await http.client.get(path, headers=http.admin)
    assert reply.status_code == 404
    body = reply.json()
    assert body.get("error") or body["errors"]
    if not path.startswith(("/v2", "/graphql")):
        assert "NOT_FOUND" in json.dumps(body).upper()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/models", "GET, POST"),
        ("POST", "/v1/models/coder", "DELETE, GET"),
        ("GET", "/inference", "POST"),
        ("DELETE", "/v1/inference/stream", "POST"),
        ("GET", "/v2/models/adder/infer", "POST"),
        ("POST", "/auth/me", "GET"),
        ("POST", "/health", "GET"),
    ],
)
async def test_c_err_05_a_wrong_method_is_told_which_ones_there_are(
    http: Served, method: str, path: str, allowed: str
) -> None:
    reply = await http.client.request(method, path, headers=http.admin)
    assert reply.status_code == 405
    assert reply.headers["Allow"] == allowed
    assert said(path, reply.json())[0] in ("METHOD_NOT_ALLOWED", None)


async def test_c_err_09_checks_come_in_their_order(http: Served) -> None:
    for headers, path, status in [
        ({}, "/nope", 401),
        (http.viewer, "/nope", 404),
        (http.viewer, "/models", 400),
    ]:
        assert (await http.client.post(path, content=b"{", headers=headers)).status_code == status
    for config, headers, status in [
        ({"a": 1}, http.viewer, 400),
        ({}, http.viewer, 403),
        ({}, http.admin, 404),
    ]:
        body = {"model_name": "nobody", "config": config}
        assert (await http.client.post("/models", json=body, headers=headers)).status_code == status


async def test_c_err_08_a_bug_is_answered_without_its_trace_and_the_server_lives(
    serve_http: ServeHttp, caplog: pytest.LogCaptureFixture
) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (0, ZeroDivisionError("/secret/place"))  # type: ignore[assignment]

    async def broken() -> None:
        raise ZeroDivisionError("/secret/place")

    http.world.database.check = broken  # type: ignore[method-assign]
    ask = {"model_id": "coder", "input_data": {"text": "a"}}
    for reply in [
        await http.client.post("/inference", json=ask, headers=http.user),
        await http.client.post("/inference/stream", json=ask, headers=http.user),
        await http.client.get("/health"),
    ]:
        assert reply.status_code == 500
        assert reply.json()["code"] == "INTERNAL_ERROR"
        assert "secret" not in reply.text
        assert reply.headers["X-Request-ID"] == reply.json()["details"]["request_id"]
    assert sum("unexpected failure" in record.message for record in caplog.records) == 3
    assert (await http.client.get("/models", headers=http.viewer)).status_code == 200


async def test_l_cfg_08_with_debug_a_bug_is_answered_with_its_trace(serve_http: ServeHttp) -> None:
    http = await serve_http(debug=True)
    http.world.triton.fail_at = (0, ZeroDivisionError("the reason"))  # type: ignore[assignment]

    async def broken() -> None:
        raise ZeroDivisionError("the reason")

    http.world.database.check = broken  # type: ignore[method-assign]
    ask = {"model_id": "coder", "input_data": {"text": "a"}}
    for reply in [
        await http.client.post("/inference", json=ask, headers=http.user),
        await http.client.get("/health"),
    ]:
        assert reply.status_code == 500
        assert "ZeroDivisionError: the reason" in "".join(reply.json()["details"]["trace"])


async def test_a_bug_after_the_first_token_ends_the_stream_with_an_error_event(serve_http: ServeHttp) -> None:
    http = await serve_http()
    http.world.triton.fail_at = (1, ZeroDivisionError("/secret/place"))  # type: ignore[assignment]
    ask = {"model_id": "coder", "input_data": {"text": "a b"}}
    reply = await http.client.post("/inference/stream", json=ask, headers=http.user)
    assert reply.text.endswith("data: [DONE]\n\n")
    assert "INTERNAL_ERROR" in reply.text
    assert "secret" not in reply.text
