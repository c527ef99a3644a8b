"""Looks over the files of a checkpoint: are all there, whole, and of one model? No torch is
imported and no weight is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.config.schema import FamilyName
from mmrl.doctor import Finding
from mmrl.plan.dimensions import Dimensions
from mmrl.plan.parameters import named_parameters

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")
_SMALL_HEADER = 100_000_000
_FROM = "take it from the checkpoint that the weights came from"


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """What the headers of safetensors files say."""

    files: int
    size: int
    """Bytes."""
    shapes: Mapping[str, tuple[int, ...]]


def finding(about: str, name: str, detail: str, fix: str = "", *, ok: bool = True) -> Finding:
    """Something that training needs."""
    return Finding(about=about, name=name, ok=ok, detail=detail, fix=fix)


def look_at_files(folder: Path) -> Iterator[Finding]:
    """The small files: what describes the processor and the tokenizer."""
    for name, wanted in (("processor", _PROCESSORS), ("tokenizer", _TOKENIZERS)):
        if not any((folder / file).is_file() for file in wanted):
            missing = f"{folder}: there is no {' and no '.join(wanted)}"
            yield finding("processor", f"{name} files", missing, _FROM, ok=False)


def model_type(folder: Path) -> tuple[str, dict[str, Any]]:
    """What config.json calls the model, and all that it says.

    Raises:
        ValueError: it is not there, or holds no object.
    """
    file = folder / "config.json"
    try:
        values = json.loads(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{file}: it is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: it holds no object")
    return str(values.get("model_type", "")), values


def look_at_weights(folder: Path, model: Dimensions) -> Iterator[Finding]:
    """Are all shards there and whole, and do they hold what config.json describes?"""
    if (folder / "adapter_config.json").is_file():
        whole = "mmrl export RUN out=DIR merge=true writes whole weights"
        yield finding("weights", "files", f"an adapter on other weights; {whole}")
        return
    try:
        weights = read_headers(folder)
    except ValueError as error:
        yield finding("weights", "files", str(error), "copy or download it again", ok=False)
        return
    large = weights.size >= 1e9
    size = f"{weights.size / (1e9 if large else 1e6):.1f} {'GB' if large else 'MB'}"
    yield finding("weights", "files", f"{weights.files} safetensors, whole, {size}")
    yield from _compare(weights, model)


def read_headers(folder: Path) -> Weights:
    """Read the headers of all safetensors files of a checkpoint.

    Raises:
        ValueError: a file is missing, or shorter than its header says.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    names, listed = _shards(folder)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {len(names)} files of weights are missing: "
            f"{', '.join(missing[:4])}{' ...' if missing[4:] else ''}"
        )
    for name in names:
        shapes |= _header(folder / name)
    absent = sorted(listed - shapes.keys())
    if absent:
        raise ValueError(
            f"{folder / INDEX}: {len(absent)} weights are in no file, such as {absent[0]}"
        )
    size = sum((folder / name).stat().st_size for name in names)
    return Weights(files=len(names), size=size, shapes=shapes)


def _shards(folder: Path) -> tuple[list[str], set[str]]:
    """The files that hold weights, and the weights that the index lists."""
    if not (folder / INDEX).is_file():
        if not (folder / WHOLE).is_file() and any(folder.glob("*.bin")):
            raise ValueError(f"{folder}: weights are .bin files; save them as safetensors")
        return [WHOLE], set()
    try:
        found = json.loads((folder / INDEX).read_bytes())["weight_map"]
        names = sorted({str(file) for file in found.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / INDEX}: cannot be read as an index of weights") from error
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise ValueError(f"{folder / INDEX}: {outside[0]!r} is no file beside it")
    return names, set(found)


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_SMALL_HEADER, size):
            raise ValueError(f"{path}: it is no safetensors file, or cut off")
        try:
            header = json.loads(file.read(length))
            tensors = {name: one for name, one in header.items() if name != "__metadata__"}
            end = max((one["data_offsets"][1] for one in tensors.values()), default=0)
            shapes = {name: tuple(map(int, one["shape"])) for name, one in tensors.items()}
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{path}: its header cannot be read") from error
    if size != 8 + length + end:
        raise ValueError(f"{path}: it is cut off: {size:,} bytes of {8 + length + end:,}")
    return shapes


def _compare(weights: Weights, model: Dimensions) -> Iterator[Finding]:
    """The number of elements, and the rows of the embedding."""
    own = {
        name: shape
        for name, shape in weights.shapes.items()
        if not name.startswith(_left_out(model.family))
    }
    held = sum(_elements(shape) for shape in own.values())
    names = named_parameters(model)
    described = sum(names.values())
    # a tied head may be saved beside the embedding, or not
    embedding = model.text.vocabulary * model.text.hidden
    slips = {held - described, held - described - embedding}
    rows = next((s[0] for n, s in own.items() if n.endswith("embed_tokens.weight")), None)
    if rows is not None and rows != model.text.vocabulary:
        yield finding(
            "weights",
            "embedding",
            f"{rows} rows, and config.json says vocab_size {model.text.vocabulary}",
            "set vocab_size to the rows, or save the model again after resizing",
            ok=False,
        )
    elif min(map(abs, slips)) > 0.001 * described:
        yield finding(
            "weights",
            "elements",
            f"{held / 1e9:.3f} billion, and config.json describes {described / 1e9:.3f}",
            "is config.json that of another model, or are the weights quantised?",
            ok=False,
        )


def _left_out(family: FamilyName) -> tuple[str, ...]:
    """Parts of a checkpoint that are not trained, and what is no parameter."""
    return ("talker.", "token2wav.") if family == "qwen2_5_omni" else ()


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
