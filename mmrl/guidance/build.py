"""Sets up the help of a stage, and refuses before training what its rows cannot give."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mmrl.config.guidance import AnyThinking, AutoThinking, GivenThinking
from mmrl.config.schema import AnyStage, GrpoStage, SftStage, Sharing
from mmrl.errors import ConfigError, DataError
from mmrl.guidance.facts import SHUFFLED
from mmrl.guidance.guide import Guide
from mmrl.guidance.monitor import Monitor
from mmrl.guidance.texts import help_of
from mmrl.model import Policy
from mmrl.objectives.thinking import has_thought
from mmrl.prompt import Prompts, check_row
from mmrl.rubric import Rubric
from mmrl.scoring import Scoring
from mmrl.types import Row
from mmrl.verify.lengths import MONITORED
from mmrl.verify.reference import PROBABILITIES


def build_guide(
    stage: GrpoStage,
    prompts: Prompts,
    rubric: Rubric,
    own_rubric: Rubric,
    sharing: Sharing,
    rows: Sequence[Row],
) -> Guide:
    """The help of a stage.

    Raises:
        ConfigError: frames are to be shuffled and no term asks for it, or the other way round.
    """
    asked, rollout = SHUFFLED in rubric.facts, stage.rollout
    if stage.contrast is not None and not asked:
        raise ConfigError("contrast: does nothing without the reward temporal_contrast")
    bare = [row for row in rows if "video" in row.modality and SHUFFLED not in row.extra]
    if asked and stage.contrast is None and bare:
        raise ConfigError(
            f"contrast: the reward temporal_contrast asks how row {bare[0].id} is answered on "
            "shuffled frames; set contrast.group_size"
        )
    return Guide(
        stage=stage,
        prompts=prompts,
        rubric=rubric,
        own_rubric=own_rubric,
        scoring=Scoring(
            temperature=rollout.temperature,
            max_length=rollout.max_new_tokens,
            micro_tokens=stage.optim.micro_tokens,
            sharing=sharing,
        ),
        asks_reference=PROBABILITIES in rubric.facts,
        monitor=Monitor() if MONITORED in rubric.facts else None,
    )


def check_help(stage: AnyStage, rows: Sequence[Row], policy: Policy) -> None:
    """Refuse rows that lack what the stage helps with, or what it leaves out.

    Raises:
        DataError: names the first such row.
    """
    if isinstance(stage, GrpoStage):
        for row in rows:
            for text in help_of(row, stage.guidance):
                check_row(dataclasses.replace(row, response=text), policy)
    elif isinstance(stage, SftStage) and stage.thought_dropout:
        for row in rows:
            if not has_thought(row.response or ""):
                raise DataError(
                    f"row {row.id}: thought_dropout needs a <think> block in its 'response'; add "
                    "one, remove the row, or set thought_dropout=0"
                )


def words_of(thinking: AnyThinking) -> tuple[str, str]:
    """What is added to every question, and what every answer begins with."""
    if isinstance(thinking, AutoThinking):
        return "", thinking.opening
    return ("" if isinstance(thinking, GivenThinking) else thinking.suffix), ""
