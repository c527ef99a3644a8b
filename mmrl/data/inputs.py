"""Where records to convert come from: a file, a folder of files, a saved data set, or the hub.

Records are read one at a time, those of the hub as they arrive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.data.folder import walk_files
from mmrl.data.records import Numbered, count_records, read_records
from mmrl.data.rows import records_of_dataset
from mmrl.errors import ConfigError, DataError

HUB = "hub:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One stream of records."""

    name: str
    """The file's name without its suffix, or that of the data set."""
    folder: Path
    """Where relative media paths start."""
    records: Numbered
    count: int | None = None
    """About how many there are, where that is known."""


def open_inputs(
    given: str,
    suffixes: Sequence[str],
    *,
    media: Path | None = None,
    split: str = "train",
    encoding: str | None = None,
    delimiter: str = "",
) -> Iterator[Input | DataError]:
    """Yield the streams of records that an argument names, and an error for each file that is left
    out.

    Args:
        given: A file, a folder, or `hub:owner/name` or `hub:owner/name:config`.
        suffixes: The kinds of files that are taken from a folder.
        media: Where relative media paths start; the file's folder if not given.
        split: Of a saved data set or the hub's.
        encoding: Of tables.
        delimiter: Of tables.

    Raises:
        DataError: there is nothing there.
    """
    if given.startswith(HUB):
        yield _from_hub(given.removeprefix(HUB), split, media)
        return
    path = Path(given)
    if not path.exists():
        raise DataError(f"in: {given}: there is no such file or folder")
    if path.is_dir() and any((path / name).is_file() for name in _SAVED):
        yield _saved(path, split, media)
        return
    files: list[Path] = [path]
    if path.is_dir():
        skipped: list[DataError] = []
        found = list(walk_files(path, skipped))
        yield from skipped
        files = [file for file in found if file.suffix in suffixes]
        if not files:
            raise DataError(f"in: {given}: there is no {' or '.join(suffixes)} file in it")
    for file in files:
        try:
            records = read_records(file, encoding=encoding, delimiter=delimiter)
        except DataError as error:
            if len(files) == 1:
                raise
            yield error
            continue
        if len(files) > 1:
            records = _with_its_end(records, file)
        folder = media or file.parent
        yield Input(name=file.stem, folder=folder, records=records, count=count_records(file))


def _with_its_end(records: Numbered, file: Path) -> Numbered:
    """Yield what ends a file as its last record, so that the files after it are read."""
    try:
        yield from records
    except DataError as error:
        yield str(file), error


_SAVED = ("dataset_info.json", "dataset_dict.json")


def _saved(path: Path, split: str, media: Path | None) -> Input:
    import datasets

    loaded: Any = datasets.load_from_disk(str(path))
    if isinstance(loaded, datasets.DatasetDict):
        if split not in loaded:
            raise ConfigError(f"split: {path} has {', '.join(map(str, loaded))}, not {split!r}")
        loaded = loaded[split]
    records = records_of_dataset(loaded, path.name)
    return Input(name=path.name, folder=media or path.parent, records=records)


def _from_hub(name: str, split: str, media: Path | None) -> Input:
    import datasets

    repository, _, config = name.partition(":")
    try:
        loaded: Any = datasets.load_dataset(repository, config or None, split=split, streaming=True)
    except Exception as error:  # the hub's client raises from every layer below it
        reason = str(error).strip().split("\n", 1)[0]
        raise DataError(f"in: cannot load {name} ({split}) from the hub: {reason}") from error
    short = repository.rpartition("/")[2]
    return Input(name=short, folder=media or Path(), records=records_of_dataset(loaded, short))
