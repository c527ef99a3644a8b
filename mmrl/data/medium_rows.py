"""Rows made of the files of a folder, one file at a time.

A row function takes one file and gives its rows. What it does depends on the file's bytes, the seed
and its params alone, so that any number of threads, processes or machines make the same rows; they
come out in the order of the files' names.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mmrl.data.engines import Engine, map_items
from mmrl.data.folder import SourceFile, find_media, left_out
from mmrl.errors import ConfigError, DataError, UserError
from mmrl.media.encoded import hash_medium
from mmrl.project import VARIABLE
from mmrl.types import MediaKind, Medium

RowFunction = Callable[..., Iterable[Mapping[str, Any]]]

FOLDER_PARAMETERS: Mapping[str, tuple[Any, Any, str]] = {
    "in": (Path, ..., "The folder of media, which is read with the folders below it."),
    "heldout": (
        Annotated[float, Field(ge=0, lt=1)],
        0.0,
        "Share of the files, by their content, that only `split=heldout` is made of.",
    ),
    "workers": (
        Annotated[int | None, Field(ge=1, le=256)],
        None,
        "Files in work at a time; as many as there are cores if not given. Rows do not change.",
    ),
    "engine": (
        Engine,
        "local",
        "Where files are worked on: `local` in threads, `processes`, or `ray` on a Ray cluster "
        "whose machines share the folders. Rows do not change.",
    ),
    "allow_skips": (
        bool,
        False,
        "Go on without files that no row can be made of; they are named all the same.",
    ),
}
"""Parameters of every pipeline that reads a folder: type, default, description."""

_AHEAD = 4
"""Files per worker that may be done before the one that is waited for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What came of one file."""

    source: SourceFile
    digest: str
    """Hash of the file's bytes; empty where it could not be read."""
    rows: tuple[Mapping[str, Any], ...] = ()
    error: DataError | None = None
    """Why there are no rows."""


def make_rows(
    rows_of: RowFunction,
    source: SourceFile,
    folder: Path,
    *,
    seed: int,
    split: Literal["train", "heldout"] = "train",
    heldout: float = 0.0,
    values: Mapping[str, Any],
) -> Made:
    """Make the rows of one file; media are written below `folder`.

    Args:
        rows_of: The pipeline's row function.
        source: The file.
        folder: Where media are written.
        seed: The build's seed.
        split: Which files rows are made of; all where nothing is held out.
        heldout: Share of the files that are held out.
        values: The pipeline's own params, checked.
    """
    try:
        digest = hash_medium(Medium(kind=source.kind, source=source.path))
    except OSError as error:
        problem = left_out(source.path, f"it cannot be read ({error.strerror})")
        return Made(source=source, digest="", error=problem)
    if _is_held_out(digest, heldout) != (split == "heldout"):
        return Made(source=source, digest=digest)
    try:
        source = replace(source, digest=digest, key=_key(digest, values))
        rows = tuple(rows_of(source, folder, seed=seed, **values))
    except DataError as error:
        return Made(source=source, digest=digest, error=error)
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # a file that nobody thought of must not cost the others their rows
        reason = left_out(source.path, f"it cannot be used ({type(error).__name__}: {error})")
        return Made(source=source, digest=digest, error=reason)
    return Made(source=source, digest=digest, rows=rows)


def rows_from_folder(
    rows_of: RowFunction,
    kind: MediaKind,
    folder: Path,
    *,
    seed: int,
    split: Literal["train", "heldout"],
    params: Mapping[str, Any],
    on_file: Callable[[int, int], None] | None = None,
) -> Iterator[Mapping[str, Any] | DataError]:
    """Yield the rows of a folder of media, and a DataError for each thing that is left out.

    Args:
        rows_of: The pipeline's row function.
        kind: Which media it takes.
        folder: Where media are written.
        seed: The build's seed.
        split: Which files rows are made of.
        params: The pipeline's params, checked, those of FOLDER_PARAMETERS among them.
        on_file: Called with the number of files done and of all files after every file.

    Raises:
        ConfigError: the folder is not there, or nothing is held out.
        DataError: it holds nothing of the kind.
    """
    values = {key: value for key, value in params.items() if key not in FOLDER_PARAMETERS}
    heldout = params.get("heldout", 0.0)
    if split == "heldout" and not heldout:
        raise ConfigError("split=heldout: no file is held out; say how many with heldout=0.1")
    files, skipped = find_media(params["in"], kind)
    yield from skipped
    if not files:
        raise DataError(f"in: {params['in']}: there is no {kind} in it that could be used")
    first: dict[str, SourceFile] = {}
    given = {"seed": seed, "split": split, "heldout": heldout, "values": values}
    engine, workers = params.get("engine", "local"), params.get("workers")
    if engine == "local":
        make = functools.partial(make_rows, rows_of, folder=folder, **given)
        done = _in_order(make, files, workers or os.cpu_count() or 1)
    else:
        done = _elsewhere(rows_of.__name__, files, folder, engine, workers, given)
    for number, made in enumerate(done, start=1):
        twin = first.setdefault(made.digest, made.source) if made.digest else made.source
        if made.error is not None:
            yield made.error
        elif twin.path != made.source.path:
            yield left_out(made.source.path, f"its bytes are those of {twin.name}")
        else:
            yield from made.rows
        if on_file:
            on_file(number, len(files))


def make_item(
    item: Mapping[str, Any], *, pipeline: str, project: str | None, folder: str, **given: Any
) -> dict[str, Any]:
    """Make the rows of one file in another process, where what comes and goes is JSON and bytes.

    Args:
        item: `path` and `peers` as bytes, `name` and `kind`.
        pipeline: The name of the pipeline.
        project: The project that has it.
        folder: Where media are written.
        given: As for `make_rows`.
    """
    source = SourceFile(
        kind=item["kind"],
        path=Path(os.fsdecode(item["path"])),
        name=item["name"],
        peers=tuple(Path(os.fsdecode(path)) for path in item["peers"]),
    )
    made = make_rows(_row_function(pipeline, project), source, Path(folder), **given)
    error = None if made.error is None else str(made.error)
    return {"digest": made.digest, "rows": list(made.rows), "error": error}


@functools.cache
def _row_function(pipeline: str, project: str | None) -> RowFunction:
    from mmrl.data.pipelines import find_pipeline

    found = find_pipeline(pipeline, Path(project) if project else None).rows_of
    assert found is not None  # only pipelines with a row function come here
    return found


def _elsewhere(
    pipeline: str,
    files: Sequence[SourceFile],
    folder: Path,
    engine: Engine,
    workers: int | None,
    given: Mapping[str, Any],
) -> Iterator[Made]:
    """Make the rows of every file in other processes; they come in the order of the files."""
    items = (
        {
            "kind": source.kind,
            "path": os.fsencode(source.path.absolute()),
            "name": source.name,
            "peers": [os.fsencode(path.absolute()) for path in source.peers],
        }
        for source in files
    )
    make = functools.partial(
        make_item,
        pipeline=pipeline,
        project=os.environ.get(VARIABLE),
        folder=str(folder.absolute()),
        **given,
    )
    made = map_items(make, items, engine=engine, workers=workers)
    for source, found in zip(files, made, strict=True):
        error = None if found["error"] is None else DataError(found["error"])
        yield Made(source=source, digest=found["digest"], rows=tuple(found["rows"]), error=error)


def _is_held_out(digest: str, heldout: float) -> bool:
    return int(digest[:8], 16) < heldout * 2**32


def _key(digest: str, values: Mapping[str, Any]) -> str:
    canonical = json.dumps([digest, values], sort_keys=True, default=str)
    return hashlib.blake2b(canonical.encode(), digest_size=6).hexdigest()


def _in_order(
    make: Callable[[SourceFile], Made], files: Sequence[SourceFile], workers: int
) -> Iterator[Made]:
    """Call `make` for every file, some at a time, and yield in the order of the files.

    Threads are enough: decoders, encoders and NumPy let each other run.
    """
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for source in files:
                waiting.append(pool.submit(make, source))
                if len(waiting) >= workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
