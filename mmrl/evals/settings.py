"""The arguments of `mmrl eval` as values: KEY=VALUE as everywhere in mmrl, or the options that
lm-eval and lmms-eval have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.config.section import Section
from mmrl.config.yaml12 import parse
from mmrl.errors import ConfigError
from mmrl.evals.benchmark import Decoding, Space
from mmrl.registry import did_you_mean

EngineName = Literal["hf", "vllm", "openai", "replay"]
ENGINES = get_args(EngineName)

_OPTIONS = {
    "n": "samples",
    "repeats": "samples",
    "max_tokens": "max_new_tokens",
    "max_gen_toks": "max_new_tokens",
    "output_path": "out",
    "model_args": "model_args",
    "gen_kwargs": "gen_kwargs",
    "system_instruction": "system",
    "num_concurrent": "concurrency",
}
"""Words of lm-eval that have another one here."""
_ENGINES = {
    "hf-multimodal": "hf",
    "vllm-vlm": "vllm",
    "local-chat-completions": "openai",
    "openai-chat-completions": "openai",
    "async_openai": "openai",
}
_PER_TASK = ("data", "split", "limit")
_NESTED = ("model", "media", *_PER_TASK)


class TaskSettings(Section):
    """Where the items of one benchmark come from."""

    data: str | None = None
    """A file, a folder or a name on the hub; None for the benchmark's own place on the hub."""
    split: str | None = None
    limit: int | None = Field(default=None, ge=1)


class EvalSettings(Section):
    """What one evaluation does."""

    tasks: dict[str, TaskSettings] = Field(min_length=1)
    out: Path
    """Folder of responses, scores and results."""
    engine: EngineName = "hf"
    model: str | None = None
    """A file of configs/model/, a checkpoint folder, a tiny family, or the server's name for it."""
    model_keys: dict[str, Any] = Field(default_factory=dict)
    """Keys of the model section that replace what stands in the file."""
    media_keys: dict[str, Any] = Field(default_factory=dict)
    """Keys of the media section; they replace those of the benchmarks."""
    samples: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    max_new_tokens: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=1, ge=1)
    """Prompts that hf answers together, which is possible without chance only (temperature 0)."""
    system: str | None = None
    coordinates: Space | None = None
    """The space in which the model writes boxes, where the model's family does not say."""
    base_url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the server's key, if there is one."""
    concurrency: int = Field(default=8, ge=1)
    timeout_s: float = Field(default=600, gt=0)
    extra: dict[str, Any] = Field(default_factory=dict)
    """More fields of each request to a server."""
    weights: str | None = None
    """A name for the weights behind a server, which cannot be read off it."""
    responses: Path | None = None
    """The file that engine=replay reads."""
    max_errors: float = Field(default=0.02, ge=0, le=1)
    resamples: int = Field(default=2000, ge=100)

    def decoding(self, own: Decoding) -> Decoding:
        """Return how a benchmark is answered: its own settings, and those that were given."""
        keys = ("max_new_tokens", "temperature", "top_p", "top_k")
        given = {key: value for key in keys if (value := getattr(self, key)) is not None}
        return Decoding(**({key: getattr(own, key) for key in keys} | given))

    def media(self, own: Mapping[str, Any]) -> MediaConfig:
        """Return the media settings of a benchmark, with those that were given.

        Raises:
            ConfigError: a value is out of its range.
        """
        try:
            return MediaConfig.model_validate({**own, **self.media_keys})
        except ValidationError as error:
            raise ConfigError("\n".join(_mistakes(error, "media."))) from error


def read_settings(arguments: Sequence[str], project: Path) -> EvalSettings:
    """Read the arguments of `mmrl eval`.

    Raises:
        ConfigError: a line per mistake.
    """
    flat = dict(_spelled(_words(arguments)))
    values: dict[str, Any] = {"model_keys": {}, "media_keys": {}}
    per_task: dict[str, dict[str, Any]] = {key: {} for key in _PER_TASK}
    for key, text in flat.items():
        head, _, rest = key.partition(".")
        if rest and head in ("model", "media"):
            values[f"{head}_keys"][rest] = parse(text, key)
        elif head in _PER_TASK:
            per_task[head][rest] = parse(text, key) if head == "limit" else text
        elif key in ("tasks", "out", "model", "base_url", "system", "responses", "weights"):
            values[key] = text
        elif key in EvalSettings.model_fields and not key.endswith("_keys"):
            values[key] = parse(text, key)
        else:
            known = [*EvalSettings.model_fields, *_PER_TASK]
            raise ConfigError(f"{key}: there is no such key{did_you_mean(key, known)}")
    values["tasks"] = _tasks(str(values.get("tasks", "")), per_task)
    if "out" not in values:
        raise ConfigError("out: give the folder that responses and results go to, out=DIR")
    try:
        settings = EvalSettings.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_mistakes(error))) from error
    _check(settings)
    return settings


def _check(settings: EvalSettings) -> None:
    for key in settings.media_keys:
        if key not in MediaConfig.model_fields:
            near = did_you_mean(key, MediaConfig.model_fields)
            raise ConfigError(f"media.{key}: there is no such key{near}")
    for key in settings.model_keys:
        if key not in ModelConfig.model_fields:
            near = did_you_mean(key, ModelConfig.model_fields)
            raise ConfigError(f"model.{key}: there is no such key{near}")
    if settings.engine == "replay" and settings.responses is None:
        raise ConfigError("engine=replay: give the file of responses, responses=FILE.jsonl")
    if settings.engine == "openai" and not (settings.base_url and settings.model):
        raise ConfigError(
            "engine=openai: give base_url=http://HOST:PORT/v1 and the server's name, model=NAME"
        )
    if settings.engine in ("hf", "vllm") and not (settings.model or settings.model_keys):
        raise ConfigError(f"engine={settings.engine}: give model=NAME, or model=FOLDER")


def _words(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield keys and values of `key=value`, `--key value` and `--key=value`."""
    waiting = ""
    for argument in arguments:
        if waiting:
            yield waiting, argument
            waiting = ""
        elif argument == "--log_samples":
            continue  # they always are
        elif argument.startswith("--") and "=" not in argument:
            waiting = argument[2:].replace("-", "_")
        else:
            key, equals, value = argument.removeprefix("--").partition("=")
            if not equals:
                raise ConfigError(f"{argument!r}: arguments are written KEY=VALUE or --key value")
            yield key.replace("-", "_") if argument.startswith("--") else key, value
    if waiting:
        raise ConfigError(f"--{waiting}: a value should follow")


def _spelled(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the pairs in mmrl's words."""
    for key, text in pairs:
        key = _OPTIONS.get(key, key)
        if key in ("model_args", "gen_kwargs"):
            yield from _spelled(_listed(key, text))
        elif key == "model" and text in (*ENGINES, *_ENGINES):
            yield "engine", _ENGINES.get(text, text)
        elif key in ("pretrained", "path"):
            yield "model", text
        elif key in ("dtype", "device", "revision", "trust_remote_code", "family"):
            yield f"model.{key}", text
        elif key in ("do_sample", "until"):
            raise ConfigError(f"{key}: is not known here; temperature=0 is greedy decoding")
        else:
            yield key, text


def _listed(key: str, text: str) -> Iterator[tuple[str, str]]:
    for pair in filter(None, text.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"{key}: {pair!r}: write k=v,k=v")
        yield name.strip(), value.strip()


def _tasks(names: str, per_task: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    chosen = [name.strip() for name in names.strip("[]").split(",") if name.strip()]
    if not chosen:
        raise ConfigError("tasks: name at least one benchmark; 'mmrl eval tasks' lists them")
    for key, values in per_task.items():
        for name in values:
            if name and name not in chosen:
                raise ConfigError(
                    f"{key}.{name}: {name!r} is none of the tasks {', '.join(chosen)}"
                )
    found: dict[str, Any] = {}
    for name in chosen:
        own = {key: v[name] if name in v else v.get("") for key, v in per_task.items()}
        if name not in per_task["data"] and own["data"] is not None:
            inside = Path(own["data"]) / name
            own["data"] = str(inside) if len(chosen) > 1 or inside.is_dir() else own["data"]
        found[name] = own
    return found


def _mistakes(error: ValidationError, prefix: str = "") -> list[str]:
    return [
        f"{prefix}{'.'.join(map(str, found['loc']))}: {found['input']!r}: {found['msg']}"
        for found in error.errors()
    ]
