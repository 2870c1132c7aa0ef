"""Draws the ten digits of every font once, so that training needs neither the fonts nor a font renderer.

Run: python -m training.images.fonts (where training/images/requirements.txt is installed)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import files, version
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.images.glyphs import CANVAS, GLYPHS, HEIGHT, INK_LEVELS, MANIFEST, Face, Ink

# Upright faces in packages, and their licences; leaning is done by `training.images.digits`, which then knows of it.
PACKAGES = {
    "font-caladea": ("Caladea-*.ttf", "Apache-2.0"),
    "font-fjallaone": ("FjallaOne-*.ttf", "OFL-1.1"),
    "font-fredoka-one": ("FredokaOne-*.ttf", "OFL-1.1"),
    "font-hanken-grotesk": ("HankenGrotesk-*.otf", "OFL-1.1"),
    "font-intuitive": ("Intuitive.ttf", "OFL-1.1"),
    "font-lato": ("Lato-*.ttf", "OFL-1.1"),
    "font-manrope": ("Manrope-*.ttf", "OFL-1.1"),
    "font-rhd": ("RedHatDisplay-*.ttf", "OFL-1.1"),
    "font-roboto": ("Roboto-*.ttf", "Apache-2.0"),
    "font-source-sans-pro": ("SourceSansPro-*.ttf", "OFL-1.1"),
    "font-source-serif-pro": ("SourceSerifPro-*.ttf", "OFL-1.1"),
    "matplotlib": ("DejaVuS*[!y].ttf", "Bitstream-Vera"),
    "ttf-opensans": ("OpenSans-*.ttf", "Apache-2.0"),
    "weblate-fonts": ("SourceCodePro-*.ttf", "OFL-1.1"),
}
# Hairlines are lost at 32 pixels.
_LEFT_OUT = ("Ital", "Oblique", "It.", "Variable", "-Thin")
# For judging only: a serif, two plain ones and a round one, chosen before anything was trained.
HELD_OUT = {"Caladea", "DejaVuSans", "FredokaOne", "OpenSans"}


def draw_face(path: Path) -> Ink:
    """The ten digits, each as high as the face's own 8 would be HEIGHT pixels, in the middle of the canvas."""
    _, top, _, bottom = ImageFont.truetype(path, 200).getbbox("8")
    font = ImageFont.truetype(path, round(200 * HEIGHT / (bottom - top)))
    glyphs = np.zeros((10, CANVAS, CANVAS), np.uint8)
    for digit in range(10):
        left, top, right, bottom = font.getbbox(str(digit))
        image = Image.new("L", (CANVAS, CANVAS))
        corner = ((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2)
        ImageDraw.Draw(image).text(corner, str(digit), fill=255, font=font)
        glyphs[digit] = np.asarray(image) // (256 // INK_LEVELS)
    return glyphs


def describe(package: str, path: Path) -> Face:
    family, _, style = path.stem.partition("-")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = f"{package}=={version(package)}"
    return Face(origin, path.name, family, style or "Regular", PACKAGES[package][1], digest, family in HELD_OUT)


def font_files(package: str) -> list[Path]:
    pattern = PACKAGES[package][0]
    found = [Path(str(file.locate())) for file in files(package) or [] if file.match(pattern)]
    return sorted(path for path in found if not any(part in path.name for part in _LEFT_OUT))


def main() -> None:
    faces: list[Face] = []
    drawn: list[Ink] = []
    for package in PACKAGES:
        for path in font_files(package):
            faces.append(describe(package, path))
            drawn.append(draw_face(path))
    np.savez_compressed(GLYPHS, levels=np.stack(drawn))
    entries = ",\n".join(json.dumps(asdict(face)) for face in faces)
    MANIFEST.write_text(f"[\n{entries}\n]\n", encoding="utf-8")
    print(f"{len(faces)} faces, {sum(face.held_out for face in faces)} held out")


if __name__ == "__main__":
    main()
