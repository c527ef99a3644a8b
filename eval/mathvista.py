"""MathVista (arXiv 2310.02255): 6,141 questions on pictures, by choice or with a short free answer.

`official` follows the authors' scorer on an extraction: for choices the first letter in brackets,
else a bare capital letter, else the option that is nearest by edit distance, even to nothing;
numbers cut to an integer or rounded to the item's precision; then text equality. Their language
model that extracts is replaced by fixed rules where no extraction is given. `strict` reads what the
response means, and what names no option or no number is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from rapidfuzz.distance import Levenshtein

from mmrl.answer import items as list_items
from mmrl.evals.benchmark import (
    Benchmark,
    Item,
    Message,
    Published,
    Record,
    Response,
    Score,
    Split,
    judged,
    register,
    unanswered,
    user_turn,
)
from mmrl.evals.reading import Found, find_answer, read_choice, score_choice
from mmrl.evals.scorers.mcq import read_options
from mmrl.verify.numbers import last_number, to_decimal

GROUPS = (
    "question_type",
    "answer_type",
    "language",
    "source",
    "category",
    "task",
    "context",
    "grade",
    "skills",
)
SPAN = 4000
"""Characters from the end in which a number is looked for."""

_QUOTED = re.compile(r'The answer is "(.*)"\.')
_BRACKETED = re.compile(r"\(([a-zA-Z])\)")
_CUE = re.compile(r"\banswer\b(?:\s+\w{1,12}){0,3}?\s*(?:is|:|=|\bbe\b)\s*:?", re.IGNORECASE)
_CURRENCY = str.maketrans(dict.fromkeys("$€£¥₹%°", " "))


def read_item(record: Record) -> Item:
    """Read a record of the data set, of testmini.json or of a released prediction file."""
    metadata = record.get("metadata") or {}
    facts = {**metadata, **{key: record[key] for key in GROUPS[:2] if key in record}}
    groups = {key: _group(facts[key]) for key in GROUPS if facts.get(key)}
    return Item(
        id=str(record.get("pid", record.get("_key", ""))),
        answer=record.get("answer"),
        choices=read_options(record.get("choices")),
        fields=record,
        groups=groups,
        cluster=str(record.get("image") or ""),
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Show the picture, then the data set's own query: a hint of the form, question and choices."""
    record = item.fields
    picture = record.get("decoded_image") or record["image"]
    return user_turn(("image", picture), record.get("query") or _query(item))


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response, or the extraction that came with it."""
    kind = _kind(item)
    if item.answer is None or item.answer == "":
        raise ValueError("the record has no answer")
    if mode == "official":
        return _official(item, response, kind)
    if kind == "multi_choice":
        return _strict_choice(item, response)
    return _STRICT[kind](item, find_answer(response))


def official_extraction(item: Item, text: str) -> Found:
    """Return what the authors' rules extract: nothing of nothing, a response that is an option's
    text, an integer or a number, and what stands in `The answer is "..."`. Beyond that they ask a
    language model, in whose place stands what `<answer>`, a box, or a phrase such as "the answer
    is" holds.
    """
    kind = _kind(item)
    if not text:
        return Found(text="", how="none")
    if kind == "multi_choice" and text in item.choices:
        return Found(text=text, how="whole")
    if kind in ("integer", "float"):
        whole = _attempt(lambda: str(int(text) if kind == "integer" else float(text)))
        if whole is not None:
            return Found(text=whole, how="whole")
    quoted = _QUOTED.search(text[-100_000:])
    if quoted:
        return Found(text=quoted[1], how="cue")
    found = find_answer(Response(text=text))
    if found.how != "whole" or not found.text:
        return found
    if kind == "multi_choice":
        choice = read_choice(found, item.choices)
        return Found(text=choice.letter, how=choice.how)
    if kind in ("integer", "float"):
        number = _number_in(found)
        return Found(text=number[0] if number else "", how=number[1] if number else "none")
    listed = re.findall(r"\[[^\[\]]{0,500}\]", found.text[-2000:])
    return Found(text=listed[-1] if listed else "", how="number" if listed else "none")


def normalise(item: Item, extraction: str) -> tuple[str | None, bool]:
    """Return the extraction as the authors normalise it, None for no answer, and whether an option
    had to be chosen by edit distance.
    """
    kind = _kind(item)
    if kind == "multi_choice":
        return _nearest_or_letter(extraction.strip(), item.choices)
    if kind == "integer":
        return _attempt(lambda: str(int(float(extraction)))), False
    if kind == "float":
        places = item.fields.get("precision")
        return _attempt(lambda: str(round(float(extraction), int(places)))), False  # type: ignore[arg-type]
    return extraction, False


def _official(item: Item, response: Response, kind: str) -> Score:
    if response.extraction is not None:
        found = Found(text=response.extraction, how="extraction")
    elif item.fields.get("extraction", "") is None:
        # the authors' code makes a text of an extraction that is null
        found = Found(text="None", how="none")
    else:
        found = official_extraction(item, response.text)
    normalised, nearest = normalise(item, found.text)
    correct = normalised == item.answer
    how = "fallback" if nearest else found.how
    if normalised is None or (nearest and (found.how == "none" or not found.text.strip())):
        # the nearest option to nothing is still an option, and may be the right one
        return Score(
            value=float(correct),
            correct=correct,
            answer=found.text or None,
            normalised=normalised,
            how=how,
            status="no_answer",
        )
    return judged(correct, answer=found.text, normalised=normalised, how=how)


def _nearest_or_letter(extraction: str, choices: tuple[str, ...]) -> tuple[str, bool]:
    bracketed = _BRACKETED.search(extraction)
    if bracketed:
        extraction = bracketed[1].upper()
    if len(extraction) == 1 and extraction in ascii_uppercase[: len(choices)]:
        return choices[ascii_uppercase.index(extraction)], False
    if extraction in choices:
        return extraction, False
    return min(choices, key=lambda choice: Levenshtein.distance(extraction, choice)), True


def _strict_choice(item: Item, response: Response) -> Score:
    gold = str(item.answer)
    place = item.choices.index(gold) if gold in item.choices else -1
    if place < 0:
        raise ValueError(f"the gold answer {gold!r} is none of the choices")
    found = score_choice(item, response, gold=ascii_uppercase[place])
    if found.status == "ok" and found.normalised is not None:
        chosen = item.choices[ascii_uppercase.index(found.normalised)]
        return judged(chosen == gold, answer=found.answer, normalised=chosen, how=found.how)
    plain = _plain(found.answer or "")
    same = {choice for choice in item.choices if plain and _plain(choice) == plain}
    if len(same) != 1:
        return found
    # an option in another spelling, such as 145 for 145°
    (chosen,) = same
    return judged(chosen == gold, answer=found.answer, normalised=chosen, how="text")


def _plain(text: str) -> str:
    return re.sub(r"[^\w./:+-]", "", text.casefold()).rstrip(".")


def _strict_integer(item: Item, found: Found) -> Score:
    number = _number_in(found, str(item.fields.get("unit") or ""))
    if number is None:
        return unanswered(answer=found.text[-200:] or None)
    value = to_decimal(number[0])
    gold = to_decimal(str(item.answer))
    if value is None or gold is None:
        raise ValueError(f"the gold answer {item.answer!r} is no number")
    whole = value == value.to_integral_value()
    normalised = str(int(value)) if whole else str(value.normalize())
    return judged(value == gold, answer=number[0], normalised=normalised, how=number[1])


def _strict_float(item: Item, found: Found) -> Score:
    places = _places(item)
    gold = round(float(item.answer), places)
    number = _number_in(found, str(item.fields.get("unit") or ""))
    value = to_decimal(number[0]) if number else None
    if number is None or value is None:
        return unanswered(answer=found.text[-200:] or None)
    rounded = round(float(value), places) + 0.0
    return judged(rounded == gold, answer=number[0], normalised=str(rounded), how=number[1])


def _places(item: Item) -> int:
    """Return the decimals that count: the record's precision, however it is written, else the
    answer's own.
    """
    given = to_decimal(str(item.fields.get("precision")))
    return len(str(item.answer).partition(".")[2]) if given is None else int(given)


def _strict_list(item: Item, found: Found) -> Score:
    listed = re.findall(r"\[[^\[\]]{0,500}\]", found.text[-2000:])
    text = listed[-1] if listed else found.text
    if not text or (found.how == "whole" and not listed and len(text) > 200):
        return unanswered(answer=text[-200:] or None)
    ours, gold = (_elements(value) for value in (text, str(item.answer)))
    how = "number" if found.how == "whole" else found.how
    return judged(ours == gold, answer=text, normalised=", ".join(map(str, ours)), how=how)


def _strict_text(item: Item, found: Found) -> Score:
    if not found.text:
        return unanswered()
    ours, gold = (" ".join(str(value).casefold().split()) for value in (found.text, item.answer))
    return judged(ours == gold, answer=found.text[-200:], normalised=ours[-200:], how=found.how)


_STRICT: dict[str, Callable[[Item, Found], Score]] = {
    "integer": _strict_integer,
    "float": _strict_float,
    "list": _strict_list,
    "text": _strict_text,
}


def _number_in(found: Found, unit: str = "") -> tuple[str, str] | None:
    """Return the number that a text gives as its answer, and by which rule: the whole text is a
    number, the number after the last "answer is", the last number.
    """
    text = found.text[-SPAN:].translate(_CURRENCY)
    bare = text.strip().removesuffix(unit).strip().rstrip(".")
    whole = to_decimal(bare)
    if whole is not None:
        return str(whole), found.how
    cues = list(_CUE.finditer(text)) if found.how == "whole" else []
    if cues:
        after = re.split(r"[.;](?:\s|$)|\n", text[cues[-1].end() :].strip(), maxsplit=1)[0]
        number = last_number(after) if "=" in after else _first_number(after)
        if number is not None:
            return str(number), "cue"
    number = last_number(text)
    if number is None:
        return None
    return str(number), "number" if found.how == "whole" else found.how


def _first_number(text: str) -> Decimal | None:
    """Return the first word's number, as in "14 years, for 3 people"."""
    numbers = (last_number(word.strip(",:")) for word in text.split())
    return next((number for number in numbers if number is not None), None)


def _elements(text: str) -> list[Decimal | str]:
    numbers = [(to_decimal(word), word) for word in list_items(text)]
    return [word if number is None else number.normalize() + 0 for number, word in numbers]


def _kind(item: Item) -> str:
    record = item.fields
    if record.get("question_type") == "multi_choice":
        if not item.choices:
            raise ValueError("a multiple-choice record without choices")
        return "multi_choice"
    kind = str(record.get("answer_type") or "text")
    if kind not in _STRICT:
        raise ValueError(f"answer_type {kind!r} is none of {', '.join(_STRICT)}")
    return kind


def _group(value: Any) -> str | tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _attempt(read: Callable[[], str]) -> str | None:
    """Return None where Python refuses the conversion, for whatever reason, as the authors do."""
    try:
        return read()
    except (ValueError, OverflowError, TypeError):
        return None


def _query(item: Item) -> str:
    """Ask in the data set's form where a record has no query of its own."""
    record = item.fields
    forms = {
        "multi_choice": "option letter, e.g., A, B, C, D,",
        "integer": "integer, e.g., 1, 2, 3,",
        "float": "number with one decimal place, e.g., 1.2, 1.3, 1.4,",
        "list": "Python list, e.g., [1, 2, 3], [1.2, 1.3, 1.4],",
    }
    form = forms.get(_kind(item), "answer")
    if _kind(item) == "float" and float(record.get("precision") or 1) == 2:
        form = "number with two decimal places, e.g., 1.23, 1.34, 1.45,"
    unit = f" (Unit: {record['unit']})" if record.get("unit") else ""
    lines = [f"Hint: Give the correct {form} at the end.", f"Question: {record['question']}{unit}"]
    if item.choices:
        pairs = zip(ascii_uppercase, item.choices, strict=False)
        lines += ["Choices:", *(f"({letter}) {choice}" for letter, choice in pairs)]
    return "\n".join(lines)


register(
    Benchmark(
        name="mathvista",
        version="1",
        summary="Questions on charts, geometry and pictures; choice, integer, decimal or list.",
        hub="AI4Math/MathVista",
        splits=(Split(name="testmini", count=1000), Split(name="test", count=5141)),
        item=read_item,
        prompt=prompt,
        score=score,
        groups=GROUPS,
        published=(
            Published(model="human", value=60.3, source="arXiv 2310.02255", setting="testmini"),
            Published(
                model="frequent guess", value=26.3, source="arXiv 2310.02255", setting="testmini"
            ),
            Published(model="random", value=17.9, source="arXiv 2310.02255", setting="testmini"),
            Published(
                model="Qwen2.5-VL-7B",
                value=68.2,
                source="Qwen2.5-VL report; others report 59 to 63.8",
                setting="testmini",
            ),
            Published(
                model="Qwen3-VL-8B-Instruct",
                value=77.2,
                source="Qwen3-VL repository; a third party reports 59.3",
                setting="testmini, temperature 0.7",
            ),
        ),
        notes=(
            "official extracts by fixed rules in place of the authors' language model, unless the "
            "responses come with an extraction",
            "official gives credit to the option that is nearest by edit distance, how=fallback",
            "test has no public answers",
        ),
    )
)
