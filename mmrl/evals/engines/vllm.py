"""Answers with vLLM in this process (its offline class `LLM`); needs the extra `vllm`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.errors import ConfigError, DataError
from mmrl.evals.engine import Answer, Engine, Request, find_version
from mmrl.evals.engines.messages import chat_messages
from mmrl.evals.models import fingerprint_files
from mmrl.evals.settings import EvalSettings


def vllm_engine(model: ModelConfig, settings: EvalSettings) -> Engine:
    """Return an engine that loads the weights when it is asked first.

    Raises:
        ConfigError: vLLM is not installed, or there are no weights to load.
    """
    if model.path is None:
        raise ConfigError("engine=vllm: loads a checkpoint; give model=FOLDER, or use engine=hf")
    try:
        import vllm
    except ImportError as error:
        raise ConfigError(
            "engine=vllm: vllm is not installed; pip install 'mmrl-toolkit[vllm]'"
        ) from error
    loaded: dict[tuple[Any, ...], Any] = {}

    def answer(requests: Sequence[Request]) -> Iterator[tuple[Request, Answer]]:
        ready, messages = [], []
        for request in requests:
            try:
                shown = chat_messages(request.row, request.media, system=settings.system)
            except DataError as error:
                yield request, Answer(error=str(error))
                continue
            ready.append(request)
            messages.append(shown)
        if not ready:
            return
        sampling = [_sampling(vllm, request) for request in ready]
        media = ready[0].media
        frames = (media.video_fps, media.video_max_frames)
        if frames not in loaded:
            loaded.clear()
            loaded[frames] = _load(vllm, model, settings, media)
        outputs = loaded[frames].chat(
            messages, sampling, use_tqdm=False, mm_processor_kwargs=_pixels(media)
        )
        for request, output in zip(ready, outputs, strict=True):
            yield request, _answer(output.outputs[0])

    return Engine(
        name="vllm",
        version=find_version("vllm"),
        weights=_fingerprint(model),
        settings={"dtype": model.dtype, "system": settings.system, "extra": settings.extra},
        answer=answer,
        batch=max(settings.batch_size, 256),
        coordinates=settings.coordinates or model.coordinates or _family_space(model),
    )


def _load(vllm: Any, model: ModelConfig, settings: EvalSettings, media: MediaConfig) -> Any:
    return vllm.LLM(
        model=model.path,
        revision=model.revision,
        dtype=model.dtype,
        trust_remote_code=model.trust_remote_code,
        seed=settings.seed,
        media_io_kwargs={
            "video": {"fps": media.video_fps, "num_frames": media.video_max_frames},
        },
        **settings.extra,
    )


def _pixels(media: MediaConfig) -> dict[str, int]:
    return {"min_pixels": media.image_min_pixels, "max_pixels": media.image_max_pixels}


def _sampling(vllm: Any, request: Request) -> Any:
    decoding = request.decoding
    return vllm.SamplingParams(
        max_tokens=decoding.max_new_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        top_k=decoding.top_k or -1,
        seed=request.seed % 2**31 if decoding.temperature > 0 else None,
        skip_special_tokens=True,
    )


def _answer(output: Any) -> Answer:
    return Answer(
        text=output.text,
        stop="length" if output.finish_reason == "length" else "eos",
        tokens=len(output.token_ids),
    )


def _fingerprint(model: ModelConfig) -> str:
    path = Path(str(model.path))
    if path.is_dir():
        return fingerprint_files(path)
    return f"{model.path}@{model.revision or 'unknown revision'}"


def _family_space(model: ModelConfig) -> Any:
    from mmrl.families import FAMILIES

    return FAMILIES[model.family].coordinates
