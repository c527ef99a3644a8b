"""Gives exported weights the names and the configuration of released checkpoints, by which vLLM and
evaluation kits know a model: transformers writes other names for some families, and of
Qwen2.5-Omni (arXiv 2503.20215) only the thinker is trained, which belongs to a whole with a voice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.weights import released_config, released_name

if TYPE_CHECKING:
    from torch import Tensor

    from mmrl.families import Family

VOICE = ("talker.", "token2wav.")
"""What the names of an Omni's weights begin with that speak."""
SPEAKERS = "spk_dict.pt"
_INDEX = "model.safetensors.index.json"


def release(folder: Path, family: Family, *, source: Path | None) -> str | None:
    """Rewrite whole weights that transformers has saved, in place.

    Args:
        folder: Holds weights, `config.json` and the processor.
        family: Of the model.
        source: The checkpoint that training began with, where it is at hand.

    Returns:
        What a reader has to know of a model that training held a part of.
    """
    if not family.released_names and not family.checkpoint_prefix:
        return None
    files = _renamed(folder, lambda name: released_name(family, name))
    if not family.checkpoint_prefix:
        _number(folder, files)
        return None
    return _complete(folder, family, files, source)


def _renamed(folder: Path, rename: Callable[[str], str]) -> dict[Path, dict[str, int]]:
    """The weights' names and bytes by file, after each file was written anew."""
    from safetensors.torch import load_file

    files = {}
    for path in sorted(folder.glob("model*.safetensors")):
        weights = {rename(name): weight for name, weight in load_file(path).items()}
        files[path] = _write(path, weights)
    return files


def _write(path: Path, weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Write weights, whole or not at all; `path` may be mapped to them."""
    from safetensors.torch import save_file

    part = path.with_suffix(".part")
    save_file(dict(weights), part, metadata={"format": "pt"})
    part.replace(path)
    return {name: weight.nbytes for name, weight in weights.items()}


def _number(folder: Path, files: Mapping[Path, Mapping[str, int]]) -> None:
    """Name the files as parts of a whole, and say which weight is in which."""
    (folder / _INDEX).unlink(missing_ok=True)
    if len(files) == 1:
        return
    where: dict[str, str] = {}
    parts: dict[Path, Path] = {}
    for number, (path, sizes) in enumerate(files.items(), start=1):
        parts[path] = folder / f"model-{number:05d}-of-{len(files):05d}.safetensors"
        where |= dict.fromkeys(sizes, parts[path].name)
    for path, part in parts.items():
        path.rename(part.with_suffix(".part"))
    for part in parts.values():
        part.with_suffix(".part").rename(part)
    total = sum(size for sizes in files.values() for size in sizes.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    (folder / _INDEX).write_text(json.dumps(index, indent=1))


def _complete(
    folder: Path, family: Family, files: dict[Path, dict[str, int]], source: Path | None
) -> str:
    """Make the whole of a thinker: its configuration, and the voice of the model it came from."""
    from transformers import AutoConfig

    own = AutoConfig.from_pretrained(folder)
    with _quiet():
        config = released_config(own, family)
    if own.tie_word_embeddings:
        _untie(family, files)
    spoken = _voice(source) if source is not None else {}
    if source is not None and spoken:
        whole = AutoConfig.from_pretrained(source)
        whole.thinker_config = config.thinker_config
        config = whole
        for number, (path, names) in enumerate(spoken.items()):
            part = folder / f"voice-{number:05d}.safetensors"
            files[part] = _write(part, _read(path, names))
        shutil.copy2(source / SPEAKERS, folder / SPEAKERS)
    else:
        import torch

        # the whole model's class does not load without, even where it is not to speak
        torch.save({}, folder / SPEAKERS)
    with _quiet():
        config.save_pretrained(folder)
    _number(folder, files)
    if spoken:
        return "The voice (talker, token2wav) is that of the checkpoint that training began with."
    return (
        "Without a voice: the weights that training began with are not here, or have none; "
        "`enable_audio_output` is false."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of tokens that the voice would have, where there is none."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _untie(family: Family, files: dict[Path, dict[str, int]]) -> None:
    """Write the head out that is the embedding too."""
    from safetensors.torch import load_file

    embedding, head = (
        family.checkpoint_prefix + name for name in ("model.embed_tokens.weight", "lm_head.weight")
    )
    if any(head in sizes for sizes in files.values()):
        return
    path = next(path for path, sizes in files.items() if embedding in sizes)
    weights = load_file(path)
    files[path] = _write(path, {**weights, head: weights[embedding].clone()})


def _voice(source: Path) -> dict[Path, list[str]]:
    """Names of the weights that speak, by file; none where the source has no voice."""
    if not (source / SPEAKERS).is_file():
        return {}
    found: dict[Path, list[str]] = {}
    for path in sorted(source.glob("*.safetensors")):
        names = [name for name, _ in _opened(path) if name.startswith(VOICE)]
        if names:
            found[path] = names
    return found


def _opened(path: Path) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  it is no mapping
            yield name, file


def _read(path: Path, names: list[str]) -> dict[str, Tensor]:
    wanted = set(names)
    return {name: file.get_tensor(name) for name, file in _opened(path) if name in wanted}
