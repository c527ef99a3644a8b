"""Loads, builds and saves the weights that learn, with the processor that goes with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from mmrl import lora
from mmrl.compat import make_torchvision_importable, name_deepspeeds_device
from mmrl.config.schema import ModelConfig
from mmrl.distributed.strategy import Replicated, Strategy
from mmrl.errors import ConfigError
from mmrl.families import FAMILIES, Family, media_token_ids
from mmrl.parts import FROZEN, parts_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The model that is trained, or a frozen reference, and what is needed to speak with it."""

    model: Any
    """A transformers model with a language-model head."""
    processor: Any
    family: Family
    banned_ids: tuple[int, ...]
    """Media tokens; their probability is zero in sampling and in scoring alike."""
    end_ids: tuple[int, ...]
    """Tokens that end a completion."""

    dtype: torch.dtype
    """What the forward pass computes in; the weights that learn are float32."""
    strategy: Strategy = field(default_factory=Replicated)
    """How its weights are spread over the processes that train it."""
    base: Mapping[str, Any] = field(default_factory=dict)
    """What the weights under its adapter were made from; empty where it has none."""
    adapter_off: bool = False
    """Answer as before the adapter learned: the reference of a policy with an adapter."""

    def __call__(self, **inputs: Any) -> Any:
        """Run the model's forward pass in the policy's precision."""
        mixed = self.dtype != torch.float32
        before = lora.adapter_off(self.model) if self.adapter_off else nullcontext()
        with before, torch.autocast(self.device.type, dtype=self.dtype, enabled=mixed):
            return self.strategy.forward(self.model, inputs)

    def whole(self) -> AbstractContextManager[None]:
        """While inside, every process holds all weights, and runs the model by itself."""
        return self.strategy.whole(self.model)

    def encoding(self) -> AbstractContextManager[None]:
        """While inside, every process holds all but the decoder's layers, and may encode media."""
        return self.strategy.whole(self.model, decoder=False)

    @property
    def device(self) -> torch.device:
        """Where the inputs have to be."""
        return next(self.model.parameters()).device

    @property
    def vocabulary(self) -> int:
        """How many tokens the language-model head knows."""
        return self.model.config.get_text_config().vocab_size

    @property
    def pad_id(self) -> int:
        """The id that fills rows up to the batch's length."""
        pad = self.processor.tokenizer.pad_token_id
        return self.end_ids[0] if pad is None else pad


def load_policy(
    config: ModelConfig,
    *,
    seed: int,
    weights: Path | None = None,
    adapter: Path | None = None,
    empty: bool = False,
) -> Policy:
    """Build the tiny model or load the checkpoint that the config names.

    Args:
        config: The section `model`.
        seed: Of a tiny model's weights, and of a fresh adapter's.
        weights: A folder written by `save_policy` to load instead; an adapter in it is merged.
        adapter: One whose adapter goes on learning on these weights.
        empty: Without any weights, on the device "meta": others give it theirs.

    Raises:
        ConfigError: the checkpoint is not there or is of another family, or the machine lacks what
            `model.lora` needs.
    """
    family = FAMILIES[config.family]
    _check_packages(config.family, family)
    if config.lora is not None:
        lora.check_lora(config.lora, config.device)
    make_torchvision_importable()
    name_deepspeeds_device()
    from transformers.utils import logging

    logging.disable_progress_bar()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    dtype = getattr(torch, config.dtype)
    base = _base(config, seed, weights)
    device = torch.device("meta") if empty else device_of(config)
    model, processor = _make(config, base, dtype, empty=empty)
    if family.prepare is not None:
        family.prepare(model)
    if config.lora is None:
        # An update at a rate of 1e-6 is smaller than bfloat16 can hold, so weights are float32.
        model.to(device=device, dtype=torch.float32)
        _freeze(model, config.freeze)
    else:
        if config.lora.quantize == "none":
            _hold_as(model, dtype)
            model.to(device=device)
        lora.add_adapter(model, config.lora, seed=seed)
        if empty:
            model.to(device=device)
        elif adapter is not None:
            lora.load_adapter(model, adapter)
    _align(model)
    # checkpoints are loaded for inference, in which mode activations are not checkpointed
    model.train()
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return Policy(
        model=model,
        processor=processor,
        family=family,
        banned_ids=media_token_ids(model),
        end_ids=_end_ids(model, processor.tokenizer),
        dtype=dtype,
        base={} if config.lora is None else base,
    )


def save_policy(
    policy: Policy, folder: Path, *, weights: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write weights, configuration, tokenizer and processor as transformers, vLLM and evaluation
    kits load them; of a policy with an adapter, the adapter alone. `weights` are given where the
    model does not hold its own whole.
    """
    if policy.base:
        lora.save_adapter(policy.model, folder, base=policy.base, weights=weights)
    else:
        policy.model.save_pretrained(folder, state_dict=weights)
    policy.processor.save_pretrained(folder)


def trainable_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters that learn, by name, in the model's order."""
    return {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }


def _check_packages(name: str, family: Family) -> None:
    missing = [package for package in family.packages if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"model.family: the processor of {name} needs packages that are not installed; "
            f"run: pip install {' '.join(missing)}"
        )


def _base(config: ModelConfig, seed: int, weights: Path | None) -> dict[str, Any]:
    """Where the weights come from, as a checkpoint of an adapter remembers it."""
    if weights is not None:
        return {"path": str(weights)}
    if config.tiny is not None:
        return {"tiny": config.tiny, "seed": seed}
    return {"path": config.path, "revision": config.revision}


def _make(
    config: ModelConfig, base: Mapping[str, Any], dtype: torch.dtype, *, empty: bool
) -> tuple[Any, Any]:
    """The model and its processor; adapters that the weights are under are merged into them."""
    if "tiny" in base:
        return _build(config, base, empty=empty)
    folder = Path(base["path"])
    if not lora.is_adapter(folder):
        return _load(config, base, dtype, empty=empty)
    if config.lora is not None and config.lora.quantize != "none":
        raise ConfigError(
            f"model.lora.quantize: {folder} is an adapter, which cannot be merged into four bits; "
            "export it (mmrl export RUN out=DIR merge=true) and start from that folder"
        )
    model, processor = _make(config, lora.base_of(folder), dtype, empty=empty)
    if not empty:
        lora.merge_saved(model, folder)
    return model, processor


def _build(config: ModelConfig, base: Mapping[str, Any], *, empty: bool) -> tuple[Any, Any]:
    from transformers.initialization import meta_device_safe_creation_ops

    from mmrl.tiny.models import build_tiny

    with ExitStack() as stack:
        if empty:
            stack.enter_context(torch.device("meta"))
            stack.enter_context(meta_device_safe_creation_ops())
        model, processor = build_tiny(base["tiny"], seed=base["seed"])
    model.set_attn_implementation(config.attention)
    return model, processor


def _load(
    config: ModelConfig, base: Mapping[str, Any], dtype: torch.dtype, *, empty: bool
) -> tuple[Any, Any]:
    import transformers

    family = FAMILIES[config.family]
    path = str(base["path"])
    options: dict[str, Any] = {
        "revision": base.get("revision"),
        "trust_remote_code": config.trust_remote_code,
    }
    try:
        model = getattr(transformers, family.model_class).from_pretrained(
            path,
            dtype=torch.float32,
            attn_implementation=config.attention,
            **({"device_map": "meta"} if empty else lora.quantization(config.lora, dtype)),
            **options,
        )
        processor = getattr(transformers, family.processor_class).from_pretrained(path, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"model.path: cannot load {path!r} as {config.family}: {reason}; "
            "give a folder with a saved checkpoint, or a name that this machine can download"
        ) from error
    return model, processor


def device_of(config: ModelConfig) -> torch.device:
    """Where the model is trained.

    Raises:
        ConfigError: a GPU was asked for, and there is none.
    """
    name = config.device
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "model.device: cuda was asked for, and torch sees no GPU; use model.device=auto"
        )
    return torch.device(name)


def _hold_as(model: Any, dtype: torch.dtype) -> None:
    """Cast parameters alone: positions turn by frequencies in buffers, and rounded ones would put a
    token that comes late somewhere else.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _align(model: Any) -> None:
    """Copy weights that a file was mapped to. They begin anywhere, and kernels round by where a
    tensor begins: a resumed run has to compute what the one before it did.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu" and tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()


def _freeze(model: torch.nn.Module, chosen: str | tuple[str, ...]) -> None:
    if isinstance(chosen, str):
        parts, frozen = parts_of(model), FROZEN[chosen]
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parts[name] not in frozen)
        return
    names = [name for name, _ in model.named_parameters()]
    for pattern in chosen:
        if not any(re.search(pattern, name) for name in names):
            raise ConfigError(
                f"model.freeze: {pattern!r} matches no parameter; names look like {names[0]!r}"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(re.search(pattern, name) for pattern in chosen))
    if not trainable_parameters(model):
        raise ConfigError("model.freeze: every parameter is frozen, nothing can learn")


def _end_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    ends = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id} | set(ends if isinstance(ends, list) else [ends])
    return tuple(sorted(token for token in ids if token is not None))
