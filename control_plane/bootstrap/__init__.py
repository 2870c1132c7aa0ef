"""The composition root: settings become gateways, gateways become services. Nothing else names a gateway."""

from __future__ import annotations

from control_plane.bootstrap.making import has_gpu
from control_plane.bootstrap.product import Product, open_product
from control_plane.bootstrap.tools import diagnose, set_up_converter, set_up_perf_analyzer

__all__ = ["Product", "diagnose", "has_gpu", "open_product", "set_up_converter", "set_up_perf_analyzer"]
