"""The numbers of a training step, as lines of metrics.jsonl.

| name                       | meaning                                                           |
|----------------------------|-------------------------------------------------------------------|
| `reward/mean`              | mean score of the judged rollouts                                 |
| `reward/<term>`            | mean unweighted score of a term, such as `accuracy` and `format`  |
| `reward/unjudged_frac`     | share of rollouts that no verifier could judge                    |
| `unjudged/<status>`        | how many ended as `error`, `timeout`, `bad_gold`                  |
| `group/zero_spread_frac`   | share of groups whose siblings all score the same                 |
| `completion/count`         | completions in the step                                           |
| `completion/length`        | mean tokens of a completion                                       |
| `completion/cut_frac`      | share of completions that reached the length limit                |
| `source/<source>/reward`   | `reward/mean` of a source; also `accuracy`, `count`, `unjudged`   |
| `policy/loss`              | the loss                                                          |
| `policy/kl`                | the k3 estimate of the divergence from the reference              |
| `policy/taught_tokens`     | tokens with a share in the gradient, per optimizer step           |
| `policy/uncertain_tokens`  | tokens that learn for their entropy, with high_entropy_share      |
| `policy/entropy`           | mean entropy of the distributions that those were sampled from    |
| `policy/sampling_gap`      | largest difference of a log-prob as sampled and as scored; with   |
|                            | async_steps it holds what the last update moved, too              |
| `policy/steps_behind`      | updates since the step's first draw began, with async_steps       |
| `policy/importance`        | mean weight by algo.importance, and `importance_capped_frac`      |
| `policy/clip_frac`         | share of tokens whose ratio was clipped                           |
| `policy/ratio_max`         | the largest ratio                                                 |
| `empg/lines`               | mean lines of a completion; also the least and largest entropy    |
| `imitation/weight`         | weight of imitation beside reinforcement; also its `loss`, `gain` |
| `guidance/failing_groups`  | groups without a right completion of their own; also those that   |
|                            | were `hinted`, `rescued` by it, `traced`; `level`, `completions`  |
| `contrast/shuffled`        | accuracy on shuffled frames; also `ordered`, `groups`             |
| `reference/baseline`       | probability of the reference without reasoning                    |
| `thinking/share`           | share of completions that think; also the accuracy of both modes  |
| `optim/lr`                 | learning rate                                                     |
| `optim/grad_norm`          | norm of the gradient before clipping                              |
| `media/decoded`            | media in the different prompts that the step asked, those of a    |
|                            | draw that begins ahead included; each is decoded once             |
| `media/processed`          | these prompts; each is processed once                             |
| `media/encoded`            | those of them with media: each goes through the encoders once per |
|                            | pass, or once per run where these are frozen                      |
| `sampler/<what>`           | what a sampler moves: window, open share, middle; per source      |
| `mixture/<source>`         | probability with which a row's source is drawn                    |
| `filter/drawn`             | groups drawn; also `kept`, and in how many `draws`                |
| `weight/mean`              | weight of the groups by their pass rate; also `min`, `max`        |
| `stop/<rule>`              | 1 in the last step of a stage that the rule ended                 |
| `select/kept`              | rows that a select stage hands on, of `select/pool`               |
| `tokens`                   | completion tokens that training has seen since the run began      |
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean

from mmrl.advantage import spread
from mmrl.errors import RewardError
from mmrl.types import Rollout

GRACE = 500
"""The share of unjudged rollouts is measured against at least so many, so that one early failure
does not stop a run.
"""


def describe(rollouts_PG: Sequence[Sequence[Rollout]]) -> dict[str, float]:
    """The metrics of a step's rollouts."""
    rollouts = [rollout for rollouts_G in rollouts_PG for rollout in rollouts_G]
    spreads = [
        spread([rollout.verdict.score for rollout in rollouts_G]) for rollouts_G in rollouts_PG
    ]
    metrics = _scores("reward/", rollouts)
    metrics["reward/unjudged_frac"] = _unjudged(rollouts) / len(rollouts)
    statuses = Counter(
        rollout.verdict.status for rollout in rollouts if rollout.verdict.score is None
    )
    metrics |= {f"unjudged/{status}": float(count) for status, count in sorted(statuses.items())}
    metrics["group/zero_spread_frac"] = fmean(value == 0 for value in spreads)
    metrics["completion/count"] = float(len(rollouts))
    metrics["completion/length"] = fmean(len(rollout.completion.ids) for rollout in rollouts)
    metrics["completion/cut_frac"] = fmean(
        rollout.completion.stop == "length" for rollout in rollouts
    )
    by_source: dict[str, list[Rollout]] = defaultdict(list)
    for rollout in rollouts:
        by_source[rollout.prompt.row.source].append(rollout)
    for source, chosen in sorted(by_source.items()):
        scores = _scores("", chosen)
        prefix = f"source/{source}/"
        metrics |= {
            prefix + name: scores[key]
            for key, name in (("mean", "reward"), ("accuracy", "accuracy"))
            if key in scores
        }
        metrics |= {
            prefix + "count": float(len(chosen)),
            prefix + "unjudged": float(_unjudged(chosen)),
        }
    return metrics


def check_judged(unjudged: int, total: int, max_unjudged: float, last: Iterable[Rollout]) -> None:
    """Stop the run when too many rollouts could not be judged.

    Raises:
        RewardError: names the sources, the statuses and one reason.
    """
    if unjudged <= max_unjudged * max(total, GRACE):
        return
    failed = [rollout for rollout in last if rollout.verdict.score is None]
    kinds = Counter(
        f"{rollout.prompt.row.source} "
        f"({'+'.join(term.name for term in rollout.prompt.row.verifier)}): {rollout.verdict.status}"
        for rollout in failed
    )
    most = ", ".join(f"{kind} x{count}" for kind, count in kinds.most_common(3))
    example = (
        f"; for example row {failed[0].prompt.row.id}: {failed[0].verdict.detail}" if failed else ""
    )
    raise RewardError(
        f"{unjudged} of {total} rollouts could not be judged, more than rewards.max_unjudged "
        f"({max_unjudged:g}); in the last step {most}{example}; "
        "repair the verifier or the rows' answers, then resume"
    )


def _scores(prefix: str, rollouts: Sequence[Rollout]) -> dict[str, float]:
    judged = [rollout.verdict.score for rollout in rollouts if rollout.verdict.score is not None]
    parts: dict[str, list[float]] = defaultdict(list)
    for rollout in rollouts:
        for name, score in rollout.verdict.parts.items():
            if score is not None:
                parts[name].append(score)
    means = {prefix + name: fmean(scores) for name, scores in sorted(parts.items())}
    return ({prefix + "mean": fmean(judged)} if judged else {}) | means


def _unjudged(rollouts: Sequence[Rollout]) -> int:
    return sum(rollout.verdict.score is None for rollout in rollouts)
