"""`point_in_box` and `gui_action`: borders, scaling, distances, formats, arguments, hostile
text."""

from __future__ import annotations

import json
import time

import pytest

from mmrl.reward import build_verifier, gold_text, sample_of
from mmrl.types import Row, Verdict, VerifierTerm

BOX = [10, 10, 20, 20]


def row_of(answer, extra=None) -> Row:
    return Row(id="r", source="s", prompt=[], answer=answer, verifier=(), extra=extra or {})


def judge(name: str, text: str, answer, *, extra=None, **params) -> Verdict:
    return build_verifier(name, params)(sample_of(row_of(answer, extra), text))


def point(text: str, answer, **options) -> Verdict:
    return judge("point_in_box", f"<answer>{text}</answer>", answer, **options)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("(10, 10)", 1),
        ("[20, 20]", 1),
        ("15 12", 1),
        ("x=15, y=12", 1),
        ('{"point_2d": [15, 12]}', 1),
        ("(9.9, 10)", 0),
        ("(15, 20.1)", 0),
        ("(15, 12, 13)", 0),
        ("nowhere", 0),
    ],
)
def test_a_point_is_right_inside_the_box_and_on_its_border(text, score):
    assert point(text, BOX).score == score


@pytest.mark.parametrize(
    ("tap", "score"), [("(.60, .59)", 1), ("(.60, .60)", 0), ("(.64, .50)", 1), ("(.3, .5)", 0)]
)
def test_a_point_near_a_gold_point_is_right(tap, score):
    assert point(tap, [0.5, 0.5], distance=0.14, extra={"coordinates": "unit"}).score == score


def test_points_are_scaled_from_the_image_that_the_model_saw():
    extra = {"width": 1080, "height": 2400, "seen_width": 540, "seen_height": 600}
    assert point("(10, 10)", [20, 40, 21, 41], extra=extra).score == 1
    extra = {"coordinates": "pixel", "width": 200, "height": 100}
    assert point("(75, 150)", BOX, extra=extra, coordinates="norm1000").score == 1


@pytest.mark.parametrize(
    ("answer", "params"),
    [([1, 2], {}), ("x", {}), ([5, 5, 1, 1], {}), ([-1, 2], {"distance": 1}), ([1, 2, 3], {})],
)
def test_a_target_that_cannot_be_hit_is_bad_gold(answer, params):
    assert point("(1, 1)", answer, **params).status == "bad_gold"


def act(action: str, *, thought: str = "<think>look</think>\n") -> str:
    return f"{thought}<answer>{action}</answer>"


CLICK = [{"action": "click", "coordinate": BOX}]


@pytest.mark.parametrize(
    ("text", "answer", "parts"),
    [
        (act("[{'action': 'click', 'coordinate': [10, 10]}]"), CLICK, (1, 1, 1)),
        (act('[{"action": "click", "coordinate": [21, 10]}]'), CLICK, (1, 0, 1)),
        (act("[{'action': 'scroll', 'coordinate': [10, 10]}]"), CLICK, (0, 0, 1)),
        (act("{'action': 'click', 'coordinate': [10, 10]}", thought=""), CLICK, (1, 1, 0)),
        (act("[{'action': 'click'}]"), CLICK, (1, 0, 1)),
        (act("'action': 'click', at [12, 12]"), CLICK, (1, 1, 1)),
        (act("open it"), CLICK, (0, 0, 1)),
        (
            act("[{'action': 'navigate_back', 'coordinate': [1, 1]}]"),
            [{"action": "navigate_back", "coordinate": [0, 0, 0, 0]}],
            (1, 1, 1),
        ),
        (
            act("[{'action': 'click', 'coordinate': [1, 1]}]"),
            "[{'action': 'scroll', 'coordinate': [0, 0, 0, 0]}]",
            (0, 0, 1),
        ),
    ],
)
def test_ui_r1_adds_type_place_and_format(text, answer, parts):
    verdict = judge("gui_action", text, answer)
    assert verdict.parts == dict(zip(("type", "coordinate", "format"), parts, strict=True))
    assert verdict.score == sum(parts)
    bare = judge("gui_action", text, answer, format="none")
    assert bare.score == parts[0] + parts[1]


def test_the_direct_answer_phase_wants_the_answer_alone():
    text = act("[{'action': 'click', 'coordinate': [10, 10]}]", thought="")
    assert judge("gui_action", text, CLICK, format="answer").score == 3
    assert judge("gui_action", f"So {text}", CLICK, format="answer").score == 2


def test_other_arguments_count_when_asked_for():
    answer = {"action": "input_text", "text": "Hello World"}
    right = act('[{"action": "input_text", "text": " hello  world"}]')
    wrong = act('[{"action": "input_text", "text": "bye"}]')
    assert judge("gui_action", wrong, answer).score == 3
    assert judge("gui_action", wrong, answer, arguments=True).score == 2
    assert judge("gui_action", right, answer, arguments=True).score == 3


def test_a_click_near_a_gold_point_is_right():
    answer = {"action": "click", "coordinate": [0.5, 0.5]}
    options = {"extra": {"coordinates": "unit"}, "distance": 0.14, "format": "none"}
    near, far = (json.dumps({"action": "click", "coordinate": [0.6, y]}) for y in (0.59, 0.6))
    assert judge("gui_action", act(near), answer, **options).score == 2
    assert judge("gui_action", act(far), answer, **options).score == 1


@pytest.mark.parametrize(
    "answer",
    [
        "click it",
        [],
        [{"action": 3}],
        [{"action": "click"}],
        [{"action": "click", "coordinate": [1, 2]}],
        [{"action": "click", "coordinate": [5, 5, 1, 1]}],
        [{"action": "click", "coordinate": [1, 2, "x", 4]}],
    ],
)
def test_a_gold_action_that_cannot_be_right_is_bad_gold(answer):
    text = act("[{'action': 'click', 'coordinate': [1, 1]}]")
    assert judge("gui_action", text, answer).status == "bad_gold"


@pytest.mark.parametrize("layout", ["think_answer", "answer", "none"])
@pytest.mark.parametrize("action", ["click", "scroll"])
def test_the_right_completion_gets_every_point(layout, action):
    answer = [{"action": action, "coordinate": BOX, "direction": "up"}]
    extra = {"coordinates": "pixel", "width": 200, "height": 100}
    params = {"format": layout, "coordinates": "unit", "arguments": True}
    text = gold_text(row_of(answer, extra), VerifierTerm(name="gui_action", params=params))
    verdict = judge("gui_action", text, answer, extra=extra, **params)
    assert verdict.score == (2 if layout == "none" else 3)
    text = gold_text(
        row_of(BOX, extra), VerifierTerm(name="point_in_box", params={"coordinates": "unit"})
    )
    assert judge("point_in_box", text, BOX, extra=extra, coordinates="unit").score == 1


@pytest.mark.parametrize("name", ["point_in_box", "gui_action"])
@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, "(" * 1_000_000, "'action': '" * 50_000, "[1," * 200_000, "[1e999, 1]", "\x00"],
)
def test_hostile_text_is_judged_soon(name, text):
    answer = BOX if name == "point_in_box" else CLICK
    start = time.perf_counter()
    verdict = judge(name, act(text), answer)
    assert verdict.status in ("ok", "no_answer")
    assert time.perf_counter() - start < 3


def test_an_action_in_a_list_of_several_is_the_first():
    text = act(json.dumps([{"action": "scroll"}, {"action": "click", "coordinate": [12, 12]}]))
    assert judge("gui_action", text, CLICK, format="none").score == 0
