"""The keys that say what help a group gets, and how a stage asks for a thought or for none.

Each section comes in kinds; a kind has only the keys that act in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mmrl.config.section import Section
from mmrl.schedule import Schedule

if TYPE_CHECKING:
    from mmrl.config.algo import AlgoConfig
    from mmrl.config.schema import RewardsConfig, RolloutConfig

Share = Annotated[float, Field(gt=0, le=1)]


class NoGuidance(Section):
    """Nobody is helped."""

    kind: Literal["none"]


class _Helps(Section):
    right: float = Field(default=1.0, gt=0, le=1)
    """The accuracy from which a completion is right; a group fails where none is."""


class _Hints(_Helps):
    text: str
    """What is added to the question; `{hint}` stands for the hint."""

    @field_validator("text")
    @classmethod
    def _names_hint(cls, text: str) -> str:
        if "{hint}" not in text:
            raise ValueError("must hold '{hint}', where the hint is to stand")
        return text


class GhpoGuidance(_Hints):
    """A group that fails is drawn again with the beginning of its solution, and with more of it
    until one is right (GHPO, arXiv 2507.10628).
    """

    kind: Literal["ghpo"]
    shares: tuple[Share, ...] = Field(default=(0.25, 0.5, 0.75), min_length=1)
    """Shares of the solution's characters, in the order in which they are tried."""
    solution: str | None = None
    """A text in the rows' `extra`; their `response` unless given."""
    cold_steps: int = Field(default=0, ge=0)
    """In the first so many steps every group has the first hint at once (20 in the paper)."""
    text: str = (
        "\n The following text is the beginning part of the answer, which you can refer to for "
        "solving the problem:\n{hint}"
    )

    @model_validator(mode="after")
    def _ascend(self) -> GhpoGuidance:
        if list(self.shares) != sorted(set(self.shares)):
            raise ValueError(f"shares have to ascend, got {list(self.shares)}")
        return self


class ScaffoldGuidance(_Hints):
    """One completion of a group that fails gives way to one with as little help as brings a
    success (Scaf-GRPO, arXiv 2510.19807).
    """

    kind: Literal["scaf_grpo"]
    exempt: float = Field(default=0.15, ge=0, lt=1)
    """Nobody is helped in this first share of the stage."""
    hints: str = "hints"
    """In the rows' `extra`: for each of `kinds` a list of texts that are revealed one by one."""
    kinds: tuple[Literal["knowledge", "planning", "solution"], ...] = Field(
        default=("knowledge", "planning", "solution"), min_length=1
    )
    """In order of help; the released code leaves out planning."""
    text: str = "\n{kind}: {hint}"
    """What is added to the question; `{hint}` stands for the hint, `{kind}` for its kind."""
    learns_with: Literal["hint", "question"] = "hint"
    """What the completion that had help is trained behind: the question with the hint, as the
    paper has it, or the question alone."""


class KeyeGuidance(_Hints):
    """A group that fails is drawn again with a hint, level by level, until one is right (Keye-VL
    1.5, arXiv 2509.01563).
    """

    kind: Literal["keye"]
    hints: str = "hints"
    """In the rows' `extra`: a list of texts from the least help (the concept) to the most (the
    whole solution)."""
    text: str = "\n{hint}"


class PrefixGuidance(_Helps):
    """Completions of a group that fails are drawn again as continuations of the beginning of its
    solution, which stands before them and carries no loss.
    """

    kind: Literal["prefix"]
    share: float | Schedule = 0.5
    """Of the solution's tokens; a number, or numbers by the share of the stage that is done. 0
    gives nothing."""
    solution: str | None = None
    """A text in the rows' `extra`; their `response` unless given."""
    always: bool = False
    """Every group is drawn behind it, and not only one that fails."""

    @model_validator(mode="after")
    def _shares(self) -> PrefixGuidance:
        share = Schedule.of(self.share)
        if not all(0 <= value < 1 for value in share.values):
            raise ValueError(f"share: shares are at least 0 and less than 1, got {share.given()}")
        return self


class LuffyGuidance(Section):
    """Each group has traces of a teacher among its completions (LUFFY, arXiv 2504.14945)."""

    kind: Literal["luffy"]
    traces: str | None = None
    """In the rows' `extra`: a list of texts; their `response` unless given."""
    count: int = Field(default=1, ge=1)
    """Completions of the group that are traces; the others are sampled."""


class AmpoGuidance(_Helps):
    """Completions of a group that fails give way to those right traces of teachers that the policy
    comprehends best (AMPO, arXiv 2510.02227).
    """

    kind: Literal["ampo"]
    traces: str = "traces"
    """In the rows' `extra`: a list of texts, one for each teacher."""
    most: int = Field(default=2, ge=1)
    """Traces that a group gets at most."""
    also: float = Field(default=0.0, ge=0, le=1)
    """Share of the groups that do not fail and get traces all the same (0.3 in the code's hybrid
    strategy, 1 in the one called always); they replace wrong completions."""


AnyGuidance = Annotated[
    NoGuidance
    | GhpoGuidance
    | ScaffoldGuidance
    | KeyeGuidance
    | PrefixGuidance
    | LuffyGuidance
    | AmpoGuidance,
    Field(discriminator="kind"),
]


class ContrastConfig(Section):
    """Questions on videos are also answered on shuffled frames, for the term `temporal_contrast`
    (T-GRPO, arXiv 2503.21776).
    """

    group_size: int = Field(default=4, ge=1)
    """Completions on shuffled frames, which are judged and not learned from; half of
    rollout.group_size in the paper."""


class GivenThinking(Section):
    """Rows ask in their own words."""

    kind: Literal["given"]


class _Suffix(Section):
    suffix: str
    """What is added to every question."""


class ThinkThinking(_Suffix):
    """Think, then answer, both in tags."""

    kind: Literal["think"]
    suffix: str = (
        " Please output the thinking process in <think> </think> and final answer in <answer> "
        "</answer> tags."
    )


class NoThinking(_Suffix):
    """Answer at once (CLS-RL's No-Thinking arm, arXiv 2503.16188)."""

    kind: Literal["no_think"]
    suffix: str = " Please directly output the answer."


class AnswerFirstThinking(_Suffix):
    """Answer, then give the reason (CLS-RL's Think-after-answer arm)."""

    kind: Literal["answer_first"]
    suffix: str = (
        " Please first output the answer in <answer> </answer> tags and then output a brief "
        "reasoning process in <reason> </reason> tags."
    )


class AdaptiveThinking(_Suffix):
    """The policy decides whether to think (CLS-RL's Adaptive arm; the words are ours)."""

    kind: Literal["adaptive"]
    suffix: str = (
        " Please first decide whether the problem needs thinking. If it does not, output "
        "<answer> answer </answer>; if it does, output <think> thinking process </think> "
        "<answer> answer </answer>."
    )


class AutoThinking(Section):
    """An ellipsis opens every answer, after which the policy thinks or closes the thought at once;
    both modes are kept alive and rewarded (AutoThink, arXiv 2505.10832).
    """

    kind: Literal["autothink"]
    opening: str = "<think>\n...\n"
    """What the assistant's turn begins with."""
    rate: float = Field(default=0.5, gt=0, le=1)
    """The share of a batch that either mode may have; above it, its rewards fall. 1 turns this off
    (stages 2 and 3 of the paper)."""
    slope: float = Field(default=2.0, ge=0)
    """How fast they fall."""
    shorter: float = Field(default=0.0, ge=0)
    """How much right completions gain by being shorter than others of their group (alpha; 0.05 in
    the paper's stage 3)."""
    longer: float = Field(default=0.0, ge=0)
    """How much wrong ones gain by being longer (beta; 0.05 in stage 3)."""
    right: float = Field(default=1.0, gt=0, le=1)
    """The accuracy from which a completion is right."""


AnyArm = Annotated[
    GivenThinking | ThinkThinking | NoThinking | AnswerFirstThinking | AdaptiveThinking,
    Field(discriminator="kind"),
]
AnyThinking = Annotated[
    GivenThinking
    | ThinkThinking
    | NoThinking
    | AnswerFirstThinking
    | AdaptiveThinking
    | AutoThinking,
    Field(discriminator="kind"),
]

NO_GUIDANCE = NoGuidance(kind="none")
GIVEN = GivenThinking(kind="given")


def imitates(guidance: Section) -> bool:
    """Whether traces of teachers stand in the groups."""
    return isinstance(guidance, LuffyGuidance | AmpoGuidance)


def check_guidance(
    guidance: Section,
    thinking: Section,
    *,
    algo: AlgoConfig,
    rollout: RolloutConfig,
    rewards: RewardsConfig,
    contrast: ContrastConfig | None,
) -> None:
    """Refuse help and modes that ask of their stage what is not there, or would have no effect.

    Raises:
        ValueError: the accuracy is no term, a group has more traces than completions, a key of the
            objective is for traces that nobody gives, or another term stands beside AutoThink's
            rewards.
    """
    for section in (guidance, thinking):
        if isinstance(section, _Helps | AutoThinking) and "accuracy" not in rewards.terms:
            raise ValueError(
                f"kind {_kind(section)} goes by the rows' accuracy: rewards.terms needs "
                "'accuracy', if only with weight 0"
            )
    _check_traces(guidance, algo, rollout.group_size)
    if contrast is not None and not isinstance(guidance, NoGuidance | LuffyGuidance):
        raise ValueError(
            f"contrast does not go with guidance {_kind(guidance)}: groups that are drawn again "
            "are not answered on shuffled frames again"
        )
    if isinstance(thinking, AutoThinking) and set(rewards.terms) != {"accuracy"}:
        raise ValueError(
            "thinking autothink makes the whole score of accuracy and mode: rewards.terms has to "
            f"hold accuracy alone, and has {', '.join(rewards.terms)}"
        )
    names = {term.name for term in rewards.terms.values()}
    if isinstance(thinking, NoThinking | AnswerFirstThinking) and "think_answer" in names:
        raise ValueError(
            f"thinking {_kind(thinking)} asks for no thought first, and the reward think_answer "
            "for one: take the reward no_think"
        )


def _check_traces(guidance: Section, algo: AlgoConfig, group_size: int) -> None:
    if isinstance(guidance, LuffyGuidance | AmpoGuidance):
        key = "count" if isinstance(guidance, LuffyGuidance) else "most"
        if getattr(guidance, key) >= group_size:
            raise ValueError(
                f"guidance.{key} ({getattr(guidance, key)}) has to be less than rollout.group_size "
                f"({group_size}): some completions have to be the policy's own"
            )
        return
    if algo.trace_shape is not None or algo.trace_mean != "loss":
        key = "trace_shape" if algo.trace_shape is not None else "trace_mean"
        raise ValueError(f"algo.{key} does nothing without traces: guidance luffy or ampo")


def _kind(section: Section) -> str:
    return str(getattr(section, "kind", ""))
