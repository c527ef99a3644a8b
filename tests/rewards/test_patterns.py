"""The regular expressions that read boxes, orders and actions are linear on their worst cases."""

from __future__ import annotations

import re
import sys
import time

import pytest

from mmrl.reward import describe_verifiers

LENGTH = 100_000
UNITS = [
    *("a", "A", "1", "9.", ".9", "-", "+", " ", "\n", ",", ":", "1:", "1-", "1 ", "- ", "e9", "1e"),
    *(
        "[",
        "]",
        "(",
        "{",
        "}",
        "\\",
        "\\boxed{",
        "$",
        "%",
        "'",
        '"',
        "'action': '",
        "<",
        "<answer>",
    ),
    *(
        "</answer>",
        "<think>",
        "</think>",
        "[1,",
        "1.1.",
        "1,000,",
        "1/",
        "\\frac{1",
        "a\n",
        "\u05d0",
    ),
    *("the answer is ", "(A", "A. ", "A or ", "not ", "**", "_", "word ", "\t", ";", "|", "?", "!"),
]
FILES = [
    "box",
    "detection",
    "gui_action",
    "jigsaw",
    "judge",
    "object_count",
    "point_in_box",
    "temporal",
    "views",
]


def patterns() -> dict[str, re.Pattern[str]]:
    """Return the compiled patterns of the perception and pretext judges, and of their reading."""
    describe_verifiers()
    found = {}
    for name in ("mmrl.verify.reading", *(f"rewards.{file}" for file in FILES)):
        for variable, value in vars(sys.modules[name]).items():
            if isinstance(value, re.Pattern):
                found[f"{name}.{variable}"] = value
    return found


def test_the_patterns_were_found():
    assert {
        "mmrl.verify.reading._NUMBER",
        "rewards.jigsaw._ALONE",
        "rewards.views._DEGREES",
    } <= set(patterns())


@pytest.mark.parametrize("name", patterns())
def test_a_pattern_is_linear_on_its_worst_case(name):
    pattern = patterns()[name]
    for unit in UNITS:
        text = (unit * LENGTH)[:LENGTH]
        for worst in (text, f"{text}\x00", f"[{text}"):
            start = time.process_time()
            for _ in pattern.finditer(worst):
                pass
            pattern.fullmatch(worst)
            taken = time.process_time() - start
            assert taken < 1, f"{pattern.pattern!r} takes {taken:.1f} s on {unit!r}"
