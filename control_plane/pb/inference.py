"""Triton's own gRPC API, `inference.GRPCInferenceService`: the messages and stubs that `tritonclient` carries.

Generated once more, they would clash with those in protobuf's one pool of names. So this is the dialects' one door to
`tritonclient` (ARCHITECTURE.md, decision 17).
"""

from __future__ import annotations

from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as stubs

SERVICE: str = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

__all__ = ["SERVICE", "messages", "stubs"]
