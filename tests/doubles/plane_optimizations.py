"""The optimizations of the tritonplane in miniature; an optimization's id names how it goes."""

from __future__ import annotations

import functools
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles.optimizations import told
from tests.doubles.plane_jobs import AT, ERROR, MiniatureJobs

IDS = {"coder": "opt_1", "adder": "opt_baseline", "bad": "opt_bad", "slow": "opt_endless"}
CATALOG: dict[str, Any] = {
    "levels": [
        {
            "name": "basic", "summary": "The graph in full precision", "min_accuracy": 0.9999, "candidates_max": 1,
            "available": True, "reason": None, "searches": [],
            "candidates": [
                {"name": "onnx-basic", "takes": ["onnx"], "graph": "baseline", "available": True, "reason": None,
                 "steps": [{"recipe": "onnx_optimize", "parameters": {}}], "settings": {}}
            ],
        },
        {
            "name": "omnipotent", "summary": "TensorRT", "min_accuracy": 0.99, "candidates_max": 8,
            "available": False, "reason": "requires_gpu: there is no NVIDIA GPU", "searches": [],
            "candidates": [
                {"name": "tensorrt-fp16", "takes": ["onnx"], "graph": "baseline", "available": False,
                 "reason": "requires_gpu: there is no NVIDIA GPU", "steps": [], "settings": {}}
            ],
        },
    ],
    "recipes": [
        {"name": "onnx_optimize", "summary": "A graph, simplified", "available": True, "reason": None},
        {"name": "onnx_to_tensorrt", "summary": "An engine", "available": False, "reason": "it needs tensorrt"},
    ],
}  # fmt: skip


class MiniatureOptimizations:
    """`opt_1` (of `coder`) finds something better, `opt_baseline` (of `adder`) nothing, `opt_bad` (of `bad`) fails;
    `opt_endless` (of `slow`) goes on until it is cancelled. They are jobs too."""

    def __init__(self, jobs: MiniatureJobs) -> None:
        self._jobs = jobs

    def routes(self) -> list[Route]:
        one = "/v1/optimize/{id}"
        return [
            Route("/v1/optimize", self._optimize, methods=["POST"]),
            Route(one, self._with(self._get)),
            Route(f"{one}/cancel", self._with(self._cancel), methods=["POST"]),
            Route(f"{one}/evidence", self._with(self._evidence)),
            Route("/v1/optimizations", self._list),
            Route("/v1/optimizations/{id}/results", self._with(self._results)),
            Route("/native/v1/catalog", self._catalog),
        ]

    async def _optimize(self, request: Request) -> Response:
        asked = await request.json()
        if asked["model_id"] not in IDS:
            return _refusal(404, f"no model named {asked['model_id']!r}", "MODEL_NOT_FOUND")
        if asked["optimization_level"] == "godlike":
            return _refusal(400, "optimization_level must be one of basic", "INVALID_REQUEST")
        reply = {"optimization_id": IDS[asked["model_id"]], "success": True, "error_message": None}
        return JSONResponse({**reply, "ignored_parameters": []})

    async def _list(self, request: Request) -> Response:
        wanted = request.query_params.get("status")
        found = [self._status(one) for one in IDS.values() if wanted in (None, self._jobs.states[one])]
        return JSONResponse(found, headers={"X-Total-Count": str(len(found))})

    async def _get(self, optimization_id: str) -> Response:
        return JSONResponse(self._status(optimization_id))

    async def _cancel(self, optimization_id: str) -> Response:
        state = self._jobs.states[optimization_id]
        if state != "running":
            return _refusal(409, f"the job is over: {state}", "CONFLICT")
        self._jobs.states[optimization_id] = "cancelled"
        return JSONResponse({"success": True, "optimization_id": optimization_id, "status": "cancelled"})

    async def _evidence(self, optimization_id: str) -> Response:
        if self._jobs.states[optimization_id] != "completed":
            return _refusal(404, f"optimization {optimization_id} has no evidence (yet)", "NOT_FOUND")
        return JSONResponse(_told(optimization_id)[1])

    async def _results(self, optimization_id: str) -> Response:
        status = self._status(optimization_id)
        if status["status"] == "running":
            return JSONResponse(status, 202)
        names = ("optimization_id", "model_id", "optimization_level", "status", "created_at", "completed_at")
        empty: dict[str, Any] = {"performance_metrics": {}, "recipes": [], "artifacts": [], "optimized_model_id": None}
        nothing = dict.fromkeys(("baseline", "optimized", "chosen_recipe", "accuracy", "environment", "pareto"))
        result = _told(optimization_id)[0] if status["status"] == "completed" else {}
        common = {name: status[name] for name in (*names, "error_message")}
        return JSONResponse({**empty, **nothing, **result, **common})

    async def _catalog(self, _: Request) -> Response:
        return JSONResponse(CATALOG)

    def _status(self, optimization_id: str) -> dict[str, Any]:
        state = self._jobs.states[optimization_id]
        result = _told(optimization_id)[0] if state == "completed" else {}
        return {
            "optimization_id": optimization_id, "status": state, "state": state, "model_id": _model(optimization_id),
            "progress": 100.0 if state == "completed" else 40.0,
            "performance_metrics": result.get("performance_metrics", {}),
            "error_message": ERROR["message"] if state == "failed" else None, "optimization_level": "divine",
            "optimized_model_id": result.get("optimized_model_id"), "created_at": AT, "started_at": AT,
            "current_step": "trying int8-dynamic" if state == "running" else None,
            "completed_at": None if state == "running" else AT,
        }  # fmt: skip

    def _with(self, answer: Any) -> Any:
        async def known(request: Request) -> Response:
            optimization_id = request.path_params["id"]
            if optimization_id not in IDS.values():
                return _refusal(404, f"no optimization {optimization_id!r}", "OPTIMIZATION_NOT_FOUND")
            found: Response = await answer(optimization_id)
            return found

        return known


def _model(optimization_id: str) -> str:
    return next(model for model, one in IDS.items() if one == optimization_id)


@functools.cache
def _told(optimization_id: str) -> tuple[Any, Any]:
    return told(optimization_id, _model(optimization_id), baseline_wins=optimization_id == "opt_baseline")


def _refusal(status: int, message: str, code: str) -> Response:
    return JSONResponse({"error": message, "code": code, "details": {"request_id": "r-1"}}, status)
