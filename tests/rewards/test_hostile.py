"""Malformed completions for the outcome, format, length and quality families."""

from __future__ import annotations

import dataclasses
import math
import random
import re
import sys
import time
from collections.abc import Iterator

import pytest

from mmrl.judging.isolation import Job, Pool
from mmrl.reward import build_group_reward, build_verifier, describe_verifiers, sample_of
from mmrl.types import Row, Sample

CASES = {
    "exact": ("42", {"whole_text": True}),
    "choice": ("C", {"choices": ["a dog", "a cat", "a chair", "7"]}),
    "multi_select": ("AC", {"whole_text": True}),
    "number": ("42", {"abs_tol": 1, "whole_text": True}),
    "mra": ("42", {"whole_text": True}),
    "regression": ("42", {"whole_text": True}),
    "count": ("3", {"credit": "relative", "whole_text": True}),
    "class_label": ("dog", {"mode": "adaptive", "contains": True}),
    "permutation": ([3, 1, 2], {"partial": 0.2, "whole_text": True}),
    "think_answer": ("", {"once": False, "empty": False}),
    "boxed": ("", {"think": True}),
    "observe": ("", {}),
    "json_boxes": ("", {}),
    "empty_thought": ("", {}),
    "no_think": ("", {"form": "adaptive"}),
    "hard_format_result": ("", {}),
    "laser": ("", {"mode": "hybrid", "base": True}),
    "overlong": ("", {}),
    "cosine": ("", {}),
    "repetition": ("", {}),
    "consistency": ("", {}),
}
GROUPS = {
    "dylr": {"variant": "code"},
    "laser_d": {"explore": True, "base": True},
    "length_band": {},
}
ISOLATED = {
    "math": ("42", {"whole_text": True}),
    "text": ("a dog barks", {"metric": "rouge", "whole_text": True}),
}
PIECES = [
    *("<think>", "</think>", "<answer>", "</answer>", "<observe>", "</observe>", "<reason>"),
    *("\\boxed{", "{", "}", "\\{", "(", ")", "[", "]", '"', "'", "\\frac{1}{", "\\sqrt", "^", "_"),
    *("the answer is ", "Option ", "C", "A", "not ", " or ", "B.", "both ", " is wrong", "chair"),
    *("0", "42", "-3.5", "1e308", "1e999", "9" * 400, "1,000", "1/0", "NaN", "inf", "three", "%"),
    *(" ", "\n", "\t", "\x00", "\u202e", "\u05d0", "\u0663", "\ufffd", "\ud800", "\U0001f600", "$"),
]
MEGABYTES = {
    "open": "(" * 1_000_000,
    "boxes": "\\boxed{" * 150_000,
    "tags": "<answer>" * 125_000,
    "closing": "</think> " * 110_000,
    "blank": " " * 1_000_000,
    "letters": "A or " * 200_000,
    "digits": "9" * 1_000_000,
    "commas": "1," * 500_000,
    "lines": "one line of seven words in all\n" * 32_000,
    "hebrew": "\u05d0" * 500_000,
    "nulls": "\x00" * 1_000_000,
}


def malformed(rng: random.Random) -> str:
    text = "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 30)))
    shape = rng.randrange(4)
    if shape == 0:
        return text
    if shape == 1:
        return f"<think>{text}</think><answer>{rng.choice(PIECES)}</answer>"
    return f"<think>a</think><answer>{text}</answer>" if shape == 2 else f"\\boxed{{{text}}}"


def judged(answer, text: str, accuracy: float = 1.0) -> Sample:
    row = Row(id="r", source="s", prompt=[], answer=answer, verifier=())
    return dataclasses.replace(sample_of(row, text, length=len(text)), accuracy=accuracy)


def assert_sound(verdict, text: str) -> None:
    assert verdict.status in ("ok", "no_answer"), (text[:200], verdict)
    assert verdict.score is not None, text[:200]
    assert math.isfinite(verdict.score), text[:200]


@pytest.mark.parametrize(
    "count", [300, pytest.param(10_000, marks=pytest.mark.slow)], ids=["few", "all"]
)
@pytest.mark.parametrize("name", CASES)
def test_malformed_completions_are_judged_or_hold_no_answer(name, count):
    answer, params = CASES[name]
    judge = build_verifier(name, params)
    rng = random.Random(count)
    for _ in range(count):
        text = malformed(rng)
        assert_sound(judge(judged(answer, text)), text)


@pytest.mark.parametrize("name", GROUPS)
def test_malformed_groups_are_judged(name):
    judge = build_group_reward(name, GROUPS[name])
    rng = random.Random(0)
    for _ in range(100):
        samples = [judged("", malformed(rng), float(rng.randrange(2))) for _ in range(8)]
        for verdict in judge(samples):
            assert_sound(verdict, "")


@pytest.fixture(scope="module")
def pool():
    pool = Pool(timeout_s=3.0, memory_mb=1024)
    for name in ISOLATED:
        pool.add(name)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    "count", [150, pytest.param(10_000, marks=pytest.mark.slow)], ids=["few", "all"]
)
@pytest.mark.parametrize("name", ISOLATED)
def test_malformed_completions_in_the_pool_end_within_the_limit(name, count, pool):
    answer, params = ISOLATED[name]
    rng = random.Random(count)
    texts = [malformed(rng) for _ in range(count)]
    jobs = [Job(name=name, params=params, samples=[judged(answer, text)]) for text in texts]
    found = [verdicts[0] for verdicts in pool.judge(jobs)]
    for text, verdict in zip(texts, found, strict=True):
        if verdict.score is None:
            assert verdict.status in ("error", "timeout"), (text, verdict)
        else:
            assert_sound(verdict, text)
    assert sum(verdict.score is None for verdict in found) <= count / 20


@pytest.mark.parametrize("name", [*CASES, *GROUPS])
def test_a_megabyte_takes_no_more_than_a_moment(name):
    answer, params = CASES.get(name, ("", {}))
    for kind, text in MEGABYTES.items():
        sample = judged(answer, f"<think>a</think><answer>{text}</answer>")
        start = time.process_time()
        if name in GROUPS:
            verdict = build_group_reward(name, GROUPS[name])([sample])[0]
        else:
            verdict = build_verifier(name, params)(sample)
        taken = time.process_time() - start
        assert_sound(verdict, kind)
        assert taken < 3, f"{name} takes {taken:.1f} s on {kind}"


def test_finding_the_answer_is_linear():
    for kind, text in MEGABYTES.items():
        start = time.process_time()
        judged("", text)
        assert time.process_time() - start < 1, kind


MODULES = (
    "mmrl.answer",
    "mmrl.verify.numbers",
    "mmrl.verify.choices",
    "mmrl.verify.mentions",
    "mmrl.verify.repeats",
)
UNITS = [
    *("a", "A", "1", "9.", "-", "+", " ", "\n", ",", "1,", "1,000,", "e9", "1e", "1/", "^"),
    *("\\", "\\boxed{", "\\frac{1", "\\frac{1}{", "{", "}", "(", "$", "*", "_", "'", "sqrt("),
    *("<", "<think>", "</think>", "<think></think>", "<answer>", "</answer>", "<answer></answer>"),
    *("the answer is ", "answer option ", "A or ", "A, ", "not A, ", "A and ", "A is ", "A. "),
    *("A is all ", "three ", "a\n", "\u05d0", "word ", "\t"),
]


def compiled(value: object) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from compiled(inner)
    elif isinstance(value, dict):
        yield from compiled(list(value.values()))


def patterns() -> dict[str, re.Pattern[str]]:
    """Return the compiled patterns of the modules that these families use."""
    known = {*CASES, *GROUPS, *ISOLATED}
    names = {v.factory.__module__ for v in describe_verifiers() if v.name in known}
    return {
        f"{module}.{variable}.{index}": pattern
        for module in (*MODULES, *sorted(names))
        for variable, value in vars(sys.modules[module]).items()
        for index, pattern in enumerate(compiled(value))
    }


def test_the_patterns_were_found():
    assert {"mmrl.verify.mentions._WRONG.0", "rewards.class_label._FORMS.3"} <= set(patterns())


@pytest.mark.parametrize("name", patterns())
def test_a_pattern_is_linear_on_its_worst_case(name):
    pattern = patterns()[name]
    for unit in UNITS:
        text = (unit * 20_000)[:20_000]
        for worst in (text, f"{text}\x00", f"<think>{text}", f"\\boxed{{{text}"):
            start = time.process_time()
            for _ in pattern.finditer(worst):
                pass
            pattern.fullmatch(worst)
            taken = time.process_time() - start
            assert taken < 0.5, f"{pattern.pattern!r} takes {taken:.1f} s on {unit!r}"
