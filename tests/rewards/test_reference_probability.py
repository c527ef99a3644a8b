"""RLPR: splicing, the reward's arithmetic, the spread filter, probabilities of a tiny model."""

from __future__ import annotations

import pytest

from mmrl.answer import extract
from mmrl.compat import make_torchvision_importable
from mmrl.errors import RewardError
from mmrl.reward import build_verifier, sample_of
from mmrl.types import Row, Sample, Verdict
from mmrl.verify.reference import (
    SpreadFilter,
    reference_probabilities,
    repeats_itself,
    splice,
    token_probabilities,
    with_reference,
)

GOOD = "<think>2 + 2</think><answer>5</answer>"


def sample(text: str = GOOD, extra=None) -> Sample:
    row = Row(id="r", source="s", prompt=[], answer="4", verifier=(), extra=extra or {})
    return sample_of(row, text)


def judge(one: Sample, **params) -> Verdict:
    return build_verifier("reference_probability", params)(one)


P = [0.9, 0.8, 0.1]


@pytest.mark.parametrize(
    ("text", "baseline", "score"),
    [
        (GOOD, 0.25, 0.415),
        ("<answer>5</answer>", 0.25, 0.315),
        (GOOD, 0.7, 0.1),
        (GOOD, None, 0.64),
        ("<think>a</think><think>b</think><answer>5</answer>", 0.25, 0.315),
        ("<answer>5</answer><think>a</think>", 0.25, 0.315),
    ],
)
def test_the_mean_probability_counts_less_the_baseline(text, baseline, score):
    verdict = judge(with_reference(sample(text), P, baseline))
    assert verdict.score == pytest.approx(score)
    assert verdict.parts["probability"] == pytest.approx(0.6)


def test_variants_of_the_formula():
    one = with_reference(sample(), P, 0.25)
    bare = with_reference(sample("\\boxed{5}"), P, 0.25)
    assert judge(one, debias=False).score == pytest.approx(0.9 * 0.6 + 0.1)
    assert judge(one, format_required=True).score == pytest.approx(0.35)
    assert judge(bare, format_required=True).score == -1
    direct = with_reference(sample("<answer>5</answer>"), P, 0.25)
    assert judge(direct, format="answer").score == pytest.approx(0.415)


def test_repetition_is_punished_only_where_there_is_something_to_lose():
    chant = "one two three four five six seven eight nine_ten " * 11
    looping = sample(f"<think>{chant}</think><answer>5</answer>")
    worth = judge(with_reference(looping, P, 0.25), repetition_penalty=1)
    assert worth.score == pytest.approx(-0.585)
    nothing = with_reference(looping, [0.1], 0.5)
    assert judge(nothing, repetition_penalty=1, format_weight=0).score == 0
    assert not repeats_itself("word " * 10)
    assert not repeats_itself("one two three four five six seven eight nine ten " * 9)
    assert repeats_itself("word " * 19)
    assert not repeats_itself("word " * 18)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"reference_probabilities": []},
        {"reference_probabilities": [1.5]},
        {"reference_probabilities": "0.5"},
        {"reference_probabilities": [0.5, None]},
        {"reference_probabilities": [float("nan")]},
        {"reference_probabilities": [0.5], "reference_baseline": 2},
    ],
)
def test_missing_or_impossible_probabilities_are_an_error_and_not_a_zero(extra):
    verdict = judge(sample(extra=extra))
    assert (verdict.score, verdict.status) == (None, "error")


def test_a_completion_without_an_answer_has_no_place_for_the_reference():
    verdict = judge(with_reference(sample("I do not know"), P))
    assert (verdict.score, verdict.status) == (0, "no_answer")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, "<think>2 + 2</think><answer>4</answer>"),
        ("so \\boxed{5} or \\boxed{", "so \\boxed{4} or \\boxed{"),
        ("\\boxed{1} \\boxed{\\frac{1}{2}}!", "\\boxed{1} \\boxed{4}!"),
        ("<answer>1</answer><answer>2</answer>", "<answer>1</answer><answer>4</answer>"),
    ],
)
def test_the_reference_stands_where_the_answer_stood(text, expected):
    spliced = splice(text, "4")
    whole = spliced.before + spliced.reference + spliced.after
    assert whole == expected
    assert extract(whole) == "4"


def test_the_spread_filter_collects_then_moves_its_average_and_then_decides():
    found = SpreadFilter(average=0.20)
    spreads = {0.49: None, 0.11: None, 0.10: None}
    groups = [_pair(spread) for spread in spreads]
    target = 0.30 * 3 - 0.11 - 0.10
    groups[0] = _pair(target)
    assert found.keep(groups, step=11) == [True, True, False]
    assert found.average == pytest.approx(0.201)


def test_nothing_is_filtered_before_the_eleventh_step():
    found = SpreadFilter(beta=1.0)
    for step in range(1, 11):
        assert found.keep([_pair(0.0), _pair(0.1 * step)], step) == [True, True]
    assert found.collected == pytest.approx([0.05 * step for step in range(6, 11)])
    resumed = SpreadFilter(beta=1.0)
    resumed.load_state_dict(found.state_dict())
    for one in (found, resumed):
        assert one.keep([_pair(0.39), _pair(0.41)], 11) == [False, True]
        assert one.average == pytest.approx(0.4)


@pytest.mark.parametrize("params", [{"format_weight": 2}, {"repetition_penalty": -1}])
def test_shares_and_penalties_out_of_range_are_refused(params):
    with pytest.raises(RewardError):
        build_verifier("reference_probability", params)


@pytest.fixture(scope="module")
def tiny():
    import torch

    make_torchvision_importable()
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).eval()


def test_token_probabilities_are_those_of_one_step_at_a_time(tiny):
    import torch

    ids = [3, 14, 15, 9, 26, 5]
    expected = []
    for place in (3, 4, 5):
        with torch.no_grad():
            logits = tiny(input_ids=torch.tensor([ids[:place]])).logits[0, -1]
        expected.append(float(torch.exp(logits[ids[place]]) / torch.exp(logits).sum()))
    assert token_probabilities(tiny, ids, 3, 6) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="no part"):
        token_probabilities(tiny, ids, 0, 2)


def test_the_reference_is_tokenized_on_its_own_and_follows_the_reasoning(tiny):
    class Letters:
        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return [1] * add_special_tokens + [ord(letter) % 64 for letter in text]

    spliced = splice("ab<answer>x</answer>", "cd")
    ids = [7, 8] + [ord(letter) % 64 for letter in "ab<answer>cd"]
    found = reference_probabilities(tiny, Letters(), [7, 8], spliced)
    assert found == pytest.approx(token_probabilities(tiny, ids, len(ids) - 2, len(ids)))


def _pair(spread: float) -> list[float]:
    """Two rewards with this standard deviation."""
    return [0.0, spread * 2**0.5]
