from __future__ import annotations

import pytest

BOX = "[{'bbox_2d': [1, 2, 3, 4], 'label': 'dog'}]"
OBSERVE = "<observe>o</observe><think>t</think><answer>1</answer>"


@pytest.mark.parametrize(
    ("name", "params", "text", "score"),
    [
        ("boxed", {}, r"so \boxed{42}", 1.0),
        ("boxed", {}, r"so \boxed{}", 0.0),
        ("boxed", {}, r"so \boxed{42", 0.0),
        ("boxed", {}, "so 42", 0.0),
        ("boxed", {"think": True}, r"<think>x</think> so \boxed{42}", 1.0),
        ("boxed", {"think": True}, r"so \boxed{42}", 0.0),
        ("boxed", {"think": True}, r"<think>\boxed{42}</think> so", 0.0),
        ("observe", {}, OBSERVE, 0.5),
        ("observe", {"points": 1.0}, OBSERVE, 1.0),
        ("observe", {}, OBSERVE.replace("><", ">\n <"), 0.5),
        ("observe", {}, "<think><observe>o</observe>t</think><answer>1</answer>", 0.5),
        ("observe", {}, "<think>t</think><observe>o</observe><answer>1</answer>", 0.0),
        ("observe", {}, OBSERVE + "<observe>", 0.0),
        ("observe", {}, OBSERVE + " done", 0.0),
        ("observe", {}, "<observe>o</observe>and<think>t</think><answer>1</answer>", 0.0),
        ("observe", {}, "<think>t</think><answer>1</answer>", 0.0),
        ("json_boxes", {}, f"<answer>{BOX}</answer>", 1.0),
        ("json_boxes", {}, f"<answer>```json\n{BOX}\n```</answer>", 1.0),
        ("json_boxes", {}, f"<answer>here: {BOX} there</answer>", 0.0),
        ("json_boxes", {}, "<answer>[{'bbox_2d': [1, 2, 3, 4]}]</answer>", 0.0),
        ("json_boxes", {"labels": False}, "<answer>[{'bbox_2d': [1, 2, 3, 4]}]</answer>", 1.0),
        ("json_boxes", {}, "<answer>[{'bbox_2d': [1, 2, 3], 'label': 'x'}]</answer>", 0.0),
        ("json_boxes", {}, "<answer>[{'bbox_2d': [9, 2, 3, 4], 'label': 'x'}]</answer>", 0.0),
        ("json_boxes", {}, "<answer>[]</answer>", 0.0),
        ("json_boxes", {"style": "v_triune"}, f"x\n<answer>\n{BOX}\n</answer>", 1.0),
        ("json_boxes", {"style": "v_triune"}, f"<answer>{BOX}</answer>", 0.0),
        ("json_boxes", {"style": "v_triune"}, "x\n<answer>\nnone\n</answer>", 0.0),
        ("empty_thought", {}, "<think>\n\n</think><answer>3</answer>", 1.0),
        ("empty_thought", {}, "<answer>3</answer>", 0.0),
        ("empty_thought", {"tag": "action"}, "<think>x</think> <action>tap</action>", 1.0),
        ("empty_thought", {"tag": "action"}, "<think>x</think> <answer>tap</answer>", 0.0),
        ("no_think", {}, "veined", 1.0),
        ("no_think", {}, "<answer>veined</answer>", 0.0),
        ("no_think", {}, "", 0.0),
        ("no_think", {"form": "answer"}, " <answer>veined</answer>\n", 1.0),
        ("no_think", {"form": "answer"}, "I think <answer>motorboat</answer>", 0.0),
        ("no_think", {"form": "after"}, "<answer>a</answer> <reason>b</reason>", 1.0),
        ("no_think", {"form": "after"}, "<answer>a</answer>", 0.0),
        ("no_think", {"form": "adaptive"}, "<answer>a</answer>", 1.0),
        ("no_think", {"form": "adaptive"}, "<think>x</think> <answer>a</answer>", 1.0),
        ("no_think", {"form": "adaptive"}, "<think>x</think> a", 0.0),
    ],
)
def test_a_format_is_what_the_paper_says(judge, name, params, text, score):
    verdict = judge(name, "1", text, **params)
    assert (verdict.score, verdict.status) == (score, "ok")


@pytest.mark.parametrize(("thought", "skipped"), [("\n\n", 1.0), ("hm", 0.0)])
def test_an_empty_thought_is_told_from_a_full_one(judge, thought, skipped):
    verdict = judge("empty_thought", "3", f"<think>{thought}</think><answer>3</answer>")
    assert dict(verdict.parts) == {"skipped": skipped}


@pytest.mark.parametrize(
    ("text", "accuracy", "score"),
    [
        ("<think>x</think> <answer>1</answer>", 1.0, 1.0),
        ("<think>x</think> <answer>1</answer>", 0.0, 0.0),
        ("<answer>1</answer>", 1.0, 0.0),
        ("<answer>1</answer>", 0.0, 0.0),
    ],
)
def test_hard_formatting_pays_only_for_both(judge, text, accuracy, score):
    assert judge("hard_format_result", "1", text, accuracy=accuracy).score == score


def test_what_depends_on_an_accuracy_that_nobody_knows_is_not_judged(judge):
    for name in ("hard_format_result", "laser", "cosine", "consistency"):
        verdict = judge(name, "1", "<think>x</think> <answer>1</answer>")
        assert (verdict.score, verdict.status) == (None, "error")
        assert "rewards.terms needs 'accuracy'" in verdict.detail
