"""Rows and rollouts without a model: what samplers, filters and weights see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from mmrl.curriculum.contract import GroupResult
from mmrl.types import Completion, Prompt, Rollout, Row, Verdict, VerifierTerm


def make_row(place: int, *, source: str = "toy", difficulty: float | None = None, **extra) -> Row:
    return Row(
        id=f"r{place}",
        source=source,
        prompt=[{"role": "user", "content": [{"type": "text", "text": "?"}]}],
        answer="3",
        verifier=(VerifierTerm(name="exact"),),
        difficulty=difficulty,
        extra=extra,
        where=f"rows.jsonl:{place + 1}",
    )


@pytest.fixture
def rows() -> Callable[..., list[Row]]:
    """Rows with the given difficulties, from one source."""

    def make(difficulties: Sequence[float | None], **changes) -> list[Row]:
        return [
            make_row(place, difficulty=difficulty, **changes)
            for place, difficulty in enumerate(difficulties)
        ]

    return make


@pytest.fixture
def group() -> Callable[..., list[Rollout]]:
    """The rollouts of a row, of which some are right."""

    def make(
        right: int,
        of: int = 8,
        *,
        scores: Sequence[float | None] | None = None,
        advantage: float = 1.0,
        row: Row | None = None,
    ) -> list[Rollout]:
        prompt = Prompt(
            row=row or make_row(0),
            ids=(1,),
            media={},
            positions_RT=torch.zeros(1, 1),
            media_key="",
        )
        accuracies = [1.0] * right + [0.0] * (of - right)
        return [
            Rollout(
                prompt=prompt,
                completion=Completion(
                    ids=(5,) * (index + 1), logprobs=(0.0,) * (index + 1), text="", stop="eos"
                ),
                verdict=Verdict(
                    score=accuracy if scores is None else scores[index],
                    parts={"accuracy": accuracy},
                ),
                advantage=advantage,
            )
            for index, accuracy in enumerate(accuracies)
        ]

    return make


@pytest.fixture
def result() -> Callable[..., GroupResult]:
    """How a row did, in numbers."""

    def make(
        place: int, accuracy: float | None, *, source: str = "toy", gain: float = 0.0
    ) -> GroupResult:
        return GroupResult(
            place=place,
            source=source,
            scores_G=(accuracy, accuracy),
            accuracies_G=(accuracy, accuracy),
            advantages_G=(gain, -gain),
            lengths_G=(3, 5),
        )

    return make
