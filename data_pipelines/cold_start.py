"""Rows with chains of thought, written by teachers and rules in a chain of configs/cold_start/.

`mmrl data build cold_start chain=vision_r1 in=rows.jsonl out=cold.jsonl`

On the command line the rest of the arguments change the chain; in a stage they stand in `changes`.
See docs/cold_start.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrl.coldstart.chain import run_chain
from mmrl.coldstart.loading import load_chain
from mmrl.coldstart.output import finished_row, rejected_lines, write_lines
from mmrl.commands.cold_start import reply_folder
from mmrl.config.dump import leaves
from mmrl.config.overrides import Override
from mmrl.config.yaml12 import flow
from mmrl.data.pipelines import Split, pipeline
from mmrl.data.rows import load_rows
from mmrl.data.writing import row_to_json
from mmrl.errors import ConfigError
from mmrl.project import find_project
from mmrl.types import Row


@pipeline
def cold_start(
    folder: Path,
    *,
    seed: int,
    split: Split,
    rows: Path,
    chain: str,
    changes: dict[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows with the chains of thought that teachers wrote for them.

    Args:
        folder: Where `rejected.jsonl` is written.
        seed: Of what a chain leaves to chance.
        split: Only `train`: what is held out is taken from the rows before, not from here.
        rows: The rows; `in` on the command line.
        chain: A file of configs/cold_start/.
        changes: Keys of the chain and other values for them.
    """
    if split != "train":
        raise ConfigError("cold_start makes rows to train on: split 'rows' before, not here")
    found = load_chain(chain, _overrides({"seed": seed, **(changes or {})}), find_project())
    result = run_chain(found, load_rows(rows), cache=reply_folder(found.config.cache))
    write_lines(folder / "rejected.jsonl", rejected_lines(result))
    for state in result.done:
        if not state.split:
            yield from (_as_raw(row, folder) for row in finished_row(state, found))


def _as_raw(row: Row, folder: Path) -> dict[str, Any]:
    raw = row_to_json(row, folder)
    for message in raw["prompt"]:
        for part in message["content"]:
            if isinstance(part[part["type"]], bytes):
                part[part["type"]] = {"bytes": part[part["type"]]}
    return raw


def _overrides(changes: dict[str, Any]) -> list[Override]:
    return [Override(path=path, text=flow(value)) for path, value in leaves(changes)]
