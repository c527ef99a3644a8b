"""The rows of a stage, ready to be trained on: loaded or built, decoded once, and judged by their
own verifiers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmrl.config.schema import AnyStage, DataSource, GrpoStage, Run, SelectStage, SftStage
from mmrl.config.stage_order import earlier
from mmrl.coordinates import spoken_by
from mmrl.curriculum.selection import hand_on, read_selection
from mmrl.data.check import first_bad
from mmrl.data.pipelines import Split
from mmrl.data.sources import load_source
from mmrl.errors import DataError
from mmrl.families import FAMILIES
from mmrl.prompt import check_kinds
from mmrl.reward import self_test
from mmrl.run_folder import RunFolder
from mmrl.screen import Screen
from mmrl.seeds import derive
from mmrl.types import Row


@dataclass(kw_only=True, slots=True)
class StageRows:
    """The rows of a stage."""

    train: list[Row]
    heldout: list[Row]


def load_stage_rows(
    name: str,
    stage: AnyStage,
    run: Run,
    folder: RunFolder,
    screen: Screen,
    before: Mapping[str, StageRows],
) -> StageRows:
    """Load or build the stage's rows, decode every medium once, and let every verifier judge some
    of its own gold answers.

    Rows that an earlier stage is to select are, until it has, all that it selects from; so that
    what is wrong with any of them is known before training begins.

    Args:
        name: Of the stage.
        stage: Its configuration.
        run: The run that it is part of.
        folder: Of the run.
        screen: Where the work is shown.
        before: The rows of the stages before it.

    Raises:
        DataError: a row or a medium cannot be used; training never starts on it.
        RewardError: a verifier fails its self-test.
    """
    data = folder.path / "data"
    splits: dict[Split, list[Row]] = {"train": [], "heldout": []}
    sources: dict[Split, Mapping[str, DataSource]] = {
        "train": stage.data.train,
        "heldout": stage.data.heldout,
    }
    for split, named in sources.items():
        for key, source in named.items():
            if source.stage is not None:
                pool = _selected(name, source.stage, run, folder, before)
                splits[split] += pool[: source.limit]
                continue
            splits[split] += load_source(
                source, folder=data, seed=derive(run.seed, "data", key), split=split
            )
    family = FAMILIES[stage.model.family]
    space = stage.model.coordinates or family.coordinates
    rows = StageRows(
        train=[spoken_by(row, space) for row in splits["train"]],
        # their weights are for terms of a stage's reward, and they are scored for accuracy alone
        heldout=[
            dataclasses.replace(spoken_by(row, space), reward={}) for row in splits["heldout"]
        ],
    )
    _check_ids(name, rows)
    every = [*rows.train, *rows.heldout]
    for row in every:
        check_kinds(row, family)
    with screen.bar(
        f"{name}: checking media", len({row.media for row in every if row.media})
    ) as bar:
        bad = first_bad(every, stage.media, cache=data / "checked.json", on_medium=bar.advance)
    if bad:
        raise DataError("\n".join(bad))
    if isinstance(stage, SftStage) and not _awaits_responses(name, stage, run, folder):
        _check_responses(name, rows.train)
    if isinstance(stage, GrpoStage) and stage.algo.imitation is not None:
        measured = stage.algo.imitation.adapt and stage.algo.imitation.adapt.gain_every
        _check_responses(name, [*rows.train, *(rows.heldout if measured else ())])
    self_test(every if isinstance(stage, GrpoStage | SelectStage) else rows.heldout)
    return rows


def takes_selected(stage: AnyStage) -> bool:
    """Whether the stage's rows are known only when an earlier stage has selected them."""
    return any(source.stage is not None for source in stage.data.train.values())


def _selected(
    name: str, wanted: str, run: Run, folder: RunFolder, before: Mapping[str, StageRows]
) -> list[Row]:
    """The rows that an earlier stage has kept; or, while it has not, all of its rows."""
    found = earlier([*run.stages], name, wanted)
    assert found is not None  # the schema sees to it
    kept = read_selection(folder.path, found)
    return before[found].train if kept is None else hand_on(before[found].train, kept)


def _awaits_responses(name: str, stage: SftStage, run: Run, folder: RunFolder) -> bool:
    """Whether the responses of some rows are still to be sampled by a stage that selects."""
    for source in stage.data.train.values():
        found = earlier([*run.stages], name, source.stage) if source.stage else None
        if found is None or read_selection(folder.path, found) is not None:
            continue
        selecting = run.stages[found]
        if isinstance(selecting, SelectStage) and selecting.select.response != "none":
            return True
    return False


def _check_ids(name: str, rows: StageRows) -> None:
    for split, chosen in (("train", rows.train), ("heldout", rows.heldout)):
        seen: dict[str, str] = {}
        for row in chosen:
            if row.id in seen:
                raise DataError(
                    f"stage {name}: row id {row.id!r} stands in {seen[row.id]} and in {row.where}; "
                    f"ids of data.{split} must differ"
                )
            seen[row.id] = row.where


def _check_responses(name: str, rows: Sequence[Row]) -> None:
    missing = [row for row in rows if not row.response]
    if missing:
        raise DataError(
            f"stage {name}: {len(missing)} of {len(rows)} rows have no 'response' to learn from; "
            f"the first is row {missing[0].id} ({missing[0].where})"
        )
