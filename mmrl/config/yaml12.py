"""YAML as people read it: 1e-6 is a number, yes and on are text, 010 is ten (YAML 1.2).

PyYAML follows YAML 1.1, which reads `1e-6` as text, `yes` as true and `010` as 8, and lets a key be
given twice.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from mmrl.errors import ConfigError

_SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


class _Loader(yaml.SafeLoader):
    """Reads the scalars above; a key that is given twice is an error."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[reportIncompatibleVariableOverride]

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, children first, refusing duplicate keys."""
        first: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int | float | bool):
                raise yaml.MarkedYAMLError(
                    problem="a key is plain text or a number", problem_mark=key_node.start_mark
                )
            if key in first:
                problem = f"key {key!r} is given twice (first on line {first[key]})"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            first[key] = line
        return super().construct_mapping(node, deep=True)


class _Dumper(yaml.SafeDumper):
    """Quotes exactly what the loader would not read back as text."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[reportIncompatibleVariableOverride]

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value out wherever it stands."""
        return True


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(?=inf|nan)", "", node.value.lower()))


def _represent_float(dumper: _Dumper, value: float) -> yaml.ScalarNode:
    text = repr(value)
    if not math.isfinite(value):
        text = text.replace("inf", ".inf").replace("nan", ".nan")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _represent_text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = '"' if len(value.splitlines()) > 1 or not value.isprintable() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}",
            re.compile(f"^(?:{_pattern})$"),
            ["" if c == "\0" else c for c in _first],
        )
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(str, _represent_text)


def parse(text: str, where: str) -> Any:
    """Read one YAML document. Raises ConfigError naming `where` and the line."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{where}{_line(error)}: {_slip(error, text)}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = (
            "nested too deeply"
            if isinstance(error, RecursionError)
            else " ".join(str(error).split())
        )
        raise ConfigError(f"{where}: not YAML: {reason}") from error


def parse_file(path: Path, where: str) -> dict[str, Any]:
    """Read a file that holds a mapping; an empty file is an empty one. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{where}: cannot be read: {reason}") from error
    found = parse(text, where)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: must hold 'key: value' lines, holds {type(found).__name__}")
    return found


def flow(value: Any) -> str:
    """Write a value on one line, so that `parse` reads the same value back."""
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        width=math.inf,
        allow_unicode=True,
        sort_keys=False,
    )
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _line(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f":{mark.line + 1}" if mark else ""


def _slip(error: yaml.MarkedYAMLError, text: str) -> str:
    problem = error.problem or "not YAML"
    if "'\\t'" in problem:
        return "a tab stands where YAML wants spaces"
    if "given twice" in problem or "plain text or a number" in problem:
        return problem
    return f"not YAML: {problem}"
