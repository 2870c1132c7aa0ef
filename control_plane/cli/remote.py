"""How a command reaches the server: the options that all such commands have, and the local admin key."""

from __future__ import annotations

import functools
import inspect
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import tritonplane_client as client
import typer

from control_plane.cli.failures import explained

if TYPE_CHECKING:
    from tritonplane_client import ApiClient

DEFAULT_URL = "http://127.0.0.1:8000"
ADMIN_KEY_FILE = "admin.key"
LONGEST_WAIT_S = 5.0  # a person at a terminal would rather be told than wait in silence
PRIVATE = stat.S_IRWXG | stat.S_IRWXO
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the server is, who asks it, and whether its answer is wanted as JSON."""

    url: str
    api_key: str | None = field(repr=False)
    as_json: bool

    def connect(self) -> ApiClient:
        retries = client.Retries(longest_wait_s=LONGEST_WAIT_S)
        return client.ApiClient(self.url, self.api_key or local_admin_key(self.url), retries=retries)


def with_server(command: Callable[Concatenate[Remote, P], None]) -> Callable[..., None]:
    """Adds --url, --api-key and --json to a command, which gets them as one `Remote`; its failures are explained.

    typer reads a command's options from its signature, so the two signatures are joined.
    """

    @functools.wraps(command)
    def run(*, url: str, api_key: str | None, as_json: bool, **own: Any) -> None:
        with explained():
            command(Remote(url, api_key, as_json), **own)  # type: ignore[call-arg]

    parameters = [
        *list(inspect.signature(command, eval_str=True).parameters.values())[1:],
        *inspect.signature(_shared_options, eval_str=True).parameters.values(),
    ]
    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _shared_options(
    url: Annotated[
        str, typer.Option(envvar="TRITONPLANE_URL", help="Where the server is.", rich_help_panel="Server")
    ] = DEFAULT_URL,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="TRITONPLANE_API_KEY",
            help="Your key; without one, the admin.key of the local state directory.",
            rich_help_panel="Server",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the server's own JSON.", rich_help_panel="Server")
    ] = False,
) -> None:
    """Its signature is what `with_server` adds."""


def local_admin_key(url: str) -> str | None:
    """The key that the server on this machine left for us; None where there is none, or the server is elsewhere.

    Raises InvalidArgument for a key that others can read: it would be no secret.
    """
    # With it comes httpx, which the help of the command line does without.
    from tritonplane_client.connection import is_loopback  # noqa: PLC0415

    # Never sent to another machine, whatever --url says.
    if not is_loopback(url):
        return None
    path = _state_directory() / ADMIN_KEY_FILE
    try:
        mode = path.stat().st_mode
        key = path.read_text().strip()
    except OSError:
        return None
    if mode & PRIVATE:
        raise client.InvalidArgument(f"others can read {path}; run `chmod 600 {path}`, or make a new key")
    return key or None


def _state_directory() -> Path:
    # Settings bring pydantic along, which is as slow to import as all the rest of a command.
    from control_plane.domain.errors import InvalidRequest  # noqa: PLC0415
    from control_plane.settings import load_settings  # noqa: PLC0415

    try:
        return load_settings().state_dir.expanduser()
    except InvalidRequest as error:
        raise client.InvalidArgument(error.message) from error
