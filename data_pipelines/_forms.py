"""Synthetic questions in the forms that published recipes ask in; no pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Literal

Raw = dict[str, Any]
Media = Literal["image", "video", "audio"]
Form = Literal[
    "number",
    "choice",
    "letters",
    "yes_no",
    "label",
    "text",
    "box",
    "boxes",
    "action",
    "pair",
    "caption",
    "text_only",
    "video_audio",
]
Trace = Literal["think", "boxed", "observe", "segments", "reason", "answer", "bare"]

WORDS: Mapping[Media, tuple[str, ...]] = {
    "image": ("red", "green", "blue"),
    "video": ("left", "right", "up", "down"),
    "audio": ("low", "middle", "high"),
}
"""What the easiest questions on each kind of medium are answered with."""


def base_task(form: Form, media: Media) -> str:
    """Name the synthetic task that a form is made of."""
    by_form = {"number": "count", "caption": "count", "text_only": "count"}
    by_form |= dict.fromkeys(("box", "boxes", "action"), "box")
    by_media = {"image": "colour", "video": "direction", "audio": "pitch"}
    return by_form.get(form) or ("direction" if form == "video_audio" else by_media[media])


def recast(raw: Raw, form: Form, media: Media, rng: Random) -> Raw:
    """Return the row in another form: question, answer, verifier."""
    changed = {**raw, **_FORMS[form](raw, WORDS[media], rng)}
    if form == "text_only":
        content = [{"type": "text", "text": changed.pop("question")}]
    else:
        content = [part for part in raw["prompt"][0]["content"] if part["type"] != "text"]
        content.append({"type": "text", "text": changed.pop("question")})
    return {**changed, "prompt": [{"role": "user", "content": content}]}


def write_trace(kind: Trace, thought: str, answer: str) -> str:
    r"""Write a response; `boxed` is `<think>` and a `\boxed{}`, `reason` puts the answer first."""
    answered = f"<answer>{answer}</answer>"
    thinking = f"<think>{thought}</think>"
    return {
        "think": thinking + answered,
        "boxed": f"{thinking}\\boxed{{{answer}}}",
        "observe": f"<observe>{thought}</observe>{thinking}{answered}",
        "segments": f"<time>0-1</time><caption>{thought}</caption>{thinking}{answered}",
        "reason": f"{answered}<reason>{thought}</reason>",
        "answer": answered,
        "bare": answer,
    }[kind]


def _question(raw: Raw) -> str:
    return raw["prompt"][0]["content"][-1]["text"]


def _thought(raw: Raw) -> str:
    return raw["response"].partition("<think>")[2].partition("</think>")[0]


def _row(question: str, answer: Any, verifier: str, **params: Any) -> Raw:
    return {
        "question": question,
        "answer": answer,
        "verifier": {"name": verifier, "params": params},
    }


def _number(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    return _row(_question(raw), raw["answer"], "number")


def _options(raw: Raw, words: tuple[str, ...], rng: Random) -> tuple[str, str]:
    shuffled = rng.sample(words, len(words))
    listed = " ".join(f"{letter}. {word}" for letter, word in zip("ABCD", shuffled, strict=False))
    return f"{_question(raw)} {listed}", "ABCD"[shuffled.index(raw["answer"])]


def _choice(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    question, letter = _options(raw, words, rng)
    return _row(question, letter, "choice")


def _letters(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    question, letter = _options(raw, words, rng)
    both = "".join(sorted({letter, rng.choice("ABC"[: len(words)])}))
    return _row(f"{question} Choose {len(both)}.", both, "multi_select", partial=0.5)


def _yes_no(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    asked = rng.choice([raw["answer"], rng.choice(words)])
    return _row(f"Is it {asked}?", "yes" if asked == raw["answer"] else "no", "exact")


def _label(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    return _row(f"{_question(raw)} {' or '.join(words)}?", raw["answer"], "class_label")


def _text(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    return _row("What is there?", _thought(raw), "text")


def _box(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    return _row(_question(raw), raw["answer"], "box")


def _boxes(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    label = _thought(raw).split()[0]
    answer = [{"bbox_2d": raw["answer"], "label": label}]
    return _row("Where is each shape?", answer, "detection")


def _action(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    answer = [{"action": "click", "coordinate": raw["answer"]}]
    return _row("Click on the shape.", answer, "gui_action", format="none")


def _pair(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    wrong = rng.choice([word for word in words if word != raw["answer"]])
    both = rng.sample([raw["answer"], wrong], 2)
    question = f"{_question(raw)} 1. {both[0]} 2. {both[1]} Which response is better?"
    return _row(question, str(both.index(raw["answer"]) + 1), "number")


def _caption(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    return _row(f"Caption: {_thought(raw)}. {_question(raw)}", raw["answer"], "number")


def _text_only(raw: Raw, words: tuple[str, ...], rng: Random) -> Raw:
    total = int(raw["answer"]) + 1
    first = rng.randint(1, total - 1)
    return _row(f"{first} + {total - first}?", str(total), "number")


_FORMS: dict[str, Callable[[Raw, tuple[str, ...], Random], Raw]] = {
    "number": _number,
    "choice": _choice,
    "letters": _letters,
    "yes_no": _yes_no,
    "label": _label,
    "text": _text,
    "box": _box,
    "boxes": _boxes,
    "action": _action,
    "pair": _pair,
    "caption": _caption,
    "text_only": _text_only,
    "video_audio": _choice,
}


def written(answer: Any) -> str:
    """Write an answer as text."""
    return answer if isinstance(answer, str) else json.dumps(answer)
