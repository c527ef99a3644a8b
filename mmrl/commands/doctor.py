"""`mmrl doctor`: say what this machine has, and what is missing for which feature; of a model,
whether it can be trained, and what fits where.
"""

from __future__ import annotations

import dataclasses
import json

import click

from mmrl.doctor import Finding
from mmrl.project import find_project


@click.command()
@click.argument("overrides", nargs=-1, metavar="[model=NAME] [launch=NAME] [KEY=VALUE]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, overrides: tuple[str, ...], as_json: bool) -> None:
    """Try out packages, devices and decoders, or look a model over.

    \b
    mmrl doctor                        this machine; exit code 1 if training on the CPU cannot work
    mmrl doctor model=qwen2_5_vl_7b    a model; exit code 2 if its training could not begin
    mmrl doctor model=FOLDER launch=node8 model.lora.rank=64 rollout.max_new_tokens=2048

    Of a model, configuration and processor are loaded, from its folder, the hub, or what was
    downloaded before; weights are not, and its code is never run. What fits where is predicted, see
    docs/cost_model.md.
    """
    if overrides:
        ctx.exit(_model(overrides, as_json, ctx))
    from mmrl.doctor import findings

    found: list[Finding] = []
    for finding in findings():
        found.append(finding)
        if not as_json:
            click.echo(_line(finding))
    broken = _broken(found)
    if as_json:
        click.echo(json.dumps({"ok": not broken, "findings": _listed(found)}, indent=1))
    else:
        names = ", ".join(dict.fromkeys(finding.name for finding in broken))
        click.echo(f"training cannot start: {names}" if broken else "training on the CPU works")
    ctx.exit(1 if broken else 0)


def _model(overrides: tuple[str, ...], as_json: bool, ctx: click.Context) -> int:
    from mmrl.checkup.fits import as_objects, as_table
    from mmrl.checkup.model import fits, look_over
    from mmrl.checkup.subject import read_subject

    subject = read_subject(overrides, find_project(ctx.find_root().obj))
    found, subject = look_over(subject)
    broken, table = _broken(found), fits(subject, found)
    if as_json:
        report = {"ok": not broken, "findings": _listed(found), "fits": as_objects(table)}
        click.echo(json.dumps(report, indent=1))
        return 2 if broken else 0
    click.echo("\n".join(map(_line, found)))
    if table:
        click.echo("\n".join(as_table(subject.stage, table)))
    names = ", ".join(dict.fromkeys(finding.name for finding in broken))
    fine = "nothing was found that speaks against training"
    click.echo(f"training could not begin: {names}" if broken else fine)
    return 2 if broken else 0


def _broken(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.required and not finding.ok]


def _listed(found: list[Finding]) -> list[dict[str, object]]:
    return [dataclasses.asdict(finding) for finding in found]


def _line(finding: Finding) -> str:
    mark = "ok" if finding.ok else "MISSING" if finding.required else "-"
    fix = f"; {finding.fix}" if finding.fix else ""
    return f"{mark:8}{finding.about:10}{finding.name:24}{finding.detail}{fix}"
