"""The keys of a chain: its teachers, its steps, and how they are run. No torch is imported here.

The text under a field is its documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from mmrl.coldstart.texts import CUES, REFLECTIONS
from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.config.section import Section

RESPONSE = "response"
"""The text that becomes the row's gold response."""
PASS_RATE = "pass_rate"


class Price(Section):
    """What a million tokens cost, in whatever currency the bill has."""

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)


class TeacherConfig(Section):
    """Who answers: a server with `base_url` and `model`, or `local`, a model in this process."""

    base_url: str | None = None
    """Up to and including `/v1`."""
    model: str | None = None
    """The model's name there. Replies are kept under it, so that a server may move."""
    key_env: str | None = None
    """The environment variable that holds the key; without it no key is sent."""
    local: ModelConfig | None = None
    """A checkpoint, or a tiny model to try a chain with."""
    media: MediaConfig = MediaConfig()
    """How a local model decodes media, and how large those may be that are sent."""
    timeout_s: float = Field(default=300.0, gt=0)
    """For one attempt."""
    attempts: int = Field(default=8, ge=1)
    """How often to try where the server is busy, broken or silent."""
    first_wait_s: float = Field(default=1.0, ge=0)
    """Before the second attempt; it doubles from there, up to a minute."""
    per_minute: float | None = Field(default=None, gt=0)
    """Most requests in a minute."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Most tokens in a minute, read and written."""
    seed: int | None = Field(default=None, ge=0)
    """Sent with each request, plus the number of the draw; not all servers know it."""
    request: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request, as the server has them."""
    price: Price = Price()

    @model_validator(mode="after")
    def _one_origin(self) -> TeacherConfig:
        server = (self.base_url is not None, self.model is not None)
        if server != ((True, True) if self.local is None else (False, False)):
            raise ValueError("give either 'base_url' and 'model' (a server), or 'local'")
        return self


class StepConfig(Section):
    """What every step has."""

    when: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Do this only for rows whose text of that name is one of these; the others pass as they
    are."""


class AskStep(StepConfig):
    """Ask a teacher, and keep what it says under the step's name."""

    kind: Literal["ask", "caption", "pseudo_cot", "description", "reason", "rewrite"]
    """All ask alike; all but `ask` have a prompt of their own, which `prompt` replaces."""
    teacher: str
    prompt: str | None = None
    """With {question}, {answer} and the texts of earlier steps to be filled in."""
    system: str | None = None
    media: bool | None = None
    """Show the row's media. By default, as the kind does: caption, pseudo_cot and description."""
    samples: int = Field(default=1, ge=1)
    """Independent replies; `verify` or `take` then keeps one."""
    max_tokens: int = Field(default=4096, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    into: str | None = None
    """Keep it under this name instead."""
    allow_cut: bool = False
    """Take replies that ended at max_tokens; else such a row is left out."""


class GradeStep(StepConfig):
    """Ask a teacher for one word, and leave out rows by it."""

    kind: Literal["grade"]
    teacher: str
    prompt: str
    system: str | None = None
    media: bool = False
    choices: tuple[str, ...] = Field(min_length=2)
    """What the teacher may say."""
    reject: tuple[str, ...] = ()
    """Rows that get one of these are left out."""
    max_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    into: str | None = None

    @model_validator(mode="after")
    def _known(self) -> GradeStep:
        strange = [word for word in self.reject if word not in self.choices]
        if strange:
            raise ValueError(f"reject: {strange[0]!r} is none of the choices")
        return self


class VerifyStep(StepConfig):
    """Let the row's verifiers judge the candidates, keep a right one, and note the pass rate."""

    kind: Literal["verify"]
    of: str
    """Which text; it then holds the one that was kept."""
    keep: Literal["first", "shortest", "longest", "second_longest"] = "first"
    """Which of several right ones, by the number of words."""
    min_score: float = Field(default=1.0, gt=0, le=1)
    """What counts as right."""
    wrong_into: str | None = None
    """Also keep the first wrong one, under this name; rows without a wrong one are left out."""


class TakeStep(StepConfig):
    """Keep one of several samples without judging them."""

    kind: Literal["take"]
    of: str
    keep: Literal["first", "shortest", "longest", "second_longest"] = "first"


class CutReflectionStep(StepConfig):
    """Cut the thought where it first turns round, and keep the answer."""

    kind: Literal["cut_reflection"]
    of: str
    words: tuple[str, ...] = Field(default=REFLECTIONS, min_length=1)


class ReplaceStep(StepConfig):
    """Put words in the place of others."""

    kind: Literal["replace"]
    of: str
    words: dict[str, str] = Field(min_length=1)
    """Old words or phrases, in any case, and the new ones."""


class FilterStep(StepConfig):
    """Leave out rows by a rule."""

    kind: Literal["filter"]
    of: str
    min_words: int | None = Field(default=None, ge=0)
    max_words: int | None = Field(default=None, ge=0)
    must_hold: tuple[str, ...] = ()
    """The text has to hold every one of these, as written."""
    must_not_hold: tuple[str, ...] = ()
    """Words or phrases that no text may hold, in any case."""
    like: str | None = None
    """Another text, whose number of words this one's is compared with."""
    max_word_change: int = Field(default=15, ge=0)


class ComposeStep(StepConfig):
    """Make a text of others, asking nobody."""

    kind: Literal["compose"]
    text: str
    into: str | None = None


class DeduplicateStep(StepConfig):
    """Leave out rows that say what an earlier one says."""

    kind: Literal["deduplicate"]
    by: tuple[str, ...] = Field(default=("question", "media"), min_length=1)
    """What has to be the same: texts (but for case and white space), `media`, or both."""


class SplitByDifficultyStep(StepConfig):
    """Send rows that took a turn, or that were seldom right, to another file."""

    kind: Literal["split_by_difficulty"]
    of: str | None = None
    """The text in which cues are looked for."""
    cues: tuple[str, ...] = Field(default=CUES, min_length=1)
    pass_rate_below: float | None = Field(default=None, gt=0, le=1)
    """Rows that `verify` found right less often are hard as well."""
    hard: str = Field(default="rl", pattern=r"^\w+$")
    """The other file is called after this."""

    @model_validator(mode="after")
    def _something(self) -> SplitByDifficultyStep:
        if self.of is None and self.pass_rate_below is None:
            raise ValueError("give 'of' (a text to look for cues in) or 'pass_rate_below'")
        return self


class ThoughtDropoutStep(StepConfig):
    """Empty the thought of some rows, so that a model may learn not to think."""

    kind: Literal["thought_dropout"]
    of: str = RESPONSE
    p: float = Field(default=0.5, ge=0, le=1)


class RepeatStep(StepConfig):
    """Write some rows more than once."""

    kind: Literal["repeat"]
    by: str
    """A text, such as what `grade` gave."""
    times: dict[str, int] = Field(min_length=1)
    """How often for each value; others once."""

    @model_validator(mode="after")
    def _positive(self) -> RepeatStep:
        if min(self.times.values()) < 1:
            raise ValueError("times: each at least 1; 'grade' with 'reject' leaves rows out")
        return self


AnyStep = (
    AskStep
    | GradeStep
    | VerifyStep
    | TakeStep
    | CutReflectionStep
    | ReplaceStep
    | FilterStep
    | ComposeStep
    | DeduplicateStep
    | SplitByDifficultyStep
    | ThoughtDropoutStep
    | RepeatStep
)


class ChainConfig(Section):
    """A whole chain; its steps are checked one by one, see mmrl/coldstart/loading.py."""

    teachers: dict[str, TeacherConfig] = Field(default_factory=dict)
    """By a name of your choice."""
    given: tuple[Literal["response"], ...] = ()
    """Texts that the rows bring besides question and answer."""
    keep: tuple[str, ...] = ()
    """Texts that are kept in the row's `extra`."""
    concurrency: int = Field(default=16, ge=1, le=1024)
    """Requests under way at once."""
    cache: Path | None = None
    """Folder of the replies; `mmrl/replies` in the user's cache folder if not given."""
    max_cost: float | None = Field(default=None, gt=0)
    """Stop before this run spends more; what was answered is kept."""
    stop_after: int = Field(default=20, ge=1)
    """Stop when so many requests in a row got no answer."""
    seed: int = Field(default=0, ge=0)
