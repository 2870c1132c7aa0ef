"""Images of `tritonplane infer`: drawn with progress, and written as PNG files."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import tritonplane_client as client
import typer

from control_plane.cli.console import note, print_json
from control_plane.cli.progress import step_bar

if TYPE_CHECKING:
    from tritonplane_client import ApiClient, Drawn
    from tritonplane_client.drawings import DrawingOptions

PNG = ".png"
# A reference's ':' and '@' have a meaning in paths elsewhere.
_NO_PART_OF_A_NAME = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be drawn, and where it goes: `output` is a folder, or a file's name that ends in `.png`."""

    model: str
    prompt: str | None
    options: DrawingOptions
    output: Path | None

    def check_place(self) -> None:
        """Raises BadParameter, before anything is drawn."""
        place = self.output or Path()
        folder = place.parent if _is_file(place) else place
        if not folder.is_dir():
            raise typer.BadParameter(
                f"there is no folder {str(folder)!r}; the name of a file ends in {PNG}", param_hint="--output"
            )

    def places(self, drawn: Drawn) -> list[Path]:
        """A path for each image: a file's own name, numbered where there are several, else MODEL-SEED-NUMBER.png."""
        place, count = self.output or Path(), len(drawn.images)
        if not _is_file(place):
            place = place / f"{_NO_PART_OF_A_NAME.sub('-', self.model)}-{drawn.seed}{PNG}"
        elif count == 1:
            return [place]
        return [place.with_name(f"{place.stem}-{number}{place.suffix}") for number in range(1, count + 1)]


def draw(server: ApiClient, wish: Wish, *, as_json: bool, live: bool, quiet: bool) -> None:
    """Prints the path of each file. As JSON it prints the server's own, and writes files only where `output` is set."""
    wish.check_place()
    if as_json:
        drawn = server.draw(wish.model, wish.prompt, **wish.options)
        print_json(drawn.reply)
        if wish.output is not None:
            _write(drawn, wish)
        return
    began = monotonic()
    drawn = _drawn_live(server, wish) if live else server.draw(wish.model, wish.prompt, **wish.options)
    took_s = monotonic() - began
    for place in _write(drawn, wish):
        typer.echo(place)
    if not quiet:
        count, steps = len(drawn.images), drawn.num_steps
        images = f"{count} image{'s' if count > 1 else ''} of {drawn.width} x {drawn.height}"
        note(f"{images}, {steps} steps in {took_s:.2f} s ({steps * count / took_s:.1f} steps/s), seed {drawn.seed}")


def _drawn_live(server: ApiClient, wish: Wish) -> Drawn:
    stream = server.stream_drawing(wish.model, wish.prompt, **wish.options)
    with step_bar(f"drawing with {wish.model}") as show, closing(stream) as items:
        for item in items:
            if isinstance(item, client.Drawn):
                return item
            show(item.step, item.num_steps)
    raise client.StreamInterrupted("the stream ended without its images")


def _write(drawn: Drawn, wish: Wish) -> list[Path]:
    places = wish.places(drawn)
    for place, image in zip(places, drawn.images, strict=True):
        place.write_bytes(image)
    return places


def _is_file(place: Path) -> bool:
    return place.suffix.lower() == PNG and not place.is_dir()
