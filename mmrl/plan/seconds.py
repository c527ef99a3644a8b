"""Predicts the seconds of a phase from its work, and says which limit binds.

Products take the longer of their operations and of the bytes that they move; kernels between them
take their bytes; both wait for whoever starts them, and what other devices send comes on top
(a roofline: Williams et al., 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmrl.plan.hardware import Device
from mmrl.plan.step import Step
from mmrl.plan.work import Work

Limit = Literal["FLOPs", "memory bandwidth", "kernel launches", "interconnect"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seconds:
    """What a phase takes, and each of its limits by itself."""

    total: float
    limits: dict[Limit, float]

    @property
    def binds(self) -> Limit:
        """The limit that takes longest."""
        return max(self.limits, key=lambda name: self.limits[name])


def seconds_of(work: Work, device: Device, step: Step) -> Seconds:
    """The seconds of a phase on the device."""
    operations = work.flops / device.flops(step.dtype)
    moved = work.product_bytes / device.bytes_per_second
    between = work.other_bytes / device.bytes_per_second
    starts = work.kernels * device.kernel_s
    link = device.link if step.nodes == 1 else device.network
    sent = work.link_bytes / link if work.link_bytes else 0.0
    busy = max(operations, moved) + between
    running = max(busy, starts) if device.asynchronous else busy + starts
    return Seconds(
        total=running + sent,
        limits={
            "FLOPs": operations,
            "memory bandwidth": between + (moved if moved > operations else 0.0),
            "kernel launches": starts,
            "interconnect": sent,
        },
    )
