"""Every gRPC method that is offered is ours: one of the generated classes would be taken for a fault of the server."""

from __future__ import annotations

import pytest
from grpc_health.v1 import health_pb2_grpc

from control_plane.dialects.kserve.grpc import KserveServicer
from control_plane.dialects.truthgpt.grpc import OptimizationServicer
from control_plane.edge.grpc.health import HealthServicer
from control_plane.pb import optimization_pb2_grpc
from control_plane.pb.inference import stubs


@pytest.mark.parametrize(
    ("ours", "generated"),
    [
        (OptimizationServicer, optimization_pb2_grpc.OptimizationServiceServicer),
        (KserveServicer, stubs.GRPCInferenceServiceServicer),
        (HealthServicer, health_pb2_grpc.HealthServicer),
    ],
)
def test_no_method_is_left_to_the_generated_class(ours: type, generated: type) -> None:
    methods = {name for name in vars(generated) if not name.startswith("_")}

    assert methods
    assert {name for name in methods if getattr(ours, name) is getattr(generated, name)} == set()
