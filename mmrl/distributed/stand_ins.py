"""Media that stand in where a process has none: a small picture, clip or sound in a prompt without
a completion.

Where weights or gradients are shared out, every process must run the same encoders in the same
order, or all wait for each other for ever. A stand-in goes through the model's own forward pass
beside the real rows, so the order is the model's, and its gradient is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmrl.media.writers import write_mp4, write_png, write_wav
from mmrl.prompt import Prompts
from mmrl.types import MediaKind, Medium, Prompt, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIns:
    """Prompts that stand in, one for every kind of medium that the stage's rows show."""

    text: Prompt
    """Without media: for a pass of a process that has nothing left to do."""
    media: Mapping[MediaKind, Prompt]

    def beside(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Those that are needed beside the prompts of a pass, always in the same order."""
        shown = {medium.kind for prompt in prompts for medium in prompt.row.media}
        return [prompt for kind, prompt in sorted(self.media.items()) if kind not in shown]


def build_stand_ins(prompts: Prompts, rows: Sequence[Row], folder: Path) -> StandIns:
    """Make what may have to stand in for the media of the rows; their files go into the folder.

    Where features of frozen encoders are kept, no pass runs an encoder and nothing stands in.
    """
    kinds: set[MediaKind] = {medium.kind for row in rows for medium in row.media}
    if prompts.encoders is not None:
        kinds = set()
    media: dict[MediaKind, Medium] = {
        kind: Medium(kind=kind, source=_file(kind, folder)) for kind in sorted(kinds)
    }
    return StandIns(
        text=prompts(_row(None)),
        media={kind: prompts(_row(medium)) for kind, medium in media.items()},
    )


def _row(medium: Medium | None) -> Row:
    shown = [] if medium is None else [{"type": medium.kind, medium.kind: medium}]
    name = "text" if medium is None else medium.kind
    return Row(
        id=f"stand-in-{name}",
        source="stand-in",
        prompt=[{"role": "user", "content": [*shown, {"type": "text", "text": "?"}]}],
        answer="",
        verifier=(),
        where=f"stand-in:{name}",
    )


def _file(kind: MediaKind, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    grey = np.full((56, 56, 3), 128, dtype=np.uint8)
    if kind == "image":
        path = folder / "grey.png"
        write_png(path, grey)
    elif kind == "video":
        path = folder / "grey.mp4"
        write_mp4(path, np.stack([grey] * 8), fps=4)
    else:
        path = folder / "silence.wav"
        write_wav(path, np.zeros(8000))
    return path
