"""Hints go to groups that fail and to no others, no more of them than bring a success."""

from __future__ import annotations

from functools import partial

import pytest

from mmrl.engines.hf import sample
from mmrl.errors import DataError
from mmrl.guidance.build import check_help
from mmrl.guidance.metrics import describe_help

SOLUTION = "".join(f"{index % 10}" for index in range(90)) + " so it is 3."
HINTS = {
    "knowledge": ["k1", "k2", "k3", "k4"],
    "planning": ["p1", "p2", "p3", "p4"],
    "solution": ["s1", "s2", "s3", "s4"],
}


def wrong(text: str, place: int) -> str:
    return "<answer>5</answer>"


def kept(rollouts):
    return [rollout for rollout in rollouts if not rollout.spent]


def scores(rollouts):
    return [rollout.verdict.score for rollout in kept(rollouts)]


def test_a_group_with_one_right_completion_gets_no_hint(make_guide, answering, train_groups, ask):
    row = ask("what?", response=SOLUTION)
    draw = answering(lambda text, place: "<answer>3</answer>" if place == 2 else "no")
    [group] = train_groups(make_guide([row], guidance={"kind": "ghpo"}), [row], draw)
    assert scores(group) == [0, 0, 1, 0]
    assert [(r.aid, r.spent) for r in group] == [(None, False)] * 4
    assert len(draw.asked) == 1


@pytest.mark.parametrize("kind", ["ghpo", "prefix", "scaf_grpo"])
def test_what_is_drawn_again_for_a_row_depends_on_its_place_and_not_on_who_draws(
    make_guide, guided_policy, train_groups, ask, kind
):
    """So several processes draw what one would have drawn."""
    rows = [
        ask(f"what is {name}?", row_id=name, response=SOLUTION, extra={"hints": HINTS})
        for name in ("a", "b", "c")
    ]
    guide = make_guide(rows, guidance={"kind": kind}, rollout={"max_new_tokens": 5})
    draw = partial(sample, guided_policy, config=guide.stage.rollout)
    together = train_groups(guide, rows, draw)
    apart = train_groups(guide, rows[1:], draw, places=[1, 2])
    last = train_groups(guide, rows[2:], draw, places=[2])

    def drawn(groups):
        return [[(r.aid, r.level, r.completion.ids) for r in group] for group in groups]

    assert drawn(apart) == drawn(together)[1:]
    assert drawn(last) == drawn(together)[2:]
    assert all(any(r.aid for r in group) for group in together)


def test_ghpo_shows_more_of_the_solution_until_one_is_right(
    make_guide, answering, train_groups, ask
):
    """100 characters: 25 do not help, 50 do, and 75 are never shown."""
    solution = "z" * 30 + "here" + "y" * 66
    failing, easy = (
        ask("hard?", row_id="a", response=solution),
        ask("easy?", row_id="b", response=solution),
    )
    draw = answering(
        lambda text, place: (
            "<answer>3</answer>"
            if "easy" in text or ("here" in text and place == 1)
            else "<answer>4</answer>"
        )
    )
    guide = make_guide([failing, easy], guidance={"kind": "ghpo"})
    groups = train_groups(guide, [failing, easy], draw)
    assert [scores(group) for group in groups] == [[0, 1, 0, 0], [1, 1, 1, 1]]
    assert [(r.aid, r.level) for r in kept(groups[0])] == [("hint", 2)] * 4
    assert [(r.aid, r.level) for r in groups[0] if r.spent] == [(None, 0)] * 4 + [("hint", 1)] * 4
    shown = [text.count("z") for text, _ in draw.asked]
    assert [count - shown[0] for count in shown] == [0, 0, 25, 30]
    assert "which you can refer to for solving the problem:\nzzz" in draw.asked[2][0]
    metrics = describe_help(groups, guide.stage.guidance)
    assert metrics == {
        "guidance/failing_groups": 1,
        "guidance/hinted_groups": 1,
        "guidance/traced_groups": 0,
        "guidance/rescued_groups": 1,
        "guidance/completions": 8,
        "guidance/level": 2,
    }


def test_ghpo_trains_on_what_it_drew_last_where_nothing_helps(
    make_guide, answering, train_groups, ask
):
    row = ask("what?", response=SOLUTION)
    draw = answering(wrong)
    [group] = train_groups(make_guide([row], guidance={"kind": "ghpo"}), [row], draw)
    assert [(r.aid, r.level) for r in kept(group)] == [("hint", 3)] * 4
    assert len(draw.asked) == 4
    assert len(group) == 16


def test_ghpo_begins_with_a_hint_at_once(make_guide, answering, train_groups, ask):
    row = ask("what?", response=SOLUTION)
    guide = make_guide([row], guidance={"kind": "ghpo", "cold_steps": 6})
    right = answering(lambda text, place: "<answer>3</answer>")
    [early] = train_groups(guide, [row], right, step=5)
    [late] = train_groups(guide, [row], right, step=6)
    assert [(r.aid, r.level) for r in early] == [("hint", 1)] * 4
    assert [r.aid for r in late] == [None] * 4


def test_keye_takes_the_lowest_level_that_works_and_asks_no_further(
    make_guide, answering, train_groups, ask
):
    """Right counts by level would be 0, 0, 3, 8, 8: level 3 is used, 4 and 5 never sampled."""
    levels = [f"level {level}" for level in range(1, 6)]
    row = ask("what?", extra={"hints": levels})
    draw = answering(
        lambda text, place: "<answer>3</answer>" if "level 3" in text and place < 3 else "no"
    )
    guide = make_guide([row], guidance={"kind": "keye"}, rollout={"group_size": 8})
    [group] = train_groups(guide, [row], draw)
    assert scores(group) == [1, 1, 1, 0, 0, 0, 0, 0]
    assert {(r.aid, r.level) for r in kept(group)} == {("hint", 3)}
    asked = [next((hint for hint in levels if hint in text), "") for text, _ in draw.asked]
    assert asked == ["", "level 1", "level 2", "level 3"]


def test_keye_leaves_a_group_that_no_hint_helps_as_it_was(make_guide, answering, train_groups, ask):
    row = ask("what?", extra={"hints": ["a", "b"]})
    [group] = train_groups(make_guide([row], guidance={"kind": "keye"}), [row], answering(wrong))
    assert [(r.aid, r.level) for r in kept(group)] == [(None, 0)] * 4
    assert [(r.aid, r.level) for r in group if r.spent] == [("hint", 1)] * 4 + [("hint", 2)] * 4


def test_scaffold_replaces_one_failed_completion_by_the_least_help_that_works(
    make_guide, answering, train_groups, ask
):
    row = ask("what?", extra={"hints": HINTS})
    draw = answering(lambda text, place: "<answer>3</answer>" if "p2" in text else "no")
    guide = make_guide([row], guidance={"kind": "scaf_grpo"}, rollout={"group_size": 8})
    [group] = train_groups(guide, [row], draw)
    assert scores(group) == [0] * 7 + [1]
    helped = kept(group)[-1]
    assert (helped.aid, helped.level) == ("hint", 6)
    assert [size for _, size in draw.asked] == [8, 1, 1, 1, 1, 1, 1]
    shown = guide.prompts.policy.processor.tokenizer.decode(helped.prompt.ids)
    assert "Planning: p1\np2" in shown
    assert "k1" not in shown
    assert kept(group)[0].prompt.ids != helped.prompt.ids
    assert len([r for r in group if r.spent]) == 1 + 5


def test_scaffold_can_learn_behind_the_question_alone(make_guide, answering, train_groups, ask):
    row = ask("what?", extra={"hints": HINTS})
    draw = answering(lambda text, place: "<answer>3</answer>" if "k1" in text else "no")
    guidance = {"kind": "scaf_grpo", "learns_with": "question"}
    [group] = train_groups(make_guide([row], guidance=guidance), [row], draw)
    assert kept(group)[-1].aid == "hint"
    assert {r.prompt.ids for r in kept(group)} == {kept(group)[0].prompt.ids}


def test_scaffold_helps_nobody_in_the_first_share_of_the_stage(
    make_guide, answering, train_groups, ask
):
    row = ask("what?", extra={"hints": HINTS})
    guide = make_guide([row], guidance={"kind": "scaf_grpo"})
    assert len(train_groups(guide, [row], answering(wrong), step=1)[0]) == 4
    # nothing helps: twelve tries, and the group stays as it was
    [group] = train_groups(guide, [row], answering(wrong), step=2)
    assert [r.aid for r in kept(group)] == [None] * 4
    assert [r.level for r in group if r.spent] == [*range(1, 13)]


def test_kinds_of_hints_can_be_left_out(make_guide, answering, train_groups, ask):
    row = ask("what?", extra={"hints": {"knowledge": ["k"], "solution": ["s"]}})
    guidance = {"kind": "scaf_grpo", "kinds": ["knowledge", "solution"]}
    draw = answering(lambda text, place: "<answer>3</answer>" if "Solution: s" in text else "no")
    [group] = train_groups(make_guide([row], guidance=guidance), [row], draw)
    assert kept(group)[-1].level == 2


def test_a_prefix_is_continued_and_judged_with_what_follows(
    make_guide, answering, train_groups, ask
):
    row = ask("what?", response="<answer>3</answer>")
    draw = answering(lambda text, place: "</answer>" if text.endswith("<answer>3") else "no")
    tokenizer = make_guide().prompts.policy.processor.tokenizer
    pieces = ("<answer>3", "<answer>3</answer>")
    shown, whole = (tokenizer(text, add_special_tokens=False).input_ids for text in pieces)
    share = len(shown) / len(whole)
    guide = make_guide([row], guidance={"kind": "prefix", "share": share})
    [group] = train_groups(guide, [row], draw)
    helped = kept(group)
    assert [r.verdict.score for r in helped] == [1] * 4
    assert {r.aid for r in helped} == {"prefix"}
    assert helped[0].prompt.opening == "<answer>3"
    assert helped[0].completion.text == "</answer>"
    positions = helped[0].prompt.positions_RT
    assert positions.shape[1] == len(helped[0].prompt.ids)
    always = make_guide([row], guidance={"kind": "prefix", "share": share, "always": True})
    draw.asked.clear()
    train_groups(always, [row], draw)
    assert [text.endswith("<answer>3") for text, _ in draw.asked] == [True]


@pytest.mark.parametrize(
    ("guidance", "row", "message"),
    [
        ({"kind": "ghpo"}, {}, "row r1: guidance ghpo needs its 'response'"),
        ({"kind": "ghpo", "solution": "sketch"}, {}, "needs a text 'sketch' in 'extra', got None"),
        (
            {"kind": "keye"},
            {"extra": {"hints": "one"}},
            "a list of texts 'hints' in 'extra', got 'one'",
        ),
        (
            {"kind": "scaf_grpo"},
            {"extra": {"hints": {"knowledge": ["a"]}}},
            "with a list of texts for each of knowledge, planning, solution",
        ),
        (
            {"kind": "luffy", "count": 2},
            {"response": "a"},
            "needs 2 traces (guidance.count), got 1",
        ),
        ({"kind": "keye"}, {"extra": {"hints": ["<|IMAGE|>"]}}, "which stands for a medium"),
    ],
)
def test_rows_without_their_help_are_refused_before_training(
    make_guide, guided_policy, ask, guidance, row, message
):
    row = ask("what?", **row)
    guide = make_guide([row], guidance=guidance)
    with pytest.raises(DataError) as error:
        check_help(guide.stage, [row], guided_policy)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
