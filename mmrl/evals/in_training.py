"""Benchmarks that a training stage names: answered greedily by the policy as it stands, through the
stage's own media settings, and scored as `mmrl eval` scores them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.errors import ConfigError
from mmrl.evals.benchmark import find_benchmark
from mmrl.evals.settings import EvalSettings
from mmrl.project import find_project

if TYPE_CHECKING:
    from mmrl.config.schema import Stage
    from mmrl.model import Policy
    from mmrl.screen import Screen


def check_benchmark(name: str, source: Mapping[str, Any]) -> None:
    """Refuse, before anything is loaded, a benchmark that could not be run.

    Raises:
        DataError: there is no such benchmark, or it has no such split.
        ConfigError: its data are not there.
    """
    benchmark = find_benchmark(name)
    benchmark.split(source.get("split"))
    path = source.get("path")
    if path is None and not benchmark.hub:
        raise ConfigError(f"benchmark {name!r} is not on the hub; give its 'path'")
    if path is not None and not Path(path).exists():
        raise ConfigError(f"there is no file or folder {path}")


def run_benchmarks(
    policy: Policy, stage: Stage, *, max_new_tokens: int, out: Path, screen: Screen
) -> dict[str, float]:
    """Answer and score the benchmarks of `eval.benchmarks`; return their headline numbers, 0 to 1,
    as `eval/benchmark/<name>/<mode>`.

    Args:
        policy: What answers.
        stage: Whose benchmarks, media settings and system message are used.
        max_new_tokens: Of answers to benchmarks that set no length of their own.
        out: Folder of responses, scores and results; what stood there is replaced.
        screen: Where progress is shown.

    Raises:
        DataError: a benchmark's data cannot be read.
        RunError: too many of its samples have no verdict.
    """
    from mmrl.evals.engines.hf import policy_engine
    from mmrl.evals.questions import load_task
    from mmrl.evals.run import evaluate_tasks

    project = find_project()
    # a step that is done again after a crash may have other weights than it had before
    shutil.rmtree(out, ignore_errors=True)
    tasks = []
    for name, source in stage.eval.benchmarks.items():
        own = _settings(stage, out, source.max_new_tokens or max_new_tokens)
        tasks.append(load_task(find_benchmark(name, project), own.tasks[name], own))
    engine = policy_engine(
        policy,
        weights=out.name,
        settings={"system": stage.data.system, "batch_size": stage.eval.batch_size},
        batch_size=stage.eval.batch_size,
        system=stage.data.system,
        coordinates=stage.model.coordinates,
    )
    settings = _settings(stage, out, max_new_tokens)
    try:
        results = evaluate_tasks(tasks, engine, settings, screen=screen)["results"]
    finally:
        engine.close()
    return {
        f"eval/benchmark/{name}/{mode}": found["value"]
        for name, summary in results.items()
        for mode, found in summary["modes"].items()
    }


def _settings(stage: Stage, out: Path, max_new_tokens: int) -> EvalSettings:
    sources = stage.eval.benchmarks.items()
    return EvalSettings(
        tasks={
            name: {
                "data": None if source.path is None else str(source.path),
                "split": source.split,
                "limit": source.limit,
            }
            for name, source in sources
        },  # type: ignore[arg-type]
        out=out,
        temperature=0.0,
        max_new_tokens=max_new_tokens,
        media_keys=stage.media.model_dump(),
        resamples=200,
    )
