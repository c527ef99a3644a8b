"""Cut rows into parts that are made of the same kinds of rows and share no medium.

Rows that show the same medium stay together, a group that is as large as its chain of shared media.
Within each kind, groups in the order of the seed go to the part that lacks most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmrl.data.mix import apportion, place_of
from mmrl.errors import ConfigError

KEYS = ("source", "modality", "verifier", "answer", "difficulty")


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """How rows are cut."""

    shares: Mapping[str, float]
    """Parts by name, of any sum."""
    by: tuple[str, ...] = ("source",)
    """What makes a kind: one of KEYS, or `extra.` and a key of the rows' extra."""
    together: Literal["media", "nothing"] = "media"
    seed: int = 0


def check_split(split: Split) -> None:
    """Check parts and kinds.

    Raises:
        ConfigError: there are fewer than two parts, or no such kind.
    """
    if len(split.shares) < 2 or not all(share > 0 for share in split.shares.values()):
        raise ConfigError("shares: name two parts or more, as shares.train=0.9 shares.eval=0.1")
    for name in split.shares:
        if not name.isidentifier():
            raise ConfigError(f"shares: {name!r} cannot be the name of a file")
    for key in split.by:
        if key not in KEYS and not key.startswith("extra."):
            there = ", ".join(KEYS)
            raise ConfigError(f"by: {key!r} is none of {there}, extra.KEY")


def kind_of(raw: Mapping[str, Any], by: Sequence[str]) -> tuple[str, ...]:
    """Return what kind of row a JSON object of a row is; difficulties count by tenths."""
    return tuple(_value(raw, key) for key in by)


def assign(
    ids: Sequence[str],
    kinds: Sequence[tuple[str, ...]],
    media: Sequence[Sequence[str]],
    split: Split,
) -> list[str]:
    """Return the part of each row.

    Args:
        ids: The rows' ids.
        kinds: Their kinds.
        media: Hashes of the media that each shows.
        split: How they are cut.
    """
    groups = _groups(media) if split.together == "media" else [[n] for n in range(len(ids))]
    by_kind: dict[tuple[str, ...], list[list[int]]] = {}
    for group in groups:
        by_kind.setdefault(kinds[group[0]], []).append(group)
    parts = [""] * len(ids)
    owed = dict.fromkeys(split.shares, 0.0)
    for kind in sorted(by_kind):
        members = by_kind[kind]
        count = sum(map(len, members))
        wanted = _wanted(count, split.shares, owed)
        members.sort(key=lambda group: (-len(group), place_of(split.seed, ids[group[0]])))
        for group in members:
            part = max(wanted, key=lambda name: wanted[name])
            wanted[part] -= len(group)
            for number in group:
                parts[number] = part
        owed = wanted
    return parts


def _wanted(count: int, shares: Mapping[str, float], owed: Mapping[str, float]) -> dict[str, float]:
    """Return how many rows of a kind each part should get, what it is owed by others included.

    Kinds of few rows would else all go to the largest part.
    """
    whole = sum(shares.values())
    if all(count * share / whole >= 1 for share in shares.values()):
        return {name: places + owed[name] for name, places in apportion(count, shares).items()}
    return {name: count * share / whole + owed[name] for name, share in shares.items()}


def _groups(media: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return rows that are linked by the media they show, each group in the order of its rows."""
    parent = list(range(len(media)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    first: dict[str, int] = {}
    for number, shown in enumerate(media):
        for medium in shown:
            one, other = sorted((root(first.setdefault(medium, number)), root(number)))
            parent[other] = one
    groups: dict[int, list[int]] = {}
    for number in range(len(media)):
        groups.setdefault(root(number), []).append(number)
    return list(groups.values())


def _value(raw: Mapping[str, Any], key: str) -> str:
    if key == "verifier":
        return "+".join(term["name"] for term in raw["verifier"])
    if key == "modality":
        kinds = {part["type"] for message in raw["prompt"] for part in message["content"]}
        return "+".join(sorted(kinds - {"text"})) or "text"
    if key == "difficulty":
        value = raw.get("difficulty")
        return "" if value is None else f"{int(value * 10) / 10:g}"
    value = raw["extra"].get(key.removeprefix("extra.")) if key not in KEYS else raw.get(key)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
