"""The server as a process: HTTP and gRPC in one loop, one owner of the signals, and a stop that loses nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import AsyncExitStack

import uvloop

from control_plane.bootstrap import Product, open_product
from control_plane.dialects.http import build_http
from control_plane.dialects.kserve.grpc import kserve_api
from control_plane.dialects.truthgpt.grpc import truthgpt_api
from control_plane.domain.errors import Conflict, DomainError
from control_plane.edge.access_log import Lines
from control_plane.edge.grpc.server import GrpcConfig, GrpcServer
from control_plane.edge.http.app import HttpConfig
from control_plane.edge.http.server import HttpServer, listen
from control_plane.edge.quotas import QuotaConfig, Quotas
from control_plane.edge.times import steady_seconds
from control_plane.edge.tls import read_tls
from control_plane.logs import configure_logging
from control_plane.settings import Settings, effective_settings

log = logging.getLogger(__name__)
READY_TIMEOUT_S = 120.0
OPEN_FILES = 65_536


def main(settings: Settings) -> int:
    """Serve until a signal; the exit code of the process."""
    configure_logging(settings.log_level, settings.log_format)
    _allow_connections()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except DomainError as error:
        print(f"tritonplane: {error.message}", file=sys.stderr)  # noqa: T201 - the operator's one sentence
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    stop = _stop_on_signals()
    http_tls = read_tls("HTTP", settings.tls_cert, settings.tls_key)
    grpc_tls = read_tls("gRPC", settings.grpc_tls_cert, settings.grpc_tls_key)
    async with AsyncExitStack() as opened:
        product = await opened.enter_async_context(open_product(settings))
        services = product.services
        sockets = _listening(settings)
        apis, quotas = [truthgpt_api(services), kserve_api(services)], Quotas(_quota_config(settings), steady_seconds())
        grpc_config = GrpcConfig(settings.host, settings.grpc_port, grpc_tls, access_log=product.access_log)
        grpc = GrpcServer(services, grpc_config, apis, quotas)
        http = HttpServer(
            build_http(services, _http_config(settings, product.access_log), quotas, product.triton_metrics), http_tls
        )
        await _start(grpc)
        product.start()
        serving = asyncio.create_task(http.serve(sockets), name="http")
        greeting = asyncio.create_task(_greet(product, settings), name="greeting")
        _settle_memory()
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)

        log.info("stopping", extra={"drain_s": settings.drain_seconds})
        services.health.stopping.set()
        greeting.cancel()
        stopped.cancel()
        await asyncio.gather(http.stop(settings.drain_seconds), grpc.stop(settings.drain_seconds))
        await serving
    log.info("stopped")


def _allow_connections() -> None:
    """A connection is an open file, and a shell's soft limit of 1,024 is for programs that have few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _stop_on_signals() -> asyncio.Event:
    """The first signal asks for a graceful stop; the second ends the process, and the kernel ends Triton with it."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def _listening(settings: Settings) -> list[socket.socket]:
    try:
        return listen(settings.host, [settings.port, *settings.extra_ports])
    except OSError as error:
        raise Conflict(f"{error.strerror}; free the port or set TRITONPLANE_PORT to another one") from error


async def _start(grpc: GrpcServer) -> None:
    try:
        await grpc.start()
    except OSError as error:
        raise Conflict(f"{error}; free it or set TRITONPLANE_GRPC_PORT to another one") from error


def _http_config(settings: Settings, access_log: Lines | None) -> HttpConfig:
    return HttpConfig(
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        cors_origins=settings.cors_origins,
        metrics_auth=settings.metrics_auth,
        debug=settings.debug,
        hide_pid=settings.hide_pid,
        graphql_introspection=settings.graphql_introspection,
        access_log=access_log,
        effective=effective_settings(settings),
    )


def _quota_config(settings: Settings) -> QuotaConfig:
    return QuotaConfig(
        policies=settings.policies,
        policy=settings.rate_limit_policy,
        max_in_flight=settings.max_inflight_per_principal,
        trusted_proxies=settings.trusted_proxies,
    )


def _settle_memory() -> None:
    """What start-up left behind is never collected: a full collection over it would stop the loop for 40 ms."""
    gc.collect()
    gc.freeze()


async def _greet(product: Product, settings: Settings) -> None:
    if not await product.is_ready(READY_TIMEOUT_S):
        status = product.triton.status()
        log.error("not ready", extra={"triton": status.state.value, "reason": status.reason})
        return
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    is_made = settings.bootstrap_admin_key is None and product.key_file.exists()
    key = f"$(cat {product.key_file})" if is_made else "$TRITONPLANE_BOOTSTRAP_ADMIN_KEY"
    scheme = "http" if settings.tls_cert is None else "https"
    url, grpc_target = f"{scheme}://{host}:{settings.port}", f"{host}:{settings.grpc_port}"
    print(greeting(url, grpc_target, product, key), flush=True)  # noqa: T201


def greeting(url: str, grpc_target: str, product: Product, key: str) -> str:
    """What a new user does next, ready to paste; `key` is how the shell comes by an admin key."""
    lines = [f"tritonplane is ready: HTTP on {url} (documentation at {url}/docs), gRPC on {grpc_target}"]
    if product.admin_key is not None:
        lines.append(f"The admin key, shown once and kept in {product.key_file}: {product.admin_key}")
    example = '{"model_id": "stdlib-coder", "input_data": {"text": "def read_json(path):\\n"}, "max_length": 60}'
    lines += [
        "Try it:",
        f'  curl -N {url}/inference/stream -H "Authorization: Bearer {key}" \\',
        f"    -H 'Content-Type: application/json' -d '{example}'",
    ]
    return "\n".join(lines)
