"""The values that travel the data's way: row -> prompt -> completions -> verdicts -> advantages ->
batch.

Shape letters, used as suffixes of tensors and nested lists everywhere in mmrl:

    P  prompts in a step         G  completions per prompt        B  rows of a batch, P * G
    T  tokens of a row           C  tokens of a completion        V  vocabulary
    N  media of one kind
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

MediaKind = Literal["image", "video", "audio"]
VerdictStatus = Literal["ok", "no_answer", "error", "timeout", "bad_gold"]
StopReason = Literal["eos", "length"]
Aid = Literal["hint", "prefix", "trace", "shuffled"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Medium:
    """A lazy handle on one image, video or sound; `mmrl.media` decodes it."""

    kind: MediaKind
    source: Path | bytes
    """A file on disk, or the encoded bytes themselves (parquet). Never a URL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierTerm:
    """One verifier that a row names, with its parameters and its weight among the row's
    verifiers.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One question with its verifiable answer. Media are handles; nothing is decoded here."""

    id: str
    source: str
    prompt: Sequence[Mapping[str, Any]]
    """Chat messages; `content` is always a list of parts `{"type": "text", "text": ...}` or
    `{"type": kind, kind: Medium}`.
    """
    answer: Any
    verifier: tuple[VerifierTerm, ...]
    reward: Mapping[str, float] = field(default_factory=dict)
    """Weights that override those of the stage's `rewards:`, by term name; the row's verifiers are
    the term `accuracy`.
    """
    difficulty: float | None = None
    response: str | None = None
    """A gold reasoning trace, the target of a cold start."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""
    """File and line, for messages."""

    @property
    def media(self) -> tuple[Medium, ...]:
        """The row's media in the order in which the prompt shows them."""
        parts = (part for message in self.prompt for part in message["content"])
        return tuple(part[part["type"]] for part in parts if part["type"] != "text")

    @property
    def modality(self) -> str:
        """`text`, `image`, `video`, `audio`, or several joined by `+`, in alphabetical order."""
        return "+".join(sorted({medium.kind for medium in self.media})) or "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A row after the chat template and the processor, computed once however many completions
    follow.
    """

    row: Row
    ids: tuple[int, ...]
    media: Mapping[str, Tensor]
    """The processor's tensors for the model's forward, e.g. `pixel_values`, `image_grid_thw`,
    `input_features`.
    """
    positions_RT: Tensor
    """Rotary positions, one row per rotary axis (3 for multimodal rotary families, else 1)."""
    media_key: str
    """Hash of the encoded media and of every processor setting that shapes the tensors."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """What frozen encoders made of the media; empty where they learn."""
    opening: str = ""
    """What the answer begins with: the last of `ids`, and verifiers see it before the
    completion."""
    hint: str = ""
    """What was added to the row's question to help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """One sampled answer: token ids (the end token included), their log-probs when sampled, and the
    text.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    stop: StopReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What a verifier judges."""

    row: Row
    text: str
    answer: str | None = None
    """What `mmrl.answer.extract` found in the text; None when it found nothing."""
    progress: float = 0.0
    """Share of the stage that is done, 0 to 1; schedules read it."""
    length: int = 0
    """Tokens in the completion."""
    stop: StopReason = "eos"
    accuracy: float | None = None
    """Score by the row's own verifiers, for terms that depend on it; None before, or where it is
    not known.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a verifier, or the whole rubric, says of one sample.

    0.0 always means judged and wrong; None means that it could not be judged.
    """

    score: float | None
    status: VerdictStatus = "ok"
    parts: Mapping[str, float | None] = field(default_factory=dict)
    """Unweighted scores of the terms that the score was made from."""
    detail: str = ""


@dataclass(kw_only=True, slots=True)
class Rollout:
    """A completion with its verdict. What stands below it is filled in when the verdicts of the
    step are known.
    """

    prompt: Prompt
    completion: Completion
    verdict: Verdict
    advantage: float = 0.0
    token_advantages: tuple[float, ...] | None = None
    """In place of the advantage where tokens differ; the advantage is then their mean."""
    counts: bool = True
    """False for what leaves the batch, as if it had never been sampled."""
    imitated: bool = False
    """Another model wrote it: it has LUFFY's term in the loss, and no log-probs of its sampling."""
    aid: Aid | None = None
    """What it had that others had not."""
    level: int = 0
    """How much of that, where it comes in levels, from 1."""
    spent: bool = False
    """It was sampled on the way, and nothing is learned from it."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """What was found out about its prompt for the verifiers; see mmrl/guidance."""
    here: bool = True
    """False where another process holds its prompt and trains on it."""
