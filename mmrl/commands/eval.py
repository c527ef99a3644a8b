"""`mmrl eval`: ask a model the questions of benchmarks, score what it answered, list benchmarks."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mmrl.commands.eval_compare import compare
from mmrl.commands.eval_contamination import contamination
from mmrl.commands.eval_exchange import export, import_
from mmrl.commands.eval_view import view
from mmrl.errors import ConfigError
from mmrl.project import load_project


class _EvalGroup(click.Group):
    """A group whose arguments are those of a run where they name no sub-command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` before arguments that begin with none of the sub-commands."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(name="eval", cls=_EvalGroup)
def eval_() -> None:
    """Score a model on benchmarks, or responses that were stored.

    \b
    mmrl eval tasks=mathvista,seed_bench_r1 model=qwen2_5_vl_7b data=DIR out=DIR
    mmrl eval tasks=mathvista engine=replay responses=FILE.jsonl data=testmini.json out=DIR
    mmrl eval score task=mathvista FILE.jsonl [mode=official]
    mmrl eval compare A B
    mmrl eval contamination RUN train=rows.jsonl
    mmrl eval view RUN [OTHER]
    mmrl eval export RUN to=lmms_eval
    mmrl eval import FILE from=lmms_eval|vlmevalkit|mathvista task=NAME
    mmrl eval tasks
    """


eval_.add_command(compare)
eval_.add_command(contamination)
eval_.add_command(view)
eval_.add_command(export)
eval_.add_command(import_)


@eval_.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, metavar="tasks=NAME,... [KEY=VALUE]...")
@click.pass_context
def run(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Answer benchmarks and score the answers; what was answered before is not asked again.

    \b
    tasks=a,b           benchmarks; 'mmrl eval tasks' lists them
    data=PATH           a file or folder, or for several tasks a folder that holds one for each;
                        data.NAME=PATH for one task; without it, the Hugging Face hub
    split=NAME          or split.NAME=...
    limit=N             the first N items of each task
    engine=hf|vllm|openai|replay
    model=NAME          a file of configs/model/, a checkpoint folder, or a tiny family
    model.KEY=VALUE     a key of the model, as in training
    media.KEY=VALUE     pixels, frames and frames per second, as in training
    samples=K           answers to each item; more can be asked for later
    temperature= top_p= top_k= max_new_tokens= seed= batch_size= system=
    base_url= api_model= key_env= concurrency= extra=   of engine=openai
    responses=FILE      of engine=replay
    max_errors=0.02     the run fails when a larger share has no verdict
    out=DIR             responses, scores and results
    """
    from mmrl.evals.run import run_evaluation
    from mmrl.evals.settings import read_settings
    from mmrl.evals.tables import show

    project = load_project(ctx.find_root().obj)
    settings = read_settings(arguments, project)
    run_evaluation(settings, project, report=show)


@eval_.command()
@click.argument("arguments", nargs=-1, metavar="task=NAME FILE [mode=NAME]")
@click.pass_context
def score(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Write every line of FILE again with its verdict, then a line with the summary.

    A line holds the item's fields and `response`, or `extraction` to skip the extraction; `stop`
    may be "length" for a response that was cut. FILE is .jsonl or .json; output files of the
    MathVista authors are read as they are. Without mode=, the strict verdict stands in the line and
    every mode's under `modes`. Tables go to standard error.

    \b
    mmrl eval score task=mathvista responses.jsonl mode=official
    """
    from mmrl.evals.benchmark import find_benchmark
    from mmrl.evals.scoring import check_modes
    from mmrl.evals.stored import score_file
    from mmrl.evals.summary import check_errors
    from mmrl.evals.tables import show

    project = load_project(ctx.find_root().obj)
    given, files = _pairs(arguments, ("task", "mode", "max_errors"))
    if "task" not in given or len(files) != 1:
        raise ConfigError("write: mmrl eval score task=NAME FILE [mode=NAME]")
    most = _share(given.get("max_errors", "0.02"))
    benchmark = find_benchmark(given["task"], project)
    modes = check_modes(benchmark, given.get("mode"))
    summary = score_file(benchmark, Path(files[0]), modes, _write)
    _write({"summary": summary})
    sys.stdout.flush()
    show([(benchmark, summary)])
    check_errors(summary, most)


@eval_.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.pass_context
def rescore(ctx: click.Context, folder: Path) -> None:
    """Score the responses of RUN again with the scorers of today, and list what changed.

    Nothing is asked again. Needs the run folder alone, not the data or the model.
    """
    from mmrl.evals.rescore import rescore_run
    from mmrl.evals.tables import show

    project = load_project(ctx.find_root().obj)
    for line in rescore_run(folder, project, report=show):
        click.echo(line)


@eval_.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def tasks(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """List the benchmarks, or say all about those that are named."""
    from mmrl.evals.benchmark import describe_benchmarks, find_benchmark

    project = load_project(ctx.find_root().obj)
    found = [find_benchmark(name, project) for name in names] or describe_benchmarks(project)
    for benchmark in found:
        facts = _facts(benchmark)
        if as_json:
            click.echo(json.dumps(facts, ensure_ascii=False))
        elif names:
            click.echo("\n".join(_told(facts)))
        else:
            click.echo(f"{benchmark.name:24} {', '.join(benchmark.modes):32} {benchmark.summary}")


def _pairs(arguments: Sequence[str], known: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Split KEY=VALUE arguments, also as `--key value`, from the others."""
    from mmrl.registry import did_you_mean

    given: dict[str, str] = {}
    others: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in known:
            given[key] = value
        elif equals and key.isidentifier() and not Path(argument).exists():
            raise ConfigError(f"{argument!r}: there is no key {key!r}{did_you_mean(key, known)}")
        else:
            others.append(argument)
    return given, others


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"max_errors={text}: give a share from 0 to 1")
    return share


def _write(line: dict[str, Any]) -> None:
    text = json.dumps(line, ensure_ascii=False, default=str)
    sys.stdout.write(text.encode(errors="backslashreplace").decode() + "\n")


def _facts(benchmark: Any) -> dict[str, Any]:
    return {
        "name": benchmark.name,
        "version": benchmark.version,
        "summary": benchmark.summary,
        "hub": benchmark.hub,
        "splits": [split.name for split in benchmark.splits],
        "media": sorted(benchmark.media),
        "modes": list(benchmark.modes),
        "metric": benchmark.metric,
        "groups": list(benchmark.groups),
        "published": [
            {
                "model": number.model,
                "value": number.value,
                "setting": number.setting,
                "source": number.source,
            }
            for number in benchmark.published
        ],
        "notes": list(benchmark.notes),
    }


def _told(facts: dict[str, Any]) -> list[str]:
    lines = []
    for key, value in facts.items():
        if key == "published":
            lines += [
                f"{'published':10} {number['value']:g} {number['model']} {number['setting']} "
                f"({number['source']})"
                for number in value
            ]
        elif isinstance(value, list):
            lines += [f"{key:10} {', '.join(value)}"] if key != "notes" else []
            lines += [f"{'note':10} {note}" for note in value] if key == "notes" else []
        else:
            lines.append(f"{key:10} {value}")
    return [*lines, ""]
