"""Runs a plan: each recipe once, finished ones found again, the result checked against its source."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from converters.catalog import recipe_named
from converters.checks.select import check
from converters.contract import ConversionRequest, Converted, JsonObject, Progressed, StepRequest
from converters.disk import told_when_full
from converters.formats import Artifact, sha256_of
from converters.plans import plan_for
from converters.recipe import Lacking, Recipe, Refused, Step
from converters.recognition import recognize
from converters.tools import tool_versions
from converters.workspace import Workspace, link_or_copy

# The last part of a conversion's progress belongs to the checks.
_STEPS_SHARE = 0.85
# Sources that are kept beside the model, so that it can be converted anew.
_KEPT = "source"


class Pipeline:
    """One conversion in one workspace. Raises Refused."""

    def __init__(self, request: ConversionRequest, folder: Path, report: Callable[[Progressed], None]) -> None:
        self._request, self._workspace, self._report = request, Workspace(folder), report

    def run(self) -> Converted:
        with told_when_full(self._workspace.folder):
            return self._run()

    def _run(self) -> Converted:
        original = recognize(Path(self._request.source), self._workspace.folder / "original")
        plan = self._request.steps
        if plan is None:
            plan = plan_for(original, self._request.precision)
        recipes = _checked_recipes(plan, original)
        made, records = original, []
        for number, (recipe, asked) in enumerate(zip(recipes, plan, strict=True)):
            made, done = self._step(number, len(plan), recipe, asked, made, original)
            records.append(done)
        self._report(Progressed(_STEPS_SHARE, "checking the result"))
        checks = check(original, made, self._request)
        self._assemble(original, made)
        record: JsonObject = {"steps": records, "checks": checks, "tools": tool_versions()}
        return Converted(str(self._workspace.model), made.facts, record)

    def _step(
        self, number: int, count: int, recipe: Recipe, asked: StepRequest, source: Artifact, original: Artifact
    ) -> tuple[Artifact, JsonObject]:
        parameters = recipe.settle(asked.parameters)
        taken = source.digests()
        key = _key(recipe.name, parameters, taken, self._request)
        folder = self._workspace.step_folder(number, recipe.name)
        found = self._workspace.finished(folder, key)
        if found is not None:
            return found

        def report(fraction: float) -> None:
            self._report(Progressed(_STEPS_SHARE * (number + fraction) / count, recipe.summary))

        report(0.0)
        started_s = time.monotonic()
        calibration = Path(self._request.calibration) if self._request.calibration else None
        with self._workspace.beginning(folder) as target:
            step = Step(source, target, parameters, original, report, calibration, self._request.inputs)
            made = Artifact(recipe.gives[source.format], target, recipe.run(step))
        record: JsonObject = {
            "recipe": recipe.name,
            "parameters": parameters,
            "took_s": round(time.monotonic() - started_s, 3),
            "inputs": taken,
            "outputs": made.digests(),
        }
        self._workspace.finish(folder, key, made, record)
        return made, record

    def _assemble(self, original: Artifact, made: Artifact) -> None:
        """A Triton model directory without its configuration: `1/`, and the source it can be converted from anew."""
        model = self._workspace.empty_model()
        for path in made.files():
            link_or_copy(made.directory / path, model / "1" / path)
        if made is not original:
            for path in original.files():
                link_or_copy(original.directory / path, model / _KEPT / path)
        expected = {f"1/{path}": digest for path, digest in made.digests().items()}
        self._workspace.write_script(expected)


def _checked_recipes(plan: Sequence[StepRequest], original: Artifact) -> list[Recipe]:
    """Whatever can be told of a plan before its first step. Raises Refused."""
    recipes, taken = [], original.format
    for position, step in enumerate(plan):
        recipe = recipe_named(step.recipe)
        recipe.settle(step.parameters)
        if taken not in recipe.gives:
            raise Refused(f"recipe {recipe.name} does not take a model in the format {taken.value}")
        reason = recipe.lacks()
        if reason is not None:
            raise Lacking(f"step {position + 1}, {recipe.name}, cannot run here: {reason}", requires=reason)
        recipes.append(recipe)
        taken = recipe.gives[taken]
    return recipes


def _key(recipe: str, parameters: JsonObject, taken: dict[str, str], request: ConversionRequest) -> str:
    """Equal for two runs of a step that would make the same."""
    calibration = sha256_of(Path(request.calibration)) if request.calibration else None
    decisive = [recipe, parameters, taken, [asdict(fact) for fact in request.inputs], calibration]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
