"""A world that draws, and what is expected of its answers."""

from __future__ import annotations

import base64
import struct
from typing import Any

from tests.doubles.images import SIZE
from tests.doubles.repository import diffusion_revision, hybrid_revision, text_revision
from tests.doubles.services import World, make_world

DIFFUSION, HYBRID, TEXT = "digits", "painter", "coder"


async def drawing_world() -> World:
    """A model that draws by label, one that draws what a text says, and one that writes; all loaded."""
    world = await make_world(diffusion_revision(DIFFUSION), hybrid_revision(HYBRID), text_revision(TEXT))
    for model in (DIFFUSION, HYBRID, TEXT):
        await world.services.models.load(model)
    return world


def png_files(output: dict[str, Any]) -> list[bytes]:
    """The images of an output object, each a PNG file of the size that it says."""
    files = [base64.b64decode(image, validate=True) for image in output["images"]]
    for file in files:
        assert file.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", file[16:24]) == (output["width"], output["height"]) == (SIZE, SIZE)
    return files
