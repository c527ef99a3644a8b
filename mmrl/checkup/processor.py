"""Loads a model's configuration and processor, and asks them for what training relies on: token
ids, a chat template that shows media, and room for all tokens in the embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmrl.checkup.checkpoint import finding
from mmrl.config.schema import ModelConfig
from mmrl.doctor import Finding
from mmrl.families import FAMILIES

_KINDS = ("image", "video", "audio")


def load_parts(config: ModelConfig, folder: Path | None) -> tuple[Any, Any]:
    """The configuration and the processor of a checkpoint's folder, or of a tiny model. Code of the
    checkpoint is never run, and nothing is fetched.

    Raises:
        ValueError: one of them cannot be loaded; the message is one line.
    """
    from mmrl.compat import make_torchvision_importable

    make_torchvision_importable()
    if folder is None:
        from mmrl.tiny.models import build_tiny

        model, processor = build_tiny(str(config.tiny), seed=0)
        return model.config, processor
    import transformers
    from transformers.utils import logging

    family = FAMILIES[config.family]
    kept: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        config_class = getattr(transformers, family.model_class).config_class
        found = config_class.from_pretrained(folder, **kept)
        return found, getattr(transformers, family.processor_class).from_pretrained(folder, **kept)
    # what these files can hold is without bounds, and so are the errors of those who read them
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{folder}: cannot be loaded as {config.family}: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)


def missing_packages(config: ModelConfig) -> Iterator[Finding]:
    """What the family's processor imports, and is not there."""
    for package in FAMILIES[config.family].packages:
        if find_spec(package) is None:
            detail = f"the processor of {config.family} needs it"
            yield finding("processor", package, detail, f"pip install {package}", ok=False)


def look_at_processor(config: ModelConfig, model: Any, processor: Any) -> Iterator[Finding]:
    """Tokens, their ids, and the chat template."""
    text, tokenizer = model.get_text_config(), processor.tokenizer
    context = getattr(text, "max_position_embeddings", None)
    yield finding("model", "context", f"{context:,} tokens" if context else "not said")
    yield _vocabulary(len(tokenizer), text.vocab_size)
    media = [kind for kind in _KINDS if kind in FAMILIES[config.family].media]
    for kind in media:
        yield _placeholder(kind, model, processor)
    if "audio" in media:
        heard = processor.feature_extractor
        seconds = heard.n_samples / heard.sampling_rate
        yield finding("processor", "sound", f"{heard.sampling_rate:,} Hz, {seconds:g} s at most")
    yield _end(tokenizer)
    yield from _template(processor, media)


def _vocabulary(tokens: int, rows: int) -> Finding:
    detail = f"{tokens:,} tokens, {rows:,} rows of the embedding"
    if tokens <= rows:
        return finding("processor", "tokenizer", detail)
    fix = "use the tokenizer that the weights were trained with, or resize the embedding"
    return finding("processor", "tokenizer", f"{detail}: too few", fix, ok=False)


def _placeholder(kind: str, model: Any, processor: Any) -> Finding:
    token = getattr(processor, f"{kind}_token", None)
    own = processor.tokenizer.convert_tokens_to_ids(token) if token else None
    wanted = getattr(model, f"{kind}_token_id", None)
    name = f"{kind} token"
    if token is None or own is None or own == processor.tokenizer.unk_token_id:
        detail = f"{token!r} is not in the tokenizer"
    elif wanted is not None and own != wanted:
        detail = f"{token} is {own} in the tokenizer and {wanted} in config.json"
    else:
        return finding("processor", name, f"{token} = {own}")
    fix = "take tokenizer and config.json from the same checkpoint"
    return finding("processor", name, detail, fix, ok=False)


def _end(tokenizer: Any) -> Finding:
    if tokenizer.eos_token_id is None:
        detail, fix = "the tokenizer has no eos_token", "set eos_token in tokenizer_config.json"
        return finding("processor", "end token", detail, fix, ok=False)
    return finding("processor", "end token", f"{tokenizer.eos_token} = {tokenizer.eos_token_id}")


def _template(processor: Any, media: list[str]) -> Iterator[Finding]:
    fix = "put chat_template.jinja of an instruct checkpoint of the family beside config.json"
    if not processor.chat_template:
        yield finding("processor", "chat template", "there is none", fix, ok=False)
        return
    parts = [{"type": kind, kind: kind} for kind in media]
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "Which?"}]}]
    try:
        text, bare = (
            processor.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=begins,
                processor_kwargs={"padding": False},
            )
            for begins in (True, False)
        )
    # a template is a program of whoever wrote the checkpoint, run in jinja's sandbox
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        yield finding("processor", "chat template", f"it fails: {reason}", fix, ok=False)
        return
    hidden = [kind for kind in media if text.count(getattr(processor, f"{kind}_token")) != 1]
    if hidden:
        detail = f"it shows no placeholder for: {', '.join(hidden)}"
        yield finding("processor", "chat template", detail, fix, ok=False)
    elif "Which?" not in text or len(text) <= len(bare):
        what = "the question" if "Which?" not in text else "where the assistant begins"
        yield finding("processor", "chat template", f"it leaves out {what}", fix, ok=False)
    else:
        yield finding("processor", "chat template", f"it shows {', '.join(media)} and text")
