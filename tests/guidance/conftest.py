"""A tiny policy, a guide for any configuration, and a stand-in for sampling: completions whose text
depends on what the prompt says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mmrl.config.schema import GrpoStage, MediaConfig, ModelConfig, RewardsConfig
from mmrl.guidance.build import build_guide, words_of
from mmrl.guidance.guide import Guide, Moment
from mmrl.model import load_policy
from mmrl.prompt import Prompts
from mmrl.rollout import judge
from mmrl.rubric import Rubric
from mmrl.types import Completion, Prompt, Rollout, Row

MODEL = {"family": "qwen2_5_omni", "tiny": "qwen2_5_omni", "device": "cpu", "threads": 1}


@pytest.fixture(scope="session")
def guided_policy():
    return load_policy(ModelConfig(**MODEL), seed=0)


@pytest.fixture
def make_guide(guided_policy) -> Callable[..., Guide]:
    """The guide of a stage with the given sections, over rows."""

    def make(rows: Sequence[Row] = (), **sections) -> Guide:
        rollout = {"group_size": 4, "max_new_tokens": 40} | sections.pop("rollout", {})
        stage = GrpoStage.model_validate(
            {
                "kind": "grpo",
                "model": MODEL,
                "data": {"train": {"toy": {"path": "rows.jsonl"}}},
                "optim": {"steps": 10},
                "rollout": rollout,
                **sections,
            }
        )
        suffix, opening = words_of(stage.thinking)
        prompts = Prompts(
            policy=guided_policy,
            media=MediaConfig(video_fps=4),
            suffix=suffix,
            opening=opening,
        )
        rubric, own = Rubric(stage.rewards, rows), Rubric(RewardsConfig(), rows)
        return build_guide(stage, prompts, rubric, own, "none", rows)

    return make


@pytest.fixture
def answering(guided_policy):
    """A stand-in for sampling that answers by what it reads; `asked` holds what it was asked."""
    tokenizer = guided_policy.processor.tokenizer

    class Answering:
        def __init__(self, answer: Callable[[str, int], str]) -> None:
            self.answer = answer
            self.asked: list[tuple[str, int]] = []

        def __call__(
            self, prompts_P: Sequence[Prompt], *, group_size: int, seed: int, places: Sequence[int]
        ) -> list[list[Completion]]:
            groups = []
            for prompt in prompts_P:
                text = tokenizer.decode(prompt.ids)
                self.asked.append((text, group_size))
                groups.append([self._completion(self.answer(text, g)) for g in range(group_size)])
            return groups

        def _completion(self, text: str) -> Completion:
            ids = [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
            return Completion(ids=tuple(ids), logprobs=(-1.0,) * len(ids), text=text, stop="eos")

    return Answering


@pytest.fixture
def train_groups():
    """Run a draw as the trainer does: ask, sample, look, judge, help."""

    def run(
        guide: Guide, rows: Sequence[Row], draw, *, step: int = 5, seed: int = 3, places=None
    ) -> list[list[Rollout]]:
        places = range(len(rows)) if places is None else places
        moment = Moment(step=step, progress=step / 10, seed=seed, places_P=places)
        prompts_P = [guide.prompts(row) for row in rows]
        asked_P = guide.ask(prompts_P, moment)
        completions_PG = draw(asked_P, group_size=guide.own_size, seed=seed, places=places)
        looked = guide.look(asked_P, completions_PG, draw, moment)
        groups = judge(
            guide.rubric,
            asked_P,
            looked.completions_PG,
            progress=moment.progress,
            facts_PG=looked.facts_PG,
        )
        return guide.help(prompts_P, groups, looked, draw, moment)

    return run
