"""`mmrl doctor`: say what this machine has, and what is missing for which feature."""

from __future__ import annotations

import dataclasses
import json

import click

from mmrl.doctor import Finding


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Try out packages, devices and decoders. Exit code 0 if training on the CPU works, else 1."""
    from mmrl.doctor import findings

    found: list[Finding] = []
    for finding in findings():
        found.append(finding)
        if not as_json:
            click.echo(_line(finding))
    broken = [finding for finding in found if finding.required and not finding.ok]
    if as_json:
        listed = [dataclasses.asdict(finding) for finding in found]
        click.echo(json.dumps({"ok": not broken, "findings": listed}, indent=1))
    else:
        names = ", ".join(dict.fromkeys(finding.name for finding in broken))
        click.echo(f"training cannot start: {names}" if broken else "training on the CPU works")
    ctx.exit(1 if broken else 0)


def _line(finding: Finding) -> str:
    mark = "ok" if finding.ok else "MISSING" if finding.required else "-"
    fix = f"; {finding.fix}" if finding.fix else ""
    return f"{mark:8}{finding.about:9}{finding.name:24}{finding.detail}{fix}"
