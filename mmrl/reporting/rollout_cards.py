"""Shows groups of completions as cards: media, question, gold answer, and each sibling's worth.

rollouts.jsonl may be larger than memory: only its first and its last step are read, and of them
only the groups that are shown are kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrl.config.schema import GrpoStage, Run
from mmrl.reporting.curves import parse_line
from mmrl.reporting.markup import DOT, colour, json_text, text
from mmrl.reporting.media_links import MediaLinks, find_kinds

PER_MODALITY = 3
"""Groups shown of each modality in a step."""

_BEST = 4
"""Differing completions of a group that stand open, and as many of the worst."""

_BLOCK = 1 << 20


@dataclass(kw_only=True, slots=True)
class Group:
    """The siblings that answer one prompt, as lines of rollouts.jsonl."""

    kinds: tuple[str, ...]
    """Of its media: image, video or audio."""
    records_G: list[dict[str, Any]] = field(default_factory=list)

    @property
    def modality(self) -> str:
        """As `Row.modality`."""
        return "+".join(sorted(set(self.kinds))) or "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownStep:
    """A step with the groups that are shown of it."""

    stage: str
    step: int
    groups: tuple[Group, ...]


def read_shown_steps(path: Path, run: Run) -> list[ShownStep]:
    """The first step of rollouts.jsonl and the last, which may be the same; none if it is empty.

    Raises:
        RunError: a line is not JSON.
    """
    if not path.exists():
        return []
    offsets = sorted({0, _last_step(path)})
    steps = [_read_step(path, offset, run) for offset in offsets]
    return [step for step in steps if step is not None]


def find_modalities(path: Path, sources: set[str], *, lines: int = 20_000) -> dict[str, str]:
    """The modality of each source, as far as the first so many lines tell.

    Sources of several modalities are left out.
    """
    found: dict[str, set[str]] = {}
    for place, (_, record) in enumerate(_records(path, 0) if path.exists() else ()):
        if place == lines or (place > lines // 10 and sources <= found.keys()):
            break
        group = Group(kinds=find_kinds(record))
        found.setdefault(record["source"], set()).add(group.modality)
    return {source: min(names) for source, names in found.items() if len(names) == 1}


def show_step(shown: ShownStep, links: MediaLinks) -> str:
    """The step's groups as HTML."""
    cards = "\n".join(_card(group, links) for group in shown.groups)
    return f"<div class=cards>\n{cards}\n</div>"


def _read_step(path: Path, offset: int, run: Run) -> ShownStep | None:
    """Read the step that begins at an offset; of each source the first few groups are kept."""
    first: tuple[str, int] | None = None
    row: str | None = None
    count = 0
    kept: dict[str, list[Group]] = {}
    group: Group | None = None
    for _, record in _records(path, offset):
        first = first or (record["stage"], record["step"])
        if (record["stage"], record["step"]) != first:
            break
        if record["row"] != row or count == _group_size(run, record["stage"]):
            row, count = record["row"], 0
            group = Group(kinds=find_kinds(record))
            of_source = kept.setdefault(record["source"], [])
            if len(of_source) < PER_MODALITY:
                of_source.append(group)
            else:
                group = None
        count += 1
        if group is not None:
            group.records_G.append(record)
    if first is None:
        return None
    return ShownStep(stage=first[0], step=first[1], groups=tuple(_choose(list(kept.values()))))


def _group_size(run: Run, stage: str) -> int | None:
    found = run.stages.get(stage)
    return found.rollout.group_size if isinstance(found, GrpoStage) else None


def _choose(by_source: Sequence[Sequence[Group]]) -> list[Group]:
    """A few groups of each modality; another source before a second group of the same one."""
    turns = [
        groups[turn] for turn in range(PER_MODALITY) for groups in by_source if turn < len(groups)
    ]
    count: Counter[str] = Counter()
    chosen = []
    for group in turns:
        count[group.modality] += 1
        if count[group.modality] <= PER_MODALITY:
            chosen.append(group)
    return sorted(chosen, key=lambda group: group.modality)


def _records(path: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Offset and content of each line from an offset on; an unfinished last line is left out."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if line.endswith(b"\n"):
                yield offset, parse_line(line, f"{path} byte {offset}")
            offset += len(line)


def _last_step(path: Path) -> int:
    """The offset at which the last step begins, found from the end of the file."""
    size = path.stat().st_size
    length = _BLOCK
    while True:
        low = _line_start(path, max(0, size - length))
        border = _last_border(path, low)
        if border is not None or low == 0:
            return border or 0
        length *= 2


def _last_border(path: Path, low: int) -> int | None:
    """The offset of the last line, from `low` on, that begins another step than the one before."""
    border = before = None
    for offset, record in _records(path, low):
        step = (record["stage"], record["step"])
        if before is not None and step != before:
            border = offset
        before = step
    return border


def _line_start(path: Path, offset: int) -> int:
    """The start of the line that an offset lies in."""
    with path.open("rb") as file:
        while offset > 0:
            begin = max(0, offset - _BLOCK)
            file.seek(begin)
            found = file.read(offset - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            offset = begin
    return 0


def _card(group: Group, links: MediaLinks) -> str:
    record = group.records_G[0]
    media = links.show(record["media"], group.kinds)
    question = _question(record["prompt"], group.kinds)
    return (
        f'<article class=card style="--tint:{colour(group.modality)}">'
        f"<header><b>{text(record['source'], head=80)}</b>"
        f"<span>{text(record['row'], head=120)}</span></header>"
        f"{media}"
        f"<p class=question dir=auto>{text(question, head=900, tail=300)}</p>"
        f"<p class=gold><span>answer</span> <bdi>{json_text(record['answer'], head=400)}</bdi></p>"
        f"<ol>{_completions(group.records_G)}</ol></article>"
    )


def _question(prompt: str, kinds: Sequence[str]) -> str:
    """The prompt without the placeholders of the media that are shown above it."""
    return "\n".join(
        line for line in prompt.split("\n") if line not in {f"<{kind}>" for kind in kinds}
    )


def _completions(records_G: Sequence[Mapping[str, Any]]) -> str:
    """The siblings, best first; those that are equal in every respect stand once, with a count."""
    count: Counter[tuple[Any, ...]] = Counter()
    example: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for record in records_G:
        key = (record["completion"], record["score"], record["advantage"], record["stop"])
        count[key] += 1
        example.setdefault(key, record)
    order = sorted(example, key=lambda key: -key[2])
    shown = [_completion(example[key], count[key]) for key in order]
    middle = shown[_BEST:-_BEST]
    if len(middle) < 2:
        return "".join(shown)
    more = f"<li class=more><details><summary>{len(middle)} between</summary>"
    more += f"<ol>{''.join(middle)}</ol></details></li>"
    return "".join([*shown[:_BEST], more, *shown[-_BEST:]])


def _completion(record: Mapping[str, Any], count: int) -> str:
    advantage = record["advantage"]
    sign = "up" if advantage > 0 else "down" if advantage < 0 else "level"
    number = f"{advantage:+.2f}".replace("-", "\u2212") if advantage else "0"
    score = "not judged" if record["score"] is None else f"{record['score']:.2f}"
    facts = [f"<b>{score}</b>", *(_part(*part) for part in record["parts"].items())]
    facts.append(f"{record['length']} tokens" + (", cut" if record["stop"] == "length" else ""))
    if record["status"] != "ok":
        facts.append(
            text(f"{record['status']}: {record.get('detail', '')}".removesuffix(": "), head=160)
        )
    times = f"<span class=times>\u00d7{count}</span>" if count > 1 else ""
    return (
        f'<li><span class="chip {sign}" title="advantage">{number}</span>{times}'
        f"<div><p class=said dir=auto>{_tags(text(record['completion'], head=320, tail=200))}</p>"
        f"<p class=facts>{DOT.join(facts)}</p></div></li>"
    )


def _part(name: str, value: float | None) -> str:
    shown = "\u2013" if value is None else f"{value:.2g}"
    return f"{text(name, head=40)} {shown}"


def _tags(escaped: str) -> str:
    """Set the tags of the answer format back, so that one reads what stands between them."""
    return (
        re.sub(r"&lt;/?(?:think|answer)&gt;", r"<span class=tag>\g<0></span>", escaped)
        or "<i>nothing</i>"
    )
