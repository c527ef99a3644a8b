"""What answers: requests in, answers out. An engine is a value with one function; it says of itself
everything that shapes an answer, so that the log can tell other answers from the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrl.config.schema import MediaConfig
from mmrl.errors import ConfigError
from mmrl.evals.benchmark import Decoding, Item, Space
from mmrl.types import Row, StopReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One sample of one item that has to be answered."""

    key: str
    task: str
    item: Item
    sample: int
    row: Row
    """The prompt, as training has it."""
    decoding: Decoding
    media: MediaConfig
    seed: int
    """Of this sample alone, so that it is the same whatever is asked beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came of a request: a text, or the reason why there is none."""

    text: str = ""
    stop: StopReason | None = None
    tokens: int | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    extraction: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """Something that answers."""

    name: str
    version: str
    weights: str
    """The fingerprint of what answers."""
    settings: Mapping[str, Any]
    """All else that shapes an answer."""
    answer: Callable[[Sequence[Request]], Iterator[tuple[Request, Answer]]]
    """Answers requests of one task, in any order, each as soon as it is there."""
    batch: int = 1
    """Requests that are handed over at once."""
    coordinates: Space | None = None
    """The space in which the model writes boxes."""
    needs_media: bool = True
    close: Callable[[], None] = lambda: None


def find_version(*packages: str) -> str:
    """Return the versions of installed packages, for the record."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError as error:
            raise ConfigError(f"engine: {package} is not installed") from error
    return ", ".join(found)
