"""Values that change with the progress of a stage, as V-Triune's dynamic IoU threshold does (arXiv
2505.18129).

`{0.0: 0.85, 0.10: 0.95, 0.25: 0.99}` is 0.85 up to and including a tenth of the stage, then 0.95
up to and including a quarter, then 0.99.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema


@dataclass(frozen=True, slots=True)
class Schedule:
    """A number, or numbers by share of the stage that is done; usable as the type of a pydantic
    field.

    >>> Schedule.of({0.0: 0.85, 0.10: 0.95}).at(0.10)
    0.85
    """

    starts: tuple[float, ...]
    """Ascending, the first one 0. A value holds after its start, up to and including the next
    one.
    """
    values: tuple[float, ...]
    constant: bool = False
    """Given as a plain number, and written back as one."""

    @classmethod
    def of(cls, given: Schedule | float | Mapping[Any, Any]) -> Schedule:
        """Read a number, a mapping from progress to number, or a schedule.

        Raises:
            ValueError: not numbers, not finite, or keys that are not in [0, 1) with the first one
                0.
        """
        if isinstance(given, Schedule):
            return given
        if not isinstance(given, Mapping):
            return cls(starts=(0.0,), values=(_number(given, "value"),), constant=True)
        points = sorted((_start(key), _number(value, "value")) for key, value in given.items())
        starts = tuple(start for start, _ in points)
        if not starts or starts[0] != 0.0:
            raise ValueError(f"a schedule starts at progress 0.0, got {dict(given)!r}")
        if len(set(starts)) < len(starts):
            raise ValueError(f"a schedule names each progress once, got {dict(given)!r}")
        return cls(starts=starts, values=tuple(value for _, value in points))

    def at(self, progress: float) -> float:
        """Return the value that holds when the share `progress` (0 to 1) of the stage is done."""
        return self.values[max(bisect_left(self.starts, progress) - 1, 0)]

    def given(self) -> float | dict[float, float]:
        """Return what the schedule was read from, for YAML."""
        return self.values[0] if self.constant else dict(zip(self.starts, self.values, strict=True))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate with `of`, serialise with `given`."""
        return core_schema.no_info_plain_validator_function(
            cls.of,
            serialization=core_schema.plain_serializer_function_ser_schema(cls.given),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the two spellings."""
        number = {"type": "number"}
        return {"anyOf": [number, {"type": "object", "additionalProperties": number}]}


def _start(key: Any) -> float:
    start = _number(float(key) if isinstance(key, str) else key, "progress")
    if not 0.0 <= start < 1.0:
        raise ValueError(f"progress {key!r} is not in [0, 1)")
    return start


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise ValueError(f"{what} {value!r} is not a finite number")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{what} is too large a number") from error
