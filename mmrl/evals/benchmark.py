"""What a benchmark is: records become items, items prompts, responses scores. One file in the
project's eval/ brings one benchmark and registers it.

A scorer is a pure function: no torch, no network, no clock, no chance. It is told a mode:
`official` follows the benchmark's own rules, their mistakes included; `strict` gives no credit for
what is not an answer. A response that cannot be scored stays in the denominator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmrl.errors import DataError
from mmrl.project import find_project, import_modules
from mmrl.registry import Registry
from mmrl.types import MediaKind, StopReason

Record = Mapping[str, Any]
"""One question as the benchmark's own files hold it. Media are paths, or `{"bytes": ..., "path":
...}` where they come from parquet or from the hub.
"""
Message = Mapping[str, Any]
"""A chat message of `mmrl.types.Row.prompt`."""
Status = Literal["ok", "no_answer", "ambiguous", "truncated", "error"]
Metric = Literal["accuracy", "mean", "mAP"]
Space = Literal["pixel", "norm1000", "unit"]

MODES = ("official", "strict")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question, without its media: all that a scorer needs."""

    id: str
    """Unique in the benchmark; ids that are numbers in some files are written as text."""
    answer: Any
    """The gold answer as the record has it."""
    choices: tuple[str, ...] = ()
    """The options' texts, without their letters; empty for free answers."""
    fields: Record = field(default_factory=dict)
    """The whole record."""
    groups: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """What results are broken down by: `{"task": "figure QA", "skill": ("algebraic", "logical")}`;
    an item with several values of a key counts under each.
    """
    cluster: str = ""
    """Items that share an image, a video or a seed are no independent draws: they share this name.
    Empty for an item that stands alone.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """What a model answered to one item."""

    text: str = ""
    stop: StopReason | None = None
    """How generation ended; None where nobody wrote it down."""
    extraction: str | None = None
    """An answer that somebody else extracted; the scorer's own extraction is skipped."""
    coordinates: Space | None = None
    """The space in which the model writes boxes, as its family declares it. Never found by trying;
    None means the pixels of the original image.
    """
    sizes: tuple[tuple[int, int], ...] = ()
    """Width and height of each image as the model saw it; empty where that is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The verdict on one response; `judged` and `unanswered` make them."""

    value: float
    """The credit, 0 to 1. What is not `ok` has 0 in strict mode; official rules may give credit to
    it all the same."""
    correct: bool | None
    """None where the benchmark knows only degrees."""
    answer: str | None
    """What was extracted from the response; None for nothing."""
    normalised: str | None
    """The answer in the form in which it was compared, which is also what a majority votes on; None
    for no vote."""
    how: str
    """Which rule found the answer: tag, boxed, cue, letter, text, number, whole, fallback,
    extraction, none, or the benchmark's own word."""
    status: Status
    detail: Any = None
    """JSON that the benchmark's `aggregate` reads, such as the boxes that were found; or the
    message of an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """An item with the verdict on one response to it."""

    item: Item
    score: Score


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A number that somebody published, to compare with."""

    model: str
    value: float
    """In the metric's own unit, percent for accuracies."""
    source: str
    setting: str = ""
    """Split, group, prompt or decoding that it belongs to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How a model answers where the command line does not say otherwise."""

    max_new_tokens: int = 2048
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Where one split of a benchmark lies on the Hugging Face hub, and in a copy of it on disk."""

    name: str
    """What users call it: `testmini`, `validation_L1`."""
    hub: str = ""
    """The hub's split; empty for the same name."""
    config: str | None = None
    """The hub's configuration (subset)."""
    files: tuple[str, ...] = ()
    """Names or glob patterns below a local folder, read in their order; empty for the usual ones:
    `<name>.jsonl`, `.json`, `.parquet`, and the hub's own `<config or data>/<hub>-*.parquet`.
    """
    count: int | None = None
    """Items of the released split, so that a partial copy is noticed."""


Records = Callable[[Path | str, Split], Iterator[Record]]
Aggregate = Callable[[Sequence[Scored]], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A benchmark: how its records become items and prompts, and how responses are scored."""

    name: str
    version: str
    """Of prompt and scorer together; changes whenever a verdict could."""
    hub: str
    """The data set's name on the Hugging Face hub; empty where it is not there."""
    splits: tuple[Split, ...]
    """The first one is the default."""
    item: Callable[[Record], Item]
    """Reads one record; tolerates keys that are missing where the scorer does not need them."""
    prompt: Callable[[Item, Path], Sequence[Message]]
    """The chat messages of an item, with media as a data file's rows have them: a path relative to
    the folder that is given, or `{"bytes": ..., "path": ...}`. `user_turn` makes them."""
    score: Callable[[Item, Response, str], Score]
    """Judges a response in one of `modes`. Raises nothing for whatever a model may write."""
    summary: str
    """One line: what it asks, and how it is scored."""
    metric: Metric = "accuracy"
    modes: tuple[str, ...] = MODES
    """What `score` can be told; both are printed, `official` first."""
    aggregate: Aggregate | None = None
    """From all scored items (one response each) to named numbers, the headline first, where that is
    not the mean of the values. The bootstrap draws clusters with replacement: an item may come more
    than once, and then each copy of its cluster has a `cluster` of its own. Group by `cluster`, and
    never by `id`.
    """
    groups: tuple[str, ...] = ()
    """Keys of `Item.groups` that tables are made for, in their order."""
    media: frozenset[MediaKind] = frozenset({"image"})
    decoding: Decoding = Decoding()
    media_settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `media:` (configuration) that the benchmark's own code sets, such as
    `video_max_frames`; the command line wins."""
    records: Records | None = None
    """Reads a local path or hub name, where `mmrl.evals.records.read_records` does not do."""
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader of the number must know: a judge replaced by rules, a subset, known defects."""

    def split(self, name: str | None = None) -> Split:
        """Return the split of that name, by default the first.

        Raises:
            DataError: there is none of that name.
        """
        for split in self.splits:
            if name is None or split.name == name:
                return split
        known = ", ".join(split.name for split in self.splits)
        raise DataError(f"benchmark {self.name!r} has no split {name!r}; it has: {known}")


def user_turn(*parts: str | tuple[MediaKind, Any]) -> list[Message]:
    """Return one user message of texts and media, in their order.

    >>> user_turn(("image", "images/1.jpg"), "Find x.")[0]["content"][0]
    {'type': 'image', 'image': 'images/1.jpg'}
    """
    content = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": part[0], part[0]: part[1]}
        for part in parts
    ]
    return [{"role": "user", "content": content}]


def judged(
    correct: bool,
    *,
    answer: str | None,
    normalised: str | None,
    how: str,
    value: float | None = None,
    detail: Any = None,
) -> Score:
    """Return the score of an answer that was found: right or wrong, with `value` for degrees."""
    return Score(
        value=float(correct) if value is None else value,
        correct=correct,
        answer=answer,
        normalised=normalised,
        how=how,
        status="ok",
        detail=detail,
    )


def unanswered(
    status: Status = "no_answer",
    *,
    answer: str | None = None,
    how: str = "none",
    detail: Any = None,
) -> Score:
    """Return the score of a response that holds no answer, or several: wrong, and counted."""
    return Score(
        value=0.0,
        correct=False,
        answer=answer,
        normalised=None,
        how=how,
        status=status,
        detail=detail,
    )


_BENCHMARKS: Registry[Benchmark] = Registry(kind="benchmark", error=DataError)


def register(benchmark: Benchmark) -> Benchmark:
    """Make a benchmark known by its name; called at the end of a file in eval/.

    Raises:
        DataError: a benchmark of another file has the name.
    """
    module = sys._getframe(1).f_globals
    file = Path(module.get("__file__") or f"<{module['__name__']}>")
    _BENCHMARKS.register(benchmark.name, benchmark, module=module["__name__"], file=file)
    return benchmark


def find_benchmark(name: str, project: Path | None = None) -> Benchmark:
    """Return the benchmark of that name from the project's eval/.

    Raises:
        DataError: there is none of that name.
    """
    import_modules(find_project(project), "eval")
    return _BENCHMARKS.get(name)


def describe_benchmarks(project: Path | None = None) -> list[Benchmark]:
    """Return all benchmarks of the project, by name."""
    import_modules(find_project(project), "eval")
    return [_BENCHMARKS.get(name) for name in _BENCHMARKS.names()]
