"""The metrics of MEGA-Bench that are rules on texts, numbers, lists and sets, and how its parsers
find an answer. Values are read as JSON or Python literals, and never evaluated.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from rapidfuzz.distance import DamerauLevenshtein

LONGEST = 20_000
"""Characters of an answer that are read, from its start."""
NEAR = 0.9
_ANSWER = re.compile(r"(?:\*\*)?Answer:\s*")
_FENCE = re.compile(r"```[a-zA-Z]*\n(.*?)```", re.DOTALL)
_SHORT = re.compile(r"[a-zA-Z0-9_-]+(?:,\s*[a-zA-Z0-9_-]+)*|[a-zA-Z0-9_-]+\.|\([a-zA-Z0-9_-]+\)$")
_LETTER = re.compile(r"\(?([A-Za-z])\)?(?:\s*\.)?")
_REMOVED = str.maketrans("", "", " -\n\t.")

Metric = Callable[[Any, str], float]
"""From what was parsed and the gold text to a credit of 0 to 1; -1 counts for nothing."""


def parse_text(response: str, *, one_line: bool) -> str:
    """Return the text after the last "Answer:", its code block's content if it has one, and of an
    answer of one line with more after it the first paragraph.
    """
    text = response[-LONGEST:]
    marks = list(_ANSWER.finditer(text))
    if marks:
        bold = marks[-1].group().startswith("**")
        text = text[marks[-1].end() :]
        text = text.split("**")[0] if bold and "**" in text.strip("*") else text
    text = text.strip()
    fenced = _FENCE.search(text)
    if fenced:
        return fenced[1].strip()
    first = text.split("\n\n")[0].strip()
    text = first if one_line and "\n" not in first and _SHORT.match(first) else text
    quoted = read_value(text) if text[:1] in "'\"" and text[-1:] == text[:1] else None
    return quoted if isinstance(quoted, str) else text


def parse_json(response: str) -> Any:
    """Return the last JSON or Python object or list in a response; None where there is none."""
    text = response[-LONGEST:]
    fenced = _FENCE.findall(text)
    for part in (*reversed(fenced), text):
        value = read_value(part.strip())
        if isinstance(value, dict | list):
            return value
        for opening, closing in (("{", "}"), ("[", "]")):
            start, end = part.find(opening), part.rfind(closing)
            value = read_value(part[start : end + 1]) if 0 <= start < end else None
            if isinstance(value, dict | list):
                return value
    return None


def read_value(text: str) -> Any:
    """Return the JSON or Python literal that a text is; None where it is none."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text[:LONGEST])
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return None


def exact(answer: Any, gold: str) -> float:
    """Give credit for the same text; where gold is a letter, "(B) dog" and "B. dog" are B."""
    text = str(answer)
    if len(gold) == 1 and gold.isalpha() and len(text) > 1:
        letter = _LETTER.match(text)
        text = letter[1] if letter else text
    return float(text == gold)


def simple(answer: Any, gold: str) -> float:
    """Give credit for the same text but for case, blanks, hyphens and full stops."""
    return exact(str(answer).translate(_REMOVED).lower(), gold.translate(_REMOVED).lower())


def exact_any_case(answer: Any, gold: str) -> float:
    """Give credit for the same text but for case."""
    return exact(answer.lower(), gold.lower()) if isinstance(answer, str) else 0.0


def similar(answer: Any, gold: str) -> float:
    """Give the normalised Damerau-Levenshtein similarity."""
    if not isinstance(answer, str):
        return 0.0
    return float(DamerauLevenshtein.normalized_similarity(answer[:LONGEST], gold))


def near(answer: Any, gold: str) -> float:
    """Give that similarity of texts without accents, articles and case, where it reaches 0.9."""
    if not isinstance(answer, str):
        return 0.0
    ours, right = _plain(answer[:LONGEST]), _plain(gold)
    return float(DamerauLevenshtein.normalized_similarity(ours, right, score_cutoff=NEAR))


def relative(answer: Any, gold: str) -> float:
    """Give one less the relative error of a number, not below 0."""
    value = read_value(answer) if isinstance(answer, str) else answer
    right = read_value(gold)
    numbers = [one for one in (value, right) if isinstance(one, int | float)]
    if len(numbers) < 2 or not right:
        return 0.0
    try:
        return max(0.0, 1.0 - abs((value - right) / right))
    except OverflowError:
        return 0.0


def positive_integer(answer: Any, gold: str) -> float:
    """Give credit for the same integer; nothing is counted where neither is positive."""
    value, right = read_value(str(answer)), read_value(gold)
    if not isinstance(value, int) or not isinstance(right, int):
        return 0.0
    return -1.0 if value <= 0 and right <= 0 else float(value == right)


def same_set(answer: Any, gold: str) -> float:
    """Give credit for the same set."""
    return float(as_set(answer) == as_set(gold))


def same_set_any_case(answer: Any, gold: str) -> float:
    """Give credit for the same set of texts but for case."""
    ours, right = as_set(answer), as_set(gold)
    if not all(isinstance(one, str) for one in ours | right):
        return 0.0
    return float({one.upper() for one in ours} == {one.upper() for one in right})


def jaccard(answer: Any, gold: str) -> float:
    """Give the size of what two sets share over the size of what either has."""
    return _shared(as_set(answer), as_set(gold))


def jaccard_any_case(answer: Any, gold: str) -> float:
    """Give the same of sets of texts without case."""
    ours, right = as_set(answer), as_set(gold)
    if not all(isinstance(one, str) for one in right):
        return 0.0
    return _shared({str(one).lower() for one in ours}, {one.lower() for one in right})


def same_list(answer: Any, gold: str) -> float:
    """Give credit for the same list."""
    return float(as_list(str(answer)) == as_list(gold))


def same_list_any_case(answer: Any, gold: str) -> float:
    """Give credit for the same list of texts but for case."""
    ours, right = ([str(one).lower() for one in as_list(text)] for text in (str(answer), gold))
    return float(ours == right)


def prefix(answer: Any, gold: str) -> float:
    """Give the share of the gold list that stands at the start of the answer, unbroken."""
    ours, right = as_list(answer), as_list(gold)
    same = 0
    while same < min(len(ours), len(right)) and ours[same] == right[same]:
        same += 1
    return same / len(right) if right else 0.0


def same_object(answer: Any, gold: str) -> float:
    """Give credit for the same object."""
    value = read_value(answer) if isinstance(answer, str) else answer
    return float(isinstance(value, dict) and value == read_value(gold))


METRICS: Mapping[str, Metric] = {
    "exact_str_match": exact,
    "exact_str_match_case_insensitive": exact_any_case,
    "simple_str_match": simple,
    "normalized_similarity_damerau_levenshtein": similar,
    "near_str_match": near,
    "number_rel_diff_ratio": relative,
    "positive_int_match": positive_integer,
    "set_equality": same_set,
    "set_equality_case_insensitive": same_set_any_case,
    "jaccard_index": jaccard,
    "jaccard_index_case_insensitive": jaccard_any_case,
    "sequence_equality": same_list,
    "sequence_equality_case_insensitive": same_list_any_case,
    "longest_common_list_prefix_ratio": prefix,
    "dict_equality": same_object,
}


def as_list(value: Any) -> list[Any]:
    """Return a list from a list, the text of one, or a text with commas; empty where brackets do
    not match.
    """
    if isinstance(value, list | tuple):
        return [_frozen(one) for one in value]
    text = value.strip(" ") if isinstance(value, str) else ""
    if not text:
        return []
    closing = {"(": ")", "{": "}", "[": "]"}.get(text[0])
    if closing and not text.endswith(closing):
        return []
    found = read_value(text)
    if isinstance(found, int | float):
        return [found]
    if isinstance(found, list | tuple | set | dict):
        return [_frozen(one) for one in found]
    inner = text[1:-1] if closing else text
    return [one.strip() for one in inner.split(",")]


def as_set(value: Any) -> set[Any]:
    """Return the set of what `as_list` gives."""
    return set(as_list(sorted(value, key=str) if isinstance(value, set) else value))


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return frozenset((key, _frozen(one)) for key, one in value.items())
    if isinstance(value, set):
        return frozenset(value)
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _shared(ours: set[Any], right: set[Any]) -> float:
    return len(ours & right) / len(ours | right) if ours | right else 1.0


def _plain(text: str) -> str:
    words = " ".join(word for word in text.split(" ") if word.lower() not in ("the", "a"))
    parts = unicodedata.normalize("NFKD", words)
    return "".join(part for part in parts if not unicodedata.combining(part)).lower()
