"""`tritonplane serve`: the server itself, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from control_plane.cli.failures import USAGE, complain

LOOPBACK = "127.0.0.1"


def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="The port for HTTP; 8000 by default.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="The port for gRPC; 50051 by default.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Where models, keys and the database are kept.")] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Requests without credentials are an admin's; listens on 127.0.0.1 only.")
    ] = False,
) -> None:
    """Serve: Triton, HTTP and gRPC, until Ctrl-C. Options win over TRITONPLANE_* variables and tritonplane.toml."""
    given: dict[str, Any] = {"host": host, "port": port, "grpc_port": grpc_port, "state_dir": state_dir}
    if dev:
        if host not in (None, LOOPBACK):
            raise typer.BadParameter("--dev lets everybody in, so it listens on 127.0.0.1 only; leave --host out")
        given |= {"host": LOOPBACK, "auth_anonymous_role": "admin"}
    raise typer.Exit(_serve({name: value for name, value in given.items() if value is not None}))


def _serve(given: dict[str, Any]) -> int:
    # Imported here: the server brings along what no other command needs.
    from control_plane.domain.errors import InvalidRequest  # noqa: PLC0415
    from control_plane.serve import main  # noqa: PLC0415
    from control_plane.settings import load_settings, unknown_settings  # noqa: PLC0415

    try:
        settings = load_settings(**given)
        unknown = unknown_settings()
    except InvalidRequest as error:
        for sentence in error.message.splitlines():
            complain(sentence)
        return USAGE
    for sentence in unknown:
        complain(sentence)
    return main(settings)
