"""HTTP over TLS (O-NEXT-02): by a client that trusts the certificate, by one that does not, and in plain text."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import tritonplane_client as tp

from control_plane.domain.access import Role
from control_plane.edge.tls import read_tls
from tests.contract.conftest import two_models
from tests.contract.served import Served, serving
from tests.contract.sockets import open_socket
from tests.doubles.certificates import self_signed, written
from tests.product import TRITONPLANE, ServerProcess

ASK = {"model_id": "coder", "input_data": {"text": "a b c"}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return written(tmp_path_factory.mktemp("tls"), *self_signed())


@pytest.fixture(scope="module")
async def https(files: tuple[Path, Path]) -> AsyncIterator[Served]:
    async with serving(await two_models(), tls=read_tls("HTTP", *files)) as served:
        yield served


async def test_o_next_02_routes_of_every_kind_answer_over_tls(https: Served) -> None:
    assert https.url.startswith("https://")
    assert (await https.client.get("/health")).json()["version"] == "1.0.0"
    assert (await https.client.get("/models", headers=https.viewer)).status_code == 200
    assert (await https.client.post("/inference", json=ASK, headers=https.user)).json()["output"]["text"]
    streamed = await https.client.post("/inference/stream", json=ASK, headers=https.user)
    assert streamed.text.endswith("data: [DONE]\n\n")


async def test_o_next_02_websockets_open_over_tls(https: Served, files: tuple[Path, Path]) -> None:
    trusts = ssl.create_default_context(cafile=str(files[0]))
    async with open_socket(https, ssl=trusts) as connected:
        assert (await connected.ask("ping"))["type"] == "pong"


async def test_o_next_02_plain_text_is_not_answered_and_the_server_lives(https: Served) -> None:
    async with httpx.AsyncClient() as plain:
        with pytest.raises(httpx.TransportError):
            await plain.get(https.url.replace("https:", "http:") + "/health")
    assert (await https.client.get("/health")).status_code == 200


async def test_o_next_02_our_client_trusts_the_authority_that_the_environment_names(
    https: Served, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version() -> str:
        with tp.ApiClient(https.url, token=https.world.token(Role.VIEWER)) as client:
            return client.health()["version"]

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(tp.ConnectionFailed, match="SSL_CERT_FILE"):
        await asyncio.to_thread(version)
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    assert await asyncio.to_thread(version) == "1.0.0"


def test_o_next_02_files_that_are_no_pair_stop_the_start_with_one_sentence(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    wrong = {"TLS_CERT": str(files[0]), "TLS_KEY": str(tmp_path / "gone.pem")}
    server = ServerProcess(tmp_path / "state", wrong)
    ended = subprocess.run(
        [TRITONPLANE, "serve"], env=server.environment(), capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    (said,) = ended.stderr.strip().splitlines()
    assert "gone.pem are no TLS certificate and its key: No such file" in said
