"""The four methods on rows whose difficulty is known."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from mmrl.config.check import check
from mmrl.difficulty import angle_signal, lim_scores, pass_rate_interval
from mmrl.errors import DataError
from mmrl.media.writers import write_png
from mmrl.selection.angles import score_angles
from mmrl.selection.asking import pass_rate, score_pass_rates, score_searches, searched
from mmrl.selection.config import GainRlConfig, LimConfig, MctsConfig, PassRateConfig
from mmrl.selection.learning import score_alignment
from mmrl.selection.scored import Scored, Unscored
from mmrl.selection.search import iterations_to_solve
from mmrl.types import Verdict

NOBODY = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
LOCAL = {"local": {"family": "qwen2_5_vl", "tiny": "qwen2_5_vl", "device": "cpu", "threads": 1}}


def config_of(schema, **values):
    config, mistakes = check(schema, values)
    assert config is not None, mistakes
    return config


def quiet(*args) -> None:
    pass


def number(text: str) -> int:
    return int(re.findall(r"(\d+) \+ 1", text)[0])


def right_below(text: str, turn: int) -> str:
    """Row n is right n times of eight."""
    n = number(text)
    return f"<answer>{n + 1 if turn < n else 'no'}</answer>"


def test_pass_rates_are_counted_and_the_published_window_is_kept(serve, rows, tmp_path):
    server = serve(right_below)
    config = config_of(PassRateConfig, policy=server.policy, rollouts=8)
    found, staff = score_pass_rates(rows(9), config, tmp_path / "cache", quiet)
    assert [one.facts["right"] for one in found] == list(range(9))
    assert [one.difficulty for one in found] == [1 - n / 8 for n in range(9)]
    assert [one.row.id for one in found if not one.reason] == ["r2", "r3", "r4", "r5", "r6"]
    assert found[3].facts["interval"] == list(pass_rate_interval(3, 8))
    assert "1 of 8 rollouts are right" in found[1].reason
    assert staff.counts["policy"].asked == 72
    again, staff = score_pass_rates(rows(9), config, tmp_path / "cache", quiet)
    assert [one.difficulty for one in again] == [one.difficulty for one in found]
    assert (staff.counts["policy"].asked, len(server.asked)) == (0, 72)


def verdicts(right: int, of: int, unjudged: int = 0) -> list[Verdict]:
    wrong = [Verdict(score=0.0)] * (of - right)
    broken = [Verdict(score=None, status="error", detail="boom")] * unjudged
    return [*[Verdict(score=1.0)] * right, *wrong, *broken]


def test_what_could_not_be_judged_is_not_wrong(rows):
    (row,) = rows(1)
    config = config_of(PassRateConfig, policy=NOBODY)
    assert pass_rate(row, verdicts(2, 4, unjudged=4), config).facts["pass_rate"] == 0.5
    lost = pass_rate(row, verdicts(0, 0, unjudged=3), config)
    assert isinstance(lost, Unscored)
    assert "boom" in lost.reason


def test_few_rollouts_leave_a_row_in_doubt(rows):
    (row,) = rows(1)
    config = config_of(PassRateConfig, policy=NOBODY, by="interval")
    assert not pass_rate(row, verdicts(0, 4), config).reason
    assert pass_rate(row, verdicts(0, 40), config).reason
    assert not pass_rate(row, verdicts(4, 4), config).reason
    assert pass_rate(row, verdicts(40, 40), config).reason


def test_fifty_rollouts_and_a_rate_below_a_fifth_are_self_consistency_selection(rows):
    (row,) = rows(1)
    config = config_of(PassRateConfig, policy=NOBODY, rollouts=50, window=[0, 0.19])
    assert not pass_rate(row, verdicts(9, 50), config).reason
    assert pass_rate(row, verdicts(10, 50), config).reason


def searching(**values) -> MctsConfig:
    return config_of(MctsConfig, policy=NOBODY, **values)


@pytest.mark.parametrize("solved_in", [1, 2, 5, 6, 20, None])
def test_a_search_counts_the_iterations_to_the_first_right_way(solved_in):
    asked = []

    def is_right(steps) -> bool:
        asked.append(steps)
        return len(asked) == solved_in

    found = iterations_to_solve(
        "r",
        lambda steps, draw: f"{len(steps)}-{draw}" + (" \\boxed{1}" if len(steps) == 2 else ""),
        is_right,
        lambda step: "boxed" in step,
        searching(iterations=20),
    )
    assert found == solved_in
    assert len(asked) == (solved_in or 20)


def test_a_search_visits_what_it_has_seen_least():
    seen = []

    def propose(steps, draw) -> str:
        if len(steps) < 1:
            seen.append(draw)
        return f"{draw} \\boxed{{x}}" if steps else str(draw)

    tried = []
    iterations_to_solve(
        "r",
        propose,
        lambda steps: bool(tried.append(steps[0])),
        lambda step: "boxed" in step,
        searching(iterations=9, children=3),
    )
    assert seen == [0, 1, 2]
    assert sorted(tried) == sorted(["0", "1", "2"] * 3)


def test_a_way_ends_after_so_many_steps():
    longest = []
    iterations_to_solve(
        "r",
        lambda steps, draw: "on",
        lambda steps: bool(longest.append(len(steps))),
        lambda step: False,
        searching(iterations=3, steps=4),
    )
    assert longest == [4, 4, 4]


def test_published_choice_after_a_search(rows):
    (row,) = rows(1)
    config = searching()
    kept = [k for k in (1, 5, 6, 50, None) if not searched(row, k, config).reason]
    assert kept == [6, 50, None]
    assert searched(row, None, config).difficulty == 1


def test_rows_are_searched_with_a_server_and_not_twice(serve, rows, tmp_path):
    def say(text: str, turn: int) -> str:
        n = number(text)
        if "Steps so far:\nnone" in text:
            return f"{n} first <end> and more"
        return f"so \\boxed{{{n + 1 if n < 2 else 0}}}"

    server = serve(say)
    config = config_of(MctsConfig, policy=server.policy, iterations=4, easy=1)
    found, _ = score_searches(rows(4), config, tmp_path / "cache", quiet)
    assert [one.facts["iterations"] for one in found] == [1, 1, None, None]
    assert [one.difficulty for one in found] == [1 / 5, 1 / 5, 1, 1]
    assert server.asked[0]["stop"] == ["<end>"]
    assert not any("and more" in asked["messages"][-1]["content"] for asked in server.asked)
    count = len(server.asked)
    again, _ = score_searches(rows(4), config, tmp_path / "cache", quiet)
    assert [one.facts for one in again] == [one.facts for one in found]
    assert len(server.asked) == count


CURVES = [[0, 0.5, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0.25, 0.5, 0.75, 1]]


def rollouts_of(path, curves, *, group: int = 4, stage: str = "grpo", extra=()):
    """Write a run whose row n has the pass rates of curve n; two steps are an epoch."""
    lines = [*extra]
    for epoch in range(max(map(len, curves))):
        for n, curve in enumerate(curves):
            if epoch < len(curve) and curve[epoch] is not None:
                for rollout in range(group):
                    score = float(rollout < curve[epoch] * group)
                    step = 2 * epoch + 1 + n % 2
                    lines.append(
                        {
                            "stage": stage,
                            "step": step,
                            "row": f"r{n}",
                            "score": 0.9 * score,
                            "parts": {"accuracy": score},
                        }
                    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("steps_per_epoch", [None, 2])
def test_alignment_is_read_from_a_runs_rollouts(rows, tmp_path, steps_per_epoch):
    run = rollouts_of(tmp_path / "rollouts.jsonl", CURVES)
    config = config_of(LimConfig, run=str(run), steps_per_epoch=steps_per_epoch)
    found = score_alignment(rows(4), config)
    expected = [0.707965, 0.0, -0.566372, 0.920354]
    assert [one.facts["alignment"] for one in found] == pytest.approx(expected, abs=1e-6)
    assert [one.facts["pass_rates"] for one in found] == CURVES
    assert [one.row.id for one in found if not one.reason] == ["r0", "r3"]
    assert found[2].difficulty == pytest.approx(1.566372, abs=1e-6)


def test_the_threshold_itself_is_kept(rows, tmp_path):
    run = rollouts_of(tmp_path / "rollouts.jsonl", CURVES)
    score = lim_scores(CURVES)[0]
    config = config_of(LimConfig, run=str(run), threshold=score)
    assert not score_alignment(rows(4), config)[0].reason


def test_a_row_that_the_run_did_not_see_has_no_score(rows, tmp_path):
    gap = [*CURVES[:3], [0.25, None, 0.75, None]]
    run = rollouts_of(tmp_path / "rollouts.jsonl", gap)
    config = config_of(LimConfig, run=str(run), steps_per_epoch=2)
    found = score_alignment(rows(5), config)
    assert "did not visit it in 2 of 4 epochs" in found[3].reason
    assert isinstance(found[3], Unscored)
    assert isinstance(found[4], Unscored)
    assert all(isinstance(one, Scored) for one in found[:3])


def test_rollouts_that_cannot_be_used_are_named(rows, tmp_path):
    path = tmp_path / "rollouts.jsonl"
    with pytest.raises(DataError, match="no such file"):
        score_alignment(rows(1), config_of(LimConfig, run=str(path)))
    other = {"stage": "other", "step": 1, "row": "r0", "score": 1, "parts": {}}
    rollouts_of(path, CURVES, extra=[other])
    with pytest.raises(DataError, match=r"several stages \(other, grpo\)"):
        score_alignment(rows(4), config_of(LimConfig, run=str(path)))
    with pytest.raises(DataError, match="no stage 'sft'"):
        score_alignment(rows(4), config_of(LimConfig, run=str(path), stage="sft"))
    assert score_alignment(rows(4), config_of(LimConfig, run=str(path), stage="grpo"))
    path.write_text('{"stage": "grpo"}\n')
    with pytest.raises(DataError, match=r"rollouts\.jsonl:1: is no rollout"):
        score_alignment(rows(4), config_of(LimConfig, run=str(path)))
    path.write_text("{")
    with pytest.raises(DataError, match=r":1: is not JSON"):
        score_alignment(rows(4), config_of(LimConfig, run=str(path)))
    other["row"] = "stranger"
    path.write_text(json.dumps(other) + "\n")
    with pytest.raises(DataError, match="rollouts of none of the rows"):
        score_alignment(rows(4), config_of(LimConfig, run=str(path)))


def test_angles_are_those_of_the_last_layers_states(rows_file, tmp_path):
    import torch

    from mmrl.data.rows import load_rows
    from mmrl.model import load_policy
    from mmrl.prompt import Prompts

    rng = np.random.default_rng(0)
    for name in "ab":
        write_png(tmp_path / f"{name}.png", rng.integers(0, 256, (56, 56, 3), dtype=np.uint8))
    texts = ["What?", "How many of these things are there?", "Which colour?"]
    raws = [
        {
            "id": f"r{n}",
            "source": "s",
            "prompt": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": "ab"[n % 2] + ".png"},
                        {"type": "text", "text": text},
                    ],
                }
            ],
            "answer": "1",
            "verifier": "exact",
        }
        for n, text in enumerate(texts)
    ]
    raws.append(
        {
            **raws[0],
            "id": "broken",
            "prompt": [{"role": "user", "content": [{"type": "image", "image": "missing.png"}]}],
        }
    )
    path = tmp_path / "pictures.jsonl"
    path.write_text("".join(json.dumps(raw) + "\n" for raw in raws))
    rows = load_rows(path)
    config = config_of(GainRlConfig, policy=LOCAL, share=0.34)
    found = score_angles(rows, config, tmp_path / "cache")

    policy = load_policy(config.policy.local, seed=0)
    prompts = Prompts(policy=policy, media=config.policy.media)
    ids = prompts(rows[0]).ids
    shared = next(place for place, token in enumerate(ids) if token in policy.banned_ids)
    assert shared > 0
    states: list[torch.Tensor] = []
    layer = policy.model.get_decoder().layers[-1].mlp.up_proj
    layer.register_forward_pre_hook(lambda module, inputs: states.append(inputs[0][0]))
    for row, one in zip(rows[:3], found, strict=False):
        prompt = prompts(row)
        with torch.no_grad():
            policy.model(
                input_ids=torch.tensor([prompt.ids]),
                position_ids=prompt.positions_RT[:, None],
                **prompt.media,
            )
        expected = angle_signal(states[-1].double().numpy(), shared)
        assert one.facts["intra"] == pytest.approx(expected.intra, abs=1e-5)
        assert one.facts["inter"] == pytest.approx(expected.inter, abs=1e-5)
        assert one.difficulty == pytest.approx((2 - expected.total) / 3, abs=1e-5)
    assert isinstance(found[3], Unscored)
    assert "missing.png" in found[3].reason
    kept = [one for one in found[:3] if not one.reason]
    assert len(kept) == 2
    assert min(one.facts["signal"] for one in kept) >= max(
        one.facts["signal"] for one in found[:3] if one.reason
    )
    assert score_angles(rows, config, tmp_path / "cache") == found
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 3
