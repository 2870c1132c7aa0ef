"""What commands that work on this machine, without a server, need first: its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from control_plane.cli.failures import USAGE, complain

if TYPE_CHECKING:
    from control_plane.settings import Settings


def local_settings() -> Settings:
    """Ends the command with a sentence for each setting that is wrong."""
    # Imported here: settings bring pydantic along, which the help of the command line does without.
    from control_plane.domain.errors import InvalidRequest  # noqa: PLC0415
    from control_plane.settings import load_settings  # noqa: PLC0415

    try:
        return load_settings()
    except InvalidRequest as error:
        for sentence in error.message.splitlines():
            complain(sentence)
        raise typer.Exit(USAGE) from error
