r"""Find the answer in a completion: the last `<answer>` tag, else the last balanced `\boxed{}`.

Everything here is linear in the length of the text, whatever it is: completions are hostile input.
"""

from __future__ import annotations

import json
import re
from typing import Any

from mmrl.types import Row, Sample

OPEN, CLOSE = "<answer>", "</answer>"
BOXED = "\\boxed{"


class NoAnswer(Exception):
    """Raised by a verifier when the completion holds nothing to judge: `no_answer`."""


class BadGold(Exception):
    """Raised by a verifier when the row's answer cannot be read: `bad_gold`."""


def extract(text: str) -> str | None:
    r"""Return what the last `<answer>` tag holds, else the last balanced `\boxed{}`, else None.

    A tag that is never closed is not an answer.

    >>> extract(r"<think>\boxed{1}</think><answer> 2 </answer>")
    '2'
    """
    tagged = in_tag(text)
    return tagged if tagged is not None else in_box(text)


def in_tag(text: str) -> str | None:
    """Return the stripped content of the last closed `<answer>` tag."""
    found = tag_span(text)
    return text[found[0] : found[1]].strip() if found else None


def in_box(text: str) -> str | None:
    r"""Return the stripped content of the last `\boxed{}` whose braces balance."""
    found = box_span(text)
    return text[found[0] : found[1]].strip() if found else None


def tag_span(text: str) -> tuple[int, int] | None:
    """Return where the content of the last closed `<answer>` tag begins and ends."""
    end = text.rfind(CLOSE)
    start = text.rfind(OPEN, 0, end) if end >= 0 else -1
    return (start + len(OPEN), end) if start >= 0 else None


def box_span(text: str) -> tuple[int, int] | None:
    r"""Return where the content of the last `\boxed{}` whose braces balance begins and ends.

    One pass from the left with a stack of open braces; escaped braces (`\{`) do not count.
    """
    found: tuple[int, int] | None = None
    stack: list[int] = []
    for match in _BRACE.finditer(text):
        token = match.group()
        if token == "}":
            start = stack.pop() if stack else -1
            if start >= 0 and (found is None or start > found[0]):
                found = (start, match.start())
        elif token == BOXED:
            stack.append(match.end())
        elif token == "{":
            stack.append(-1)
    return found


_BRACE = re.compile(r"\\boxed\{|\\.|[{}]", re.DOTALL)


def answered(sample: Sample, *, whole_text: bool = False) -> str:
    """Return what a verifier judges: the extracted answer, or where allowed what follows the
    thinking.

    Raises:
        NoAnswer: there is neither, or it is empty.
    """
    answer = sample.answer
    if answer is None and whole_text:
        answer = after_thinking(sample.text)
    if not answer:
        raise NoAnswer("no answer in the completion" if answer is None else "the answer is empty")
    return answer


def after_thinking(text: str) -> str:
    """Return the text after the last `</think>`, nothing where the thinking never ended.

    >>> after_thinking("<think>A or B?</think> B")
    'B'
    """
    thought, closed, rest = text.rpartition("</think>")
    return "" if "<think>" in rest and not closed and not thought else rest.strip()


def as_text(answer: Any) -> str:
    """Return a row's answer as a completion would write it: strings as they are, the rest as
    JSON.
    """
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def tagged(answer: Any) -> str:
    """Return the answer in an `<answer>` tag, as a right completion has it by default."""
    return f"{OPEN}{as_text(answer)}{CLOSE}"


def question_text(row: Row) -> str:
    """Return the text of the row's last user message, without its media."""
    users = [message for message in row.prompt if message["role"] == "user"]
    parts = users[-1]["content"] if users else ()
    return "\n".join(part["text"] for part in parts if part["type"] == "text")


def squash(text: str) -> str:
    """Return the text in lower case, with runs of white space made one blank.

    >>> squash(" A\\tBig  Dog ")
    'a big dog'
    """
    return " ".join(text.casefold().split())


def items(answer: Any) -> list[str]:
    """Return the items of a list: JSON, or text with brackets, commas, blanks, `;` or `>` between.

    >>> items("[3, 1; 2]"), items("B > A > C"), items([2, "x"])
    (['3', '1', '2'], ['b', 'a', 'c'], ['2', 'x'])
    """
    if isinstance(answer, list | tuple):
        return [squash(as_text(item)) for item in answer]
    return as_text(answer).casefold().translate(_SEPARATORS).split()


_SEPARATORS = str.maketrans(dict.fromkeys("[](){},;>\u2192'\"`", " "))
