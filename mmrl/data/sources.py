"""The rows of a data source: read from a file, or built by a pipeline in the run folder.

A build appears under its name only when it is complete: it is made in a folder whose name ends in
`.building`, flushed to disk and renamed. What a killed build leaves behind is removed by the next
one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mmrl.data.pipelines import Split, check_params, find_pipeline
from mmrl.data.rows import load_rows, parse_rows
from mmrl.data.writing import write_rows
from mmrl.durable import sync
from mmrl.errors import DataError
from mmrl.types import Row

if TYPE_CHECKING:
    from mmrl.config.schema import DataSource

ROWS_FILE = "rows.jsonl"
MANIFEST_FILE = "manifest.json"


def load_source(
    source: DataSource,
    *,
    folder: Path,
    seed: int,
    split: Split = "train",
    project: Path | None = None,
) -> list[Row]:
    """Return the rows of a source; a pipeline is run unless `folder` holds the same build already.

    Args:
        source: A rows file, or a pipeline with its params.
        folder: Where pipelines are built.
        seed: The pipeline's seed.
        split: The pipeline's split.
        project: Where data_pipelines/ is looked for; see mmrl/project.py.

    Raises:
        DataError: one line per row that cannot be used.
        ConfigError: the pipeline or its parameters are wrong.
    """
    if source.path is not None:
        return load_rows(source.path, limit=source.limit)
    assert source.pipeline is not None  # the schema sees to it
    built = build_source(
        source.pipeline, source.params, folder=folder, seed=seed, split=split, project=project
    )
    return load_rows(built / ROWS_FILE, limit=source.limit)


def build_source(
    name: str,
    params: Mapping[str, Any],
    *,
    folder: Path,
    seed: int,
    split: Split = "train",
    project: Path | None = None,
) -> Path:
    """Build a pipeline's rows and media into a folder of their own below `folder`, or find them
    there.

    Raises:
        DataError: the pipeline makes rows that cannot be used, or its folder holds something else.
        ConfigError: the pipeline or its parameters are wrong.
    """
    check_params(name, params, project)
    wanted = {"pipeline": name, "params": dict(params), "seed": seed, "split": split}
    canonical = json.dumps(wanted, sort_keys=True, default=str)
    target = folder / f"{name}-{hashlib.blake2b(canonical.encode(), digest_size=6).hexdigest()}"
    folder.mkdir(parents=True, exist_ok=True)
    # One process at a time builds; the others wait here and then find the build.
    with FileLock(folder / ".lock"):
        for leftover in folder.glob(".*.building"):
            shutil.rmtree(leftover)
        if target.exists():
            _check_manifest(target, json.loads(canonical))
        else:
            build_into(target, name, params, seed=seed, split=split, project=project)
    return target


def build_into(
    target: Path,
    name: str,
    params: Mapping[str, Any],
    *,
    seed: int,
    split: Split = "train",
    project: Path | None = None,
    on_skip: Callable[[DataError], None] | None = None,
    on_file: Callable[[int, int], None] | None = None,
) -> None:
    """Run a pipeline; its rows, media and manifest appear as the folder `target` when all are
    written.

    Args:
        target: The folder.
        name: The pipeline.
        params: Its params, as the user wrote them.
        seed: The pipeline's seed.
        split: The pipeline's split.
        project: Where data_pipelines/ is looked for.
        on_skip: Called with the reason for each file that no row can be made of. Without it they
            are mistakes, unless the params allow them; then they are printed.
        on_file: Called with the number of files done and of all files, where a folder is read.

    Raises:
        DataError: the pipeline makes rows that cannot be used.
        ConfigError: the pipeline or its parameters are wrong.
    """
    values = check_params(name, params, project)
    found = find_pipeline(name, project)
    if values.get("allow_skips") and found.kind and on_skip is None:
        on_skip = _print_skip
    if found.kind:
        values["on_file"] = on_file
    unfinished = target.with_name(f".{target.name}.building")
    try:
        unfinished.mkdir(parents=True)
    except FileExistsError as error:
        problem = "a build is going on here, or one was killed; wait for it, or remove the folder"
        raise DataError(f"{unfinished}: {problem}") from error
    try:
        raws = found.build(unfinished, seed=seed, split=split, **values)
        numbered = (
            (f"pipeline {name}, row {number}", raw)
            for number, raw in enumerate(_without_skips(raws, on_skip), start=1)
        )
        rows = parse_rows(numbered, folder=unfinished, name=f"pipeline {name}")
        write_rows(rows, unfinished / ROWS_FILE)
        manifest = {"pipeline": name, "params": dict(params), "seed": seed, "split": split}
        manifest |= {"rows": len(rows), "rows_hash": _hash(unfinished / ROWS_FILE)}
        text = json.dumps(manifest, indent=2, sort_keys=True, default=str)
        (unfinished / MANIFEST_FILE).write_text(f"{text}\n", encoding="utf-8")
        _flush(unfinished)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _without_skips(
    raws: Iterable[Any], on_skip: Callable[[DataError], None] | None
) -> Iterator[Any]:
    for raw in raws:
        if on_skip is not None and isinstance(raw, DataError):
            on_skip(raw)
        else:
            yield raw


def _print_skip(error: DataError) -> None:
    print(error, file=sys.stderr)


def _check_manifest(target: Path, wanted: Mapping[str, Any]) -> None:
    try:
        found = json.loads((target / MANIFEST_FILE).read_text(encoding="utf-8"))
        same = all(found[key] == value for key, value in wanted.items())
        same = same and found["rows_hash"] == _hash(target / ROWS_FILE)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise DataError(f"{target}: is not the build that its name promises; remove the folder")


def _hash(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _flush(folder: Path) -> None:
    """Write everything below the folder to disk, so that the rename cannot come first."""
    # Together, because file systems commit what waits at the same time in one go.
    with ThreadPoolExecutor(max_workers=32) as pool:
        list(pool.map(sync, folder.rglob("*")))
    sync(folder)
