"""From a benchmark's data to requests: items, their prompts as rows, and the keys under which the
answers are logged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.config.schema import MediaConfig
from mmrl.data.row_format import parse_row
from mmrl.errors import DataError
from mmrl.evals.benchmark import Benchmark, Decoding, Item, Split
from mmrl.evals.engine import Engine, Request
from mmrl.evals.log import sample_key
from mmrl.evals.records import media_folder, read_records
from mmrl.evals.settings import EvalSettings, TaskSettings
from mmrl.media.encoded import hash_medium
from mmrl.seeds import derive
from mmrl.types import Medium, Row

SHAPING = ("image_", "video_", "audio_")
"""How the keys of the media section begin that change what a model sees or hears."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """An item with its prompt."""

    item: Item
    row: Row | None
    """None where the record makes no prompt."""
    problem: str = ""
    """Why there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A benchmark that is being run."""

    benchmark: Benchmark
    split: Split
    source: str
    decoding: Decoding
    media: MediaConfig
    questions: tuple[Question, ...]


def load_task(benchmark: Benchmark, chosen: TaskSettings, settings: EvalSettings) -> Task:
    """Read a benchmark's items and make their prompts; no medium is decoded.

    Raises:
        DataError: the data cannot be read, hold no items, or an id twice.
        ConfigError: a media setting is out of its range.
    """
    split = benchmark.split(chosen.split)
    source = chosen.data or benchmark.hub
    if not source:
        raise DataError(f"{benchmark.name}: is not on the hub; give data=PATH")
    questions = tuple(read_questions(benchmark, source, split, limit=chosen.limit))
    if not questions:
        raise DataError(f"{benchmark.name}: {source} holds no items of {split.name!r}")
    return Task(
        benchmark=benchmark,
        split=split,
        source=source,
        decoding=settings.decoding(benchmark.decoding),
        media=settings.media(benchmark.media_settings),
        questions=questions,
    )


def read_questions(
    benchmark: Benchmark, source: str, split: Split, *, limit: int | None = None
) -> Iterator[Question]:
    """Yield the items of a source with their prompts.

    Raises:
        DataError: a record is none of the benchmark's, or an id comes twice.
    """
    path = Path(source)
    records = (benchmark.records or read_records)(path if path.exists() else source, split)
    folder = media_folder(source)
    seen: set[str] = set()
    for number, record in enumerate(records):
        if number == limit:
            return
        try:
            item = benchmark.item(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{source}: record {number + 1} is no item of {benchmark.name!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not item.id or item.id in seen:
            found = f"the id {item.id!r} twice" if item.id else "a record without an id"
            raise DataError(f"{source}: record {number + 1}: {benchmark.name!r} has {found}")
        seen.add(item.id)
        yield _question(benchmark, item, folder)


def as_question(benchmark: Benchmark, question: Question) -> dict[str, Any]:
    """Return what the run folder keeps of a question: no encoded media, but their hashes."""
    prompt = question.row.prompt if question.row is not None else ()
    return {
        "task": benchmark.name,
        "id": question.item.id,
        "answer": question.item.answer,
        "choices": list(question.item.choices),
        "groups": question.item.groups,
        "cluster": question.item.cluster,
        "fields": _plain(question.item.fields),
        "prompt": [
            {
                "role": message["role"],
                "content": [_plain_part(part) for part in message["content"]],
            }
            for message in prompt
        ],
    }


def request_for(
    task: Task, question: Question, sample: int, engine: Engine, settings: EvalSettings
) -> Request:
    """Return the request for one sample of a question.

    Raises:
        DataError: the record makes no prompt or a medium is not there, and the engine needs it.
    """
    row = question.row
    if row is None:
        if engine.needs_media:
            raise DataError(question.problem)
        row = Row(id=question.item.id, source=task.source, prompt=(), answer="", verifier=())
    seed = derive(settings.seed, task.benchmark.name, question.item.id, sample)
    key = sample_key(
        prompt=_prompt_text(row),
        media=[_media_hash(medium, needed=engine.needs_media) for medium in row.media],
        processing=processing(task, engine),
        sampling=sampling(task.decoding, settings),
        # an item is drawn for from its own seed, so equal prompts of two items differ
        drawn_for=question.item.id if task.decoding.temperature > 0 else None,
        sample=sample,
        weights=engine.weights,
        engine=engine.name,
        version=engine.version,
        replayed=[task.benchmark.name, question.item.id] if not engine.needs_media else None,
    )
    return Request(
        key=key,
        task=task.benchmark.name,
        item=question.item,
        sample=sample,
        row=row,
        decoding=task.decoding,
        media=task.media,
        seed=seed,
    )


def processing(task: Task, engine: Engine) -> dict[str, Any]:
    """Return the settings that media and prompts went through, for the key and the record."""
    media = task.media.model_dump(mode="json")
    # limits and caches decide whether a medium is decoded, not what it becomes
    shown = {key: value for key, value in media.items() if key.startswith(SHAPING)}
    return {"media": shown, "coordinates": engine.coordinates, **engine.settings}


def sampling(decoding: Decoding, settings: EvalSettings) -> dict[str, Any]:
    """Return how answers are drawn, for the key and the record."""
    found: dict[str, Any] = {
        "max_new_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
    }
    if decoding.temperature > 0:
        found |= {"top_p": decoding.top_p, "top_k": decoding.top_k, "seed": settings.seed}
    return found


def _question(benchmark: Benchmark, item: Item, folder: Path) -> Question:
    where = f"{benchmark.name}:{item.id}"
    try:
        raw = {
            "id": item.id,
            "source": benchmark.name,
            "prompt": list(benchmark.prompt(item, folder)),
            "answer": "",
            "verifier": "exact",
        }
        return Question(item=item, row=parse_row(raw, where=where, folder=folder))
    except DataError as error:
        return Question(item=item, row=None, problem=str(error))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Question(item=item, row=None, problem=f"{where}: {type(error).__name__}: {error}")


def _prompt_text(row: Row) -> list[Any]:
    return [
        [message["role"], [part.get("text", part["type"]) for part in message["content"]]]
        for message in row.prompt
    ]


def _media_hash(medium: Medium, *, needed: bool) -> str:
    try:
        return hash_medium(medium)
    except (OSError, DataError) as error:
        if needed:
            raise DataError(f"{medium.source}: cannot be read: {error}") from error
        return f"not there: {medium.source!s}"


def _plain_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return dict(part)
    source = part[part["type"]].source
    return {"type": part["type"], part["type"]: _plain(source)}


def _plain(value: Any) -> Any:
    """Return JSON of anything that a record may hold; bytes as their hash."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes | bytearray):
        return f"blake2b:{hashlib.blake2b(value, digest_size=16).hexdigest()}"
    return value if isinstance(value, str | int | float | bool | None) else str(value)
