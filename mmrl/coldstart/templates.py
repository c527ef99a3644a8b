"""Prompt templates: `{name}` stands for a text of the row, and for nothing else.

`{reason.thought}`, `{reason.rest}` and `{reason.answer}` are parts of the text `{reason}`. A brace
around anything but a name is a brace, so that JSON and `\\boxed{}` can be written as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from mmrl.answer import extract
from mmrl.coldstart.texts import rest_of, thought_of

VIEWS: dict[str, Callable[[str], str]] = {
    "thought": thought_of,
    "rest": rest_of,
    "answer": lambda text: extract(text) or "",
}
"""Parts of a text that a template may ask for."""

_VARIABLE = re.compile(r"\{([A-Za-z_]\w*(?:\.\w+)?)\}", re.ASCII)


def variables(template: str) -> list[str]:
    """Return the names in the template, in order, each once.

    >>> variables(r"{question} in {reason.thought}: \\boxed{} {} {1}")
    ['question', 'reason.thought']
    """
    return list(dict.fromkeys(_VARIABLE.findall(template)))


def fill(template: str, texts: Mapping[str, str]) -> str:
    """Put the texts in; what they hold is not looked at again.

    >>> fill("Q: {question}", {"question": "what is {answer}?", "answer": "4"})
    'Q: what is {answer}?'
    """

    def text_of(match: re.Match[str]) -> str:
        name, _, view = match.group(1).partition(".")
        return VIEWS[view](texts[name]) if view else texts[name]

    return _VARIABLE.sub(text_of, template)
