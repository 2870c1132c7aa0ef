"""What a GraphQL operation wants of a model: a text, or images."""

from __future__ import annotations

from control_plane.dialects.truthgpt.images import to_drawing, to_input
from control_plane.domain.generation import Generation, Sampling
from control_plane.domain.images import Drawing
from control_plane.domain.models import RevisionStatus
from control_plane.edge.graphql.context import Context


def wanted_of(
    context: Context, model: str, given: str, sampling: Sampling
) -> tuple[Generation | Drawing, RevisionStatus]:
    """What is wanted, and of which revision.

    `given` is a text to continue; for a model that draws, a prompt or a JSON object as text.

    Raises: ModelNotFound, InvalidRequest.
    """
    request_id, caller = context.request_id, context.principal.id
    found = context.services.catalog.resolve(model)
    if found.revision.draws_images:
        return to_drawing(model, to_input(given), seed=sampling.seed, request_id=request_id, caller=caller), found
    return Generation(model, given, sampling, request_id, caller), found
