"""Answers with transformers, through the same prompts and the same sampling as training.

Each sample that involves chance is drawn alone, from its own seed: what else is asked, and where a
run was stopped, changes nothing in it. Greedy answers may share a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmrl.config.schema import MediaConfig, ModelConfig, RolloutConfig
from mmrl.engines.hf import sample
from mmrl.errors import ConfigError, DataError
from mmrl.evals.engine import Answer, Engine, Request, find_version
from mmrl.evals.models import fingerprint_files
from mmrl.evals.settings import EvalSettings
from mmrl.model import Policy, load_policy
from mmrl.prompt import Prompts
from mmrl.seeds import derive
from mmrl.types import Completion, Prompt


def hf_engine(model: ModelConfig, settings: EvalSettings) -> Engine:
    """Load the weights and return the engine.

    Raises:
        ConfigError: the weights cannot be loaded.
    """
    policy = load_policy(model, seed=derive(settings.seed, "weights"))
    return policy_engine(
        policy,
        weights=_fingerprint(model, policy),
        settings={
            "dtype": model.dtype,
            "attention": model.attention,
            "device": policy.device.type,
            "batch_size": settings.batch_size,
            "system": settings.system,
        },
        batch_size=settings.batch_size,
        system=settings.system,
        coordinates=settings.coordinates or model.coordinates,
    )


def policy_engine(
    policy: Policy,
    *,
    weights: str,
    settings: dict[str, Any],
    batch_size: int,
    system: str | None = None,
    coordinates: Any = None,
) -> Engine:
    """Return an engine around weights that are loaded, such as those that are being trained.

    Args:
        policy: What answers.
        weights: Their fingerprint.
        settings: For the record and for the log's keys.
        batch_size: Prompts that are answered together where nothing is drawn.
        system: A system message.
        coordinates: The space in which the model writes boxes; None for its family's.
    """
    makers: dict[MediaConfig, Prompts] = {}

    def answer(requests: Sequence[Request]) -> Iterator[tuple[Request, Answer]]:
        ready: list[tuple[Request, Prompt]] = []
        for request in requests:
            if request.media not in makers:
                makers[request.media] = Prompts(policy=policy, media=request.media, system=system)
            makers[request.media].look_ahead([request.row])
        for request in requests:
            try:
                ready.append((request, makers[request.media](request.row)))
            except DataError as error:
                yield request, Answer(error=str(error))
        greedy = [pair for pair in ready if pair[0].decoding.temperature == 0]
        drawn = [[pair] for pair in ready if pair[0].decoding.temperature > 0]
        for batch in ([greedy] if greedy else []) + drawn:
            for (request, prompt), completion in zip(batch, _sample(policy, batch), strict=True):
                yield request, _answer(completion, prompt)

    def close() -> None:
        for prompts in makers.values():
            prompts.close()

    return Engine(
        name="hf",
        version=find_version("transformers", "torch"),
        weights=weights,
        settings=settings,
        answer=answer,
        batch=batch_size,
        coordinates=coordinates or policy.family.coordinates,
        close=close,
    )


def _sample(policy: Policy, batch: Sequence[tuple[Request, Prompt]]) -> list[Completion]:
    request = batch[0][0]
    decoding = request.decoding
    greedy = decoding.temperature == 0
    config = RolloutConfig(
        max_new_tokens=decoding.max_new_tokens,
        max_batch=len(batch),
        temperature=decoding.temperature or 1.0,
        top_p=decoding.top_p,
        top_k=decoding.top_k,
    )
    prompts_P = [prompt for _, prompt in batch]
    completions_PG = sample(
        policy, prompts_P, config, group_size=1, seed=request.seed, greedy=greedy
    )
    return [completion for [completion] in completions_PG]


def _answer(completion: Completion, prompt: Prompt) -> Answer:
    extra = prompt.row.extra
    seen = (extra.get("seen_width"), extra.get("seen_height"))
    return Answer(
        text=completion.text,
        stop=completion.stop,
        tokens=len(completion.ids),
        sizes=((int(seen[0]), int(seen[1])),) if seen[0] and seen[1] else (),
    )


def _fingerprint(model: ModelConfig, policy: Policy) -> str:
    if model.path is not None and Path(model.path).is_dir():
        return fingerprint_files(Path(model.path))
    if model.path is not None:
        commit = getattr(policy.model.config, "_commit_hash", None)
        if not commit:
            raise ConfigError(
                f"model.path: {model.path!r} has no commit on the hub that could be recorded; give "
                "a folder"
            )
        return f"{model.path}@{commit}"
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in policy.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
