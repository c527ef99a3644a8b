"""A rubric as a reward function of TRL's GRPOTrainer, for those who stay with TRL.

TRL passes the columns of its data set; the column `id` says which of the rubric's rows a
completion answers. Siblings are the completions of one call that answer the same row: keep a
group's completions on one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from mmrl.errors import RewardError
from mmrl.reward import sample_of
from mmrl.rubric import Rubric
from mmrl.types import Sample, StopReason, Verdict


def reward_functions(
    rubric: Rubric, *, eos_token_id: int | None = None
) -> list[Callable[..., list[float | None]]]:
    """Return one function that gives each completion the rubric's score, None where it has none.

    Args:
        rubric: Built with the rows that the data set's column `id` names.
        eos_token_id: The token that ends a completion; one that ends otherwise was cut. Without it
            no completion counts as cut.
    """

    def rubric_score(
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        progress = _progress(columns.get("trainer_state"))
        places: dict[str, list[int]] = {}
        for place, row_id in enumerate(_row_ids(columns, rubric)):
            places.setdefault(row_id, []).append(place)
        groups = [
            [
                _sample(rubric, row_id, completions[place], completion_ids[place], progress)
                for place in members
            ]
            for row_id, members in places.items()
        ]
        verdicts: dict[int, Verdict] = {}
        for members, found in zip(places.values(), rubric.judge(groups), strict=True):
            verdicts |= dict(zip(members, found, strict=True))
        _log(columns.get("log_metric"), list(verdicts.values()))
        return [verdicts[place].score for place in range(len(completions))]

    def _sample(
        rubric: Rubric, row_id: str, completion: Any, ids: Sequence[int], progress: float
    ) -> Sample:
        cut = eos_token_id is not None and (not ids or ids[-1] != eos_token_id)
        stop: StopReason = "length" if cut else "eos"
        row = rubric.rows[row_id]
        return sample_of(row, _text(completion), progress=progress, length=len(ids), stop=stop)

    return [rubric_score]


def _row_ids(columns: Mapping[str, Any], rubric: Rubric) -> list[str]:
    """Return the row of each completion.

    Raises:
        RewardError: the data set has no column `id`, or names a row that the rubric was not given.
    """
    if "id" not in columns:
        raise RewardError("the data set needs a column 'id' that names the rubric's rows")
    unknown = next((row_id for row_id in columns["id"] if row_id not in rubric.rows), None)
    if unknown is not None:
        raise RewardError(f"the data set names row {unknown!r}, which the rubric was not given")
    return list(columns["id"])


def _progress(state: Any) -> float:
    """Return the share of the steps that is done; 0 where TRL does not say."""
    most = getattr(state, "max_steps", 0)
    return min(1.0, state.global_step / most) if most and most > 0 else 0.0


def _text(completion: Any) -> str:
    """Return the text of a completion, a string or a list of chat messages."""
    if isinstance(completion, str):
        return completion
    contents = [message["content"] for message in completion]
    return "".join(
        content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        for content in contents
    )


def _log(log_metric: Any, verdicts: Sequence[Verdict]) -> None:
    """Give TRL the mean of every part, and the share that could not be judged."""
    if log_metric is None or not verdicts:
        return
    names = dict.fromkeys(name for verdict in verdicts for name in verdict.parts)
    for name in names:
        known = [part for v in verdicts if (part := v.parts.get(name)) is not None]
        if known:
            log_metric(f"rubric/{name}", fmean(known))
    log_metric("rubric/unjudged_frac", fmean(verdict.score is None for verdict in verdicts))
