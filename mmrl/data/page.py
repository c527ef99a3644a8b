"""A page to look at rows: every prompt with its media, its answer with boxes drawn in, what the
verifiers say of it, and its gold response.

Static HTML without a script, to be opened from a disk without a network; boxes to tick choose
sources and verdicts. Everything from a row is escaped. Media are linked relative to the page.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmrl.data.page_media import figure
from mmrl.data.verdicts import SENSES, GoldVerdict, Sense, sense_of
from mmrl.reporting.markup import DOT, text
from mmrl.types import Row, Verdict


def write_page(
    rows: Sequence[Row],
    page: Path,
    *,
    title: str,
    total: int,
    verdicts: Sequence[Sequence[GoldVerdict]] | None = None,
) -> None:
    """Write the page.

    Args:
        rows: The rows to show.
        page: The file; links to media are relative to its folder.
        title: What the rows are called.
        total: How many rows there are in all.
        verdicts: What the verifiers say of each row; not shown where they were not asked.
    """
    shown = f"{len(rows)} of {total} rows" if len(rows) < total else f"{total} rows"
    sources = {name: f"s{number}" for number, name in enumerate(sorted({r.source for r in rows}))}
    senses: list[Sense] = [sense_of(found) for found in verdicts] if verdicts is not None else []
    choices = [("source", sources, Counter(row.source for row in rows))]
    if verdicts is not None:
        choices.append(("verdict", {name: name for name in SENSES}, Counter(senses)))
    articles = "\n".join(
        _article(row, page, sources[row.source], verdicts[n] if verdicts else (), senses[n : n + 1])
        for n, row in enumerate(rows)
    )
    style = files("mmrl.data").joinpath("page.css").read_text(encoding="utf-8")
    rules = "\n".join(_hiding(marks) for _, marks, _ in choices)
    unfinished = page.with_name(f".{page.name}.{os.getpid()}.tmp")
    unfinished.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{text(title)}</title><style>{style}{rules}</style></head>\n"
        f"<body><header><h1>{text(title)}</h1><p>{shown}</p>{_form(choices)}</header>\n"
        f"<main>\n{articles}\n</main></body></html>\n",
        encoding="utf-8",
    )
    unfinished.replace(page)


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src * data:; media-src * data:"
"""Nothing of a row can run or be loaded, even if a quotation mark were forgotten."""

_HEAD = 20_000
"""Characters of one text that are shown."""


def _form(choices: Sequence[tuple[str, Mapping[str, str], Mapping[str, int]]]) -> str:
    """Boxes to tick, one for each source and each verdict."""
    fields = []
    for name, marks, counts in choices:
        boxes = "".join(
            f'<label><input type="checkbox" id="show-{mark}" checked> '
            f"{text(value)} ({counts.get(value, 0)})</label>"
            for value, mark in marks.items()
        )
        fields.append(f"<fieldset><legend>{name}</legend>{boxes}</fieldset>")
    return f"<form>{''.join(fields)}</form>"


def _hiding(marks: Mapping[str, str]) -> str:
    """Hide what is not ticked: the marks are ours, no text of a row gets into the style."""
    return "\n".join(
        f"body:has(#show-{mark}:not(:checked)) article.is-{mark} {{ display: none; }}"
        for mark in marks.values()
    )


def _article(
    row: Row, page: Path, mark: str, verdicts: Sequence[GoldVerdict], senses: Sequence[Sense]
) -> str:
    verifiers = ", ".join(_call(term.name, term.params) for term in row.verifier)
    facts = [row.source, verifiers]
    if row.difficulty is not None:
        facts.append(f"difficulty {row.difficulty:g}")
    messages = "\n".join(_message(message, row, page) for message in row.prompt)
    response = f"<pre>{text(row.response, head=_HEAD)}</pre>" if row.response else ""
    extra = f'<p class="facts">{_said(dict(row.extra))}</p>' if row.extra else ""
    css = " ".join(f"is-{name}" for name in (mark, *senses))
    return (
        f'<article id="{text(row.id)}" class="{css}"><h2>{text(row.id)}</h2>'
        f'<p class="facts">{text(DOT.join(facts), head=_HEAD)}</p>\n{messages}\n'
        f'<p class="answer">{_said(row.answer)}</p>{"".join(map(_verdict, verdicts))}'
        f"{response}{extra}</article>"
    )


def _message(message: Mapping[str, Any], row: Row, page: Path) -> str:
    role = "" if message["role"] == "user" else f'<p class="role">{text(message["role"])}</p>'
    return role + "".join(_part(part, row, page) for part in message["content"])


def _part(part: Mapping[str, Any], row: Row, page: Path) -> str:
    if part["type"] == "text":
        return f"<p>{text(part['text'], head=_HEAD)}</p>"
    return figure(part[part["type"]], row, page)


def _verdict(found: GoldVerdict) -> str:
    """Say what a verifier gives the own answer and the neighbour's."""
    said = f"{text(found.term.name)}: own answer <b>{_score(found.own)}</b>"
    if found.neighbour is not None:
        said += f", that of {text(found.neighbour_id)} <b>{_score(found.neighbour)}</b>"
    else:
        said += ", no other answer to compare with"
    details = [verdict.detail for verdict in (found.own, found.neighbour) if verdict]
    reason = next((detail for detail in details if detail and found.sense != "right"), "")
    said += f"{DOT}{text(reason, head=400)}" if reason else ""
    return f'<p class="verdict {found.sense}">{said}</p>'


def _score(verdict: Verdict) -> str:
    return text(verdict.status) if verdict.score is None else f"{verdict.score:.3g}"


def _call(name: str, params: Mapping[str, Any]) -> str:
    given = ", ".join(f"{key}={value}" for key, value in params.items())
    return f"{name}({given})" if params else name


def _said(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text(shown, head=_HEAD)
