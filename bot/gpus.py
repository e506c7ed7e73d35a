"""Memory and load of this machine's NVIDIA GPUs, for the metrics.

They are read through NVML (nvidia-ml-py, NVIDIA's own binding, BSD licence), which the extra `gpu` installs.
Without it, without a GPU or without a driver there is nothing to report, and nothing fails.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU at one moment."""

    number: int
    used_bytes: int
    total_bytes: int
    busy: float
    """Share of the last sample period in which the GPU was computing, 0 to 1."""


class Gpus:
    """Asks the driver, which is opened at the first question and stays open."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._is_there = find_spec("pynvml") is not None

    def read(self) -> list[Gpu]:
        """Every GPU; empty if there is none or the driver does not answer."""
        if not self._is_there:
            return []
        import pynvml  # noqa: PLC0415  (loads the driver's library)

        try:
            if self._nvml is None:
                pynvml.nvmlInit()
                self._nvml = pynvml
            return [self._look(number) for number in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            if self._nvml is None:
                self._is_there = False  # no driver here: not asked again
            else:
                log.warning("the GPU driver does not answer: %s", type(error).__name__)
            return []

    def _look(self, number: int) -> Gpu:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(number)
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        busy = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu
        return Gpu(number, memory.used, memory.total, busy / 100)
