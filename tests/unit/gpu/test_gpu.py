"""How busy the GPUs are, where there is none to ask."""

from __future__ import annotations

import pytest

from control_plane.domain.errors import Unsupported
from control_plane.gateways.gpu import NoGpu, NvidiaGpu


def test_without_a_gpu_nothing_of_it_is_busy() -> None:
    assert NoGpu().utilization_percent() == 0


def test_a_driver_without_its_library_says_what_is_missing() -> None:
    with pytest.raises(Unsupported, match=r"libnothing-of-nvidia\.so\.1 is not here") as refused:
        NvidiaGpu("libnothing-of-nvidia.so.1").utilization_percent()
    assert refused.value.details["requires"] == ["nvml"]
