"""The stages of a run, each composed of its file and the changes of curriculum and command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrl.config.check import check, lines
from mmrl.config.compose import Tree, resolve
from mmrl.config.dump import DEFAULT
from mmrl.config.files import COMMAND_LINE, Layer, flatten
from mmrl.config.keys import (
    annotation_at,
    named_defaults,
    stage_groups,
    stage_kinds,
    suggestion,
    unknown,
    without_removed,
)
from mmrl.config.overrides import Override
from mmrl.config.schema import Run, Stage
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


@dataclass(kw_only=True, slots=True)
class _Shared:
    """An override for every stage that has the key, and whether one had it."""

    override: Override
    taken: bool = False


def compose_stages(
    run: Tree, overrides: list[Override], project: Path
) -> tuple[dict[str, Composed], list[str]]:
    """Compose each stage of a run. Returns them with the mistakes that were found on the way."""
    given = without_removed(Run, {"stages": run.values.get("stages")})["stages"]
    if not isinstance(given, dict) or not given:
        where = run.origin(("stages",))
        found = f"got {given!r}{f' ({where})' if where else ''}"
        return {}, [f"stages: must hold 'name: {{stage: FILE}}' lines, {found}"]
    shared = [_Shared(override=override) for override in overrides if override.path[0] != "stages"]
    stages: dict[str, Composed] = {}
    mistakes: list[str] = []
    for name, entry in given.items():
        single = [
            o
            for o in overrides
            if o.path[:2] == ("stages", name) and o.path[2:] not in ((), ("stage",))
        ]
        try:
            stages[name] = _Composer(name=name, run=run, project=project).compose(
                entry, shared, single
            )
        except ConfigError as error:
            mistakes += str(error).splitlines()
            for one in shared:
                one.taken = True
    return stages, mistakes + [_nowhere(one.override, stages) for one in shared if not one.taken]


def _nowhere(override: Override, stages: Mapping[str, Composed]) -> str:
    """No stage has the key."""
    kinds = {stage.values.get("kind") for stage in stages.values()}
    others = [kind for kind, root in stage_kinds().items() if unknown(root, override.path) is None]
    if others:
        return f"{override.key}: only a stage of kind {' or '.join(others)} has it ({COMMAND_LINE})"
    roots = [root for kind, root in stage_kinds().items() if kind in kinds] or list(
        stage_kinds().values()
    )
    hints = [suggestion(root, override.path) for root in roots]
    hint = next((hint for hint in hints if hint.startswith("did you mean")), hints[0])
    return f"{override.key}: unknown key; {hint} ({COMMAND_LINE})"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Composer:
    name: str
    run: Tree
    project: Path
    tree: Tree = field(default_factory=Tree)

    def compose(self, entry: Any, shared: list[_Shared], single: list[Override]) -> Composed:
        """Lay the stage's file, the curriculum's changes and the command line's in this order."""
        file, changes = self.read_entry(entry)
        choices = {
            key: value
            for key, value in changes.items()
            if key in stage_groups() and isinstance(value, str)
        }
        alone = [_Shared(override=Override(path=o.path[2:], text=o.text)) for o in single]
        chosen = dict(choices)
        for one in (*shared, *alone):
            if self.is_choice(one.override):
                chosen[one.override.key] = one.override.text
        asked = self.run.origin(("stages", self.name, "stage"))
        where = f"stage={file}" if asked == COMMAND_LINE else f"{asked}: stages.{self.name}"
        layers = flatten(self.project, "stage", file, chosen, where)
        root = stage_kinds().get(_kind(layers))
        lacking = {key for key in chosen if root and key not in root.model_fields}
        for path in named_defaults(root) if root else ():
            self.tree.lay(path, {}, DEFAULT)
        self.tree.lay_all(layer for layer in layers if not {*layer.section} & lacking)
        prefix = ("stages", self.name)
        for key, value in changes.items():
            if key not in choices:
                self.tree.lay((key,), value, lambda path: self.run.origin((*prefix, *path)))
        for one in shared:
            self.lay(one, root, always=False)
        for one in alone:
            self.lay(one, root, always=True)
        values = resolve(
            self.tree,
            {"run": {"name": self.run.values.get("name"), "seed": self.run.values.get("seed", 0)}},
        )
        paths = tuple(one.override.path for one in shared)
        return Composed(
            label=f"configs/stage/{file}.yaml", values=values, tree=self.tree, shared=paths
        )

    def read_entry(self, entry: Any) -> tuple[str, dict[str, Any]]:
        """The stage's file and what the curriculum changes in it."""
        where = self.run.origin(("stages", self.name))
        file = entry.get("stage") if isinstance(entry, dict) else None
        if not isinstance(file, str):
            raise ConfigError(
                f"stages.{self.name}: must hold 'stage: FILE', got {entry!r} ({where})"
            )
        return file, {key: value for key, value in entry.items() if key != "stage"}

    def is_choice(self, override: Override) -> bool:
        """Whether an override chooses a file for a section."""
        return override.key in stage_groups() and not override.text.lstrip().startswith("{")

    def lay(self, one: _Shared, root: type[Stage] | None, always: bool) -> None:
        """Lay an override over the stage, if the stage has its key."""
        override = one.override
        if root is None or (not always and unknown(root, override.path) is not None):
            one.taken = one.taken or root is None
            return
        one.taken = True
        if not self.is_choice(override):
            self.tree.lay(
                override.path, override.read(annotation_at(root, override.path)), COMMAND_LINE
            )


def _kind(layers: list[Layer]) -> Any:
    kinds = [
        layer.values["kind"] for layer in layers if not layer.section and "kind" in layer.values
    ]
    return kinds[-1] if kinds else None
