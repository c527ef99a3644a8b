"""DynaMath (arXiv 2411.00836): 501 seed questions, each in ten variants with other numbers, colours
or curves.

`official` reads a JSON object with "short answer", else the last line of the response less its last
character; numbers are right within 0.001, options where the gold letter is among the first three
characters, texts where the gold text is contained. `strict` reads what the response means. Two
headlines: the average, and the worst case, in which all variants of a seed have to be right.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from statistics import fmean

from eval._shared import groups_of, qwen, record_id
from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Message,
    Published,
    Record,
    Response,
    Score,
    Scored,
    Split,
    judged,
    register,
    unanswered,
    user_turn,
)
from mmrl.evals.reading import find_answer, score_choice
from mmrl.evals.records import KEY, read_records
from mmrl.evals.scorers.numbers import score_number
from mmrl.evals.scorers.text import score_text
from mmrl.verify.numbers import to_decimal
from mmrl.verify.reading import read_json

VARIANTS = range(1, 11)
SHORT = "short answer"
TOLERANCE = 0.001
ASKED = (
    "Answer with a JSON object of two keys: 'solution', the steps that solve the question, and "
    "'short answer', the answer alone. For a multiple choice question that is the letter of the "
    "option, such as 'A'; for a number, a floating-point number with three digits.\n"
    '{"solution": "[steps]", "short answer": "[answer]"}'
)


def records(source: Path | str, split: Split) -> Iterator[Record]:
    """Yield the variants of a split, each with its number; `all` are the ten splits in turn."""
    numbers = VARIANTS if split.name == "all" else (int(split.name.removeprefix("sample_variant")),)
    if Path(source).is_file():
        for record in read_records(source, split):
            yield {"variant": numbers[0], **record}
        return
    for number in numbers:
        part = dataclasses.replace(_split(number), config=split.config)
        for record in read_records(source, part):
            yield {**record, "variant": number}


def read_item(record: Record) -> Item:
    """Read a record of the hub, or of the repository's dataset.json, whose key is its id."""
    seed, variant = record_id(record, "id"), str(record.get("variant", ""))
    kind = str(record.get("answer_type", ""))
    groups = groups_of(record, subject="subject", answer_type="answer_type")
    level = record.get("knowledge_level", record.get("level"))
    return Item(
        id=f"{seed}/{variant}" if variant else seed,
        answer=record.get("ground_truth", record.get("answer")),
        choices=(),
        fields={**record, "answer_type": kind, KEY: seed},
        groups=groups
        | ({"level": str(level)} if level is not None else {})
        | ({"variant": variant} if variant else {}),
        cluster=seed,
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture, ask, and ask for JSON."""
    record = item.fields
    picture = record.get("decoded_image") or record["image"]
    float_only = " Please answer in a floating-point number." if _kind(item) == "float" else ""
    return user_turn(
        f"## Question\n{record['question']}{float_only}\n## Answer\n{ASKED}", ("image", picture)
    )


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response to one variant."""
    if item.answer is None or str(item.answer) == "":
        raise ValueError("the record has no ground truth")
    if mode == "official":
        return _official(item, response)
    short = _json_answer(response.text) if response.extraction is None else None
    if short is not None:
        response = dataclasses.replace(response, extraction=short)
    gold = str(item.answer).strip()
    if _kind(item) == "float":
        value = to_decimal(gold)
        if value is None:
            raise ValueError(f"the gold answer {gold!r} is no number")
        return score_number(response, value, tolerance=Decimal(str(TOLERANCE)))
    if _kind(item) == "multiple choice":
        return score_choice(item, response, gold=gold, letters="ABCDEFGH")
    return score_text(response, gold)


def aggregate(scored: Sequence[Scored]) -> Mapping[str, float]:
    """Return the average, and the share of seeds of which every variant is right."""
    seeds: dict[str, list[float]] = defaultdict(list)
    for one in scored:
        seeds[one.item.cluster or one.item.id].append(one.score.value)
    if not seeds:
        return {"average": 0.0, "worst_case": 0.0}
    return {
        "average": fmean(value for values in seeds.values() for value in values),
        "worst_case": fmean(float(min(values) == 1.0) for values in seeds.values()),
    }


def _official(item: Item, response: Response) -> Score:
    text = response.text if response.extraction is None else response.extraction
    short = text if response.extraction is not None else official_short_answer(text)
    gold, kind = str(item.answer), _kind(item)
    if kind == "float":
        value = _float(short)
        if value is None:
            return unanswered(answer=short[:200] or None)
        correct = abs(value - float(gold)) <= TOLERANCE
        return judged(correct, answer=short[:200], normalised=repr(value), how="number")
    if kind == "multiple choice":
        correct = short == gold if len(short) == 1 else gold in short[:3]
        return judged(correct, answer=short[:200], normalised=short[:3], how="letter")
    return judged(gold in short, answer=short[:200], normalised=short[:200], how="text")


def official_short_answer(text: str) -> str:
    """Return the short answer as the repository's script finds it: in the text from the first
    opening to the last closing brace, without its backslashes, else the last line of that.

    An object without the key gives the text "None", JSON that is no object gives nothing, as there.
    """
    start, end = text.find("{"), text.rfind("}")
    body = text[start : end + 1].replace("\\", "") if 0 <= start < end else text
    try:
        value = json.loads(body, strict=False)
    except (ValueError, RecursionError):
        return body.split("\n")[-1][:-1]
    return str(value.get(SHORT)) if isinstance(value, dict) else ""


def _float(short: str) -> float | None:
    """Return the number of the first word; what stands before a pi is multiplied by it."""
    word = short if short.isdigit() else short.split(" ")[0]
    factor, times_pi, _ = word.partition("\u03c0")
    try:
        value = float(factor) * math.pi if times_pi else float(word)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _json_answer(text: str) -> str | None:
    """Return the short answer of a response that ends in the object that was asked for."""
    found = find_answer(Response(text=text)).text
    start, end = found.find("{"), found.rfind("}")
    if not 0 <= start < end:
        return None
    try:
        value = read_json(found[start : end + 1].replace("\n", " "))
    except ValueError:
        return None
    short = value.get(SHORT) if isinstance(value, dict) else None
    return None if short is None else str(short)


def _kind(item: Item) -> str:
    return str(item.fields.get("answer_type", ""))


def _split(number: int) -> Split:
    name = f"sample_variant{number}"
    return Split(name=name, files=(f"data/{name}-*.parquet", f"{name}.*"), count=501)


register(
    Benchmark(
        name="dynamath",
        version="1",
        summary="501 questions in ten variants each; the average and the worst case.",
        hub="DynaMath/DynaMath_Sample",
        splits=(Split(name="all", count=5010), *(_split(number) for number in VARIANTS)),
        records=records,
        item=read_item,
        prompt=prompt,
        score=score,
        aggregate=aggregate,
        groups=("subject", "answer_type", "level", "variant"),
        published=(
            *qwen(None, 67.7, 73.2, "average"),
            Published(
                model="OMR-7B",
                value=34.9,
                source="OpenMMReasoner repository",
                setting="worst case",
            ),
        ),
        notes=(
            "worst_case needs all ten variants: split=all",
            "107 seeds come from MathVista, 48 from MMMU and 27 from MathVision",
            "the prompt asks for the authors' JSON in other words",
        ),
    )
)
