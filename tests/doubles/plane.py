"""A tritonplane in miniature behind a real HTTP socket: it keeps models and keys, and misbehaves when a test asks.

A prompt that begins with `!` names the misbehaviour; see `_tokens`. `seen` holds every request as it came in,
`said` the JSON of every answer.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.doubles import plane_images
from tests.doubles.plane_exports import MiniatureExports
from tests.doubles.plane_jobs import MiniatureJobs
from tests.doubles.plane_optimizations import MiniatureOptimizations

KEY = "tpk_the-key-of-the-miniature"
AT = "2026-11-21T12:00:00.000Z"
ANSWER = ["def", " f", "(", "x", ")", ":\n", "    return", " x\u2028", "é"]


@dataclass
class Seen:
    """One request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Miniature:
    """The server's state, for a test to look at and to prepare. `refusals` are answered first, one a request."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    refusals: list[Response] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=lambda: {"coder": "loaded", "adder": "unloaded"})
    kinds: dict[str, str] = field(default_factory=dict)  # of models that are no transformers
    keys: list[dict[str, Any]] = field(default_factory=list)
    stream_left: threading.Event = field(default_factory=threading.Event)
    jobs: MiniatureJobs = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = MiniatureJobs(self.stream_left)

    def reset(self) -> None:
        """As new, at the same address."""
        jobs = self.jobs  # whose routes are in use
        vars(self).update(vars(Miniature(url=self.url)))
        vars(jobs).update(vars(self.jobs))
        self.jobs = jobs

    def app(self) -> Starlette:
        routes = [
            Route("/v1/health", self._health),
            Route("/v1/models", self._list_models),
            Route("/v1/models", self._load, methods=["POST"]),
            Route("/v1/models/{name}", self._get_model),
            Route("/v1/models/{name}", self._unload, methods=["DELETE"]),
            Route("/v1/models/{name}/import", self._import, methods=["POST"]),
            Route("/v1/models/{name}/metrics", self._metrics),
            Route("/native/v1/models/{name}/revisions", self._revisions),
            Route("/native/v1/models/{name}/revisions", self._submit_import, methods=["POST"]),
            Route("/v1/inference", self._generate, methods=["POST"]),
            Route("/v1/inference/stream", self._stream, methods=["POST"]),
            Route("/v2/models/{name}/infer", self._infer, methods=["POST"]),
            Route("/auth/keys", self._list_keys),
            Route("/auth/keys", self._create_key, methods=["POST"]),
            Route("/auth/keys/{id}", self._delete_key, methods=["DELETE"]),
            Route("/auth/token", self._token, methods=["POST"]),
            Route("/auth/me", self._me),
            *self.jobs.routes(),
            *MiniatureExports().routes(),
            *MiniatureOptimizations(self.jobs).routes(),
        ]
        return Starlette(routes=[Route(r.path, self._recorded(r.endpoint), methods=list(r.methods)) for r in routes])

    def _recorded(self, endpoint: Any) -> Any:
        async def recorded(request: Request) -> Response:
            body = await request.body()
            self.seen.append(
                Seen(request.method, request.scope["path"], dict(request.query_params), dict(request.headers), body)
            )
            if self.refusals:
                return self.refusals.pop(0)
            if request.url.path != "/v1/health" and request.headers.get("x-api-key") != KEY:
                return refusal(401, "no credential", "UNAUTHORIZED", request.url.path)
            answer: Response = await endpoint(request)
            if isinstance(answer, JSONResponse):
                self.said.append(json.loads(bytes(answer.body)))
            return answer

        return recorded

    async def _health(self, _: Request) -> Response:
        services = {"triton": "healthy", "grpc": "healthy"}
        return JSONResponse({"status": "healthy", "service": "llmgine-api", "uptime": 1.5, "services": services})

    async def _list_models(self, request: Request) -> Response:
        skip, limit = int(request.query_params["skip"]), int(request.query_params["limit"])
        return JSONResponse([self._info(name) for name in list(self.models)[skip : skip + limit]])

    async def _get_model(self, request: Request) -> Response:
        return self._known(request.path_params["name"]) or JSONResponse(self._info(request.path_params["name"]))

    async def _load(self, request: Request) -> Response:
        wanted = await request.json()
        missing = self._known(wanted["model_name"])
        if missing is not None:
            return missing
        self.models[wanted["model_name"]] = "loaded"
        model_id = wanted["model_name"] + (":2" if "instance_count" in wanted["config"] else "")
        return JSONResponse({"model_id": model_id, "success": True, "error_message": None})

    async def _unload(self, request: Request) -> Response:
        name = request.path_params["name"]
        missing = self._known(name)
        if missing is not None:
            return missing
        if request.query_params.get("purge") == "true":
            del self.models[name]
        else:
            self.models[name] = "unloaded"
        return JSONResponse({"success": True})

    async def _import(self, request: Request) -> Response:
        name = request.path_params["name"]
        size = len(await request.body())
        self.models[name] = "unloaded"
        reply = {"model_id": name, "success": True, "format": "onnx", "size_bytes": size, "sha256": "ab" * 32}
        return JSONResponse({**reply, "error_message": None})

    async def _submit_import(self, request: Request) -> Response:
        """A model named `bad` cannot be imported."""
        name = request.path_params["name"]
        await request.body()
        self.models[name] = "unloaded"
        return JSONResponse({"job_id": "job_bad" if name == "bad" else "job_1"}, 202)

    async def _revisions(self, request: Request) -> Response:
        name = request.path_params["name"]
        revision = {
            "revision": 1, "state": "loaded", "health": {"status": "HEALTHY", "since": AT, "reason": None},
            "source": "shipped", "digest": "sha256:" + "cd" * 32, "backend": "text_generation", "precision": "int8",
            "labels": {}, "size_bytes": 9_400_000, "memory_bytes": None, "created_at": AT,
            "created_by": "tritonplane", "evidence": False,
        }  # fmt: skip
        if name not in self.models:
            return refusal(404, f"no model named {name!r}", "MODEL_NOT_FOUND", request.url.path)
        return JSONResponse({"model": name, "aliases": {"stable": 1}, "revisions": [revision]})

    async def _metrics(self, request: Request) -> Response:
        name, query = request.path_params["name"], request.query_params
        times = {f"{which}_inference_time": 0.0123 for which in ("avg", "p50", "p95", "p99")}
        counts = {"inference_count": 4, "success_count": 3, "error_count": 1, "tokens_generated": 90}
        unknown = dict.fromkeys(("avg_queue_time", "cache_hit_rate", "memory_usage_bytes"))
        rates = {"success_rate": 0.75, "error_rate": 0.25, "tokens_per_second": 45.04, "gpu_utilization": 0.0}
        reply = {"model_id": name, "start_time": query.get("start_time", AT), "end_time": query.get("end_time", AT)}
        reasons = dict.fromkeys([*unknown, "triton"], "not measured here")
        reply |= {"metrics": {**counts, **times, **rates, **unknown}, "triton": None, "reasons": reasons}
        return self._known(name) or JSONResponse(reply)

    async def _generate(self, request: Request) -> Response:
        asked = await request.json()
        missing = self._known(asked["model_id"])
        if missing is not None:
            return missing
        if asked["model_id"] in self.kinds:
            return JSONResponse(plane_images.reply(asked["model_id"], asked["input_data"]))
        tokens = ANSWER[: asked["input_data"].get("max_length", 100)]
        output = {"text": "".join(tokens), "tokens": tokens, "probabilities": [0.5] * len(tokens)}
        reply = {"model_id": asked["model_id"], "output": {**output, "finish_reason": "stop"}, "created_at": AT}
        return JSONResponse({**reply, "inference_time": 0.5, "tokens_per_second": len(tokens) / 0.5})

    async def _stream(self, request: Request) -> Response:
        asked = await request.json()
        missing = self._known(asked["model_id"])
        if missing is not None:
            return missing
        draws = asked["model_id"] in self.kinds
        frames = (plane_images.frames if draws else self._tokens)(asked["input_data"])
        return StreamingResponse(frames, media_type="text/event-stream")

    async def _tokens(self, asked: dict[str, Any]) -> AsyncIterator[bytes]:
        """`!fail` sends an error frame after two tokens, `!cut` drops the connection, `!end` ends without [DONE],
        `!endless` goes on until the client leaves."""
        prompt, tokens = asked["text"], ANSWER[: asked.get("max_length", 100)]
        try:
            for index, text in enumerate(tokens):
                last = {"is_final": True, "finish_reason": "stop"} if index == len(tokens) - 1 else {}
                frame = json.dumps({"token": text, "index": index, **last}, ensure_ascii=False).encode()
                # Cut in the middle of a line, and of a character: the network may do so too.
                yield b"data: " + frame[: len(frame) // 2]
                await asyncio.sleep(0.001)
                yield frame[len(frame) // 2 :] + b"\n\n"
                if index == 1 and prompt == "!fail":
                    error = {"error": "Triton executed and failed", "code": "PROCESSING_FAILED", "details": {"at": 2}}
                    yield f"data: {json.dumps(error)}\n\ndata: [DONE]\n\n".encode()
                    return
                if index == 1 and prompt == "!cut":
                    raise ConnectionResetError("cut on purpose")
                if index == 1 and prompt == "!end":
                    return
                while index == 1 and prompt == "!endless":
                    yield b": still here\n\n"
                    await asyncio.sleep(0.01)
            yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.stream_left.set()
            raise

    async def _infer(self, request: Request) -> Response:
        asked = await request.json()
        if request.path_params["name"] not in self.models:
            return JSONResponse({"error": "Request for unknown model"}, 404, headers={"X-Request-ID": "r-2"})
        outputs = [{**tensor, "name": tensor["name"].replace("in", "out")} for tensor in asked["inputs"]]
        return JSONResponse({"model_name": request.path_params["name"], "model_version": "1", "outputs": outputs})

    async def _list_keys(self, _: Request) -> Response:
        return JSONResponse([{name: key[name] for name in key if name != "api_key"} for key in self.keys])

    async def _create_key(self, request: Request) -> Response:
        wanted = await request.json()
        key = {"key_id": f"key_{len(self.keys) + 1}", "api_key": "tpk_new", "rate_limit_policy": None} | wanted
        self.keys.append({**key, "created_at": AT})
        return JSONResponse(self.keys[-1], 201)

    async def _delete_key(self, request: Request) -> Response:
        left = [key for key in self.keys if key["key_id"] != request.path_params["id"]]
        if len(left) == len(self.keys):
            return refusal(404, "no API key with that id", "NOT_FOUND", request.url.path)
        self.keys = left
        return Response(status_code=204)

    async def _token(self, request: Request) -> Response:
        wanted = json.loads(await request.body() or b"{}")
        seconds, role = wanted.get("expires_in", 3600), wanted.get("role", "admin")
        reply = {"access_token": "aaa.bbb.ccc", "token_type": "bearer", "expires_in": seconds, "role": role}
        return JSONResponse(reply)

    async def _me(self, _: Request) -> Response:
        return JSONResponse({"sub": "key_1", "role": "admin", "rate_limit_policy": None})

    def _info(self, name: str) -> dict[str, Any]:
        kind = self.kinds.get(name, "transformer")
        return {
            "model_id": name, "name": name, "type": kind, "parameters": 8_650_000, "size_bytes": 9_400_000,
            "device": "cpu", "dtype": "int8", "status": self.models[name], "state": self.models[name], "version": 1,
            "backend": "text_generation", "created_at": AT, "updated_at": AT, "last_error": None,
            "memory_bytes": None,
        }  # fmt: skip

    def _known(self, reference: str) -> Response | None:
        """None where the model is known, else the refusal."""
        name = reference.partition(":")[0]
        if name in self.models:
            return None
        details = {"available_models": list(self.models), "suggestion": "coder"}
        return refusal(404, f"no model named {name!r}", "MODEL_NOT_FOUND", "/v1/models", details)


def refusal(
    status: int, message: str, code: str, path: str = "/v1", details: dict[str, Any] | None = None, **headers: str
) -> Response:
    """An error in the envelope of its path: a string under /v1, an object under /auth and /native."""
    details = {**(details or {}), "request_id": "r-1", "timestamp": AT}
    if path.startswith("/v1"):
        body: dict[str, Any] = {"error": message, "code": code, "details": details}
    else:
        body = {"error": {"code": code, "message": message, "details": details, "request_id": "r-1"}}
    return JSONResponse(body, status, headers={name.replace("_", "-"): value for name, value in headers.items()})


@contextmanager
def running_miniature() -> Iterator[Miniature]:
    """A miniature on a free port of the loopback, in a thread of its own."""
    miniature = Miniature()
    config = uvicorn.Config(miniature.app(), port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    started = threading.Event()
    thread = threading.Thread(target=_serve, args=(server, started), daemon=True)
    thread.start()
    assert started.wait(10), "the miniature did not start"
    miniature.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield miniature
    finally:
        server.should_exit = True
        thread.join(10)


def _serve(server: uvicorn.Server, started: threading.Event) -> None:
    async def serve() -> None:
        startup = server.startup

        async def announced(sockets: Any = None) -> None:
            await startup(sockets)
            started.set()

        server.startup = announced  # type: ignore[method-assign]
        await server.serve()

    asyncio.run(serve())
