from __future__ import annotations

from collections.abc import Callable

import pytest

from mmrl.reward import build_verifier, sample_of
from mmrl.types import Row, Verdict


def make_row(answer, *, id="r1", verifier=(), reward=None, **extra) -> Row:  # noqa: A002
    return Row(
        id=id,
        source="s",
        prompt=[],
        answer=answer,
        verifier=verifier,
        reward=reward or {},
        extra=extra,
    )


@pytest.fixture
def row() -> Callable[..., Row]:
    return make_row


@pytest.fixture
def judge() -> Callable[..., Verdict]:
    """Judge one completion by a verifier's name: `judge("exact", answer, text, extra=...,
    **params)`.
    """

    def run(name, answer, text, *, progress=0.0, length=0, accuracy=None, extra=None, **params):
        sample = sample_of(
            make_row(answer, **(extra or {})), text, progress=progress, length=length
        )
        if accuracy is not None:
            import dataclasses

            sample = dataclasses.replace(sample, accuracy=accuracy)
        return build_verifier(name, params)(sample)

    return run
