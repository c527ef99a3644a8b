"""Traces that teachers wrote, as completions of a group (LUFFY, arXiv 2504.14945; AMPO, arXiv
2510.02227).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from mmrl.answer import box_span, tag_span
from mmrl.config.guidance import AmpoGuidance
from mmrl.errors import DataError
from mmrl.model import Policy
from mmrl.objectives.imitation import choose_teachers, comprehension
from mmrl.scoring import Scoring, score_rollouts
from mmrl.types import Completion, Prompt, Rollout, Row, Verdict


def as_completion(policy: Policy, row: Row, trace: str, *, longest: int) -> Completion:
    """A trace as the policy would have written it; nobody sampled it, so its log-probs are 0.

    Raises:
        DataError: it has more tokens than a completion may have.
    """
    tokenizer = policy.processor.tokenizer
    ids = [*tokenizer(trace, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    if len(ids) > longest:
        raise DataError(
            f"row {row.id}: a trace has {len(ids)} tokens with the one that ends it, more than "
            f"rollout.max_new_tokens ({longest}); raise that, or remove the trace"
        )
    return Completion(ids=tuple(ids), logprobs=(0.0,) * len(ids), text=trace, stop="eos")


def draw_traces(traces: Sequence[str], count: int, *, seed: int) -> list[str]:
    """So many of the traces, by chance where there are more."""
    return random.Random(seed).sample(traces, count) if len(traces) > count else list(traces)


def comprehended(
    policy: Policy, prompt: Prompt, completions: Sequence[Completion], scoring: Scoring
) -> list[float]:
    """How well the policy follows each trace: the geometric mean of its probabilities of the
    answer's tokens behind the teacher's reasoning; of all its tokens where no answer is marked.
    """
    rollouts = [
        Rollout(prompt=prompt, completion=completion, verdict=Verdict(score=None))
        for completion in completions
    ]
    tokenizer = policy.processor.tokenizer
    plain = dataclasses.replace(scoring, temperature=1.0)
    worth = []
    for completion, scores_3C in zip(
        completions, score_rollouts(policy, rollouts, plain), strict=True
    ):
        chosen = answer_tokens(tokenizer, completion.text)
        worth.append(comprehension([float(scores_3C[0, place]) for place in chosen]))
    return worth


def answer_tokens(tokenizer: object, text: str) -> list[int]:
    """The places of the tokens that write a text's answer; of all where none is marked."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)  # pyright: ignore[reportCallIssue]
    spans = encoded["offset_mapping"]
    start, end = tag_span(text) or box_span(text) or (0, len(text))
    chosen = [place for place, (low, high) in enumerate(spans) if low < end and high > start]
    return chosen or list(range(len(spans)))


def replace_wrong(
    rollouts_G: Sequence[Rollout],
    traces: Sequence[Rollout],
    worth: Sequence[float],
    guidance: AmpoGuidance,
    *,
    seed: int,
) -> tuple[list[Rollout], list[Rollout]]:
    """The group with the right traces that the policy comprehends best in the places of wrong
    completions drawn by chance, and what had to go.
    """
    right = [i for i, r in enumerate(traces) if is_right(r, guidance.right)]
    order = choose_teachers(
        [worth[i] for i in right],
        [len(traces[i].completion.ids) for i in right],
        most=guidance.most,
    )
    wrong = [i for i, r in enumerate(rollouts_G) if not is_right(r, guidance.right)]
    # one completion at least stays the policy's own
    count = min(len(order), len(wrong), len(rollouts_G) - 1)
    places = random.Random(seed).sample(wrong, count)
    group = list(rollouts_G)
    for place, chosen in zip(places, order, strict=False):
        trace = traces[right[chosen]]
        trace.imitated, trace.aid = True, "trace"
        group[place] = trace
    return group, [rollouts_G[place] for place in places]


def is_right(rollout: Rollout, at: float) -> bool:
    """Whether the rows' own verifiers give a completion at least so much."""
    accuracy = rollout.verdict.parts.get("accuracy")
    return rollout.verdict.score is not None and accuracy is not None and accuracy >= at
