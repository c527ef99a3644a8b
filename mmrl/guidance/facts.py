"""What verifiers have to know that only the policy can tell: how well it answers on shuffled frames
(T-GRPO, arXiv 2503.21776), and how probable it finds the reference answer behind each completion's
reasoning (RLPR, arXiv 2506.18254).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Protocol

from mmrl.answer import in_tag, tagged
from mmrl.guidance.prompts import with_frames_shuffled
from mmrl.model import Policy
from mmrl.rollout import judge
from mmrl.rubric import Rubric
from mmrl.scoring import Scoring, score_rollouts
from mmrl.seeds import derive
from mmrl.types import Completion, Prompt, Rollout, Verdict
from mmrl.verify.reference import BASELINE, PROBABILITIES, splice

SHUFFLED = "shuffled_accuracy"


class Draw(Protocol):
    """Samples completions with the policy as it stands."""

    def __call__(
        self, prompts_P: Sequence[Prompt], *, group_size: int, seed: int, places: Sequence[int]
    ) -> list[list[Completion]]:
        """Completions [P][G]; with the seed, the prompts' places among those of all processes
        decide what is drawn.
        """
        ...


def shuffled_rollouts(
    policy: Policy,
    prompts_P: Sequence[Prompt],
    rubric: Rubric,
    draw: Draw,
    *,
    group_size: int,
    seed: int,
    places_P: Sequence[int],
    progress: float,
) -> list[list[Rollout]]:
    """For each prompt with a video, rollouts on its frames in another order, by the row's own
    verifiers; none for others. The frames are those that were decoded and processed for the prompt.
    """
    chosen = [
        index
        for index, prompt in enumerate(prompts_P)
        if any(medium.kind == "video" for medium in prompt.row.media)
    ]
    found: list[list[Rollout]] = [[] for _ in prompts_P]
    if not chosen:
        return found
    shuffled_P = [
        with_frames_shuffled(
            prompts_P[index], policy, seed=derive(seed, "frames", prompts_P[index].row.id)
        )
        for index in chosen
    ]
    completions_PG = draw(
        shuffled_P,
        group_size=group_size,
        seed=derive(seed, "shuffled"),
        places=[places_P[index] for index in chosen],
    )
    judged = judge(rubric, shuffled_P, completions_PG, progress=progress)
    for index, rollouts_G in zip(chosen, judged, strict=True):
        for rollout in rollouts_G:
            rollout.aid, rollout.spent = "shuffled", True
        found[index] = rollouts_G
    return found


def shuffled_facts(rollouts_G: Sequence[Rollout]) -> dict[str, Any]:
    """What the term `temporal_contrast` reads; nothing where there is no video."""
    known = [rollout.verdict.parts.get("accuracy") for rollout in rollouts_G]
    accuracies = [accuracy for accuracy in known if accuracy is not None]
    return {SHUFFLED: accuracies} if accuracies else {}


def reference_facts(
    policy: Policy,
    prompt: Prompt,
    completions_G: Sequence[Completion],
    scoring: Scoring,
    *,
    baseline: float | None,
) -> list[dict[str, Any]]:
    """For each completion with an answer, the probabilities of the reference's tokens in place of
    that answer, and what the reference is worth right behind the prompt: `baseline` if it is known
    already.
    """
    tokenizer = policy.processor.tokenizer
    reference = in_tag(tagged(prompt.row.answer)) or ""

    def ids_of(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False).input_ids

    reference_ids = ids_of(reference)
    spliced = [splice(completion.text, reference) for completion in completions_G]
    befores = [ids_of(part.before) for part in spliced if part is not None]
    if baseline is None:
        befores.append([])
    rollouts = [_unjudged(prompt, [*before, *reference_ids]) for before in befores]
    plain = dataclasses.replace(scoring, temperature=1.0)
    probabilities = [
        scores_3C[0, len(before) :].exp().clamp(max=1.0).tolist()
        for before, scores_3C in zip(befores, score_rollouts(policy, rollouts, plain), strict=True)
    ]
    if baseline is None:
        baseline = fmean(probabilities.pop())
    given = iter(probabilities)
    return [
        {BASELINE: baseline} | ({} if part is None else {PROBABILITIES: next(given)})
        for part in spliced
    ]


def _unjudged(prompt: Prompt, ids: Sequence[int]) -> Rollout:
    completion = Completion(ids=tuple(ids), logprobs=(0.0,) * len(ids), text="", stop="eos")
    return Rollout(prompt=prompt, completion=completion, verdict=Verdict(score=None))


def shared_facts(facts: Mapping[str, Any]) -> dict[str, float]:
    """The facts as numbers that all processes are told."""
    found = {SHUFFLED: fmean(facts[SHUFFLED])} if SHUFFLED in facts else {}
    return found | ({BASELINE: facts[BASELINE]} if BASELINE in facts else {})
