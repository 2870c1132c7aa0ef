"""Keys and tokens (C-AUTH-12, 13)."""

from __future__ import annotations

from fastapi import Request, Response

from control_plane.dialects.native.protocol import KeyBody, KeyInfo, Me, NewKeyResponse, TokenBody, TokenResponse
from control_plane.domain.access import ApiKey
from control_plane.edge.http.arrivals import credentials_of, presented_in
from control_plane.edge.http.routing import Admin, Routes, ServicesDep, Viewer
from control_plane.edge.http.schemas import refusals
from control_plane.services.access import NewKey, TokenRequest

routes = Routes("Access")


@routes.post("/auth/token", summary="Issue a token", responses=refusals(403, 501))
async def issue_token(
    request: Request, caller: Viewer, services: ServicesDep, body: TokenBody | None = None
) -> TokenResponse:
    """For the holder of an API key a token of its own; an admin may name another subject and role."""
    wanted = body or TokenBody()
    presented = presented_in(*credentials_of(dict(request.scope["headers"]), b""))
    issued = services.access.issue_token(
        TokenRequest(wanted.sub, wanted.role, wanted.rate_limit_policy, wanted.expires_in), caller, presented
    )
    return TokenResponse(access_token=issued.token, expires_in=issued.expires_in_s, role=issued.role)


@routes.get("/auth/me", summary="Who am I")
async def me(caller: Viewer) -> Me:
    return Me(sub=caller.id, role=caller.role, rate_limit_policy=caller.rate_limit_policy)


@routes.post("/auth/keys", status_code=201, summary="Create an API key")
async def create_key(body: KeyBody, caller: Admin, services: ServicesDep) -> NewKeyResponse:
    """The key is shown in this answer and never again."""
    wanted = NewKey(body.name, body.role, body.rate_limit_policy, body.expires_at)
    key, secret = await services.access.create_key(wanted, caller)
    return NewKeyResponse(**key_info(key).model_dump(), api_key=secret)


@routes.get("/auth/keys", summary="List API keys")
async def list_keys(caller: Admin, services: ServicesDep) -> list[KeyInfo]:
    return [key_info(key) for key in await services.access.list_keys(caller)]


@routes.delete("/auth/keys/{key_id}", status_code=204, summary="Delete an API key", responses=refusals(404))
async def delete_key(key_id: str, caller: Admin, services: ServicesDep) -> Response:
    """The key stops working at once."""
    await services.access.delete_key(key_id, caller)
    return Response(status_code=204)


def key_info(key: ApiKey) -> KeyInfo:
    return KeyInfo(
        key_id=key.id,
        name=key.name,
        role=key.role,
        rate_limit_policy=key.rate_limit_policy,
        created_at=key.created_at,
        expires_at=key.expires_at,
    )
