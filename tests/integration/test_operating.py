"""The product as an operator sees it: TLS, the audit log, the access log, keys that outlive a crash."""

from __future__ import annotations

import json
import os
import ssl
import stat
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.doubles.certificates import self_signed, written
from tests.product import TRITONPLANE, ServerProcess

LOAD = "/native/v1/models/stdlib-coder/load"
KEYED = {"Idempotency-Key": "load-1"}


class TlsServer(ServerProcess):
    """Speaks HTTP over TLS with the certificate that its settings name."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.settings["TLS_CERT"])


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    folder = tmp_path_factory.mktemp("operated")
    certificate, key = written(folder, *self_signed())
    settings = {"TLS_CERT": str(certificate), "TLS_KEY": str(key), "ACCESS_LOG": "true"}
    server = TlsServer(folder / "state", settings)
    server.start().wait_ready()
    yield server
    if server.process is not None and server.process.poll() is None:
        server.stop()


def lines(server: ServerProcess, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (server.state_dir / name).read_text().splitlines()]


def test_o_next_02_the_greeting_and_the_command_line_speak_https(operated: TlsServer) -> None:
    assert f"HTTP on {operated.url}" in operated.log
    environment = {**os.environ, "TRITONPLANE_URL": operated.url, "SSL_CERT_FILE": operated.settings["TLS_CERT"]}
    environment |= {"TRITONPLANE_API_KEY": operated.admin_key}
    listed = subprocess.run(
        [TRITONPLANE, "models", "list", "--json"], env=environment, capture_output=True, text=True, check=True
    )
    assert "stdlib-coder" in {model["name"] for model in json.loads(listed.stdout)}
    del environment["SSL_CERT_FILE"]
    refused = subprocess.run(
        [TRITONPLANE, "models", "list"], env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "SSL_CERT_FILE" in refused.stderr


def test_c_audit_01_the_audit_log_is_private_and_outlives_the_server(operated: TlsServer) -> None:
    with operated.client() as client:
        first = client.post(LOAD, headers=KEYED).raise_for_status()
    audit = operated.state_dir / "audit.log"
    assert stat.S_IMODE(audit.stat().st_mode) == 0o600
    (line,) = lines(operated, "audit.log")
    assert (line["verb"], line["object"], line["result"], line["door"]) == (
        "model.load",
        "stdlib-coder",
        "OK",
        "http",
    )
    operated.kill()
    operated.start().wait_ready()
    with operated.client() as client:
        again = client.post(LOAD, headers=KEYED).raise_for_status()
        told = client.get("/admin/audit").json()
    assert again.headers["Idempotent-Replayed"] == "true"  # C-IDEM-01: kept before it was answered
    assert again.content == first.content
    assert [one["verb"] for one in told] == ["model.load"]


def test_x_adm_01_the_server_tells_how_it_is_set(operated: TlsServer) -> None:
    with operated.client() as client:
        settings = {one["name"]: one for one in client.get("/admin/config").json()["settings"]}
        usage = client.get("/admin/usage").json()
    assert settings["TRITONPLANE_PORT"] == {
        "name": "TRITONPLANE_PORT",
        "value": operated.port,
        "origin": "environment",
    }
    assert settings["TRITONPLANE_DRAIN_SECONDS"]["origin"] == "default"
    assert settings["TRITONPLANE_JWT_SECRET"]["value"] is None
    assert [caller["role"] for caller in usage["callers"]] == ["admin"]


def test_c_audit_01_the_access_log_has_every_request_and_no_key(operated: TlsServer) -> None:
    with operated.client() as client:
        client.get("/models", headers={"Authorization": ""}, params={"token": operated.admin_key})
        generated = client.post(
            "/inference", json={"model_id": "stdlib-coder", "input_data": {"text": "def private"}, "max_length": 2}
        )
    assert generated.status_code == 200
    operated.stop()  # what is held is written at the end at the latest
    logged = lines(operated, "access.log")
    assert stat.S_IMODE((operated.state_dir / "access.log").stat().st_mode) == 0o600
    assert {"GET", "POST"} <= {line["method"] for line in logged}
    assert any(line["path"] == "/inference" and line["status"] == 200 and line["who"] for line in logged)
    assert "token=REDACTED" in {line["query"] for line in logged}
    text = (operated.state_dir / "access.log").read_text()
    assert operated.admin_key not in text
    assert "private" not in text
