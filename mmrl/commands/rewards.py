"""`mmrl rewards`: list verifiers and terms, try one, score a file."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import click

from mmrl.errors import RewardError
from mmrl.project import load_project


@click.group()
def rewards() -> None:
    """List verifiers and reward terms, try one, score a file."""


@rewards.command(name="list")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def list_(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Name every verifier and term, with its modality, parameters and paper.

    With NAMEs, only those, with what their parameters mean.
    """
    from mmrl.reward import describe_verifiers, find_verifier

    load_project(ctx.find_root().obj)
    found = [find_verifier(name) for name in names] if names else describe_verifiers()
    for verifier in found:
        if as_json:
            click.echo(json.dumps(_facts(verifier)))
        else:
            click.echo(_told(verifier, with_help=bool(names)))


@rewards.command(name="try")
@click.argument("name")
@click.option("--answer", "-a", required=True, help="The row's answer; lists and objects as JSON.")
@click.option("--text", "-t", "texts", required=True, multiple=True, help="A completion.")
@click.option("--param", "-p", "params", multiple=True, metavar="KEY=VALUE", help="A parameter.")
@click.option("--extra", "-e", "extra", multiple=True, metavar="KEY=VALUE", help="The row's extra.")
@click.option("--progress", type=click.FloatRange(0, 1), default=0.0, help="Share of the stage.")
@click.option("--length", type=click.IntRange(0), help="Tokens; by default the words.")
@click.option("--accuracy", type=float, help="For terms that depend on it; by default exact match.")
@click.pass_context
def try_(
    ctx: click.Context,
    name: str,
    answer: str,
    texts: tuple[str, ...],
    params: tuple[str, ...],
    extra: tuple[str, ...],
    progress: float,
    length: int | None,
    accuracy: float | None,
) -> None:
    r"""Let the verifier NAME judge a completion, or a group term several.

    \b
    mmrl rewards try number --answer 42 --text '<answer>41</answer>' --param abs_tol=1
    """
    from mmrl.reward import check_params, find_verifier

    load_project(ctx.find_root().obj)
    given = _pairs(params)
    check_params(name, given)
    line: dict[str, Any] = {"verifier": name, "params": given, "progress": progress}
    line |= {"answer": _answer(answer), "row": {"extra": _pairs(extra)}}
    several = find_verifier(name).group or len(texts) > 1
    line |= {"texts": texts} if several else {"text": "".join(texts)}
    line |= {} if length is None else {"length": length}
    line |= {} if accuracy is None else {"accuracy": accuracy}
    verdict = _scored([json.dumps(line).encode()], timeout_s=10.0, memory_mb=2048)[0]
    for key in ("score", "status", "parts", "detail"):
        if verdict.get(key) not in (None, {}) or key == "score":
            click.echo(f"{key:7} {json.dumps(verdict.get(key))}")


@rewards.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=10.0)
@click.option("--memory", "memory_mb", type=click.IntRange(64), default=2048)
@click.pass_context
def score(ctx: click.Context, file: Path, timeout_s: float, memory_mb: int) -> None:
    r"""Write every line of FILE again, with `score`, `status` and `parts`.

    A line is `{"verifier", "params", "answer", "text", "progress", "row"}` in JSON; a group term
    has "texts", a list, and gets lists. What a term needs besides may be given: "length" or
    "lengths" in tokens (else words are counted), "accuracy" or "accuracies" (else the row's
    verifier, or exact match, says what is right). A line that cannot be judged has the status
    `error`, `timeout` or `bad_gold`, and a "detail"; the exit code is 0 all the same. FILE may be
    `-`, the standard input. --timeout (seconds) and --memory (MB) limit one judgement.
    """
    from mmrl.judging.panel import Panel
    from mmrl.judging.scoring import score_lines

    load_project(ctx.find_root().obj)
    panel = Panel(timeout_s=timeout_s, memory_mb=memory_mb)
    try:
        if str(file) == "-":
            _write(score_lines(sys.stdin.buffer, panel))
        else:
            with _opened(file) as lines:
                _write(score_lines(lines, panel))
    finally:
        panel.close()


def _opened(file: Path) -> Any:
    try:
        return file.open("rb")
    except OSError as error:
        raise RewardError(f"{file}: {error.strerror or error}") from error


def _write(lines: Any) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def _scored(lines: list[bytes], *, timeout_s: float, memory_mb: int) -> list[dict[str, Any]]:
    from mmrl.judging.panel import Panel
    from mmrl.judging.scoring import score_lines

    panel = Panel(timeout_s=timeout_s, memory_mb=memory_mb)
    try:
        return [json.loads(line) for line in score_lines(lines, panel)]
    finally:
        panel.close()


def _pairs(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Return KEY=VALUE arguments, values as YAML."""
    from mmrl.config.yaml12 import parse

    pairs = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise RewardError(f"{argument!r}: write KEY=VALUE, for example abs_tol=0.5")
        pairs[key] = parse(value, key)
    return pairs


def _answer(text: str) -> Any:
    """Return lists and objects as JSON, everything else as the text it is."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _facts(verifier: Any) -> dict[str, Any]:
    parameters = {key: _default(value) for key, value in verifier.parameters.items()}
    return {
        "name": verifier.name,
        "kind": _kind(verifier),
        "modality": verifier.modality,
        "parameters": parameters,
        "paper": verifier.paper,
        "isolated": verifier.isolated,
        "summary": verifier.summary,
        "file": str(verifier.file),
    }


def _told(verifier: Any, *, with_help: bool) -> str:
    facts = _facts(verifier)
    labels = [facts["kind"], facts["modality"], facts["paper"]]
    head = f"{facts['name']:20} {' | '.join(label for label in labels if label)}"
    if with_help:
        text = inspect.cleandoc(verifier.factory.__doc__ or "")
        module = inspect.cleandoc(inspect.getmodule(verifier.factory).__doc__ or "")
        return f"{head}\n\n{text}\n\n{module}\n\n{facts['file']}\n"
    parameters = ", ".join(f"{key}={value}" for key, value in facts["parameters"].items())
    return "\n".join(
        [head, f"    {facts['summary']}", *([f"    {parameters}"] if parameters else [])]
    )


def _kind(verifier: Any) -> str:
    if verifier.group:
        return "group term"
    return "term" if verifier.term else "verifier"


def _default(parameter: inspect.Parameter) -> str:
    from mmrl.schedule import Schedule

    value = parameter.default
    if value is inspect.Parameter.empty:
        return "(needed)"
    return str(value.given()) if isinstance(value, Schedule) else str(value)
