"""From a command's arguments to a validated run: schema < defaults < file < curriculum < arguments.

`stage=NAME` or `curriculum=NAME` says what runs. `group=NAME` chooses a file of configs/,
`section.key=value` sets a value in every stage that has the key, `stages.NAME.section.key=value` in
one stage, and null takes away a stage, a reward term or a data source. Values may refer to others
of their stage by `${section.key}`, and to `${run.name}` and `${run.seed}`. `smoke=true` lays the
curriculum's smoke form under the arguments; see mmrl/config/smoke.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmrl.config.check import check, lines
from mmrl.config.compose import Tree, resolve
from mmrl.config.dump import DEFAULT, leaves, plain
from mmrl.config.files import COMMAND_LINE, ENTRIES, choice_layers, flatten, options
from mmrl.config.keys import annotation_at, near, run_groups
from mmrl.config.overrides import Override, parse_overrides
from mmrl.config.relaunch import GROUP, relaunched
from mmrl.config.rounds import Rounds, write_out
from mmrl.config.runs import ASKED, RESOLVED, newest, next_out
from mmrl.config.schema import Run, Stage
from mmrl.config.smoke import Overlay, take_overlay
from mmrl.config.stages import Composed, compose_stages
from mmrl.config.yaml12 import parse_file
from mmrl.errors import ConfigError, RunError


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedRun:
    """What `mmrl train` was asked for."""

    run: Run
    provenance: Mapping[str, str]
    """Where each key came from: a file of configs/, `command line` or `schema default`."""
    resume: str | None = None
    """The run folder to go on in; it is also `run.out`."""


def load_run(arguments: Sequence[str], project: Path) -> LoadedRun:
    """Resolve and validate what the arguments ask for. Reads files, writes none.

    Without `out=` the run folder is the first free of `runs/<name>/001`, `002`, ... With
    `resume=RUN` and neither stage nor curriculum the configuration is RUN's own; `resume=auto` goes
    on in the newest run of that name (or in `out=`), or starts one.

    Raises:
        ConfigError: a line per mistake.
        RunError: the run to resume is not there, or was started with another configuration.
    """
    overrides = parse_overrides(arguments)
    entry = {o.key: o.text for o in overrides if o.key in ("stage", "curriculum", "resume")}
    rest = [o for o in overrides if o.key not in entry]
    if "resume" in entry and len(entry) == 1:
        return _resume_alone(entry["resume"], rest, project)
    if ("stage" in entry) == ("curriculum" in entry):
        raise ConfigError(_one_of_two(entry, rest, project))
    tree, rounds, overlay = _run_tree(
        entry, [o for o in rest if o.path[0] in Run.model_fields], project
    )
    of_stages = [o for o in rest if o.path[0] not in Run.model_fields or o.path[0] == "stages"]
    stages, mistakes = compose_stages(
        tree, rounds.spread(of_stages), project, rounds.numbers, overlay
    )
    values = resolve(
        Tree(values={key: tree.values[key] for key in tree.values if key != "stages"}), {}
    )
    given_out = "out" in values
    if not given_out and isinstance(values.get("name"), str):
        values["out"] = str(next_out(values["name"]))
        tree.lay(("out",), values["out"], "the first free number")
    run = _validate(values, tree, stages, mistakes, "curriculum" in entry)
    loaded = LoadedRun(run=run, provenance=_provenance(run, tree, stages))
    return _resumed(loaded, entry["resume"], given_out) if "resume" in entry else loaded


def load_resolved(path: Path) -> Run:
    """Read what `dump_run` wrote: a file, or the run folder that holds it.

    Raises ConfigError with a line per mistake.
    """
    file = path / RESOLVED if path.is_dir() else path
    values = parse_file(file, str(file))
    tree = Tree()
    tree.lay((), values, str(file))
    given = values.get("stages")
    stages = {
        str(name): Composed(
            label=str(file), values=stage if isinstance(stage, dict) else {}, tree=Tree()
        )
        for name, stage in (given if isinstance(given, dict) else {}).items()
    }
    return _validate(
        {key: value for key, value in values.items() if key != "stages"}, tree, stages, [], True
    )


def differences(one: Run, other: Run) -> list[tuple[str, Any, Any]]:
    """The keys in which two runs differ, with both values; None where a run lacks the key."""
    left, right = (
        {".".join(path): value for path, value in leaves(plain(run))} for run in (one, other)
    )
    keys = dict.fromkeys((*left, *right))
    return [(key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)]


def _one_of_two(entry: Mapping[str, str], overrides: list[Override], project: Path) -> str:
    """Say what is missing, or too much, or misspelt, where not just one thing to train is named."""
    for override in overrides:
        if "stage" not in entry and (meant := get_close_matches(override.key, ENTRIES, n=1)):
            return f"{override.key}: unknown key; did you mean {meant[0]!r}? ({COMMAND_LINE})"
    have = [f"{group}: {', '.join(options(project, group)) or 'none'}" for group in ENTRIES]
    found = "not both" if "stage" in entry else "; ".join(have)
    return f"give either stage=NAME or curriculum=NAME ({found})"


def _run_tree(
    entry: Mapping[str, str], overrides: list[Override], project: Path
) -> tuple[Tree, Rounds, Overlay]:
    """The keys of the run, under `stages` what the curriculum says of each, and its smoke form."""
    fields = Run.model_fields
    chosen = {
        o.key: o.text
        for o in overrides
        if o.key in run_groups() and o.is_choice(fields[o.key].annotation)
    }
    tree = Tree()
    group = "stage" if "stage" in entry else "curriculum"
    name = entry[group].rpartition("/")[2]
    tree.lay(("name",), name, f"the name of the {group}")
    if group == "stage":
        tree.lay(("stages", name, "stage"), entry[group], COMMAND_LINE)
        tree.lay_all(
            layer for other in chosen for layer in choice_layers(project, other, chosen[other])
        )
    else:
        tree.lay_all(flatten(project, group, entry[group], chosen, f"curriculum={entry[group]}"))
    smoke = next((o.read(bool) for o in reversed(overrides) if o.key == "smoke"), False)
    where = f"configs/{group}/{entry[group]}.yaml"
    overlay = take_overlay(tree, project, wanted=smoke is True, where=where)
    rounds, overrides = write_out(tree, overrides)
    first = {fresh: name for name, those in rounds.names.items() for fresh in those}
    overlay = replace(overlay, names=first)
    for override in rounds.spread(overrides):
        if override.path[0] == "stages":
            _override_entry(tree, override)
        elif override.key not in chosen:
            tree.lay(override.path, override.read(annotation_at(Run, override.path)), COMMAND_LINE)
    return tree, rounds, overlay


def _override_entry(tree: Tree, override: Override) -> None:
    """`stages.NAME=null` and `stages.NAME.stage=FILE`; the keys of a stage come later."""
    names = list(tree.values["stages"]) if isinstance(tree.values.get("stages"), dict) else []
    if len(override.path) < 2 or override.path[1] not in names:
        name = override.path[1] if len(override.path) > 1 else ""
        raise ConfigError(
            f"{override.key}: there is no stage {name!r}; {near(name, names)} ({COMMAND_LINE})"
        )
    if len(override.path) == 2:
        tree.lay(override.path, override.read(Any), COMMAND_LINE)
    elif override.path[2:] == ("stage",):
        tree.lay(override.path, override.read(str), COMMAND_LINE)


def _validate(
    values: Mapping[str, Any],
    tree: Tree,
    stages: Mapping[str, Composed],
    mistakes: list[str],
    named: bool,
) -> Run:
    """Check every stage and the run, and raise all mistakes together."""
    valid: dict[str, Stage] = {}
    for name, stage in stages.items():
        prefix = f"stages.{name}." if named else ""
        found, wrong = stage.check(prefix)
        mistakes += wrong
        if found is not None:
            valid[name] = found
    run, wrong = check(Run, {**values, "stages": valid})
    if mistakes:
        # a stage that is not valid is missing from the run, which is then not valid either
        wrong = [mistake for mistake in wrong if mistake.path and mistake.path[0] != "stages"]
    said = lines(wrong, ".".join, lambda path: tree.origin(path) if path else "")
    for name in () if named else stages:
        said = [line.replace(f"stages.{name}.", "") for line in said]
    mistakes += said
    if mistakes or run is None:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    return run


def _provenance(run: Run, tree: Tree, stages: Mapping[str, Composed]) -> dict[str, str]:
    found = {}
    for path, _ in leaves(plain(run)):
        own = stages[path[1]].tree.origin(path[2:]) if path[0] == "stages" else tree.origin(path)
        found[".".join(path)] = own or DEFAULT
    return found


def _resume_alone(folder: str, rest: list[Override], project: Path) -> LoadedRun:
    if fixed := [o for o in rest if o.path[0] != GROUP]:
        keys = ", ".join(o.key for o in fixed)
        raise ConfigError(
            f"{keys}: cannot be changed: resume={folder} goes on with {Path(folder) / RESOLVED}"
        )
    if folder == "auto":
        raise ConfigError(
            "resume=auto: give stage= or curriculum= as well, or resume=RUN with a run folder"
        )
    asked = _is_asked(Path(folder))
    file = (Path(folder) if asked else _started(Path(folder))) / (ASKED if asked else RESOLVED)
    run = load_resolved(file)
    provenance = {".".join(path): str(file) for path, _ in leaves(plain(run))}
    provenance |= dict.fromkeys((o.key for o in rest), COMMAND_LINE)
    run = relaunched(run, rest, project) if rest else run
    return LoadedRun(
        run=run.model_copy(update={"out": Path(folder)}),
        provenance=provenance,
        resume=None if asked else folder,
    )


def _resumed(loaded: LoadedRun, asked: str, given_out: bool) -> LoadedRun:
    """Go on in a run's folder, if it was started with the configuration that is asked for now."""
    out = loaded.run.out
    if asked == "auto":
        folder = out if given_out else newest(loaded.run.name)
        if folder is None or not (folder / RESOLVED).is_file():
            return loaded
    else:
        folder = Path(asked)
        if _is_asked(folder) or (given_out and out == folder and not folder.exists()):
            # it was stopped before it began, so it begins now
            return replace(loaded, run=loaded.run.model_copy(update={"out": folder}))
        _started(folder)
        if given_out and out.resolve() != folder.resolve():
            raise ConfigError(f"out={out}: a resumed run goes on in its own folder, {folder}")
    changed = [
        found
        for found in differences(load_resolved(folder), loaded.run)
        if found[0].partition(".")[0] not in ("out", GROUP)
    ]
    if changed:
        listed = "\n".join(
            f"{key}: {old} in {folder / RESOLVED}, {new} now" for key, old, new in changed
        )
        raise RunError(
            f"{listed}\nresume={folder}: was started with another configuration; "
            f"out=DIR starts a new run"
        )
    return replace(loaded, run=loaded.run.model_copy(update={"out": folder}), resume=str(folder))


def _is_asked(folder: Path) -> bool:
    return (folder / ASKED).is_file() and not (folder / RESOLVED).is_file()


def _started(folder: Path) -> Path:
    if not (folder / RESOLVED).is_file():
        raise RunError(
            f"resume={folder}: there is no {folder / RESOLVED}, so no run was started there"
        )
    return folder
