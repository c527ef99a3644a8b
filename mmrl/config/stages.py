"""The stages of a run, each composed of its file and the changes of curriculum and command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.config.check import check, lines
from mmrl.config.compose import Tree, resolve
from mmrl.config.dump import DEFAULT
from mmrl.config.files import COMMAND_LINE, flatten
from mmrl.config.keys import (
    annotation_at,
    children,
    named_defaults,
    stage_groups,
    stage_kinds,
    suggestion,
    unknown,
    without_removed,
)
from mmrl.config.overrides import Override
from mmrl.config.schema import Stage
from mmrl.config.smoke import Overlay
from mmrl.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed:
    """A stage before validation."""

    label: str
    """The file that messages name where a value was written nowhere."""
    values: Mapping[str, Any]
    tree: Tree
    shared: tuple[tuple[str, ...], ...] = ()
    """Paths that the command line set for every stage."""

    def check(self, prefix: str) -> tuple[Stage | None, list[str]]:
        """Validate; `prefix` goes before the stage's keys in messages."""
        kind = self.values.get("kind")
        known = stage_kinds()
        if kind not in known:
            found = "is not given" if kind is None else f"{kind!r} is none of them"
            return None, [
                f"{prefix}kind: must be {' or '.join(known)}; {found} ({self.origin(('kind',))})"
            ]
        values = without_removed(known[kind], self.values)
        stage, mistakes = check(known[kind], values, prefix)
        return stage, lines(mistakes, lambda path: self.name(path, prefix), self.origin)

    def origin(self, path: tuple[str, ...]) -> str:
        """Where the value at a path was written."""
        return (self.tree.origin(path) if path else "") or self.label

    def name(self, path: tuple[str, ...], prefix: str) -> str:
        """The key as it was written: without the stage's name where it was set for every stage."""
        if self.origin(path) == COMMAND_LINE and any(
            path[: len(given)] == given for given in self.shared
        ):
            return ".".join(path)
        return ".".join((*prefix.split(".")[:-1], *path))


def compose_stages(
    run: Tree,
    overrides: Sequence[Override],
    project: Path,
    rounds: Mapping[str, int],
    overlay: Overlay,
) -> tuple[dict[str, Composed], list[str]]:
    """Compose each stage of a run; `rounds` are the numbers of those that are repeated, and
    `overlay` lies between the files and the overrides.

    Returns them with the mistakes that were found on the way.
    """
    given = run.values.get("stages")
    if isinstance(given, dict):
        given = {name: entry for name, entry in given.items() if entry is not None}
    if not isinstance(given, dict) or not given:
        where = run.origin(("stages",))
        found = f"got {given!r}{f' ({where})' if where else ''}"
        return {}, [f"stages: must hold 'name: {{stage: FILE}}' lines, {found}"]
    done = ((), ("stage",), ("repeat",))
    asked = [o for o in overrides if o.path[0] != "stages" or o.path[2:] not in done]
    stages: dict[str, _Stage] = {}
    mistakes: list[str] = []
    for name, entry in given.items():
        try:
            stages[name] = _read(name, entry, run, asked, project, overlay)
        except ConfigError as error:
            mistakes += str(error).splitlines()
    whole = not mistakes
    for override in asked:
        mistakes += _lay(override, stages, whole)
    shared = tuple(o.path for o in asked if o.path[0] != "stages")
    context = {"run": {"name": run.values.get("name"), "seed": run.values.get("seed", 0)}}
    composed: dict[str, Composed] = {}
    for name, stage in stages.items():
        try:
            number = {"round": rounds[name]} if name in rounds else {}
            values = resolve(stage.tree, context | number)
        except ConfigError as error:
            mistakes.append(str(error))
            continue
        label = f"configs/stage/{stage.file}.yaml"
        composed[name] = Composed(label=label, values=values, tree=stage.tree, shared=shared)
    return composed, mistakes


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stage:
    """A stage while values are laid over it."""

    file: str
    root: type[Stage] | None
    """Its schema; None where its kind is missing or unknown."""
    tree: Tree


def _read(
    name: str,
    entry: Any,
    run: Tree,
    overrides: Sequence[Override],
    project: Path,
    overlay: Overlay,
) -> _Stage:
    """The stage's file with the files chosen for its sections, and the curriculum's changes."""
    file, changes = _read_entry(name, entry, run)
    groups = stage_groups()
    chosen = {k: v for k, v in changes.items() if k in groups and isinstance(v, str)}
    changes = {
        k: v for k, v in changes.items() if k not in chosen and not overlay.replaces(name, k)
    }
    chosen |= overlay.choices(name)
    own = [o for override in overrides if (o := _of_stage(override, name))]
    chosen |= {o.key: o.text for o in own if _is_choice(o)}
    origin = run.origin(("stages", name, "stage"))
    where = f"stage={file}" if origin == COMMAND_LINE else f"{origin}: stages.{name}"
    layers = flatten(project, "stage", file, chosen, where)
    kinds = [
        layer.values["kind"] for layer in layers if layer.section == () and "kind" in layer.values
    ]
    kinds += [o.text for o in own if o.key == "kind" and o.text in stage_kinds()]
    root = stage_kinds().get(kinds[-1]) if kinds else None
    stage = _Stage(file=file, root=root, tree=Tree())
    for path in named_defaults(root) if root else ():
        stage.tree.lay(path, {}, DEFAULT)
    lacking = {key for key in chosen if root and key not in root.model_fields}
    stage.tree.lay_all(layer for layer in layers if not {*layer.section} & lacking)
    for key, value in changes.items():
        stage.tree.lay((key,), value, lambda path: run.origin(("stages", name, *path)))
    overlay.lay(stage.tree, name, root)
    return stage


def _read_entry(name: str, entry: Any, run: Tree) -> tuple[str, dict[str, Any]]:
    """The stage's file and what the curriculum changes in it."""
    file = entry.get("stage") if isinstance(entry, dict) else None
    if not isinstance(file, str):
        where = run.origin(("stages", name))
        raise ConfigError(f"stages.{name}: must hold 'stage: FILE', got {entry!r} ({where})")
    return file, {key: value for key, value in entry.items() if key != "stage"}


def _of_stage(override: Override, name: str) -> Override | None:
    """The override as that stage sees it, if it is for that stage."""
    if override.path[0] != "stages":
        return override
    return (
        Override(path=override.path[2:], text=override.text) if override.path[1] == name else None
    )


def _is_choice(override: Override) -> bool:
    """Whether an override chooses a file for a section; that was done when the files were read."""
    return override.key in stage_groups() and not override.text.lstrip().startswith("{")


def _lay(override: Override, stages: Mapping[str, _Stage], whole: bool) -> list[str]:
    """Lay an override over the stages that it is for, and say what is wrong with it."""
    alone = override.path[0] == "stages"
    meant = {name: own for name in stages if (own := _of_stage(override, name))}
    targets = {
        name: own
        for name, own in meant.items()
        if (root := stages[name].root) and (alone or unknown(root, own.path) is None)
    }
    if not alone:
        holders = {name: own for name, own in targets.items() if _holds(stages[name], own.path)}
        targets = holders or targets
        if not targets and whole and all(stages[name].root for name in meant):
            return [_nowhere(override, stages)]
    mistakes: list[str] = []
    for name, own in targets.items():
        root = stages[name].root
        if root is None or _is_choice(own):
            continue
        try:
            value = own.read(annotation_at(root, own.path))
        except ConfigError as error:
            mistakes.append(str(error))
        else:
            stages[name].tree.lay(own.path, value, COMMAND_LINE)
    return list(dict.fromkeys(mistakes))


def _holds(stage: _Stage, path: tuple[str, ...]) -> bool:
    """Whether the named entry that a path leads into is there: a reward term, a data source."""
    here: Any = stage.tree.values
    annotation: Any = stage.root
    for part in path:
        known = children(annotation) or {}
        here = here.get(part) if isinstance(here, dict) else None
        if "<name>" in known:
            return here is not None
        annotation = known.get(part)
    return True


def _nowhere(override: Override, stages: Mapping[str, _Stage]) -> str:
    """No stage has the key."""
    others = [kind for kind, root in stage_kinds().items() if unknown(root, override.path) is None]
    if others:
        return f"{override.key}: only a stage of kind {' or '.join(others)} has it ({COMMAND_LINE})"
    hints = [suggestion(stage.root, override.path) for stage in stages.values() if stage.root]
    hint = next((hint for hint in hints if hint.startswith("did you mean")), hints[0])
    return f"{override.key}: unknown key; {hint} ({COMMAND_LINE})"
