"""What GPUs do at their best, from their data sheets, and how much of it training gets out of them.

NVIDIA's data sheets of H100 SXM, H200 SXM and A100 80GB SXM; floating-point rates are those without
sparsity. A CPU is measured where the plan is made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mmrl.errors import RunError

GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """What computes: rates a second, and memory."""

    name: str
    bfloat16_flops: float
    float32_flops: float
    """Of torch's default, which does not round to TF32."""
    bandwidth: float
    """Bytes between memory and cores."""
    memory: float
    """Bytes that a process can have."""
    link: float
    """Bytes that one device sends to the others of its node; 0 where it stands alone."""
    flops_share: float
    """Of the rate above that large products of matrices reach."""
    bandwidth_share: float
    kernel_s: float
    """To start one operation from Python."""
    asynchronous: bool
    """Operations run while the next ones are started."""
    network: float = 50e9
    """Bytes that one device sends to other nodes: an adapter of 400 Gbit/s for each."""
    context: float = 0.0
    """Bytes that are gone before anything is loaded."""

    def flops(self, dtype: str) -> float:
        """Floating-point operations a second that large products of matrices reach."""
        rate = self.bfloat16_flops if dtype == "bfloat16" else self.float32_flops
        return rate * self.flops_share

    @property
    def bytes_per_second(self) -> float:
        """Bytes a second that streaming kernels reach."""
        return self.bandwidth * self.bandwidth_share


def _gpu(
    name: str, *, bfloat16: float, float32: float, bandwidth: float, memory: float, link: float
) -> Device:
    return Device(
        name=name,
        bfloat16_flops=bfloat16,
        float32_flops=float32,
        bandwidth=bandwidth,
        memory=memory * GIB,
        link=link,
        flops_share=0.65,
        bandwidth_share=0.85,
        kernel_s=8e-6,
        asynchronous=True,
        context=0.7 * GIB,
    )


GPUS: Mapping[str, Device] = MappingProxyType(
    {
        "h100": _gpu(
            "H100 SXM",
            bfloat16=989e12,
            float32=67e12,
            bandwidth=3.35e12,
            memory=79,
            link=450e9,
        ),
        "h200": _gpu(
            "H200 SXM",
            bfloat16=989e12,
            float32=67e12,
            bandwidth=4.8e12,
            memory=139,
            link=450e9,
        ),
        "a100": _gpu(
            "A100 80GB SXM",
            bfloat16=312e12,
            float32=19.5e12,
            bandwidth=2.04e12,
            memory=79,
            link=300e9,
        ),
    }
)

_MEASURE = """
import time
import numpy as np
a = np.ones((768, 768), np.float32)
b = np.empty_like(a)
def best(run, times):
    took = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return min(took)
product = best(lambda: np.matmul(a, a, out=b), 7)
x = np.ones(2**24, np.float32)
y = np.empty_like(x)
copy = best(lambda: np.copyto(y, x), 5)
print(2 * 768**3 / product, 2 * x.nbytes / copy)
"""


def measure_cpu(threads: int | None) -> Device:
    """The CPU of this machine: the best of several products of matrices, and of several copies, in
    float32, by so many threads.

    Raises:
        RunError: the measurement failed.
    """
    count = str(threads or os.cpu_count() or 1)
    keys = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    # the number of threads of a BLAS library is decided when it is loaded
    found = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        env=os.environ | dict.fromkeys(keys, count),
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunError(f"--gpu cpu: could not be measured: {reason}; name a GPU instead")
    flops, bandwidth = map(float, found.stdout.split())
    return Device(
        name=f"this CPU, threads: {count}",
        bfloat16_flops=flops,
        float32_flops=flops,
        bandwidth=bandwidth,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        link=0.0,
        flops_share=1.0,
        bandwidth_share=1.0,
        kernel_s=4e-6,
        asynchronous=False,
    )
