"""Every recipe's smoke form is trained, and its numbers show its mechanism at work.

A few that stand for the rest are trained always; the others are marked slow.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mmrl.cli import cli
from mmrl.config.loader import load_run
from mmrl.config.sampling import FixedMixture
from mmrl.config.schema import GrpoStage, Run, SelectStage
from mmrl.project import default_project
from mmrl.schedule import Schedule


class Trained:
    """What a run was, and what it has written."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run = run
        self.metrics: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for record in lines(folder / "metrics.jsonl"):
            for name, value in record.items():
                if isinstance(value, int | float):
                    self.metrics[record["stage"]][name].append(value)
        self.rollouts: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in lines(folder / "rollouts.jsonl"):
            self.rollouts[record["stage"]].append(record)

    def values(self, stage: str, name: str) -> list[float]:
        """A metric's different values, in the order of the steps."""
        return list(dict.fromkeys(self.metrics[stage][name]))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_a_recipe_trains_and_its_mechanism_shows(trained_system, tmp_path: Path):
    arguments = [f"curriculum={trained_system}", "smoke=true", f"out={tmp_path / 'run'}"]
    found = CliRunner().invoke(cli, ["train", *arguments])
    assert found.exit_code == 0, (found.output, found.exception)
    trained = Trained(load_run(arguments, default_project()).run, tmp_path / "run")
    hands_over(trained)
    if check := CHECKS.get(trained_system):
        check(trained)


def hands_over(trained: Trained) -> None:
    """Every stage was run in its order, on its own rows, and learned from something."""
    assert list(trained.metrics) == list(trained.run.stages)
    for name, stage in trained.run.stages.items():
        found = trained.metrics[name]
        if isinstance(stage, SelectStage):
            assert 0 < found["select/kept"][-1] <= found["select/pool"][-1]
            continue
        assert len(found["policy/loss"]) == stage.steps
        assert all(map(math.isfinite, found["policy/loss"]))
        if isinstance(stage, GrpoStage):
            longest = max(rollout["length"] for rollout in trained.rollouts[name])
            assert longest <= stage.rollout.max_new_tokens
            size = stage.rollout.prompts_per_step * stage.rollout.group_size
            assert set(found["completion/count"]) == {size}
            assert min(found["group/zero_spread_frac"]) < 1, f"{name}: nothing was compared"


def weighs_by_pass_rate(trained: Trained) -> None:
    easy, medium, hard = (trained.metrics[name] for name in ("easy", "medium", "hard"))
    assert len(trained.values("medium", "weight/mean")) > 1
    assert all(1 >= value >= 0 for one in (easy, medium, hard) for value in one["weight/mean"])
    assert "reward/length" not in medium
    assert min(hard["reward/length"]) < 0


def raises_the_threshold(trained: Trained) -> None:
    found = [round(one, 9) for one in trained.values("rl", "reward/accuracy/threshold")]
    assert found == sorted(found)
    assert len(set(found)) > 1
    assert set(found) <= {0.85, 0.95, 0.99}
    assert {"source/counting/accuracy", "source/detection/accuracy"} <= set(trained.metrics["rl"])


def raises_the_criteria(trained: Trained) -> None:
    assert trained.values("rl", "reward/criteria/valid_iou") == [0.5, 0.75]


def leaves_some_thoughts_empty(trained: Trained) -> None:
    assert 0 < max(trained.metrics["rl"]["reward/format/skipped"]) <= 1


def votes(trained: Trained) -> None:
    found = trained.metrics["rl"]
    assert found["reward/mean"] == found["reward/vote"]
    assert all(0 < share <= 1 for share in found["reward/vote/agreement"])
    by_group = defaultdict(list)
    for rollout in trained.rollouts["rl"]:
        by_group[rollout["step"], rollout["row"]].append(rollout)
    for group in by_group.values():
        right = {r["completion"].rpartition("boxed")[2] for r in group if r["parts"]["vote"]}
        assert len(right) <= 1


def answers_without_a_thought(trained: Trained) -> None:
    whole = [r for r in trained.rollouts["rl"] if r["parts"]["format"] == 1]
    assert whole
    assert all("<think>" not in r["completion"] for r in whole)


def helps_failing_groups_only(trained: Trained) -> None:
    found = trained.metrics["rl"]
    assert max(found["guidance/hinted_groups"]) > 0
    pairs = zip(found["guidance/hinted_groups"], found["guidance/failing_groups"], strict=True)
    assert all(hinted <= failing for hinted, failing in pairs)
    assert "guidance/hinted_groups" not in trained.metrics["alignment"]


def climbs_the_ladder(trained: Trained) -> None:
    found = trained.metrics["rl"]
    assert max(found["weight/max"]) <= 1.8
    assert len(trained.values("rl", "weight/mean")) > 1
    assert max(found["reward/concise"]) > 0


def writes_its_own_traces(trained: Trained) -> None:
    stages = list(trained.run.stages)
    assert stages.index("traces_1") < stages.index("refine_1") < stages.index("traces_2")
    assert trained.metrics["refine_1"]["policy/loss"][0] > 3  # from the base model, not the last


def draws_by_weight(trained: Trained) -> None:
    stage = trained.run.stages["rl"]
    assert isinstance(stage, GrpoStage)
    assert isinstance(stage.mixture, FixedMixture)
    weights = {name: Schedule.of(one).at(0) for name, one in stage.mixture.weights.items()}
    found = {name: trained.metrics["rl"][f"mixture/{name}"][0] for name in weights}
    total = sum(weights.values())
    for name, weight in weights.items():
        assert math.isclose(found[name], weight / total, rel_tol=1e-6)
    for rollout in trained.rollouts["rl"]:
        if rollout["parts"]["format"] == 0:
            assert rollout["score"] == 0


def opens_up(trained: Trained) -> None:
    assert trained.values("open", "mixture/open") == [0.25, 0.5, 1]


def lets_completions_grow(trained: Trained) -> None:
    lengths = {
        name: max(r["length"] for r in trained.rollouts[name]) for name in ("ptst_1", "ptst_2")
    }
    assert lengths["ptst_1"] <= 9 < lengths["ptst_2"] <= 18


def changes_medium(trained: Trained) -> None:
    kinds = {
        name: {r["prompt"].count("<video>") + 2 * r["prompt"].count("<audio>") for r in rollouts}
        for name, rollouts in trained.rollouts.items()
    }
    assert kinds == {"video": {1}, "audio": {2}, "video_audio": {3}}


def changes_what_is_shown(trained: Trained) -> None:
    assert all("<image>" not in r["prompt"] for r in trained.rollouts["text"])
    assert all("Caption:" in r["prompt"] for r in trained.rollouts["captions"])
    assert all("Caption:" not in r["prompt"] for r in trained.rollouts["images"])
    assert all("<image>" in r["prompt"] for r in trained.rollouts["images"])


def finds_moments(trained: Trained) -> None:
    assert max(trained.metrics["rl"]["reward/format/count"]) > 0


def agrees_with_itself(trained: Trained) -> None:
    assert max(trained.metrics["rl"]["reward/consistency/consistency"]) > 0


CHECKS: dict[str, Callable[[Trained], None]] = {
    "vl_cogito": weighs_by_pass_rate,
    "v_triune": raises_the_threshold,
    "vision_r1_alignment": raises_the_criteria,
    "ton": leaves_some_thoughts_empty,
    "mm_upt": votes,
    "r1_aqa": answers_without_a_thought,
    "keye_vl_1_5": helps_failing_groups_only,
    "observe_r1": climbs_the_ladder,
    "openvlthinker": writes_its_own_traces,
    "modomodo": draws_by_weight,
    "med_curriculum": opens_up,
    "vision_r1_reasoning": lets_completions_grow,
    "humansense": changes_medium,
    "infi_mmr": changes_what_is_shown,
    "video_thinker": finds_moments,
    "r1_reward": agrees_with_itself,
}
"""What a recipe has that plain GRPO has not; the others' mechanism lies in data, order, groups and
lengths, of which `hands_over` sees to.
"""
