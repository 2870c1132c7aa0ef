"""How busy the GPUs of this machine are, asked of NVIDIA's management library (NVML) that comes with the driver."""

from __future__ import annotations

import ctypes

from control_plane.domain.errors import Unsupported

LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0


class NoGpu:
    """A machine without a GPU: nothing of it is ever busy."""

    def utilization_percent(self) -> float:
        return 0.0


class _Utilization(ctypes.Structure):
    """Source: nvml.h, nvmlUtilization_t. Units: percent of the last sample period."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class NvidiaGpu:
    """The library is opened when it is first asked: not every image that has the driver has it."""

    def __init__(self, library: str = LIBRARY) -> None:
        self._name = library
        self._library: ctypes.CDLL | None = None

    def utilization_percent(self) -> float:
        library = self._opened()
        count = ctypes.c_uint()
        _check(library.nvmlDeviceGetCount_v2(ctypes.byref(count)))
        if not count.value:
            return 0.0
        return sum(_percent(library, index) for index in range(count.value)) / count.value

    def _opened(self) -> ctypes.CDLL:
        if self._library is None:
            try:
                library = ctypes.CDLL(self._name)
            except OSError as error:
                raise Unsupported(f"the driver's library {self._name} is not here", requires=["nvml"]) from error
            _check(library.nvmlInit_v2())
            self._library = library
        return self._library


def _percent(library: ctypes.CDLL, index: int) -> int:
    device, used = ctypes.c_void_p(), _Utilization()
    _check(library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)))
    _check(library.nvmlDeviceGetUtilizationRates(device, ctypes.byref(used)))
    return int(used.gpu)


def _check(status: int) -> None:
    if status != _SUCCESS:
        raise Unsupported(f"the driver's library refuses with status {status}", requires=["nvml"])
