"""The steps that ask nobody: one row in, one row out, or the reason why not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from mmrl.answer import squash
from mmrl.coldstart import texts as edits
from mmrl.coldstart.config import (
    PASS_RATE,
    AnyStep,
    ComposeStep,
    CutReflectionStep,
    DeduplicateStep,
    FilterStep,
    RepeatStep,
    ReplaceStep,
    SplitByDifficultyStep,
    TakeStep,
    ThoughtDropoutStep,
    VerifyStep,
)
from mmrl.coldstart.state import LeftOut, State
from mmrl.coldstart.templates import fill
from mmrl.media.encoded import hash_medium
from mmrl.types import Verdict


def edit(step: AnyStep, name: str, state: State, seed: int) -> State:
    """Do one step with one row.

    Args:
        step: A step that needs no teacher, no verdict and no other row.
        name: What the step is called.
        state: The row.
        seed: Of the chain, for what is left to chance.

    Raises:
        LeftOut: the row goes no further.
    """
    if isinstance(step, TakeStep):
        return state.with_texts(**{step.of: edits.pick(state.texts[step.of], step.keep)})
    if isinstance(step, ComposeStep):
        return state.with_texts(**{step.into or name: fill(step.text, state.plain())})
    if isinstance(step, CutReflectionStep):
        return state.with_texts(**{step.of: _cut(step, state.text(step.of))})
    if isinstance(step, ReplaceStep):
        new = edits.replace_words(state.text(step.of), step.words)
        return state.with_texts(**{step.of: new})
    if isinstance(step, FilterStep):
        _filter(step, state)
        return state
    if isinstance(step, SplitByDifficultyStep):
        return _split(step, state)
    if isinstance(step, ThoughtDropoutStep):
        return _drop_thought(step, state, seed)
    if isinstance(step, RepeatStep):
        times = step.times.get(state.text(step.by), 1)
        return dataclasses.replace(state, copies=state.copies * times)
    raise TypeError(f"{type(step).__name__} is no edit")


def keep_right(step: VerifyStep, state: State, verdicts: Sequence[Verdict]) -> State:
    """Keep one of the candidates that the row's verifiers found right.

    Raises:
        LeftOut: none is right, none could be judged, or none is wrong where a wrong one is wanted.
    """
    candidates = state.texts[step.of]
    judged = [verdict for verdict in verdicts if verdict.score is not None]
    if not judged:
        raise LeftOut(f"no candidate could be judged: {verdicts[0].detail or verdicts[0].status}")
    scores = [verdict.score for verdict in verdicts]
    pairs = list(zip(candidates, scores, strict=True))
    right = [text for text, score in pairs if score is not None and score >= step.min_score - 1e-9]
    wrong = [text for text, score in pairs if score is not None and score < step.min_score - 1e-9]
    if not right:
        detail = next((verdict.detail for verdict in judged if verdict.detail), "")
        told = f" ({detail})" if detail else ""
        raise LeftOut(f"none of {len(candidates)} candidates is right{told}")
    texts = {step.of: edits.pick(right, step.keep)}
    if PASS_RATE not in state.texts:
        texts[PASS_RATE] = str(len(right) / len(judged))
    if step.wrong_into:
        if not wrong:
            raise LeftOut(f"all of {len(candidates)} candidates are right, a wrong one is wanted")
        texts[step.wrong_into] = wrong[0]
    return state.with_texts(**texts)


def content_key(step: DeduplicateStep, state: State) -> str:
    """Return what two rows have in common that say the same.

    Raises:
        DataError: a medium cannot be read.
    """
    parts: list[object] = []
    for name in step.by:
        if name == "media":
            parts.append([(medium.kind, hash_medium(medium)) for medium in state.row.media])
        else:
            parts.append([squash(text) for text in state.texts[name]])
    return json.dumps(parts)


def _cut(step: CutReflectionStep, text: str) -> str:
    cut = edits.cut_reflection(text, step.words)
    if not edits.thought_of(cut):
        raise LeftOut(f"{step.of}: nothing is left before its first turn")
    return cut


def _filter(step: FilterStep, state: State) -> None:
    text = state.text(step.of)
    words = edits.count_words(text)
    if step.min_words is not None and words < step.min_words:
        raise LeftOut(f"{step.of} has {words} words, fewer than {step.min_words}")
    if step.max_words is not None and words > step.max_words:
        raise LeftOut(f"{step.of} has {words} words, more than {step.max_words}")
    missing = next((held for held in step.must_hold if held not in text), None)
    if missing is not None:
        raise LeftOut(f"{step.of} does not hold {missing!r}")
    if step.must_not_hold and (held := edits.holds_any(text, step.must_not_hold)):
        raise LeftOut(f"{step.of} holds {held!r}")
    if step.like is not None:
        change = words - edits.count_words(state.text(step.like))
        if abs(change) > step.max_word_change:
            more = "more" if change > 0 else "fewer"
            raise LeftOut(f"{step.of} has {abs(change)} words {more} than {step.like}")


def _split(step: SplitByDifficultyStep, state: State) -> State:
    cue = edits.holds_any(state.text(step.of), step.cues) if step.of else ""
    rate = float(state.text(PASS_RATE)) if PASS_RATE in state.texts else None
    seldom = step.pass_rate_below is not None and rate is not None and rate < step.pass_rate_below
    hard = bool(cue) or seldom
    return dataclasses.replace(
        state,
        split=step.hard if hard else "",
        difficulty=float(hard) if rate is None else 1 - rate,
    )


def _drop_thought(step: ThoughtDropoutStep, state: State, seed: int) -> State:
    text = state.text(step.of)
    if edits.UNTHINK not in text:
        raise LeftOut(f"{step.of} has no {edits.UNTHINK}, so no thought to drop")
    if not edits.drops_thought(seed, state.row.id, step.p):
        return state
    return state.with_texts(**{step.of: edits.with_thought(text, edits.EMPTY_THOUGHT)})
