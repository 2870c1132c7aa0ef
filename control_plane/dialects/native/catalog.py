"""What models can be converted and optimized with on this machine (X-CAT-01)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from control_plane.dialects.native.protocol import CatalogCandidate, CatalogLevel, CatalogRecipe, CatalogResponse
from control_plane.edge.http.routing import Routes, ServicesDep, Viewer
from control_plane.edge.http.schemas import refusals
from control_plane.ports import CandidatePlan, LevelPlan, RecipeStatus

routes = Routes("Catalog")
_REASON = "reason"  # in a search's table: why it cannot be made here


@routes.get("/native/v1/catalog", summary="Optimization levels and recipes", responses=refusals(501))
async def get_catalog(caller: Viewer, services: ServicesDep) -> CatalogResponse:
    """Levels from the lowest to the highest; each tries what it lists and all that those before it do. What cannot run
    on this machine says why. Before the environment of conversions is made, much of it cannot."""
    catalog = await services.optimizations.catalog()
    return CatalogResponse(
        levels=list(_levels(catalog.levels)), recipes=[_recipe_info(recipe) for recipe in catalog.recipes]
    )


def _levels(plans: Sequence[LevelPlan]) -> Iterator[CatalogLevel]:
    """A level that says no floor has that of the one before."""
    floor: float | None = None
    for plan in plans:
        floor = plan.min_accuracy if plan.min_accuracy is not None else floor
        reason = _why_not(plan)
        yield CatalogLevel(
            name=plan.name,
            summary=plan.summary,
            min_accuracy=floor,
            candidates_max=plan.candidates_max,
            available=reason is None,
            reason=reason,
            candidates=[_candidate_info(candidate) for candidate in plan.candidates],
            searches=sorted(plan.search),
        )


def _why_not(plan: LevelPlan) -> str | None:
    """None where one candidate or search of the level can run; else each reason once."""
    reasons = [candidate.reason for candidate in plan.candidates]
    for search in plan.search.values():
        said = search.get(_REASON) if isinstance(search, dict) else None
        reasons.append(None if said is None else str(said))
    if not reasons or None in reasons:
        return None
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason is not None))


def _candidate_info(candidate: CandidatePlan) -> CatalogCandidate:
    return CatalogCandidate.model_validate(
        {
            "name": candidate.name,
            "takes": list(candidate.takes),
            "graph": candidate.graph,
            "available": candidate.reason is None,
            "reason": candidate.reason,
            "steps": list(candidate.steps),
            "settings": candidate.settings,
        }
    )


def _recipe_info(recipe: RecipeStatus) -> CatalogRecipe:
    return CatalogRecipe(name=recipe.name, summary=recipe.summary, available=recipe.available, reason=recipe.reason)
