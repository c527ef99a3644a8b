"""Multiple choice: the completion means the row's option, by letter or by the option's own words.

How a text is read is told in `mmrl.verify.choices`; it gets ordinary sentences right and never
guesses.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.answer import BadGold, answered, as_text, squash
from mmrl.reward import Judge, verifier
from mmrl.types import Row, Sample
from mmrl.verify.choices import Options, letter_of, read


@verifier
def choice(
    *,
    letters: str = "ABCDEFGH",
    choices: Sequence[str] | None = None,
    whole_text: bool = True,
) -> Judge:
    """1.0 when the completion means the row's option.

    The row's answer is a letter or an option's text; options come from the parameter, else from
    the row's `extra` under `choices` or `options`, with or without their letters.

    Args:
        letters: The options' letters, in order.
        choices: The options' texts.
        whole_text: Judge what follows the thinking where there is neither a tag nor a box.
    """
    if not letters or len(set(letters.upper())) != len(letters) or not letters.isalpha():
        raise ValueError(f"letters must be different letters, got {letters!r}")
    ordered = letters.upper()
    fixed = Options.of(ordered, choices) if choices is not None else None

    def judge(sample: Sample) -> float:
        options = fixed or Options.of(ordered, _row_choices(sample.row))
        gold_text = as_text(sample.row.answer)
        gold = _gold(gold_text, options)
        answer = answered(sample, whole_text=whole_text)
        if gold is None:
            return float(squash(answer).rstrip(".") == squash(gold_text).rstrip("."))
        letter = read(answer, options)
        return float(letter == gold or options.same_text(letter, gold))

    return judge


def _row_choices(row: Row) -> Sequence[str] | None:
    return row.extra.get("choices") or row.extra.get("options")


def _gold(text: str, options: Options) -> str | None:
    """Return the letter of the row's answer; None for a text where the options are not known."""
    if not text.strip():
        raise BadGold("the row's answer is empty")
    letter = letter_of(text, options)
    if letter:
        return letter
    if options.texts:
        raise BadGold(f"{text[:40]!r} is neither a letter nor one of the options")
    return None
