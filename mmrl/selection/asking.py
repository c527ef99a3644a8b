"""The two methods that let a policy answer: pass rates, and a tree search.

A policy's answers are kept by content, so that a method that was killed goes on where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.answer import extract
from mmrl.coldstart.chain import OnProgress
from mmrl.coldstart.config import ChainConfig
from mmrl.coldstart.judges import Judges
from mmrl.coldstart.parallel import side_by_side
from mmrl.coldstart.staff import Staff
from mmrl.coldstart.teachers import Messages, Sampling, full_text
from mmrl.difficulty import in_window, mcts_difficulty, mcts_keeps, pass_rate_interval
from mmrl.errors import DataError
from mmrl.selection.config import AskingConfig, MctsConfig, PassRateConfig
from mmrl.selection.scored import Outcome, Scored, Unscored
from mmrl.selection.search import iterations_to_solve
from mmrl.types import Row, Verdict
from mmrl.verify.chat import ChatError

POLICY = "policy"
END = "<end>"
NEXT_STEP = (
    "Solve this step by step. Write only the next step, and end it with {end}. Put the final "
    "answer into \\boxed{{}} in the last step.\n\nSteps so far:\n{steps}"
)


def score_pass_rates(
    rows: Sequence[Row], config: PassRateConfig, cache: Path | None, on_progress: OnProgress
) -> tuple[list[Outcome], Staff]:
    """Score rows by the share of their rollouts that is right.

    Raises:
        RewardError: a row's verifier is unknown or wrongly parametrised.
        ConfigError: the policy cannot be asked as the configuration says.
        RunError: it cannot be asked any more; what it answered is kept.
    """
    judges, staff = Judges(rows), _staff(config, cache)
    sampling = Sampling(
        max_tokens=config.max_tokens, temperature=config.temperature, top_p=config.top_p
    )

    def answer(row: Row) -> list[str] | Unscored:
        messages = asked(row, config.system)
        return _tried(
            row,
            lambda: [
                full_text(staff.ask(POLICY, messages, sampling, draw=draw, row_id=row.id))
                for draw in range(config.rollouts)
            ],
        )

    try:
        answers = side_by_side(
            answer,
            rows,
            config.concurrency,
            lambda done: on_progress("rollouts", done, len(rows), staff),
        )
        known = [
            (row, texts)
            for row, texts in zip(rows, answers, strict=True)
            if not isinstance(texts, Unscored)
        ]
        verdicts = iter(judges.judge(known))
        outcomes = [
            texts if isinstance(texts, Unscored) else pass_rate(row, next(verdicts), config)
            for row, texts in zip(rows, answers, strict=True)
        ]
    finally:
        staff.close()
        judges.close()
    return outcomes, staff


def pass_rate(row: Row, verdicts: Sequence[Verdict], config: PassRateConfig) -> Outcome:
    """Score one row by the verdicts on its rollouts; what could not be judged does not count."""
    judged = [verdict.score for verdict in verdicts if verdict.score is not None]
    if not judged:
        return Unscored(row=row, reason=f"no rollout could be judged: {verdicts[0].detail}")
    right = sum(score >= 1 - 1e-6 for score in judged)
    rate = right / len(judged)
    low, high = pass_rate_interval(
        right, len(judged), confidence=config.confidence, method=config.interval
    )
    first, last = config.window
    if config.by == "rate":
        selected = in_window(rate, config.window)
    else:
        selected = low <= last and high >= first
    facts = {"pass_rate": rate, "right": right, "judged": len(judged), "interval": [low, high]}
    told = f"{right} of {len(judged)} rollouts are right (between {low:.2f} and {high:.2f})"
    return Scored(
        row=row,
        difficulty=1 - rate,
        facts=facts,
        reason="" if selected else f"{told}, outside {first:g} to {last:g}",
    )


def score_searches(
    rows: Sequence[Row], config: MctsConfig, cache: Path | None, on_progress: OnProgress
) -> tuple[list[Outcome], Staff]:
    """Score rows by the iterations that a tree search takes to solve them.

    Raises:
        RewardError, ConfigError, RunError: as `score_pass_rates`.
    """
    judges, staff = Judges(rows), _staff(config, cache)
    lock = threading.Lock()

    def search(row: Row) -> Outcome:
        def is_right(steps: Sequence[str]) -> bool:
            # the pool of verifiers takes one caller at a time
            with lock:
                [[verdict]] = judges.judge([(row, ["\n".join(steps)])])
            return verdict.score is not None and verdict.score >= 1 - 1e-6

        found = _tried(
            row,
            lambda: iterations_to_solve(
                row.id, _proposer(row, config, staff), is_right, is_final, config
            ),
        )
        return found if isinstance(found, Unscored) else searched(row, found, config)

    try:
        outcomes = side_by_side(
            search,
            rows,
            config.concurrency,
            lambda done: on_progress("search", done, len(rows), staff),
        )
    finally:
        staff.close()
        judges.close()
    return outcomes, staff


def searched(row: Row, iterations: int | None, config: MctsConfig) -> Scored:
    """Score one row by the iterations, None where it was not solved."""
    selected = mcts_keeps(iterations, easy=config.easy)
    return Scored(
        row=row,
        difficulty=mcts_difficulty(iterations, limit=config.iterations),
        facts={"iterations": iterations},
        reason="" if selected else f"solved in iteration {iterations}, within {config.easy}",
    )


def is_final(step: str) -> bool:
    """Tell whether a step gives the answer."""
    return extract(step) is not None or "Final Answer:" in step


def asked(row: Row, system: str | None, more: str = "") -> Messages:
    """Return the row's prompt, with a system message before it and more text behind it."""
    messages: list[Mapping[str, Any]] = [*row.prompt]
    if system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    if more:
        last = messages[-1]
        messages[-1] = {**last, "content": [*last["content"], {"type": "text", "text": more}]}
    return messages


def _proposer(row: Row, config: MctsConfig, staff: Staff) -> Callable[[Sequence[str], int], str]:
    sampling = Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        stop=(END,),
    )

    def propose(steps: Sequence[str], draw: int) -> str:
        so_far = "\n".join(steps) or "none"
        messages = asked(row, config.system, NEXT_STEP.format(end=END, steps=so_far))
        reply = staff.ask(POLICY, messages, sampling, draw=draw, row_id=row.id)
        return reply.text.partition(END)[0].strip()

    return propose


def _tried(row: Row, do: Callable[[], Any]) -> Any:
    try:
        return do()
    except ChatError as error:
        return Unscored(row=row, reason=str(error), answered=False)
    except DataError as error:
        return Unscored(row=row, reason=str(error))


def _staff(config: AskingConfig, cache: Path | None) -> Staff:
    limits = {"max_cost": config.max_cost, "stop_after": config.stop_after}
    return Staff(ChainConfig.model_validate({"teachers": {POLICY: config.policy}, **limits}), cache)
