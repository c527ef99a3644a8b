"""The manifest of a mixture: all that went in, with hashes, and all that is needed to repeat it.

Paths in it start at its own folder, so that a folder with data and manifest can be moved.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mmrl import __version__
from mmrl.data.mix import Found, Mixture, hash_file
from mmrl.errors import DataError

KIND = "mmrl mixture 1"


def write_manifest(
    path: Path, mixture: Mixture, found: Mapping[str, Found], out: Path, rows: int
) -> None:
    """Write what went in, what was taken, and the hash of the file that came of it."""
    folder = path.parent
    settings = dataclasses.asdict(mixture)
    settings["sources"] = {name: _from(folder, file) for name, file in mixture.sources.items()}
    if mixture.against is not None:
        settings["against"] = _from(folder, mixture.against)
    value = {
        "kind": KIND,
        "mmrl": __version__,
        "mixture": settings,
        "sources": {name: _said(here) for name, here in found.items() if name},
        "out": {"path": _from(folder, out), "rows": rows, "hash": hash_file(out)},
    }
    if "" in found:
        value["against"] = _said(found[""])
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    unfinished.write_text(f"{text}\n", encoding="utf-8")
    unfinished.replace(path)


def read_manifest(path: Path) -> tuple[Mixture, Path, dict[str, Any]]:
    """Return the mixture of a manifest, the file that it made, and the manifest itself.

    Raises:
        DataError: it is none, or what went in has changed: a line per file.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["kind"] != KIND:
            raise ValueError(f"its kind is {value['kind']!r}, not {KIND!r}")
        mixture = TypeAdapter(Mixture).validate_python(value["mixture"])
        out, hashes = path.parent / value["out"]["path"], _hashes(value)
    except (OSError, ValidationError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"manifest: {path}: is no manifest of a mixture ({reason})") from error
    sources = {name: _joined(path.parent, file) for name, file in mixture.sources.items()}
    against = mixture.against and _joined(path.parent, mixture.against)
    mixture = dataclasses.replace(mixture, sources=sources, against=against)
    changed = [
        line
        for name, file in [*sources.items(), *([("", against)] if against else [])]
        if (line := _changed(name, file, hashes[name]))
    ]
    if changed:
        raise DataError("\n".join(changed))
    return mixture, _joined(path.parent, out), value


def check_repeated(
    value: Mapping[str, Any], found: Mapping[str, Found], out: Path, *, same_place: bool
) -> None:
    """Check that a repeated mixture is what its manifest says.

    Args:
        value: The manifest.
        found: What went in this time.
        out: What came of it.
        same_place: It is written where it was, so that even its media paths are the same.

    Raises:
        DataError: media have changed, or the bytes are others.
    """
    lines = []
    for name, here in found.items():
        said = value["sources"][name] if name else value["against"]
        if said["media_hash"] != here.media_hash:
            lines.append(f"manifest: {name or 'against'}: its media have changed since")
    if same_place and hash_file(out) != value["out"]["hash"]:
        lines.append(f"manifest: {out}: its bytes are not those of the manifest")
    if lines:
        raise DataError("\n".join(lines))


def _said(found: Found) -> dict[str, Any]:
    names = (entry.name for entry in dataclasses.fields(found) if entry.name != "left")
    return {name: getattr(found, name) for name in names}


def _hashes(value: Mapping[str, Any]) -> dict[str, str]:
    hashes = {name: found["hash"] for name, found in value["sources"].items()}
    return {**hashes, "": value.get("against", {}).get("hash", "")}


def _changed(name: str, file: Path, wanted: str) -> str:
    if not file.is_file():
        return f"manifest: {name or 'against'}: {file}: no such file"
    if hash_file(file) != wanted:
        return f"manifest: {name or 'against'}: {file} has changed since; its hash is another"
    return ""


def _from(folder: Path, path: Path) -> str:
    return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()


def _joined(folder: Path, path: Path) -> Path:
    return Path(os.path.normpath(folder / path))
