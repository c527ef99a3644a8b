"""GAIN-RL's method: score rows by the angles between the hidden states of their prompts' tokens.

One forward pass per row, without gradient. Signals are kept by content, as replies are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmrl.coldstart.teachers import as_protocol
from mmrl.config.schema import NOT_SHAPING
from mmrl.difficulty import AngleSignal, angle_difficulty, angle_signal
from mmrl.errors import DataError
from mmrl.selection.config import GainRlConfig
from mmrl.selection.scored import Outcome, Scored, Unscored
from mmrl.types import Row
from mmrl.verify.reply import Reply, keep_reply, kept_reply, reply_name

if TYPE_CHECKING:
    from mmrl.prompt import Prompts


def score_angles(
    rows: Sequence[Row],
    config: GainRlConfig,
    cache: Path | None,
    on_row: Callable[[int, int | None], None] = lambda done, total: None,
) -> list[Outcome]:
    """Score rows by their angle signal; the share with the highest is selected.

    Every prompt is built twice, once to find what all of them begin with, unless `shared` says it.

    Raises:
        ConfigError: the model cannot be loaded, or has no layer of the right kind.
    """
    from mmrl.model import load_policy
    from mmrl.prompt import Prompts

    assert config.policy.local is not None  # the schema sees to it
    policy = load_policy(config.policy.local, seed=0)
    prompts = Prompts(policy=policy, media=config.policy.media, system=config.system)
    shared = config.shared
    missed: dict[str, Unscored] = {}
    if shared is None:
        shared = _shared(rows, prompts, policy.banned_ids, missed)
    found: dict[str, AngleSignal] = {}
    for done, row in enumerate(rows, start=1):
        if row.id not in missed:
            signal = _signal(row, prompts, shared, config, cache)
            if isinstance(signal, AngleSignal):
                found[row.id] = signal
            else:
                missed[row.id] = signal
        on_row(done, len(rows))
    prompts.close()
    ranked = sorted(found, key=lambda row_id: -found[row_id].total)
    kept = set(ranked[: -int(-len(ranked) * config.share // 1)])
    return [
        missed[row.id] if row.id in missed else _scored(row, found[row.id], row.id in kept, config)
        for row in rows
    ]


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many ids two prompts begin with in common.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    pairs = enumerate(zip(first, second, strict=False))
    shorter = min(len(first), len(second))
    return next((place for place, (one, other) in pairs if one != other), shorter)


def _shared(
    rows: Sequence[Row],
    prompts: Prompts,
    media_ids: Sequence[int],
    missed: dict[str, Unscored],
) -> int:
    """Return how many tokens all prompts begin with; media are never shared, their ids may be."""
    first: tuple[int, ...] | None = None
    for place, row in enumerate(rows):
        prompts.look_ahead(rows[place : place + 2 * prompts.media.workers])
        try:
            ids = prompts(row).ids
        except DataError as error:
            missed[row.id] = Unscored(row=row, reason=str(error))
            continue
        own = next((end for end, token in enumerate(ids) if token in media_ids), len(ids) - 1)
        first = ids[:own] if first is None else first[: common_prefix(first, ids[:own])]
    return 0 if first is None or len(rows) == 1 else len(first)


def _signal(
    row: Row,
    prompts: Prompts,
    shared: int,
    config: GainRlConfig,
    cache: Path | None,
) -> AngleSignal | Unscored:
    from mmrl.curriculum.features import last_mlp, token_states

    assert config.policy.local is not None
    try:
        asked = {"prompt": as_protocol(row.prompt, config.policy, row.id), "shared": shared}
        media = config.policy.media.model_dump(mode="json", exclude=NOT_SHAPING)
        asked |= {"system": config.system, "media": media}
        model = config.policy.local.model_dump_json()
        name = reply_name(f"angles {model}", asked, 0)
        known = kept_reply(cache, name)
        if known is not None:
            intra, inter = map(float, known.text.split())
            return AngleSignal(intra=intra, inter=inter)
        policy = prompts.policy
        states_TD = token_states(policy, prompts(row), last_mlp(policy))
        signal = angle_signal(states_TD.numpy(), shared)
    except (DataError, ValueError) as error:
        return Unscored(row=row, reason=str(error))
    keep_reply(cache, name, Reply(text=f"{signal.intra!r} {signal.inter!r}"), model)
    return signal


def _scored(row: Row, signal: AngleSignal, selected: bool, config: GainRlConfig) -> Scored:
    facts = {"intra": signal.intra, "inter": signal.inter, "signal": signal.total}
    told = f"signal {signal.total:.4f}, not within the highest {config.share:.0%}"
    return Scored(
        row=row,
        difficulty=angle_difficulty(signal),
        facts=facts,
        reason="" if selected else told,
    )
