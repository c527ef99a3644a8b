"""Which weights `model=` means: a file of configs/model/, a checkpoint folder, a tiny family."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from mmrl.config.files import choice_layers, options
from mmrl.config.schema import ModelConfig
from mmrl.errors import ConfigError
from mmrl.registry import did_you_mean

_TYPES = {"qwen2_5_omni_thinker": "qwen2_5_omni"}
"""What a checkpoint calls itself, where that is not its family's name here."""
_WEIGHTS = {".safetensors", ".bin", ".json", ".jinja", ".txt", ".model"}


def resolve_model(name: str | None, keys: Mapping[str, Any], project: Path) -> ModelConfig:
    """Return the model section that a name and single keys stand for.

    Raises:
        ConfigError: there is nothing of that name, or a key does not fit.
    """
    try:
        return ModelConfig.model_validate({**_named(name, keys, project), **keys})
    except ValidationError as error:
        mistakes = [f"model.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError("\n".join(mistakes)) from error


def fingerprint_files(folder: Path) -> str:
    """Return the hash of a checkpoint's weights, configuration, tokenizer and processor."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in _WEIGHTS:
            digest.update(file.name.encode())
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "blake2b").digest())
    return digest.hexdigest()


def family_named(model_type: str) -> str:
    """The family of a checkpoint by what it calls itself; that itself where there is none."""
    return _TYPES.get(model_type, model_type)


def _named(name: str | None, keys: Mapping[str, Any], project: Path) -> dict[str, Any]:
    if name is None:
        return {}
    configs = options(project, "model")
    if name in configs:
        found: dict[str, Any] = {}
        for layer in choice_layers(project, "model", name):
            found |= layer.values if layer.section == ("model",) else {}
        return found
    families = get_args(ModelConfig.model_fields["family"].annotation)
    if name in families:
        return {"family": name, "tiny": name}
    if Path(name).is_dir():
        return {"path": name, "family": keys.get("family") or _family_of(Path(name), families)}
    if name.count("/") == 1 and not name.startswith((".", "/")):
        if "family" not in keys:
            raise ConfigError(
                f"model={name}: of a model on the hub say the family, model.family="
                f"{'|'.join(families)}"
            )
        return {"path": name}
    known = [*configs, *families]
    raise ConfigError(
        f"model={name}: no file of configs/model/, no folder and no tiny family"
        f"{did_you_mean(name, known)}; there are: {', '.join(known)}"
    )


def _family_of(folder: Path, families: tuple[str, ...]) -> str:
    try:
        kind = json.loads((folder / "config.json").read_bytes()).get("model_type", "")
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"model={folder}: no checkpoint: it holds no config.json that can be read"
        ) from error
    family = family_named(kind)
    if family not in families:
        raise ConfigError(
            f"model={folder}: its config.json says {kind!r}, which is none of "
            f"{', '.join(families)}; say which it is like with model.family="
        )
    return family
