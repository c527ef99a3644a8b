"""The keys of a stage and of a curriculum: types, ranges, defaults and cross-checks. No torch is
imported here.

The text under a field is its documentation: `mmrl config keys` prints it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mmrl.config.algo import AlgoConfig, check_objective
from mmrl.config.evaluation import EvalConfig
from mmrl.config.guidance import (
    GIVEN,
    NO_GUIDANCE,
    AnyArm,
    AnyGuidance,
    AnyThinking,
    ContrastConfig,
    check_guidance,
)
from mmrl.config.launch import LaunchConfig
from mmrl.config.lora import Freeze, LoraConfig
from mmrl.config.rewards import RewardsConfig
from mmrl.config.rollout import (
    AnswerConfig,
    RolloutConfig,
    TrainingRolloutConfig,
    check_ahead,
    with_importance,
)
from mmrl.config.rows import DataConfig
from mmrl.config.rows import DataSource as DataSource
from mmrl.config.sampling import (
    EQUAL,
    NO_FILTER,
    POOLED,
    UNIFORM,
    AnyFilter,
    AnyMixture,
    AnySampling,
    AnyWeight,
    SelectConfig,
    SftMixture,
    SftSampling,
    StopConfig,
    takes_accuracy,
)
from mmrl.config.section import Section
from mmrl.config.spread import check_spread
from mmrl.config.stage_order import check_order

FamilyName = Literal[
    "qwen2_5_omni",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen2_vl",
    "qwen2_audio",
    "smolvlm",
    "llava_onevision",
]


Sharing = Literal["packed", "encoder", "none"]


class ModelConfig(Section):
    """Which weights, in which precision, and which of them learn."""

    family: FamilyName
    """How prompts, positions and media are built for it; see mmrl/families.py."""
    path: str | None = None
    """A checkpoint folder, or a name on the model hub."""
    coordinates: Literal["pixel", "norm1000", "unit"] | None = None
    """The space in which the model writes boxes, where that is not its family's."""
    tiny: FamilyName | None = None
    """Build a model of about a million random parameters instead of loading one."""
    revision: str | None = None
    """Commit, branch or tag on the hub."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the forward pass computes in. Weights and optimizer are float32 either way."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    sharing: Literal["auto", "packed", "encoder", "none"] = "auto"
    """What the completions of a prompt have in common when they are scored: prompt and media
    (packed, needs `attention: sdpa`), media (encoder), or nothing. `auto` compares log-probs on
    the first rows and takes the first of the three that agrees with `none`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch. Results are the same bit for bit only for the same number; small models
    are
    fastest with 1, also beside other work."""
    freeze: Freeze | tuple[str, ...] = "none"
    """Parts that do not learn (vision, vision+connector, encoders, encoders+connector; encoders are
    the towers of all media), or regular expressions on parameters' names."""
    lora: LoraConfig | None = None
    gradient_checkpointing: bool = False
    trust_remote_code: bool = False
    """Run Python that comes with the checkpoint. Only for sources that you would run by hand."""

    @model_validator(mode="after")
    def _one_origin(self) -> ModelConfig:
        if (self.path is None) == (self.tiny is None):
            raise ValueError(
                "give either 'path' (a checkpoint) or 'tiny' (a built model), not both or neither"
            )
        return self

    @model_validator(mode="after")
    def _tower(self) -> ModelConfig:
        if self.family == "qwen2_audio" and self.freeze == "vision":
            raise ValueError(
                "freeze: vision would freeze nothing, a qwen2_audio only hears; use encoders"
            )
        return self

    @model_validator(mode="after")
    def _adapter(self) -> ModelConfig:
        if self.lora is not None and self.freeze not in ("none", ()):
            raise ValueError(
                "freeze does nothing with lora, where only adapters learn: lora.targets"
            )
        if self.lora is not None and self.lora.quantize != "none" and self.path is None:
            raise ValueError("lora.quantize is for a checkpoint: give 'path'")
        return self


NOT_SHAPING = {"cache_mb", "cache_dir", "disk_cache_mb", "workers", "ahead"}
"""Keys of `media` that say where prompts are made and kept, and shape none."""


class MediaConfig(Section):
    """How media are decoded, and the limits beyond which a medium is an error."""

    image_min_pixels: int = Field(default=3136, ge=1)
    """Smaller images are enlarged to this many pixels by the processor."""
    image_max_pixels: int = Field(default=1_003_520, ge=1)
    """Larger images are shrunk to this many pixels by the processor."""
    video_decoder: Literal["decord", "pyav"] = "decord"
    video_fps: float = Field(default=2.0, gt=0)
    """Frames sampled per second of video."""
    video_min_frames: int = Field(default=4, ge=1)
    video_max_frames: int = Field(default=64, ge=1)
    video_min_pixels: int = Field(default=3136, ge=1)
    """Smaller frames are enlarged to this many pixels."""
    video_max_pixels: int = Field(default=602_112, ge=1)
    """Larger frames are shrunk to this many pixels."""
    cache_mb: int = Field(default=512, ge=0)
    """Memory for processed prompts, so that a row that comes again is not decoded again."""
    cache_dir: Path | None = None
    """A folder in which processed prompts are kept for other runs and processes too; any number of
    them may share it. Nothing is kept on disk without it."""
    disk_cache_mb: int = Field(default=20_000, ge=1)
    """Most disk that `cache_dir` takes; what was used longest ago goes first."""
    workers: int = Field(default=0, ge=0)
    """Processes, of each training process, that decode media and run the processor beside it, and
    for the steps to come; with 0 that is done in the training process."""
    ahead: int = Field(default=1, ge=0)
    """Steps for which `workers` decode ahead; each holds its prompts in memory."""
    limit_file_mb: float = Field(default=512, gt=0)
    limit_image_pixels: int = Field(default=100_000_000, ge=1)
    limit_video_seconds: float = Field(default=3600, gt=0)
    limit_audio_seconds: float = Field(default=300, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> MediaConfig:
        for low, high in (
            ("image_min_pixels", "image_max_pixels"),
            ("video_min_pixels", "video_max_pixels"),
            ("video_min_frames", "video_max_frames"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"{low} ({getattr(self, low)}) is larger than {high} ({getattr(self, high)})"
                )
        if self.ahead != 1 and not self.workers:
            raise ValueError("ahead does nothing without workers: set both, or neither")
        return self


class OptimConfig(Section):
    """The optimizer (AdamW) and its schedule."""

    steps: int = Field(ge=1)
    """Training steps of the stage; one step is one rollout batch (grpo) or one batch (sft)."""
    kind: Literal["adamw", "adamw_fused", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    """`adamw_fused`: the same in one kernel, without temporaries as large as the gradient.
    `adamw_8bit`: a quarter of the memory for the moments (arXiv 2110.02861), by bitsandbytes.
    `paged_adamw_8bit`: and moments move to the host when a GPU's memory runs out. All but `adamw`
    go with one process or `launch.strategy: ddp`."""
    lr: float = Field(default=1e-6, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    grad_clip: float = Field(default=1.0, gt=0)
    micro_tokens: int = Field(default=16_384, ge=1)
    """Most tokens in one forward pass, prompts and padding included; smaller saves memory, the
    gradient is the same. One completion with its prompt is the least."""


class SftOptimConfig(OptimConfig):
    """The optimizer of a stage that learns from gold responses."""

    batch_size: int = Field(default=32, ge=1)
    """Rows per step."""


class CheckpointConfig(Section):
    """How often the run can be resumed from, and how much disk that takes."""

    every: int = Field(default=100, ge=1)
    keep: int = Field(default=2, ge=1)


class LogConfig(Section):
    """What is written besides the run folder's own files."""

    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    rollouts: bool = True
    """Write every rollout to rollouts.jsonl."""


class Stage(Section):
    """What every kind of stage has."""

    start: str | None = None
    """The weights to start from: an earlier stage's by its name, or `base` for those that `model`
    names; without it those of the stage before."""
    model: ModelConfig
    media: MediaConfig = MediaConfig()
    data: DataConfig
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()


class SftStage(Stage):
    """Supervised training on the rows' `response`; the loss counts response tokens only."""

    kind: Literal["sft"]
    rollout: AnswerConfig = AnswerConfig()
    """How held-out rows are answered."""
    thinking: AnyArm = GIVEN
    thought_dropout: float = Field(default=0.0, ge=0, le=1)
    """The share of the rows in whose response the thought is left empty (TON, arXiv 2505.16854; 0.5
    there)."""
    optim: SftOptimConfig
    sampling: SftSampling = UNIFORM
    mixture: SftMixture = POOLED
    stop: StopConfig = StopConfig()

    @property
    def steps(self) -> int:
        """Training steps at most."""
        return self.optim.steps


class GrpoStage(Stage):
    """Reinforcement learning with verifiable rewards."""

    kind: Literal["grpo"]
    rollout: TrainingRolloutConfig = TrainingRolloutConfig()
    optim: OptimConfig
    algo: AlgoConfig = AlgoConfig()
    rewards: RewardsConfig = RewardsConfig()
    sampling: AnySampling = UNIFORM
    mixture: AnyMixture = POOLED
    filter: AnyFilter = NO_FILTER
    weight: AnyWeight = EQUAL
    guidance: AnyGuidance = NO_GUIDANCE
    thinking: AnyThinking = GIVEN
    contrast: ContrastConfig | None = None
    stop: StopConfig = StopConfig()

    @property
    def steps(self) -> int:
        """Training steps at most."""
        return self.optim.steps

    @model_validator(mode="before")
    @classmethod
    def _corrected(cls, values: Any) -> Any:
        return with_importance(values)

    @model_validator(mode="after")
    def _accuracy(self) -> GrpoStage:
        sections = (self.sampling, self.filter, self.weight)
        wanting = next((section for section in sections if takes_accuracy(section)), None)
        if wanting and "accuracy" not in self.rewards.terms:
            raise ValueError(
                f"kind {wanting.kind} goes by the rows' accuracy: rewards.terms needs 'accuracy', "
                "if only with weight 0"
            )
        return self

    @model_validator(mode="after")
    def _objective(self) -> GrpoStage:
        check_objective(self.algo, terms=self.rewards.terms, heldout=self.data.heldout)
        parts = {"algo": self.algo, "rollout": self.rollout, "rewards": self.rewards}
        check_guidance(self.guidance, self.thinking, contrast=self.contrast, **parts)
        check_ahead(
            self.rollout,
            algo=self.algo,
            guidance=self.guidance,
            checkpoint_every=self.checkpoint.every,
        )
        return self

    @model_validator(mode="after")
    def _adapter_reference(self) -> GrpoStage:
        if self.model.lora is not None and self.algo.reference_reset is not None:
            raise ValueError(
                "algo.reference_reset needs a reference with weights of its own; with model.lora "
                "it is the model with its adapter off: leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _divides(self) -> GrpoStage:
        if self.rollout.prompts_per_step % self.algo.minibatches:
            raise ValueError(
                f"rollout.prompts_per_step ({self.rollout.prompts_per_step}) is not a multiple of "
                f"algo.minibatches ({self.algo.minibatches}): groups are never torn apart"
            )
        return self


class SelectStage(Stage):
    """Scores its rows by the policy's pass rate and hands a part of them on; nothing is trained."""

    kind: Literal["select"]
    rollout: RolloutConfig = RolloutConfig()
    thinking: AnyArm = GIVEN
    select: SelectConfig = SelectConfig()

    @model_validator(mode="after")
    def _no_progress(self) -> SelectStage:
        if self.rollout.budget is not None:
            raise ValueError("rollout.budget goes by the progress of training; nothing is trained")
        return self

    @property
    def steps(self) -> int:
        """Training steps: none."""
        return 0


AnyStage = Annotated[SftStage | GrpoStage | SelectStage, Field(discriminator="kind")]


class Run(Section):
    """What `mmrl train` runs: named stages in order, in one run folder."""

    name: str = Field(pattern=r"^\w[\w.-]*$")
    """Of the run folder, runs/<name>/001, unless `out` says otherwise."""
    out: Path
    """The run folder."""
    seed: int = Field(default=0, ge=0)
    smoke: bool = False
    """Train the curriculum's smoke form: made-up rows, a tiny model, a few steps."""
    launch: LaunchConfig = LaunchConfig()
    stages: dict[str, AnyStage] = Field(min_length=1)

    @model_validator(mode="after")
    def _stage_names(self) -> Run:
        for name in self.stages:
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise ValueError(
                    f"stage {name!r}: a stage's name is made of letters, digits, '_', '-' and '.' "
                    "and begins with one of the first three; its checkpoints are called after it"
                )
        check_order(self.stages)
        return self

    @model_validator(mode="after")
    def _spread(self) -> Run:
        check_spread(self.stages, self.launch)
        return self
