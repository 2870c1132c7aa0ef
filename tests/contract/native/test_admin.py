"""What an admin asks of a running server: usage, settings (X-ADM-01)."""

from __future__ import annotations

from control_plane.domain.configuration import EffectiveSetting, Origin
from control_plane.domain.limits import POLICIES
from control_plane.edge.quotas import QuotaConfig, Quotas
from tests.contract.conftest import ServeHttp, two_models
from tests.contract.served import Served

ASK = {"model_id": "coder", "input_data": {"text": "a b c"}}


async def test_x_adm_01_usage_is_counted_by_caller_model_and_route(serve_http: ServeHttp) -> None:
    world = await two_models()
    quotas = Quotas(QuotaConfig(POLICIES, policy="truthgpt"), world.clock.seconds)
    http = await serve_http(world, quotas=quotas)
    alice = http.as_role("user", "alice")
    for _ in range(11):  # the last one is too many
        await http.client.post("/inference", json=ASK, headers=alice)
    await http.client.post("/inference", json=ASK, headers=http.as_role("viewer", "bob"))  # refused before it counts
    world.clock.advance(5)
    usage = (await http.client.get("/admin/usage", headers=http.admin)).json()
    assert usage["since"] == "2026-11-21T12:00:00.000Z"
    callers = {caller["principal"]: caller for caller in usage["callers"]}
    assert set(callers) == {"alice", "somebody"}
    assert (callers["alice"]["role"], callers["alice"]["in_flight"]) == ("user", 0)
    (inference,) = callers["alice"]["classes"]
    assert (inference["limit_class"], inference["requests"], inference["refused"]) == ("inference", 10, 1)
    assert (inference["limit"], inference["used"]) == (10, 10)
    assert inference["reset_at"] == "2026-11-21T12:01:00.000Z"
    (coder,) = [model for model in usage["models"] if model["model"] == "coder"]
    assert (coder["successes"], coder["failures"], coder["in_flight"], coder["tokens"]) == (10, 0, 0, 30)
    assert coder["refusals"] == 0
    assert coder["seconds"] > 0
    (route,) = [one for one in usage["routes"] if one["route"] == "/inference"]
    assert route == {
        "dialect": "truthgpt",
        "method": "POST",
        "route": "/inference",
        "statuses": {"200": 10, "429": 1, "403": 1},
    }


async def test_x_adm_01_without_a_limit_there_is_none_to_tell(serve_http: ServeHttp) -> None:
    http = await serve_http()
    usage = (await http.client.get("/admin/usage", headers=http.admin)).json()
    (caller,) = usage["callers"]
    assert caller["principal"] == "somebody"
    assert (caller["classes"][0]["requests"], caller["classes"][0]["limit"], caller["classes"][0]["used"]) == (
        1,
        None,
        None,
    )


async def test_x_adm_01_settings_are_told_with_where_they_come_from(serve_http: ServeHttp) -> None:
    effective = (
        EffectiveSetting("TRITONPLANE_PORT", 9000, Origin.ENVIRONMENT),
        EffectiveSetting("TRITONPLANE_JWT_SECRET", "(set)", Origin.FILE),
        EffectiveSetting("TRITONPLANE_CORS_ORIGINS", ["https://a.example"], Origin.DEFAULT),
    )
    http = await serve_http(effective=effective)
    told = (await http.client.get("/admin/config", headers=http.admin)).json()
    assert told == {
        "settings": [
            {"name": "TRITONPLANE_PORT", "value": 9000, "origin": "environment"},
            {"name": "TRITONPLANE_JWT_SECRET", "value": "(set)", "origin": "file"},
            {"name": "TRITONPLANE_CORS_ORIGINS", "value": ["https://a.example"], "origin": "default"},
        ]
    }


async def test_x_adm_01_only_an_admin_asks(http: Served) -> None:
    for path in ("/admin/usage", "/admin/config", "/admin/audit"):
        assert (await http.client.get(path)).status_code == 401
        refused = await http.client.get(path, headers=http.user)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
