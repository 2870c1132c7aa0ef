"""truthgpt.optimization.OptimizationService: models, optimizations, text, images, health (T-GRPC-01..09, 11)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from grpc.aio import ServicerContext

from control_plane.dialects.truthgpt import grpc_mapping as mapping
from control_plane.dialects.truthgpt.mapping import canonical_id, to_filter, to_loading
from control_plane.dialects.truthgpt.optimization_mapping import to_optimizing
from control_plane.domain.access import Role
from control_plane.domain.errors import (
    DomainError,
    EngineFailed,
    ModelNotFound,
    NotAuthenticated,
    NotPermitted,
    OptimizationNotFound,
    RateLimited,
    Unsupported,
)
from control_plane.domain.limits import LimitClass
from control_plane.edge.grpc.call import this_call
from control_plane.edge.grpc.errors import trailers_of
from control_plane.edge.grpc.server import Api
from control_plane.pb import optimization_pb2 as pb
from control_plane.pb import optimization_pb2_grpc as pb_grpc
from control_plane.services.registry import Services

SERVICE = pb.DESCRIPTOR.services_by_name["OptimizationService"].full_name
Context = ServicerContext[Any, Any]
_SEED_WORDS: dict[type[DomainError], str] = {
    ModelNotFound: "Model not found",
    OptimizationNotFound: "Optimization not found",
}


def truthgpt_api(services: Services) -> Api:
    """Roles as in the REST API: who reads, who infers, who manages (C-AUTH-06)."""
    manager = services.access.management_role
    roles = {
        "LoadModel": manager,
        "UnloadModel": manager,
        "ListModels": Role.VIEWER,
        "GetModel": Role.VIEWER,
        "OptimizeModel": manager,
        "GetOptimizationStatus": Role.VIEWER,
        "CancelOptimization": manager,
        "RunInference": Role.USER,
        "StreamInference": Role.USER,
        "BenchmarkModel": Role.USER,
        "HealthCheck": None,
    }
    limits = {
        "LoadModel": LimitClass.MODEL_MANAGEMENT,
        "UnloadModel": LimitClass.MODEL_MANAGEMENT,
        "ListModels": LimitClass.MODEL_READS,
        "GetModel": LimitClass.MODEL_READS,
        "OptimizeModel": LimitClass.OPTIMIZATION,
        "RunInference": LimitClass.INFERENCE,
        "StreamInference": LimitClass.INFERENCE,
        "BenchmarkModel": LimitClass.INFERENCE,
    }
    add = partial(pb_grpc.add_OptimizationServiceServicer_to_server, OptimizationServicer(services))
    return Api(SERVICE, roles, add, limits)


class OptimizationServicer(pb_grpc.OptimizationServiceServicer):
    """What fails is told in-band where the seed's message has a place for it, else as a status (D-15)."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def LoadModel(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:
        catalog, models = self._services.catalog, self._services.models
        try:
            wanted = to_loading(request.model_name, request.model_type, request.config)
            wanted.check_kind(catalog.resolve(wanted.reference).revision.description.kind)
            status = await models.load(wanted.reference, wanted.options, this_call().principal)
        except DomainError as error:
            return pb.LoadModelResponse(success=False, error_message=_told_in_band(error, context))
        record = catalog.get(status.revision.model).record
        return pb.LoadModelResponse(model_id=canonical_id(status, record), success=True)

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:
        try:
            await self._services.models.unload(request.model_id)
        except DomainError as error:
            return pb.UnloadModelResponse(success=False, error_message=_told_in_band(error, context))
        return pb.UnloadModelResponse(success=True)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        wanted = to_filter(request.model_type, request.status)
        return mapping.models_response(self._services.catalog.list(wanted, mapping.to_page(request)))

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        catalog = self._services.catalog
        try:
            status = catalog.resolve(request.model_id)
        except DomainError as error:
            return pb.GetModelResponse(success=False, error_message=_told_in_band(error, context))
        model = catalog.get(status.revision.model)
        return pb.GetModelResponse(model=mapping.model_info(model, status), success=True)

    async def OptimizeModel(self, request: pb.OptimizeModelRequest, context: Context) -> pb.OptimizeModelResponse:
        try:
            wanted = to_optimizing(request.model_id, request.optimization_level, request.parameters)
            job = await self._services.optimizations.submit(
                wanted.reference, wanted.options, wanted.ignored, this_call().principal
            )
        except DomainError as error:
            return pb.OptimizeModelResponse(success=False, error_message=_told_in_band(error, context))
        return pb.OptimizeModelResponse(optimization_id=job.id, success=True)

    async def GetOptimizationStatus(
        self, request: pb.GetOptimizationStatusRequest, context: Context
    ) -> pb.GetOptimizationStatusResponse:
        try:
            job = await self._services.optimizations.get(request.optimization_id)
        except OptimizationNotFound as error:
            return mapping.unknown_optimization(request.optimization_id, _told_in_band(error, context))
        return mapping.optimization_status(job)

    async def CancelOptimization(
        self, request: pb.CancelOptimizationRequest, context: Context
    ) -> pb.CancelOptimizationResponse:
        principal = this_call().principal
        assert principal is not None  # the method is not public
        try:
            await self._services.optimizations.cancel(request.optimization_id, principal)
        except DomainError as error:
            return pb.CancelOptimizationResponse(success=False, error_message=_told_in_band(error, context))
        return pb.CancelOptimizationResponse(success=True)

    async def RunInference(self, request: pb.InferenceRequest, context: Context) -> pb.InferenceResponse:
        call = this_call()
        found = self._services.catalog.resolve(request.model_id)
        if found.revision.draws_images:
            drawing = mapping.to_image_request(request, call.request_id, call.caller)
            return mapping.image_response(await self._services.drawings.draw(drawing, found))
        generation = mapping.to_generation(request, call.request_id, call.caller)
        return mapping.inference_response(await self._services.inference.generate(generation, found))

    async def StreamInference(
        self, request: pb.StreamInferenceRequest, context: Context
    ) -> AsyncGenerator[pb.InferenceToken, None]:
        items, rendered = self._inference(request)
        async with aclosing(items):
            async for item in items:
                token = rendered(item)
                yield token
                if token.is_final:
                    return
        raise EngineFailed("the model stopped before its last token")

    async def BenchmarkModel(self, request: pb.BenchmarkModelRequest, context: Context) -> pb.BenchmarkModelResponse:
        said = f"/{SERVICE}/BenchmarkModel is not in this version of the server"
        raise Unsupported(said, requires="a later version of the server")

    async def HealthCheck(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:
        return mapping.health_response(await self._services.health.report(), request.service, SERVICE)

    def _inference(
        self, request: pb.StreamInferenceRequest
    ) -> tuple[AsyncGenerator[Any, None], Callable[[Any], pb.InferenceToken]]:
        """What is asked for, as it comes, and how it is said."""
        call, found = this_call(), self._services.catalog.resolve(request.model_id)
        if found.revision.draws_images:
            drawing = mapping.to_image_request(request, call.request_id, call.caller)
            return self._services.drawings.stream(drawing, found), mapping.image_token
        generation = mapping.to_generation(request, call.request_id, call.caller)
        return self._services.inference.stream(generation, found), mapping.inference_token


def _told_in_band(error: DomainError, context: Context) -> str:
    """The text for the answer, its code in the trailers. Raises the error of one who may not ask, or not so often."""
    if isinstance(error, NotAuthenticated | NotPermitted | RateLimited):
        raise error
    this_call().visit.forgive(error)
    context.set_trailing_metadata(trailers_of(error, this_call().request_id))
    return _SEED_WORDS.get(type(error), error.message)
