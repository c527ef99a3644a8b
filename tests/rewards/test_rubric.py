from __future__ import annotations

import statistics

import pytest

from mmrl.config.schema import RewardsConfig
from mmrl.errors import RewardError
from mmrl.reward import group_reward, sample_of, verifier
from mmrl.rubric import Rubric, combine
from mmrl.types import Row, VerifierTerm

RIGHT = "<think>x</think><answer>4</answer>"
WRONG = "<think>x</think><answer>5</answer>"
BARE = r"\boxed{4}"


@verifier
def half(*, broken: bool = False):
    """Give 0.5 with a part, or fail."""

    def judge(sample):
        if broken:
            raise RuntimeError("out of order")
        return 0.5

    return judge


@group_reward
def rank_by_accuracy():
    """Give every sibling its own accuracy, doubled."""
    return lambda samples: [2.0 * (sample.accuracy or 0.0) for sample in samples]


@group_reward
def one_short():
    """Return one score too few."""
    return lambda samples: [0.0 for _ in samples[1:]]


def a_row(answer="4", verifiers=("exact",), reward=None) -> Row:
    terms = tuple(v if isinstance(v, VerifierTerm) else VerifierTerm(name=v) for v in verifiers)
    return Row(id="r", source="s", prompt=[], answer=answer, verifier=terms, reward=reward or {})


def judged(terms, texts, *, row=None, combine="sum", progress=0.0):
    config = RewardsConfig.model_validate({"terms": terms, "combine": combine})
    row = row or a_row()
    with Rubric(config, [row]) as rubric:
        return rubric.judge([[sample_of(row, text, progress=progress) for text in texts]])[0]


FORMAT = {"name": "think_answer", "weight": 0.1}


def test_the_score_is_the_weighted_sum_and_the_parts_are_unweighted():
    verdicts = judged({"accuracy": {"weight": 0.9}, "format": FORMAT}, [RIGHT, WRONG, BARE, ""])
    assert [v.score for v in verdicts] == pytest.approx([1.0, 0.1, 0.9, 0.0])
    assert dict(verdicts[2].parts) == {"accuracy": 1.0, "format": 0.0}
    assert [v.status for v in verdicts] == ["ok", "ok", "ok", "no_answer"]


def test_a_row_overrides_the_stages_weights():
    row = a_row(reward={"format": 2.0})
    assert judged({"accuracy": {}, "format": FORMAT}, [RIGHT], row=row)[0].score == 3.0


def test_a_weight_may_follow_a_schedule():
    terms = {"accuracy": {}, "format": {"name": "think_answer", "weight": {0.0: 1.0, 0.5: 0.0}}}
    assert judged(terms, [WRONG], progress=0.5)[0].score == 1.0
    assert judged(terms, [WRONG], progress=0.6)[0].score == 0.0


def test_a_verifiers_number_may_follow_a_schedule():
    number = VerifierTerm(name="number", params={"abs_tol": {0.0: 2.0, 0.5: 0.0}})
    row = a_row(verifiers=[number])
    assert judged({"accuracy": {}}, [WRONG], row=row, progress=0.5)[0].score == 1.0
    assert judged({"accuracy": {}}, [WRONG], row=row, progress=0.51)[0].score == 0.0


def test_several_verifiers_of_a_row_are_averaged_by_weight():
    row = a_row(verifiers=[VerifierTerm(name="exact", weight=3.0), VerifierTerm(name="half")])
    verdict = judged({"accuracy": {}}, [RIGHT], row=row)[0]
    assert verdict.score == pytest.approx((3 * 1 + 0.5) / 4)
    assert dict(verdict.parts) == {
        "accuracy": verdict.score,
        "accuracy/exact": 1.0,
        "accuracy/half": 0.5,
    }


def test_a_term_that_cannot_be_judged_leaves_the_rollout_without_a_score():
    terms = {"accuracy": {}, "style": {"name": "half", "params": {"broken": True}}}
    verdict = judged(terms, [RIGHT])[0]
    assert (verdict.score, verdict.status) == (None, "error")
    assert "half: RuntimeError: out of order" in verdict.detail
    assert dict(verdict.parts) == {"accuracy": 1.0, "style": None}


def test_a_broken_term_without_weight_is_only_logged():
    terms = {"accuracy": {}, "style": {"name": "half", "weight": 0, "params": {"broken": True}}}
    assert judged(terms, [RIGHT])[0].score == 1.0


def test_a_row_whose_answer_cannot_be_read_is_not_judged():
    verdict = judged({"accuracy": {}}, [RIGHT], row=a_row("many", verifiers=["number"]))[0]
    assert (verdict.score, verdict.status) == (None, "bad_gold")


def test_a_group_term_sees_its_siblings_and_their_accuracy():
    terms = {"accuracy": {"weight": 0.0}, "rank": {"name": "rank_by_accuracy"}}
    assert [v.score for v in judged(terms, [RIGHT, WRONG])] == [2.0, 0.0]


def test_a_group_term_that_returns_too_few_scores_is_an_error_for_all():
    terms = {"accuracy": {}, "short": {"name": "one_short"}}
    assert {v.status for v in judged(terms, [RIGHT, WRONG])} == {"error"}


@pytest.mark.parametrize(
    ("a", "f", "accuracy", "form", "final"),
    [
        (1, 0.1, 1, 0, 0.909091),
        (1, 0.1, 0, 1, 0.090909),
        (0.9, 0.1, 0.5, 1, 0.55),
        (1, 0, 1, 0, 1.0),
        (1, 0.5, 0.4, 1, 0.6),
    ],
)
def test_the_ratio_is_v_triunes(a, f, accuracy, form, final):
    scores, weights = {"accuracy": accuracy, "format": form}, {"accuracy": a, "format": f}
    assert combine("ratio", [scores], [weights])[0] == pytest.approx(final, abs=1e-6)


@pytest.mark.parametrize(
    ("accuracy", "form", "final"), [(1, 0, 0.0), (0, 0, 0.0), (1, 1, 3.0), (0.4, 1, 1.8)]
)
def test_the_gate_is_modomodos(accuracy, form, final):
    scores = {"accuracy": accuracy, "format": form}
    assert combine("gate", [scores], [{"accuracy": 2.0, "format": 1.0}]) == [pytest.approx(final)]


def test_normalising_first_gives_every_term_the_same_say():
    accuracy, length = [1.0, 0.0, 0.0, 1.0], [0.001, 0.002, 0.0, 0.004]
    scores = [{"accuracy": a, "length": n} for a, n in zip(accuracy, length, strict=True)]
    weights = [{"accuracy": 1.0, "length": 0.5}] * 4
    expected = [
        sum(
            w * (column[i] - statistics.mean(column)) / (statistics.stdev(column) + 1e-4)
            for w, column in ((1.0, accuracy), (0.5, length))
        )
        for i in range(4)
    ]
    assert combine("normalise", scores, weights) == pytest.approx(expected)
    with_gap = combine("normalise", [*scores, None], [*weights, weights[0]])
    assert with_gap == [*map(pytest.approx, expected), None]


def test_normalising_a_group_that_agrees_teaches_nothing():
    assert combine("normalise", [{"a": 0.1}] * 3, [{"a": 1.0}] * 3) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (a_row(verifiers=["exat"]), "row 'r': there is no verifier 'exat', did you mean 'exact'?"),
        (a_row(verifiers=[VerifierTerm(name="exact", params={"cas": 1})]), "did you mean 'case'?"),
        (a_row(verifiers=["rank_by_accuracy"]), "judges whole groups"),
        (a_row(reward={"fromat": 1.0}), "did you mean 'format'?"),
        (a_row(verifiers=[]), "names no verifier"),
    ],
)
def test_a_row_that_the_stage_cannot_judge_stops_it_before_it_starts(row, message):
    config = RewardsConfig.model_validate({"terms": {"accuracy": {}, "format": FORMAT}})
    with pytest.raises(RewardError) as error:
        Rubric(config, [row])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
