"""`mmrl bench step` compares like with like, and says so in numbers."""

from __future__ import annotations

import json

import pytest
import torch

from mmrl.bench.step import largest_difference, measure_step
from mmrl.bench.task import Workload
from mmrl.cli import run

WORK = Workload(prompts=1, prompt_tokens=90, completion_tokens=6, group_size=3)


def test_the_report_has_ratios_differences_and_memory_of_both_sides(capsys):
    arguments = "bench step --model tiny --prompts 1 --prompt-tokens 90 --completion-tokens 6"
    arguments += " --group-size 3 --against none --rounds 1 --threads 1 --json"
    assert run(arguments.split()) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ratio"].keys() == {"rollout", "scoring_backward", "step"}
    for phase, ratio in report["ratio"].items():
        sides = report["seconds"]
        assert ratio == pytest.approx(sides["none"][phase] / sides["mmrl"][phase])
    assert report["token_bound"] == pytest.approx(3 * 96 / (90 + 18))
    assert 0 < report["max_logprob_diff"] < 1e-5
    assert 0 < report["max_grad_rel_diff"] < 1e-4
    assert report["peak_memory"].keys() == {"mmrl", "none"}


@pytest.mark.filterwarnings("ignore")
def test_trl_on_the_same_weights_prompts_and_completions_finds_the_same_numbers():
    report = measure_step("tiny", WORK, against="trl", rounds=1, threads=1)
    assert 0 < report["max_logprob_diff"] < 1e-5
    assert 0 < report["max_grad_rel_diff"] < 1e-4


def test_a_prompt_too_short_for_a_picture_is_one_line(capsys):
    assert run(["bench", "step", "--model", "tiny", "--prompt-tokens", "3"]) == 2
    assert "--prompt-tokens: 3" in capsys.readouterr().err


def test_the_difference_of_gradients_is_relative_to_each_parameter():
    expected = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([1e-9])}
    found = {"a": torch.tensor([3.0, 4.5]), "b": torch.tensor([2e-9])}
    assert largest_difference(found, expected) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="different parameters"):
        largest_difference({"a": expected["a"]}, expected)
