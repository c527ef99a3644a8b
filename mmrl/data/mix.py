"""A mixture of rows files: weights, caps, repeats, no duplicates, and a manifest that repeats it.

What is taken and in which order are functions of the seed and the rows' ids alone: each row has a
place that is a hash of them, so a source that is added or a row that changes moves no other.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmrl.data.duplicates import Duplicates, Rule, find_overlap
from mmrl.data.engines import Engine, map_items
from mmrl.data.likeness import Likeness, likeness, look_at
from mmrl.data.records import Numbered, read_jsonl, read_parquet
from mmrl.data.spool import Spool
from mmrl.errors import ConfigError, DataError

SHOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """What goes into a mixture, and how."""

    sources: Mapping[str, Path]
    """Rows files by a name of their own."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Shares of the mixture by source, of any sum; without any, all rows are taken."""
    caps: Mapping[str, int] = field(default_factory=dict)
    """At most so many different rows of a source."""
    repeats: Mapping[str, int] = field(default_factory=dict)
    """How many times a row of a source may be taken."""
    total: int | None = None
    """Rows of the mixture; as many as the weights allow if not given."""
    rules: tuple[Rule, ...] = ("content",)
    """How duplicates are found, see mmrl/data/duplicates.py."""
    share: float = 0.8
    against: Path | None = None
    """A test set that is compared with."""
    overlap: Literal["report", "drop"] = "report"
    ids: Literal["keep", "prefix"] = "keep"
    """Put the source's name before each id."""
    shuffle: bool = True
    seed: int = 0


@dataclass(kw_only=True, slots=True)
class Found:
    """What is known of a source before anything is taken from it."""

    hash: str = ""
    """Of the file."""
    media_hash: str = ""
    """Of the hashes of all media, in order."""
    rows: int = 0
    bad: int = 0
    duplicates: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    """Which row repeats which, the first of them."""
    overlapping: Counter[str] = field(default_factory=Counter)
    left: list[int] = field(default_factory=list)
    """Numbers in the spool of the rows that can be taken."""
    taken: int = 0


def mix(
    mixture: Mixture,
    spool: Spool,
    *,
    engine: Engine = "local",
    workers: int | None = None,
    on_row: Callable[[int], None] | None = None,
    on_bad: Callable[[str], None] | None = None,
) -> tuple[list[tuple[int, str, int]], dict[str, Found]]:
    """Decide what the mixture is made of.

    Args:
        mixture: What goes in.
        spool: Gets the rows of all sources, with whole media paths.
        engine: Where rows are looked at.
        workers: In how many processes.
        on_row: Called with the number of rows so far.
        on_bad: Called with a line for each row that cannot be used.

    Returns:
        The rows in their order, as number in the spool, source and copy, from 1 on; and what was
        found in each source, the test set under the name "".

    Raises:
        ConfigError: the weights ask for more rows than there are, or name no source.
        DataError: a file cannot be read, or two rows have one id.
    """
    _check_names(mixture)
    look = _Look(mixture, spool, engine, workers, on_row or (lambda _: None), on_bad or print)
    duplicates = Duplicates(rules=mixture.rules, share=mixture.share)
    found: dict[str, Found] = {}
    likes: dict[int, Likeness] = {}
    shown: dict[int, tuple[str, ...]] = {}
    for name, path in mixture.sources.items():
        here = found.setdefault(name, Found())
        _keep_unlike(look.rows(path, here), duplicates, here, spool, likes, shown)
    if mixture.against is not None:
        tests = found.setdefault("", Found())
        _compare(mixture, look.rows(mixture.against, tests), duplicates, found, spool, likes, shown)
    return _choose(mixture, found, spool), found


def rows_of(
    chosen: Iterable[tuple[int, str, int]], spool: Spool, ids: Literal["keep", "prefix"]
) -> Iterator[dict[str, Any]]:
    """Yield the chosen rows as JSON objects; copies get ids of their own."""
    for number, name, copy in chosen:
        raw = spool[number]
        own = f"{name}/{raw['id']}" if ids == "prefix" else raw["id"]
        yield {**raw, "id": own if copy == 1 else f"{own}~{copy}"}


def hash_file(path: Path) -> str:
    """Return the BLAKE2b hash (32 hexadecimal digits) of a file."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_rows_file(path: Path) -> None:
    """Check that a path is that of a rows file.

    Raises:
        DataError: it is not.
    """
    if path.suffix not in _READERS or not path.is_file():
        what = "no such file" if not path.exists() else "rows are read from .jsonl and .parquet"
        raise DataError(f"{path}: {what}")


def items_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file as `look_at` wants them, a line instead of those that are none.

    Raises:
        DataError: there is no such file.
    """
    check_rows_file(path)
    for where, record in _READERS[path.suffix](path):
        if isinstance(record, DataError):
            yield {"error": str(record)}
        else:
            yield {"where": where, "record": record, "folder": str(path.parent)}


_READERS: Mapping[str, Callable[[Path], Numbered]] = {
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}


def apportion(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Share out whole rows by weight, the largest remainders first (Hamilton's method).

    >>> apportion(10, {"a": 1, "b": 1, "c": 1})
    {'a': 4, 'b': 3, 'c': 3}
    """
    whole = sum(weights.values())
    exact = {name: total * weight / whole for name, weight in weights.items()}
    counts = {name: int(count) for name, count in exact.items()}
    rest = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in rest[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def place_of(seed: int, *names: object) -> bytes:
    """Return where something stands in the order of a seed."""
    text = "/".join(map(str, (seed, *names)))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class _Look:
    """Reads the rows of a file and looks at each."""

    mixture: Mixture
    spool: Spool
    engine: Engine
    workers: int | None
    on_row: Callable[[int], None]
    on_bad: Callable[[str], None]

    def rows(self, path: Path, found: Found) -> Iterator[tuple[int, Likeness]]:
        compares = self.mixture.against is not None
        wants_grams = compares or "ngrams" in self.mixture.rules
        wants_looks = compares or "perceptual" in self.mixture.rules
        function = functools.partial(look_at, pictures=wants_looks, grams=wants_grams)
        check_rows_file(path)
        found.hash = hash_file(path)
        media = hashlib.blake2b(digest_size=16)
        for made in map_items(function, items_of(path), engine=self.engine, workers=self.workers):
            if "error" in made:
                found.bad += 1
                self.on_bad(made["error"])
                continue
            found.rows += 1
            like = likeness(made["like"])
            for digest in like.media:
                media.update(bytes.fromhex(digest))
            number = self.spool.append(made["row"])
            self.on_row(number + 1)
            yield number, like
        found.media_hash = media.hexdigest()


def _keep_unlike(
    rows: Iterable[tuple[int, Likeness]],
    duplicates: Duplicates,
    found: Found,
    spool: Spool,
    likes: dict[int, Likeness],
    shown: dict[int, tuple[str, ...]],
) -> None:
    """Keep the rows that repeat no earlier one."""
    for number, like in rows:
        same = duplicates.find(number, like)
        if same is None:
            found.left.append(number)
            likes[number], shown[number] = like, duplicates.shown(like)
            continue
        rule, first = same
        found.duplicates[rule] += 1
        if len(found.examples) < SHOWN:
            found.examples.append(f"{spool[number]['id']} = {spool[first]['id']} ({rule})")


def _compare(
    mixture: Mixture,
    rows: Iterable[tuple[int, Likeness]],
    duplicates: Duplicates,
    found: dict[str, Found],
    spool: Spool,
    likes: dict[int, Likeness],
    shown: dict[int, tuple[str, ...]],
) -> None:
    """Count the rows that overlap with the test set, and drop them where that is wanted."""
    tests = dict(rows)
    tests_shown = {number: duplicates.shown(like) for number, like in tests.items()}
    hits = find_overlap(likes, shown, tests, tests_shown)
    for name in mixture.sources:
        here = found[name]
        for number in here.left:
            if number in hits:
                kind, test = hits[number]
                here.overlapping[kind] += 1
                if sum(here.overlapping.values()) <= SHOWN:
                    pair = f"{spool[number]['id']} ~ {spool[test]['id']} ({kind})"
                    found[""].examples.append(pair)
        if mixture.overlap == "drop":
            here.left = [number for number in here.left if number not in hits]


def _choose(
    mixture: Mixture, found: Mapping[str, Found], spool: Spool
) -> list[tuple[int, str, int]]:
    """Take as many rows of each source as its weight says, in the order of the seed."""
    ids: dict[str, str] = {}
    ordered: dict[str, list[tuple[bytes, int, str]]] = {}
    for name in mixture.sources:
        places = []
        for number in found[name].left:
            row_id = str(spool[number]["id"])
            own = f"{name}/{row_id}" if mixture.ids == "prefix" else row_id
            if own in ids:
                both = f"{ids[own]} and {name}" if ids[own] != name else f"{name} twice"
                raise DataError(f"the id {own} is in {both}; ids=prefix puts names before ids")
            ids[own] = name
            places.append((place_of(mixture.seed, name, row_id), number, row_id))
        if mixture.shuffle or name in mixture.caps or mixture.weights:
            places.sort()
        ordered[name] = places[: mixture.caps.get(name)]
    counts = _counts(mixture, {name: len(places) for name, places in ordered.items()})
    chosen = []
    for name, places in ordered.items():
        found[name].taken = counts[name]
        for nth in range(counts[name]):
            copy, index = divmod(nth, len(places))
            place, number, row_id = places[index]
            place = place_of(mixture.seed, "order", name, row_id, copy)
            chosen.append((place, number, name, copy + 1))
    chosen.sort(key=lambda item: item[0] if mixture.shuffle else (item[1], item[3]))
    return [(number, name, copy) for _, number, name, copy in chosen]


def _counts(mixture: Mixture, there: Mapping[str, int]) -> dict[str, int]:
    """Return how many rows of each source are taken."""
    most = {name: count * mixture.repeats.get(name, 1) for name, count in there.items()}
    if not mixture.weights and mixture.total is None:
        return most
    weights = {
        name: mixture.weights.get(name, 1.0 if not mixture.weights else 0.0) for name in most
    }
    whole = sum(weights.values())
    total = mixture.total
    if total is None:
        total = int(min(most[name] * whole / weights[name] for name in most if weights[name]))
    counts = apportion(total, weights)
    for name, count in counts.items():
        if count > most[name]:
            raise ConfigError(
                f"weights: {name} has {most[name]} rows for {count} places; lower total, "
                f"or let rows come again with repeats.{name}={-(-count // max(1, there[name]))}"
            )
    return counts


def _check_names(mixture: Mixture) -> None:
    tables: Sequence[tuple[str, Mapping[str, float]]] = (
        ("weights", mixture.weights),
        ("caps", mixture.caps),
        ("repeats", mixture.repeats),
    )
    for key, table in tables:
        for name, value in table.items():
            if name not in mixture.sources:
                there = ", ".join(mixture.sources)
                raise ConfigError(f"{key}.{name}: there is no such source; there are: {there}")
            if not value >= (0 if key == "weights" else 1):
                least = "0" if key == "weights" else "1"
                raise ConfigError(f"{key}.{name}: must be at least {least}, got {value}")
    if mixture.weights and not sum(mixture.weights.values()) > 0:
        raise ConfigError("weights: all are 0")
