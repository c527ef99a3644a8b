"""Run a chain over rows, step by step: questions are asked side by side, rows keep their order.

Every row comes out, finished or with the reason why not. Whatever was answered before the process
was killed is in the cache, and all else is a function of rows, replies and seed, so that running
the chain again gives what it would have given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.coldstart.config import AnyStep, AskStep, DeduplicateStep, GradeStep, VerifyStep
from mmrl.coldstart.edits import content_key, edit, keep_right
from mmrl.coldstart.flow import prompt_of, shows_media
from mmrl.coldstart.judges import Judges
from mmrl.coldstart.loading import Chain
from mmrl.coldstart.parallel import side_by_side
from mmrl.coldstart.staff import Count, Staff
from mmrl.coldstart.state import LeftOut, Rejected, State, begin
from mmrl.coldstart.teachers import Sampling, full_text
from mmrl.coldstart.templates import fill
from mmrl.coldstart.texts import read_choice
from mmrl.errors import DataError
from mmrl.types import Row
from mmrl.verify.chat import ChatError
from mmrl.verify.reply import Reply

Outcome = State | Rejected
OnProgress = Callable[[str, int, int, Staff], None]
"""Hears the step, how many of its rows are done, of how many, and who was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of the rows, in their order."""

    done: list[State]
    rejected: list[Rejected]
    counts: dict[str, Count]


def run_chain(
    chain: Chain,
    rows: Sequence[Row],
    *,
    cache: Path | None,
    on_progress: OnProgress = lambda step, done, total, staff: None,
) -> Result:
    """Take every row through the chain.

    Args:
        chain: From `load_chain`.
        rows: At least one.
        cache: Folder of the replies; None asks everything again.
        on_progress: Called from this thread, after every row of every step.

    Raises:
        RewardError: a row's verifier is unknown or wrongly parametrised.
        ConfigError: a teacher cannot be asked as the configuration says.
        RunError: the teachers cannot be asked any more; what they answered is kept.
    """
    judged = any(isinstance(step, VerifyStep) for step in chain.steps.values())
    judges = Judges(rows if judged else ())
    staff = Staff(chain.config, cache)
    outcomes: list[Outcome] = [_given(chain, begin(row)) for row in rows]
    try:
        for name, step in chain.steps.items():
            places = [
                place
                for place, outcome in enumerate(outcomes)
                if isinstance(outcome, State) and _concerns(step, outcome)
            ]
            states = [outcomes[place] for place in places]
            run = _Step(chain=chain, name=name, step=step, staff=staff, judges=judges)
            new = run.over(states, on_progress)  # pyright: ignore[reportArgumentType]
            for place, outcome in zip(places, new, strict=True):
                outcomes[place] = outcome
    finally:
        staff.close()
        judges.close()
    return Result(
        done=[outcome for outcome in outcomes if isinstance(outcome, State)],
        rejected=[outcome for outcome in outcomes if isinstance(outcome, Rejected)],
        counts=staff.counts,
    )


def _given(chain: Chain, state: State) -> Outcome:
    missing = [text for text in chain.config.given if text not in state.texts]
    if missing:
        reason = f"the row has no {missing[0]}, which 'given' promises"
        return Rejected(state=state, step="given", reason=reason, answered=True)
    return state


def _concerns(step: AnyStep, state: State) -> bool:
    return all(state.text(name) in values for name, values in step.when.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One step of a running chain."""

    chain: Chain
    name: str
    step: AnyStep
    staff: Staff
    judges: Judges

    def over(self, states: Sequence[State], on_progress: OnProgress) -> list[Outcome]:
        """Do the step with all rows that it concerns."""
        step = self.step

        def advance(done: int) -> None:
            on_progress(self.name, done, len(states), self.staff)

        if isinstance(step, AskStep | GradeStep):
            ask = self._ask if isinstance(step, AskStep) else self._grade
            return side_by_side(
                lambda state: self._tried(state, lambda: ask(state)),
                states,
                self.chain.config.concurrency,
                advance,
            )
        if isinstance(step, VerifyStep):
            found = self._verify(step, states)
        elif isinstance(step, DeduplicateStep):
            found = self._deduplicate(step, states)
        else:
            seed = self.chain.config.seed
            found = [
                self._tried(state, lambda state=state: edit(step, self.name, state, seed))
                for state in states
            ]
        advance(len(states))
        return found

    def _ask(self, state: State) -> State:
        step = self.step
        assert isinstance(step, AskStep)
        replies = [self._reply(state, draw) for draw in range(step.samples)]
        whole = [reply for reply in replies if step.allow_cut or not reply.cut]
        if not whole:
            raise LeftOut(f"cut at max_tokens ({step.max_tokens})")
        texts = tuple(full_text(reply) for reply in whole)
        return state.with_texts(**{step.into or self.name: texts})

    def _grade(self, state: State) -> State:
        step = self.step
        assert isinstance(step, GradeStep)
        said = self._reply(state, 0).text
        choice = read_choice(said, step.choices)
        if choice is None:
            shown = " ".join(said.split())[:80]
            raise LeftOut(f"the teacher says none of {', '.join(step.choices)}: {shown!r}")
        if choice in step.reject:
            raise LeftOut(f"the teacher says {choice}")
        return state.with_texts(**{step.into or self.name: choice})

    def _reply(self, state: State, draw: int) -> Reply:
        step = self.step
        assert isinstance(step, AskStep | GradeStep)
        texts = state.plain()
        media: list[dict[str, Any]] = [
            {"type": medium.kind, medium.kind: medium}
            for medium in (state.row.media if shows_media(step) else ())
        ]
        asked = {"type": "text", "text": fill(prompt_of(step), texts)}
        messages: list[dict[str, Any]] = [{"role": "user", "content": [*media, asked]}]
        if step.system:
            system = [{"type": "text", "text": fill(step.system, texts)}]
            messages.insert(0, {"role": "system", "content": system})
        sampling = Sampling(
            max_tokens=step.max_tokens,
            temperature=step.temperature,
            top_p=step.top_p if isinstance(step, AskStep) else 1.0,
        )
        return self.staff.ask(step.teacher, messages, sampling, draw=draw, row_id=state.row.id)

    def _verify(self, step: VerifyStep, states: Sequence[State]) -> list[Outcome]:
        groups = [(state.row, state.texts[step.of]) for state in states]
        verdicts = self.judges.judge(groups)
        return [
            self._tried(state, lambda state=state, found=found: keep_right(step, state, found))
            for state, found in zip(states, verdicts, strict=True)
        ]

    def _deduplicate(self, step: DeduplicateStep, states: Sequence[State]) -> list[Outcome]:
        first: dict[str, str] = {}

        def unique(state: State) -> State:
            key = content_key(step, state)
            if key in first:
                raise LeftOut(f"the same as row {first[key]}, by {', '.join(step.by)}")
            first[key] = state.row.id
            return state

        return [self._tried(state, lambda state=state: unique(state)) for state in states]

    def _tried(self, state: State, do: Callable[[], State]) -> Outcome:
        """Return the new state, or the row with the reason why it goes no further."""
        try:
            return do()
        except LeftOut as error:
            reason, answered = str(error), error.answered
        except ChatError as error:
            reason, answered = str(error), False
        except DataError as error:
            reason, answered = str(error), True
        return Rejected(state=state, step=self.name, reason=reason, answered=answered)
