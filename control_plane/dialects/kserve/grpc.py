"""inference.GRPCInferenceService, as Triton's own clients speak it: server, metadata and tensors (X-KS-06)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import Any

from control_plane.dialects.kserve import grpc_mapping as mapping
from control_plane.dialects.kserve.mapping import to_reference
from control_plane.domain.access import Role
from control_plane.domain.errors import ModelNotFound, Unsupported
from control_plane.domain.limits import LimitClass
from control_plane.edge.grpc.call import this_call
from control_plane.edge.grpc.server import Api
from control_plane.pb.inference import SERVICE, stubs
from control_plane.pb.inference import messages as pb
from control_plane.services.registry import Services

Refusal = Callable[[Any, Any, Any], Awaitable[Any]]


def kserve_api(services: Services) -> Api:
    """A method that is refused has the role of those it would concern: they read why, instead of "not permitted"."""
    manager = services.access.management_role
    roles = {
        "ServerLive": None,
        "ServerReady": None,
        "ServerMetadata": Role.VIEWER,
        "ModelReady": Role.VIEWER,
        "ModelMetadata": Role.VIEWER,
        "ModelInfer": Role.USER,
        "ModelStreamInfer": Role.USER,
        "ModelConfig": Role.VIEWER,
        "ModelStatistics": Role.VIEWER,
        "RepositoryIndex": Role.VIEWER,
        "RepositoryModelLoad": manager,
        "RepositoryModelUnload": manager,
        "SystemSharedMemoryStatus": Role.USER,
        "SystemSharedMemoryRegister": Role.USER,
        "SystemSharedMemoryUnregister": Role.USER,
        "CudaSharedMemoryStatus": Role.USER,
        "CudaSharedMemoryRegister": Role.USER,
        "CudaSharedMemoryUnregister": Role.USER,
        "TraceSetting": Role.ADMIN,
        "LogSettings": Role.ADMIN,
    }
    limits = {
        "ModelInfer": LimitClass.INFERENCE,
        "ModelStreamInfer": LimitClass.INFERENCE,
        "RepositoryModelLoad": LimitClass.MODEL_MANAGEMENT,
        "RepositoryModelUnload": LimitClass.MODEL_MANAGEMENT,
    }
    add = partial(stubs.add_GRPCInferenceServiceServicer_to_server, KserveServicer(services))
    return Api(SERVICE, roles, add, limits)


def _refused(why: str, requires: str = "a later version of the server") -> Refusal:
    async def refuse(servicer: object, request: object, context: object) -> Any:
        raise Unsupported(why, requires=requires)

    return refuse


class KserveServicer(stubs.GRPCInferenceServiceServicer):  # type: ignore[misc] # generated without types
    """Models have their public names here, and a model's version N is its revision N."""

    def __init__(self, services: Services) -> None:
        self._services, self._version = services, version("tritonplane")

    async def ServerLive(self, request: Any, context: object) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: object) -> Any:
        return pb.ServerReadyResponse(ready=self._services.health.readiness().is_ready)

    async def ServerMetadata(self, request: Any, context: object) -> Any:
        return pb.ServerMetadataResponse(name="tritonplane", version=self._version, extensions=["parameters"])

    async def ModelReady(self, request: Any, context: object) -> Any:
        """A model that nobody knows is not ready, which is no error: so Triton answers too."""
        try:
            status = self._services.catalog.resolve(to_reference(request.name, request.version or None))
        except ModelNotFound:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=status.state.serves)

    async def ModelMetadata(self, request: Any, context: object) -> Any:
        catalog = self._services.catalog
        revision = catalog.resolve(to_reference(request.name, request.version or None)).revision
        return mapping.metadata_response(revision, request.name, catalog.numbers(revision.model))

    async def ModelInfer(self, request: Any, context: object) -> Any:
        asked = mapping.to_tensor_request(request, this_call().request_id)
        return mapping.infer_response(await self._services.inference.infer(asked), request)

    ModelStreamInfer = _refused(
        "streams of tensors come with a later version of the server; ModelInfer takes one request"
    )
    ModelConfig = _refused("a model's configuration comes with a later version of the server; see ModelMetadata")
    ModelStatistics = _refused("statistics come with a later version of the server; see GET /models/{id}/metrics")
    RepositoryIndex = _refused("the index comes with a later version of the server; see GET /models")
    RepositoryModelLoad = _refused("loading comes with a later version of the server; see POST /models")
    RepositoryModelUnload = _refused("unloading comes with a later version of the server; see DELETE /models/{id}")
    TraceSetting = LogSettings = _refused(
        "Triton's trace and log settings are not changed from outside", "access to Triton itself"
    )
    SystemSharedMemoryStatus = SystemSharedMemoryRegister = SystemSharedMemoryUnregister = _refused(
        "shared memory is not offered: it would let a client name memory of the server; send the bytes", "raw tensors"
    )
    CudaSharedMemoryStatus = CudaSharedMemoryRegister = CudaSharedMemoryUnregister = SystemSharedMemoryStatus
