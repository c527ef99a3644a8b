"""What samples completions in training: the model itself, or vLLM beside it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from mmrl.config.schema import AnswerConfig, RolloutConfig
from mmrl.types import Completion, Prompt

if TYPE_CHECKING:
    from mmrl.model import Policy
    from mmrl.prompt import Prompts


class RolloutEngine(AbstractContextManager["RolloutEngine"], Protocol):
    """Samples with the policy's weights as they were when `sync` was called last; closed on
    leaving.
    """

    @property
    def elsewhere(self) -> bool:
        """Whether it is not in this process, which can do other work while it samples."""
        ...

    def sample(
        self,
        prompts_P: Sequence[Prompt],
        config: RolloutConfig,
        *,
        group_size: int,
        seed: int,
        places: Sequence[int] | None = None,
        greedy: bool = False,
    ) -> list[list[Completion]]:
        """Completions [P][G]; the prompts' places among all of a step (0, 1, ... unless given) and
        the seed decide what is drawn.
        """
        ...

    def sync(self) -> None:
        """Take over the policy's weights."""
        ...


def build_engine(policy: Policy, config: AnswerConfig) -> RolloutEngine:
    """The engine that `rollout.engine` names.

    Raises:
        ConfigError: it is not installed, or does not know the model.
    """
    if config.engine == "vllm":
        from mmrl.engines.vllm import build_vllm

        return build_vllm(policy, config)
    from mmrl.engines.hf import HfEngine

    return HfEngine(policy)


def held(
    policy: Policy, engine: RolloutEngine | None, prompts: Prompts, *, alone: bool = False
) -> AbstractContextManager[None]:
    """What every process holds while prompts are made and asked: all weights where the policy
    itself samples, or is asked `alone`; those of the encoders where prompts carry their features;
    else no more than its part.
    """
    from mmrl.engines.hf import HfEngine

    if alone or isinstance(engine, HfEngine):
        return policy.whole()
    return nullcontext() if prompts.encoders is None else policy.encoding()
