"""The verifiers, pipelines and benchmarks that a run names: are they in the project?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmrl.config.dump import DEFAULT
from mmrl.config.loader import LoadedRun
from mmrl.config.schema import GrpoStage, Stage
from mmrl.errors import ConfigError, UserError

Check = Callable[[str, Mapping[str, Any]], object]


def check_names(loaded: LoadedRun) -> None:
    """Look up every verifier and pipeline and try its parameters; nothing is judged or built.

    Raises ConfigError with a line per mistake. Imports the project's rewards and data pipelines,
    as far as the run names any.
    """
    mistakes = []
    for path, name, params, check in _named(loaded):
        try:
            check(name, params)
        except UserError as error:
            entry = path.rpartition(".")[0]
            place = entry if len(loaded.run.stages) > 1 else entry.split(".", 2)[2]
            mistakes.append(f"{place}: {error} ({_origins(loaded, path, entry)})")
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))


def _origins(loaded: LoadedRun, path: str, entry: str) -> str:
    """Where the name and its parameters were written."""
    given = [key for key in loaded.provenance if key == path or key.startswith(f"{entry}.params")]
    labels = dict.fromkeys(loaded.provenance[key] for key in given)
    return ", ".join(label for label in labels if label != DEFAULT)


def _named(loaded: LoadedRun) -> Iterator[tuple[str, str, Mapping[str, Any], Check]]:
    """The key of each name, the name, the parameters, and what tries them."""
    for stage_name, stage in loaded.run.stages.items():
        prefix = f"stages.{stage_name}."
        if isinstance(stage, GrpoStage):
            yield from _verifiers(prefix, stage)
        yield from _pipelines(prefix, stage)
        yield from _benchmarks(prefix, stage)


def _verifiers(
    prefix: str, stage: GrpoStage
) -> Iterator[tuple[str, str, Mapping[str, Any], Check]]:
    for key, term in stage.rewards.terms.items():
        if term.name is not None:
            from mmrl.reward import check_params

            yield f"{prefix}rewards.terms.{key}.name", term.name, term.params, check_params


def _pipelines(prefix: str, stage: Stage) -> Iterator[tuple[str, str, Mapping[str, Any], Check]]:
    for split, sources in (("train", stage.data.train), ("heldout", stage.data.heldout)):
        for key, source in sources.items():
            if source.pipeline is not None:
                from mmrl.data.pipelines import check_params

                path = f"{prefix}data.{split}.{key}.pipeline"
                yield path, source.pipeline, source.params, check_params


def _benchmarks(prefix: str, stage: Stage) -> Iterator[tuple[str, str, Mapping[str, Any], Check]]:
    for name, source in stage.eval.benchmarks.items():
        from mmrl.evals.in_training import check_benchmark

        yield f"{prefix}eval.benchmarks.{name}.path", name, source.model_dump(), check_benchmark
