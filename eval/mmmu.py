"""MMMU (arXiv 2311.16502): college questions of 30 subjects with up to seven pictures, most by
choice, some with a short free answer.

`official` is the repository's parser: "(A)", then " A ", then an option's text in a response of
more than five words, else a random option, whose average worth stands here; free answers by key
phrases, numbers rounded to two decimals and the gold text contained in the answer. `strict` reads
what the response means.
"""

from __future__ import annotations

import re
from pathlib import Path

from eval._shared import LETTER_ONLY, ONE_WORD, by_config, groups_of, interleaved, qwen
from mmrl.answer import squash
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
)
from mmrl.evals.reading import find_answer, score_choice
from mmrl.evals.scorers.maths import Unjudged, equal
from mmrl.evals.scorers.mcq import guess, lettered, mmmu_letter, read_options, score_letter
from mmrl.evals.scorers.numbers import find_number, plain
from mmrl.evals.scorers.text import bare

SUBJECTS = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}
DOMAIN = {subject: domain for domain, subjects in SUBJECTS.items() for subject in subjects}
LONGEST = 10_000
"""Characters of a free answer in which numbers are looked for, from its end."""

_SUBJECT = re.compile(r"[a-z]+_(.+)_\d+")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"(?:-(?=\d))?(?<!\d)\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
_MARKERS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")


def read_item(record: Record) -> Item:
    """Read a record; its options are the text of a list, its subject stands in its id."""
    found = _SUBJECT.fullmatch(str(record.get("id", "")))
    subject = found[1] if found else ""
    groups = groups_of(
        record, question_type="question_type", difficulty="topic_difficulty", subfield="subfield"
    )
    if subject:
        groups |= {"subject": subject, "domain": DOMAIN.get(subject, "other")}
    return Item(
        id=str(record["id"]),
        answer=_gold(record.get("answer")),
        choices=read_options(record.get("options")),
        fields=record,
        groups=groups,
    )


def prompt(item: Item, folder: Path) -> list[Message]:
    """Ask with the pictures where their marks stand, in the question and in the options."""
    question = str(item.fields["question"])
    if item.choices:
        options = lettered(item.choices, "({letter}) {text}")
        return interleaved("\n".join([question, *options, "", LETTER_ONLY]), item.fields)
    return interleaved(f"{question}\n{ONE_WORD}", item.fields)


def score(item: Item, response: Response, mode: str) -> Score:
    """Judge a response by choice or as a free answer."""
    if item.answer in (None, "", "?"):
        raise ValueError("the record has no answer: the test split's are not public")
    text = response.text if response.extraction is None else response.extraction
    by_choice = item.fields.get("question_type") != "open" and bool(item.choices)
    if mode == "official":
        return _official_choice(item, text) if by_choice else _official_open(item, text)
    if by_choice:
        return score_choice(item, response, gold=str(item.answer))
    return _strict_open(item, response)


def _official_choice(item: Item, text: str) -> Score:
    letter, how = mmmu_letter(text, item.choices)
    return score_letter(letter, str(item.answer), how) if letter else guess(item)


def _official_open(item: Item, text: str) -> Score:
    golds = [form for gold in _golds(item) for form in _normalised(gold)]
    answers = official_answers(text)
    correct = any(
        any(isinstance(gold, str) and gold in answer for gold in golds)
        if isinstance(answer, str)
        else answer in golds
        for answer in answers
    )
    shown = "; ".join(map(str, answers))[:200]
    return judged(correct, answer=shown, normalised=shown, how="cue")


def official_answers(text: str) -> list[str | float]:
    """Return what a free response may mean by the repository's rules: the shortest piece after a
    marking word on each line, else the whole, and every number in them.

    Sentences are split at a full stop before a capital letter, after everything was put into lower
    case, so that only lines are split.
    """
    text = text[-LONGEST:].strip().strip(".").lower()
    pieces = []
    lines = text.split("\n")
    for place, line in enumerate(lines):
        markers = (*_MARKERS, "=") if place == len(lines) - 1 else _MARKERS
        shortest = ""
        for marker in markers:
            if marker in line:
                tail = line.split(marker)[-1].strip()
                if not shortest or len(tail) < len(shortest):
                    shortest = tail
        if shortest and shortest not in (":", ",", ".", "!", "?", ";", "'"):
            pieces.append(shortest)
    pieces = pieces or [text]
    numbers = [n for piece in pieces for pattern in _NUMBERS for n in pattern.findall(piece)]
    forms = [form for piece in (*pieces, *numbers) for form in _normalised(piece)]
    return list(dict.fromkeys(forms))


def _normalised(text: str) -> list[str | float]:
    """Return a number rounded to two decimals, or the text in lower case; a single character gets
    a blank on either side, so that it does not match within a word.
    """
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except (ValueError, OverflowError):
        lower = text.lower()
    return [f" {lower}", f"{lower} "] if len(lower) == 1 else [lower]


def _strict_open(item: Item, response: Response) -> Score:
    found = find_answer(response)
    number = find_number(found)
    answers = [] if number is None else [plain(number[0])]
    if found.text and (found.how != "whole" or len(found.text) <= 200):
        answers.append(bare(found.text))
    if not answers:
        return unanswered(answer=found.text[-200:] or None)
    how = number[1] if number else found.how
    try:
        correct = any(_same(answer, gold) for answer in answers for gold in _golds(item))
    except Unjudged as error:
        return unanswered("error", answer=found.text[-200:], detail=str(error))
    return judged(correct, answer=found.text[-200:], normalised=squash(answers[0]), how=how)


def _same(answer: str, gold: str) -> bool:
    if bare(gold) == answer:
        return True
    return bool(re.search(r"\d", gold)) and len(answer) <= 100 and equal(answer, gold)


def _golds(item: Item) -> list[str]:
    return [str(gold) for gold in item.answer] if isinstance(item.answer, tuple) else [item.answer]


def _gold(value: object) -> object:
    """Return an answer as text, or several of them where the record writes a list."""
    if isinstance(value, list | tuple):
        return tuple(map(str, value))
    text = "" if value is None else str(value)
    if text.startswith("[") and text.endswith("]"):
        try:
            return read_options(text)
        except ValueError:
            return text
    return text


def _split(name: str, count: int) -> Split:
    files = (f"*/{name}-*.parquet", f"{name}-*.parquet", f"{name}.jsonl", f"{name}.json")
    return Split(name=name, files=files, count=count)


register(
    Benchmark(
        name="mmmu",
        version="1",
        summary="College questions of 30 subjects with several pictures, by choice or open.",
        hub="MMMU/MMMU",
        splits=(_split("validation", 900), _split("dev", 150), _split("test", 10500)),
        records=by_config([subject for subjects in SUBJECTS.values() for subject in subjects]),
        item=read_item,
        prompt=prompt,
        score=score,
        groups=("domain", "subject", "question_type", "difficulty"),
        published=(
            *qwen(58.6, 69.6, 74.1, "validation"),
            Published(
                model="OMR-7B",
                value=57.8,
                source="OpenMMReasoner repository",
                setting="validation",
            ),
        ),
        notes=(
            "official picks a random option where it finds none; here it is worth its average, "
            "one over the number of options (how=fallback)",
            "test has no public answers",
        ),
    )
)
