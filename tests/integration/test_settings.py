"""Every setting of contract 9 at work: one real server with all of them turned from their defaults."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_plane.pb import optimization_pb2 as pb
from control_plane.pb.optimization_pb2_grpc import OptimizationServiceStub
from tests.doubles.certificates import self_signed
from tests.product import ServerProcess, free_ports

FIXTURES = Path(__file__).parents[1] / "fixtures"
SECRET, ADMIN_KEY = "a secret of thirty-two bytes or more", "tpk_chosen-by-the-operator"
OURS = "https://ours.example"
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = serialization.Encoding.PEM


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("settings")
    shutil.copytree(FIXTURES / "triton_models" / "echo", folder / "import" / "echo")
    certificate, key = self_signed()
    (folder / "grpc.pem").write_bytes(certificate)
    (folder / "grpc.key").write_bytes(key)
    public = KEY.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "issuer.pem").write_bytes(public)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    """Its state directory holds the key of an earlier first start, which counts for nothing any more."""
    (folder / "state").mkdir()
    (folder / "state" / "admin.key").write_text("tpk_of-another-time")
    more = free_ports(2)
    server = ServerProcess(
        folder / "state",
        {
            "HOST": "",
            "PORT": "",
            "EXTRA_PORTS": ",".join(map(str, more)),
            "GRPC_TLS_CERT": str(folder / "grpc.pem"),
            "GRPC_TLS_KEY": str(folder / "grpc.key"),
            "DATABASE_URL": f"sqlite:///{folder}/elsewhere.db",
            "IMPORT_ROOT": str(folder / "import"),
            "IMPORT_ALLOW_CODE": "true",
            "AUTO_LOAD": "true",
            "DEVICE_FALLBACK": "true",
            "JWT_SECRET": SECRET,
            "JWT_PUBLIC_KEY": str(folder / "issuer.pem"),
            "JWT_ISSUER": "ours",
            "JWT_AUDIENCE": "tritonplane",
            "BOOTSTRAP_ADMIN_KEY": ADMIN_KEY,
            "AUTH_ANONYMOUS_ROLE": "viewer",
            "AUTH_USER_CAN_MANAGE": "true",
            "METRICS_AUTH": "true",
            "RATE_LIMIT_POLICY": "ai-services",
            "RATE_LIMIT_POLICIES": '{"gold": {"default": "90/3600", "inference": "3/3600"}}',
            "TRUSTED_PROXIES": "127.0.0.0/8",
            "MAX_INFLIGHT_PER_PRINCIPAL": "2",
            "MAX_BODY_BYTES": "4096",
            "MAX_UPLOAD_BYTES": "20000",
            "CORS_ORIGINS": f"{OURS},https://other.example",
            "LOG_FORMAT": "json",
            "HIDE_PID": "true",
        },
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LLMGINE_API_HOST", "127.0.0.1")
        environment.setenv("LLMGINE_API_PORT", str(server.port))
        server.start().wait_ready()
    yield server
    assert server.stop() == 0, server.log[-4000:]


def token(role: str = "user", key: Any = SECRET, algorithm: str = "HS256", **claims: object) -> dict[str, str]:
    said = {"sub": "lea", "role": role, "exp": time.time() + 600, "iss": "ours", "aud": "tritonplane", **claims}
    return {"Authorization": f"Bearer {jwt.encode(said, key, algorithm)}"}


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    """Without credentials."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_l_cfg_02_and_03_the_server_listens_where_llmgines_names_say_and_on_every_extra_port(
    server: ServerProcess,
) -> None:
    for port in [server.port, *map(int, server.settings["EXTRA_PORTS"].split(","))]:
        assert httpx.get(f"http://127.0.0.1:{port}/health/live").json()["status"] == "alive"


def test_l_health_03_the_process_id_is_hidden(client: httpx.Client) -> None:
    assert client.get("/health/live").json()["pid"] is None


def test_c_auth_07_the_metrics_look_at_credentials(client: httpx.Client) -> None:
    assert client.get("/metrics", headers={"X-API-Key": "tpk_bad"}).status_code == 401
    assert client.get("/metrics").status_code == 200, "the anonymous role is viewer"


def test_c_auth_14_who_sends_no_credential_reads_but_does_not_infer(client: httpx.Client) -> None:
    assert client.get("/auth/me").json()["role"] == "viewer"
    ask = {"model_id": "stdlib-coder", "input_data": {"text": "x"}, "max_length": 1}
    assert client.post("/inference", json=ask).status_code == 403
    assert client.post("/inference", json=ask, headers=token()).status_code == 200


def test_c_auth_01_tokens_of_both_keys_count_with_the_right_issuer_and_audience_only(client: httpx.Client) -> None:
    for good in (token(), token(key=KEY, algorithm="ES256")):
        assert client.get("/auth/me", headers=good).json()["sub"] == "lea"
    stranger = ec.generate_private_key(ec.SECP256R1())
    for bad in (token(iss="theirs"), token(aud="else"), token(key=stranger, algorithm="ES256"), token(key=SECRET * 2)):
        assert client.get("/auth/me", headers=bad).status_code == 401


def test_the_operators_own_admin_key_works_and_no_other_one_is_made(
    server: ServerProcess, client: httpx.Client
) -> None:
    listed = client.get("/auth/keys", headers={"X-API-Key": ADMIN_KEY}).json()
    assert [key["role"] for key in listed] == ["admin"]
    assert (server.state_dir / "admin.key").read_text() == "tpk_of-another-time"
    assert not (server.state_dir / "jwt.secret").exists()
    assert ADMIN_KEY not in server.log
    assert 'Bearer $TRITONPLANE_BOOTSTRAP_ADMIN_KEY"' in server.log


def test_c_cors_01_listed_origins_only(client: httpx.Client) -> None:
    for origin, allowed in [(OURS, OURS), ("https://other.example", "https://other.example"), ("https://evil", None)]:
        reply = client.get("/models", headers={"Origin": origin})
        assert reply.headers.get("access-control-allow-origin") == allowed


def test_a_user_imports_code_from_the_root_and_the_first_request_loads_it(client: httpx.Client) -> None:
    imported = client.post("/models/echo/import", params={"file_path": "echo"}, headers=token())
    assert (imported.status_code, imported.json()["state"]) == (200, "unloaded")
    ask = {"inputs": [{"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    answer = client.post("/v2/models/echo/infer", json=ask, headers=token())
    assert (answer.status_code, answer.json()["outputs"][0]["data"]) == (200, [1, 2])
    outside = client.post("/models/other/import", params={"file_path": "../state"}, headers=token())
    assert (outside.status_code, outside.json()["code"]) == (403, "FORBIDDEN")


def test_t_rest_03_a_load_for_a_gpu_falls_back_to_the_cpu(client: httpx.Client) -> None:
    reply = client.post(
        "/models", json={"model_name": "stdlib-coder", "config": {"device": "cuda"}}, headers=token("admin")
    )
    assert (reply.status_code, reply.json()["success"]) == (200, True)


def test_c_err_07_the_limits_are_the_configured_ones(client: httpx.Client) -> None:
    assert client.post("/inference", content=b" " * 4097, headers=token()).status_code == 413
    assert client.post("/inference", content=b" " * 4096, headers=token()).status_code == 400
    for size, status in [(15_000, 400), (20_001, 413)]:
        reply = client.post("/models/big/import", files={"file": ("m.onnx", b"x" * size)}, headers=token())
        assert reply.status_code == status


def test_c_rl_03_the_policy_is_that_of_the_token_or_else_the_servers(client: httpx.Client) -> None:
    limits = [({}, "1000"), ({"rate_limit_policy": "gold"}, "90"), ({"rate_limit_policy": "of another issuer"}, "1000")]
    for claims, limit in limits:
        reply = client.get("/auth/me", headers=token(sub=f"caller-{limit}", **claims))
        assert (reply.status_code, reply.headers["X-RateLimit-Limit"]) == (200, limit)


def test_c_rl_06_one_bucket_for_http_and_grpc(server: ServerProcess, client: httpx.Client, folder: Path) -> None:
    gold = token(sub="goldie", rate_limit_policy="gold")
    ask = {"model_id": "stdlib-coder", "input_data": {"text": "x"}, "max_length": 1}
    request = pb.InferenceRequest(model_id="stdlib-coder", input_text="x", max_length=1)
    metadata = (("authorization", gold["Authorization"]),)
    credentials = grpc.ssl_channel_credentials((folder / "grpc.pem").read_bytes())
    with grpc.secure_channel(f"localhost:{server.grpc_port}", credentials) as channel:
        stub = OptimizationServiceStub(channel)
        assert client.post("/inference", json=ask, headers=gold).headers["X-RateLimit-Remaining"] == "2"
        stub.RunInference(request, metadata=metadata, timeout=60)
        assert client.post("/v1/inference/stream", json=ask, headers=gold).headers["X-RateLimit-Remaining"] == "0"
        with pytest.raises(grpc.RpcError) as refused:
            stub.RunInference(request, metadata=metadata, timeout=60)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    (after_s,) = [one.value for one in refused.value.trailing_metadata() if one.key == "retry-after"]
    told = client.post("/inference", json=ask, headers=gold)
    assert (told.status_code, told.json()["error"]) == (429, "Rate limit exceeded")
    assert 3500 < int(told.headers["Retry-After"]) <= int(after_s) <= 3600


def test_c_rl_05_an_anonymous_caller_is_the_address_that_a_trusted_proxy_says(client: httpx.Client) -> None:
    for told, address in [("9.9.9.9, 203.0.113.7", "203.0.113.7"), ("", "127.0.0.1")]:
        assert client.get("/auth/me", headers={"X-Forwarded-For": told}).json()["sub"] == f"ip:{address}"


def test_c_rl_03_a_caller_has_as_many_requests_at_once_as_are_configured(client: httpx.Client) -> None:
    who = token(sub="crowd")
    with (
        client.stream("GET", "/native/v1/events", headers=who) as one,
        client.stream("GET", "/native/v1/events", headers=who) as other,
    ):
        assert (one.status_code, other.status_code) == (200, 200)
        refused = client.get("/auth/me", headers=who)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")


def test_the_database_is_where_its_url_says(server: ServerProcess, folder: Path) -> None:
    assert (folder / "elsewhere.db").stat().st_size > 0
    assert not (server.state_dir / "state.db").exists()


def test_the_grpc_port_is_tls(server: ServerProcess, folder: Path) -> None:
    credentials = grpc.ssl_channel_credentials((folder / "grpc.pem").read_bytes())
    with grpc.secure_channel(f"localhost:{server.grpc_port}", credentials) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_log_is_json_line_by_line_and_the_greeting_is_for_people(server: ServerProcess) -> None:
    greeting = server.log.index("tritonplane is ready")
    assert "curl" in server.log[greeting:]
    said = [json.loads(line) for line in server.log[:greeting].splitlines()]
    assert any(line["message"] == "model loaded" and line["model"] == "stdlib-coder" for line in said)
    assert all({"time", "level", "message"} <= set(line) for line in said)
