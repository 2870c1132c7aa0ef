"""`tritonplane keys`: who may use the server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from control_plane.cli.console import note, print_json, print_table, time
from control_plane.cli.durations import seconds
from control_plane.cli.remote import Remote, with_server

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys, and issue tokens.")


class RoleName(StrEnum):
    VIEWER = "viewer"
    USER = "user"
    ADMIN = "admin"


Expiry = Annotated[str | None, typer.Option(help="From now: 90s, 15m, 12h, 30d or 2w.", show_default=False)]
Policy = Annotated[str | None, typer.Option(help="A rate limit policy of the server.", show_default=False)]


@app.command("create")
@with_server
def create(
    remote: Remote,
    name: Annotated[str, typer.Argument(help="What the key is for.", show_default=False)],
    role: Annotated[RoleName, typer.Option(help="What the key may do.")] = RoleName.USER,
    expires_in: Expiry = None,
    policy: Policy = None,
) -> None:
    """Make a key. It is printed on stdout this once; the server keeps only its hash."""
    expires_at = None
    if expires_in is not None:
        expires_at = (datetime.now(UTC) + timedelta(seconds=seconds(expires_in))).isoformat(timespec="milliseconds")
    with remote.connect() as server:
        key = server.create_key(name, role.value, rate_limit_policy=policy, expires_at=expires_at)
    if remote.as_json:
        print_json(key)
        return
    typer.echo(key["api_key"])
    note(f"{key['key_id']} of role {key['role']}; it is not shown again")


@app.command("list")
@with_server
def list_keys(remote: Remote) -> None:
    """List the keys; the secrets themselves are not kept anywhere."""
    with remote.connect() as server:
        found = server.list_keys()
    if remote.as_json:
        print_json(found)
        return
    rows = [
        (
            key["key_id"],
            key["name"],
            key["role"],
            key["rate_limit_policy"],
            time(key["created_at"]),
            _end(key.get("expires_at")),
        )
        for key in found
    ]
    print_table(("ID", "NAME", "ROLE", "POLICY", "CREATED", "EXPIRES"), rows)


@app.command("revoke")
@with_server
def revoke(
    remote: Remote, key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.", show_default=False)]
) -> None:
    """Delete a key; it stops working at once."""
    with remote.connect() as server:
        server.delete_key(key_id)
    if remote.as_json:
        print_json({"key_id": key_id, "revoked": True})
    else:
        typer.echo(f"revoked {key_id}")


@app.command("token")
@with_server
def token(
    remote: Remote,
    role: Annotated[RoleName | None, typer.Option(help="Not above your own.", show_default=False)] = None,
    expires_in: Expiry = None,
    subject: Annotated[str | None, typer.Option(help="For whom (admin only); yourself by default.")] = None,
    policy: Policy = None,
) -> None:
    """Issue a JWT and print it on stdout."""
    with remote.connect() as server:
        issued = server.token(
            subject=subject,
            role=role.value if role else None,
            expires_in=seconds(expires_in) if expires_in is not None else None,
            rate_limit_policy=policy,
        )
    if remote.as_json:
        print_json(issued)
        return
    typer.echo(issued["access_token"])
    note(f"of role {issued['role']}, for {issued['expires_in']} s")


def _end(expires_at: str | None) -> str:
    return time(expires_at) if expires_at else "never"
