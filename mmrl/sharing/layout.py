"""Where the tokens of packed groups stand in one row: `[prompt | c1 | c2 | ... | cG]`, group after
group, without padding.

Prompt tokens attend to what is before them in the prompt; a completion's tokens attend to the
prompt and to what is before them in the same completion. The models hand an attention mask of four
axes on to the attention function untouched, so the layout travels as such a tensor of whole
numbers, from which no mask of row by row size is ever made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Segment:
    """One group in a packed row."""

    start: int
    """Where its prompt begins."""
    prompt_length: int
    lengths: tuple[int, ...]
    """Of its completions; they follow the prompt in this order."""

    @property
    def own(self) -> int:
        """Where the first completion begins."""
        return self.start + self.prompt_length

    @property
    def end(self) -> int:
        """Where the next group begins."""
        return self.own + sum(self.lengths)


def arrange(groups: Sequence[tuple[int, Sequence[int]]]) -> tuple[Segment, ...]:
    """Place groups, each (prompt length, completion lengths), one behind the other."""
    segments: list[Segment] = []
    for prompt_length, lengths in groups:
        start = segments[-1].end if segments else 0
        segments.append(Segment(start, prompt_length, tuple(lengths)))
    return tuple(segments)


def as_mask(segments: Sequence[Segment]) -> Tensor:
    """The layout as an attention mask [1, 1, 1, K] that the models hand on as it is."""
    numbers = [
        number
        for segment in segments
        for number in (segment.prompt_length, len(segment.lengths), *segment.lengths)
    ]
    return torch.tensor(numbers, dtype=torch.long)[None, None, None]


def is_layout(mask: Tensor | None) -> bool:
    """Whether an attention mask is a layout; other masks of four axes are boolean or floats."""
    return mask is not None and mask.ndim == 4 and mask.dtype == torch.long


def from_mask(mask: Tensor) -> tuple[Segment, ...]:
    """Read the layout back."""
    numbers = iter(mask.flatten().tolist())
    groups = []
    for prompt_length in numbers:
        count = next(numbers)
        groups.append((prompt_length, [next(numbers) for _ in range(count)]))
    return arrange(groups)


def tokens_before(segment: Segment) -> list[int]:
    """For every completion token of the segment, in order, the place of the token that predicts
    it: the prompt's last one for a completion's first, else the one before.
    """
    starts = accumulate(segment.lengths, initial=segment.own)
    return [
        segment.own - 1 if step == 0 else start + step - 1
        for start, length in zip(starts, segment.lengths, strict=False)
        for step in range(length)
    ]
