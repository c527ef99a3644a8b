"""Which part of a model a weight belongs to: language model, head, vision tower, audio tower, or
the connector between a tower and the language model.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Literal

Part = Literal["language", "head", "vision", "audio", "connector"]

_CONNECTOR = re.compile(
    r"\bmerger|_merger|projector|connector|modality_projection|audio_tower\.proj\b"
)

FROZEN: dict[str, frozenset[Part]] = {
    "none": frozenset(),
    "vision": frozenset({"vision"}),
    "vision+connector": frozenset({"vision", "connector"}),
    "encoders": frozenset({"vision", "audio"}),
    "encoders+connector": frozenset({"vision", "audio", "connector"}),
}
"""What `model.freeze` may say in place of patterns."""
ADAPTED: dict[str, frozenset[Part]] = {
    "language": frozenset({"language"}),
    "language+connector": frozenset({"language", "connector"}),
    "language+encoders": frozenset({"language", "vision", "audio"}),
    "all": frozenset({"language", "vision", "audio", "connector"}),
}
"""What `model.lora.targets` may say in place of patterns. A head is never adapted: in small models
it is the embedding too."""


def parts_of(model: Any) -> dict[str, Part]:
    """The part of every module and parameter, by name."""
    language = _ids(model.get_decoder()) | _ids(model.get_input_embeddings())
    head = _ids(model.get_output_embeddings()) - language
    found: dict[str, Part] = {}
    for name, item in [*model.named_modules(), *model.named_parameters(remove_duplicate=False)]:
        if id(item) in language:
            found[name] = "language"
        elif id(item) in head:
            found[name] = "head"
        else:
            found[name] = encoder_part(name)
    return found


def rest_encoders(model: Any, shown: Collection[str]) -> None:
    """Let the encoders of media that are never shown, with their connectors, not learn: no gradient
    would reach them, and neither decay nor moments are to.
    """
    kinds = {"audio" if kind == "audio" else "vision" for kind in shown}
    parts = parts_of(model)
    for name, parameter in model.named_parameters():
        part = parts[name]
        encoder = encoder_kind(name) if part == "connector" else part
        if encoder in {"audio", "vision"} - kinds:
            parameter.requires_grad_(False)


def encoder_kind(name: str) -> Literal["audio", "vision"]:
    """Which encoder a weight beside the language model belongs to."""
    return "audio" if "audio" in name else "vision"


def encoder_part(name: str) -> Part:
    """The part of a weight that is neither of the language model nor of the head."""
    if _CONNECTOR.search(name):
        return "connector"
    return encoder_kind(name)


def _ids(module: Any) -> set[int]:
    """Of a module, of all in it, and of their parameters."""
    return {id(item) for item in (*module.modules(), *module.parameters())}
