"""Checks the `params` of a verifier against its factory's signature, and lets a number follow a
schedule.

A mapping where the signature asks for a number is a schedule of such numbers; the judge is then
built anew for every step of it.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mmrl.errors import RewardError
from mmrl.registry import did_you_mean
from mmrl.schedule import Schedule

Factory = Callable[..., Any]


def typed(name: str, factory: Factory, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as the factory's annotations want them.

    Raises:
        RewardError: a parameter is unknown, missing, or does not fit.
    """
    known = inspect.signature(factory).parameters
    values = {}
    for key, value in params.items():
        if key not in known:
            raise RewardError(
                f"verifier {name!r} has no parameter {key!r}{did_you_mean(key, known)}; "
                f"it has: {', '.join(known) or 'none'}"
            )
        values[key] = _typed_value(name, factory, key, value)
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in values:
            raise RewardError(f"verifier {name!r} needs the parameter {key!r}")
    return values


def builder(name: str, factory: Factory, values: Mapping[str, Any]) -> Callable[[float], Any]:
    """Return `progress -> judge`; judges are built once, or once per step of the scheduled values.

    Raises:
        RewardError: the factory refuses the values with which the stage begins.
    """
    moving = {k: v for k, v in values.items() if _is_scheduled(name, factory, k, v)}

    @functools.cache
    def build(at: tuple[float, ...]) -> Any:
        now = {
            key: _typed_value(name, factory, key, value)
            for key, value in zip(moving, at, strict=True)
        }
        return _called(name, factory, {**values, **now})

    for index in range(max((len(schedule.values) for schedule in moving.values()), default=1)):
        build(tuple(s.values[min(index, len(s.values) - 1)] for s in moving.values()))
    if not moving:
        judge = build(())
        return lambda progress: judge
    return lambda progress: build(tuple(schedule.at(progress) for schedule in moving.values()))


def _typed_value(name: str, factory: Factory, key: str, value: Any) -> Any:
    adapter = _adapters(factory)[key]
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        schedule = _as_schedule(adapter, value)
        if schedule is not None:
            return schedule
        reason = "; ".join(dict.fromkeys(str(problem["msg"]) for problem in error.errors()[:2]))
        raise RewardError(
            f"verifier {name!r}, parameter {key!r}: {value!r} does not fit ({reason})"
        ) from error


def _as_schedule(adapter: TypeAdapter[Any], value: Any) -> Schedule | None:
    """Return a schedule, all of whose values would fit; None where the value is none."""
    if not isinstance(value, Mapping | Schedule):
        return None
    try:
        schedule = Schedule.of(value)
        for number in schedule.values:
            adapter.validate_python(number)
    except ValueError:
        return None
    return schedule


def _is_scheduled(name: str, factory: Factory, key: str, value: Any) -> bool:
    """Tell a schedule that the factory knows nothing of from one that it asks for."""
    if not isinstance(value, Schedule):
        return False
    try:
        return not isinstance(_adapters(factory)[key].validate_python(value), Schedule)
    except ValidationError:
        return True


@functools.cache
def _adapters(factory: Factory) -> dict[str, TypeAdapter[Any]]:
    hints = typing.get_type_hints(factory, include_extras=True)
    names = inspect.signature(factory).parameters
    return {name: TypeAdapter(hints.get(name, Any)) for name in names}


def _called(name: str, factory: Factory, values: Mapping[str, Any]) -> Any:
    try:
        return factory(**values)
    except (ValueError, TypeError) as error:
        raise RewardError(f"verifier {name!r}: {error}") from error
