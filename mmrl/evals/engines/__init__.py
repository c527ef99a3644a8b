"""The engines that answer benchmarks: hf, vllm, openai, replay."""

from __future__ import annotations

from pathlib import Path

from mmrl.evals.benchmark import Benchmark
from mmrl.evals.engine import Engine
from mmrl.evals.settings import EvalSettings


def make_engine(settings: EvalSettings, benchmarks: list[Benchmark], project: Path) -> Engine:
    """Return the engine that the settings name; only that one's libraries are loaded.

    Raises:
        ConfigError: the model or the server cannot be used.
        DataError: the file of responses cannot be read.
    """
    if settings.engine == "replay":
        from mmrl.evals.engines.replay import replay_engine

        assert settings.responses is not None  # the settings see to it
        return replay_engine(settings.responses, benchmarks, coordinates=settings.coordinates)
    if settings.engine == "openai":
        from mmrl.evals.engines.openai import openai_engine

        return openai_engine(settings)
    from mmrl.evals.models import resolve_model

    model = resolve_model(settings.model, settings.model_keys, project)
    if settings.engine == "vllm":
        from mmrl.evals.engines.vllm import vllm_engine

        return vllm_engine(model, settings)
    from mmrl.evals.engines.hf import hf_engine

    return hf_engine(model, settings)
