"""Sends metrics to TensorBoard, Weights & Biases or Trackio, beside the run folder's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.config.dump import leaves, plain
from mmrl.config.schema import Run
from mmrl.errors import ConfigError

PROJECT = "mmrl"


class Trackers:
    """The trackers that any stage of a run asks for; each hears the metrics of the stages that
    do.
    """

    def __init__(self, run: Run, folder: Path, *, speaks: bool = True) -> None:
        """Start them; none in a process that only trains beside the one that speaks.

        Raises:
            ConfigError: the package of a tracker is not installed.
        """
        self._names = {
            name: stage.log.trackers if speaks else () for name, stage in run.stages.items()
        }
        wanted = sorted({tracker for names in self._names.values() for tracker in names})
        self._before = _steps_before(run)
        self._open = {tracker: _start(tracker, run, folder) for tracker in wanted}

    def log(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Send metrics under the step counted over all stages."""
        for tracker in self._names[stage]:
            self._open[tracker].log(dict(metrics), step=self._before[stage] + step)

    def close(self) -> None:
        """Let them write what they hold."""
        for tracker in self._open.values():
            tracker.finish()


def _steps_before(run: Run) -> dict[str, int]:
    before, steps = {}, 0
    for name, stage in run.stages.items():
        before[name] = steps
        steps += stage.steps
    return before


def _start(name: str, run: Run, folder: Path) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if name not in {available.value for available in get_available_trackers()}:
        raise ConfigError(
            f"log.trackers: {name} is not installed; pip install 'mmrl-toolkit[trackers]', "
            "or leave it out"
        )
    PartialState()
    tracker_class = LOGGER_TYPE_TO_CLASS[name]
    needs_folder = tracker_class.requires_logging_directory
    tracker = (
        tracker_class(run.name, logging_dir=str(folder / name))
        if needs_folder
        else tracker_class(PROJECT)
    )
    tracker.start()
    tracker.store_init_configuration(_flat(run))
    return tracker


def _flat(run: Run) -> dict[str, str | int | float | bool]:
    """The configuration as keys and plain values, which is what every tracker takes."""
    pairs: Sequence[tuple[tuple[str, ...], Any]] = list(leaves(plain(run)))
    return {
        ".".join(path): value if isinstance(value, str | int | float | bool) else str(value)
        for path, value in pairs
    }
