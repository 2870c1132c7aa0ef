"""Publishes, derives and deletes until it is killed: `python -m tests.integration.repository.publish_forever STATE N`.

Numbers start at N; a line on stdout says that the loop has begun.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from control_plane.domain.models import LoadOptions
from tests.unit.repository.directories import MLP_CONFIG, Workshop, write_directory

WEIGHTS = bytes(range(256)) * 8192  # 2 MiB: copying and hashing take long enough to be killed in


async def main(state: Path, first: int) -> None:
    source = write_directory(
        state.parent / "source",
        {"config.pbtxt": MLP_CONFIG, "1/model.onnx": b"\x08\x08", "source/weights": WEIGHTS, "README.md": "x"},
    )
    workshop = Workshop.open(state)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    for number in itertools.count(first, 2):
        base = await workshop.publish(source, number=number)
        derived = await workshop.repository.derive(base, number + 1, LoadOptions(instance_count=2), "key_1")
        if number % 4 == 1:
            await workshop.repository.delete(base)
        assert await workshop.repository.verify(derived) == ()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
