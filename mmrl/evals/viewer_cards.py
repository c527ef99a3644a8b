"""An item as a card: its media and question, the gold answer, and each run's responses with the way
from the response to the verdict in every mode.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mmrl.evals.benchmark import Score
from mmrl.evals.finished import FinishedItem, Said
from mmrl.evals.scoring import headline
from mmrl.evals.summary import mean_value
from mmrl.reporting.markup import DOT, json_text, text

_HEAD, _TAIL = 6000, 2000
"""Characters of a response, or of a question, that are shown of its beginning and end."""
_SAMPLES = 16
"""Responses of one item that are shown."""

_THOUGHT = re.compile(r"&lt;think&gt;.*?(?:&lt;/think&gt;|\Z)", re.DOTALL)
_TAG = re.compile(r"&lt;/?(?:think|answer)&gt;")


def verdict(item: FinishedItem, mode: str) -> str:
    """Return `right`, `wrong` or `partly`, over all samples of an item."""
    value = mean_value(item.result, mode)
    return "right" if value > 1 - 1e-9 else "wrong" if value < 1e-9 else "partly"


def outcome(items: Sequence[FinishedItem], mode: str) -> str:
    """Return the verdict of one run, or which of two runs has the better of an item."""
    if len(items) == 1:
        return verdict(items[0], mode)
    ours, theirs = (mean_value(item.result, mode) for item in items)
    if abs(ours - theirs) > 1e-9:
        return "A better" if ours > theirs else "B better"
    return {"right": "both right", "wrong": "both wrong"}.get(verdict(items[0], mode), "the same")


def card(
    task: str,
    items: Sequence[FinishedItem],
    *,
    modes: Sequence[str],
    media: str,
    marks: Sequence[str],
) -> str:
    """Return the card of an item.

    Args:
        task: The benchmark's name.
        items: The item as one run has it, or as two runs have it.
        modes: The modes that are shown.
        media: The item's media as HTML.
        marks: Names of classes that filters look for.
    """
    item = items[0].result.item
    said = outcome(items, headline(modes))
    groups = [
        value
        for values in item.groups.values()
        for value in ((values,) if isinstance(values, str) else values)
    ]
    names = ("A", "B") if len(items) > 1 else ("",)
    answers = "".join(_run(name, one, modes) for name, one in zip(names, items, strict=True))
    return (
        f'<article class="item {_sense(said)} {" ".join(marks)}">'
        f"<header><b>{text(item.id, head=120)}</b><span class=task>{text(task)}</span>"
        f"<span>{text(DOT.join(dict.fromkeys(groups)), head=240)}</span>"
        f"<strong>{said}</strong></header>{media}<div class=words>{_prompt(items[0])}"
        f"<p class=gold><span>answer</span> <bdi>{json_text(item.answer, head=600)}</bdi></p>"
        f"</div><div class=runs>{answers}</div></article>"
    )


def _sense(said: str) -> str:
    senses = {
        "right": "good",
        "both right": "good",
        "wrong": "bad",
        "both wrong": "bad",
        "A better": "ours",
        "B better": "theirs",
    }
    return senses.get(said, "between")


def _prompt(item: FinishedItem) -> str:
    shown = []
    for message in item.prompt:
        words = "\n".join(
            part["text"] for part in message["content"] if part["type"] == "text"
        ).strip()
        role = f"<i>{text(message['role'])}</i> " if message["role"] != "user" else ""
        if words:
            cut = text(words, head=_HEAD, tail=_TAIL)
            shown.append(f"<p class=question dir=auto>{role}{cut}</p>")
    if not shown:
        own = item.result.item.fields.get("question", item.result.item.fields.get("query", ""))
        shown = [f"<p class=question dir=auto>{json_text(own, head=_HEAD)}</p>"]
    return "".join(shown)


def _run(name: str, item: FinishedItem, modes: Sequence[str]) -> str:
    samples = list(zip(item.said, item.result.samples, strict=True))
    title = f"<h3 class=run>{name}</h3>" if name else ""
    if len(samples) == 1:
        return f"<div class=run-of>{title}{_sample(*samples[0], modes)}</div>"
    mode = headline(modes)
    right = sum(sample[mode].value >= 1 for _, sample in samples)
    folded = "".join(
        f"<details{' open' if number == 0 else ''}><summary>{_chip(scores[mode])} sample "
        f"{number + 1}</summary>{_sample(said, scores, modes)}</details>"
        for number, (said, scores) in enumerate(samples[:_SAMPLES])
    )
    hidden = len(samples) - _SAMPLES
    more = f"<p class=caption>and {hidden} more samples</p>" if hidden > 0 else ""
    count = f"<p class=caption>{right} of {len(samples)} samples right, {text(mode)}</p>"
    return f"<div class=run-of>{title}{count}{folded}{more}</div>"


def _sample(said: Said, scores: Mapping[str, Score], modes: Sequence[str]) -> str:
    rows = "".join(_trace(mode, scores[mode]) for mode in modes if mode in scores)
    ended = "<p class=caption>stopped at the token limit</p>" if said.stop == "length" else ""
    given = ""
    if said.extraction is not None:
        given = f"<p class=caption>extraction given: {text(said.extraction, head=300)}</p>"
    return (
        f"<div class=said dir=auto>{_response(said, scores, modes)}</div>{ended}{given}"
        f"<table class=trace><thead><tr><th>mode<th>how<th>extracted<th>compared as<th>verdict"
        f"</thead><tbody>{rows}</tbody></table>"
    )


def _response(said: Said, scores: Mapping[str, Score], modes: Sequence[str]) -> str:
    """The response, its thought set back, and what was extracted from it marked."""
    if said.text is None:
        return "<i>no response</i>"
    if not said.text.strip():
        return "<i>nothing</i>" if said.extraction is None else "<i>not kept</i>"
    extracted = scores[headline(modes)].answer or ""
    start = said.text.rfind("</think>") + 1
    place = said.text.rfind(extracted, start) if extracted.strip() else -1
    whole = len(said.text) <= _HEAD + _TAIL
    if place < 0 or not whole or len(extracted) > 0.6 * len(said.text):
        shown = text(said.text, head=_HEAD, tail=_TAIL)
    else:
        end = place + len(extracted)
        parts = (said.text[:place], extracted, said.text[end:])
        before, inner, after = map(text, parts)
        shown = f"{before}<mark>{inner}</mark>{after}"
    shown = _THOUGHT.sub(r"<span class=thought>\g<0></span>", shown)
    return _TAG.sub(r"<span class=tag>\g<0></span>", shown)


def _trace(mode: str, score: Score) -> str:
    extracted = "" if score.answer is None else text(score.answer, head=160, tail=40)
    compared = "" if score.normalised is None else text(score.normalised, head=160)
    detail = ""
    if score.detail is not None:
        detail = f"<tr class=detail><td><td colspan=4>{json_text(score.detail, head=400)}"
    return (
        f"<tr><td>{text(mode)}<td>{text(score.how)}<td><bdi>{extracted}</bdi>"
        f"<td><bdi>{compared}</bdi><td>{_chip(score)}{detail}"
    )


def _chip(score: Score) -> str:
    word = "right" if score.value >= 1 else f"{score.value:.2g}" if score.value > 0 else "wrong"
    sense = "up" if score.value >= 1 else "level" if score.value > 0 else "down"
    status = "" if score.status == "ok" else f" <small>{text(score.status)}</small>"
    return f'<span class="chip {sense}">{word}</span>{status}'
