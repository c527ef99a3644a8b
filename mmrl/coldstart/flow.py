"""How the texts of a row pass from step to step: who writes what, and who may read it."""

from __future__ import annotations

from collections.abc import Mapping

from mmrl.coldstart.config import (
    PASS_RATE,
    RESPONSE,
    AnyStep,
    AskStep,
    ChainConfig,
    ComposeStep,
    CutReflectionStep,
    DeduplicateStep,
    GradeStep,
    ReplaceStep,
    SplitByDifficultyStep,
    TakeStep,
    ThoughtDropoutStep,
    VerifyStep,
)
from mmrl.coldstart.prompts import PRESETS
from mmrl.coldstart.templates import VIEWS, variables
from mmrl.registry import did_you_mean

ROW_TEXTS = ("question", "answer", "source")
"""Texts that every row brings."""


def prompt_of(step: AskStep | GradeStep) -> str:
    """Return what the step asks."""
    found = step.prompt if step.prompt is not None else PRESETS[step.kind][0]
    return found or ""


def shows_media(step: AskStep | GradeStep) -> bool:
    """Tell whether the step shows the row's media."""
    return PRESETS[step.kind][1] if step.media is None else step.media


def check_flow(config: ChainConfig, steps: Mapping[str, AnyStep]) -> list[str]:
    """Return one line per mistake in how the steps hang together."""
    known: dict[str, int] = dict.fromkeys([*ROW_TEXTS, *config.given], 1)
    judged = False
    mistakes: list[str] = []
    for name, step in steps.items():
        where = f"steps.{name}"
        mistakes += _teacher(where, step, config)
        mistakes += [
            f"{where}.{key}: {slip}"
            for key, text in reads(step).items()
            if (slip := _unreadable(text, known, many=_takes_many(step, key)))
        ]
        if isinstance(step, SplitByDifficultyStep) and step.pass_rate_below and not judged:
            mistakes.append(f"{where}.pass_rate_below: no step before it is a 'verify'")
        judged |= isinstance(step, VerifyStep)
        for text, count in writes(name, step).items():
            if not text.isidentifier():
                mistakes.append(f"{where}: {text!r} cannot be written; name a whole text")
            if text in ROW_TEXTS:
                mistakes.append(f"{where}: {text!r} is the row's own; write into another text")
            if step.when and text not in known:
                mistakes.append(
                    f"{where}: writes {text!r} for some rows only ('when'), and no step before it "
                    "writes it for the others"
                )
            known[text] = count
    mistakes += [
        f"keep: {slip}" for text in config.keep if (slip := _unreadable(text, known, many=True))
    ]
    if RESPONSE not in known:
        mistakes.append(f"steps: none writes {RESPONSE!r}, what a model learns from")
    elif known[RESPONSE] > 1:
        mistakes.append(f"steps: {RESPONSE!r} is left with several samples; end with 'take'")
    return mistakes


def reads(step: AnyStep) -> dict[str, str]:
    """Return the texts that a step reads, by the key that names them."""
    found = {f"when.{text}": text for text in step.when}
    if isinstance(step, AskStep | GradeStep):
        asked = [("prompt", prompt_of(step)), ("system", step.system or "")]
    else:
        asked = [("text", step.text)] if isinstance(step, ComposeStep) else []
    for key, template in asked:
        found |= {f"{key}: {{{text}}}": text for text in variables(template)}
    if isinstance(step, DeduplicateStep):
        found |= {f"by: {text}": text for text in step.by if text != "media"}
    for key in ("of", "like", "by"):
        value = getattr(step, key, None)
        if isinstance(value, str):
            found[key] = value
    return found


def writes(name: str, step: AnyStep) -> dict[str, int]:
    """Return the texts that a step writes, with the number of samples of each."""
    if isinstance(step, AskStep):
        return {step.into or name: step.samples}
    if isinstance(step, GradeStep | ComposeStep):
        return {step.into or name: 1}
    if isinstance(step, VerifyStep):
        return {step.of: 1, PASS_RATE: 1} | ({step.wrong_into: 1} if step.wrong_into else {})
    if isinstance(step, TakeStep | CutReflectionStep | ReplaceStep | ThoughtDropoutStep):
        return {step.of: 1}
    return {}


def _teacher(where: str, step: AnyStep, config: ChainConfig) -> list[str]:
    if not isinstance(step, AskStep | GradeStep):
        return []
    slips = []
    if step.teacher not in config.teachers:
        hint = did_you_mean(step.teacher, config.teachers)
        there = ", ".join(config.teachers) or "none"
        slips.append(f"{where}.teacher: there is no {step.teacher!r}{hint}; there are: {there}")
    if not prompt_of(step).strip():
        slips.append(f"{where}.prompt: required, and not given")
    if isinstance(step, AskStep) and step.samples > 1 and step.temperature == 0:
        slips.append(f"{where}.samples: {step.samples} replies at temperature 0 are all the same")
    return slips


def _takes_many(step: AnyStep, key: str) -> bool:
    return isinstance(step, VerifyStep | TakeStep) and key == "of"


def _unreadable(text: str, known: Mapping[str, int], *, many: bool) -> str:
    """Say why a text cannot be read, or nothing."""
    name, point, view = text.partition(".")
    if name not in known:
        there = ", ".join(known)
        return f"there is no text {name!r} here{did_you_mean(name, known)}; there are: {there}"
    if point and view not in VIEWS:
        return f"{text!r}{did_you_mean(view, VIEWS)}; a text has the parts {', '.join(VIEWS)}"
    if known[name] > 1 and not many:
        return f"{name!r} holds {known[name]} samples; 'verify' or 'take' keeps one"
    return ""
