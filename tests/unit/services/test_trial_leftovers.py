"""What candidates leave in the workspace while their optimization goes on."""

from __future__ import annotations

from pathlib import Path

from control_plane.domain.errors import EngineFailed
from control_plane.domain.optimization import Level
from tests.doubles.optimizing import Place, candidate, in_no_time, level


def test_of_a_candidate_that_is_out_only_its_small_files_stay() -> None:
    place = Place(level("basic", *map(candidate, ("fast", "coarse", "refused"))), fast=0.01)
    place.converter.accuracies["coarse"] = 0.5
    place.machine.refusals["refused"] = EngineFailed("Triton does not know the operator")

    async def folders() -> tuple[set[str], set[str]]:
        server = await place.open()
        job = await server.submit(Level.BASIC)
        await place.until(job, "measuring fast again")
        workspace = place.workspaces.log_file(job.id).parent
        return _below(workspace / "candidates"), _below(place.scratches.opened[0].repository)

    candidates, staged = in_no_time(folders())
    assert "fast/model/1/model.onnx" in candidates
    assert {path for path in candidates if not path.startswith("fast/")} == {
        "coarse/job.json",
        "coarse/reproduce.sh",
        "refused/job.json",
        "refused/reproduce.sh",
    }
    assert not [path for path in staged if path.startswith(("coarse", "refused"))]


def _below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
