"""Do the last lines of the thinking say what the answer says? R1-Reward's consistency (arXiv
2505.02835).

The system's reward is Result * (1 + 0.5 Consistency) + 0.5 Format: weigh this term 0.5, `accuracy`
1 and the format 0.5. The paper asks a model; this rule reads the last three lines before the
answer for an option's letter, a number or the answer's words. Its code counts a contradiction as
-1 and undecided as 0, its paper 0 for both: `mismatch`.
"""

from __future__ import annotations

from mmrl.answer import NoAnswer, squash
from mmrl.reward import Judge, verifier
from mmrl.types import Sample, Verdict
from mmrl.verify.accuracy import accuracy_of
from mmrl.verify.choices import Options, letter_of, read
from mmrl.verify.numbers import last_number


@verifier(term=True, paper="R1-Reward, arXiv 2505.02835")
def consistency(
    *, mismatch: float = -1.0, lines: int = 3, letters: str = "ABCDEFGH", times_result: bool = True
) -> Judge:
    """1.0 when the thinking ends with the answer, `mismatch` when it ends with another one, else 0.

    Args:
        mismatch: For a contradiction.
        lines: How many of the last lines before the answer are read.
        letters: The options' letters, where the answer is one.
        times_result: Multiply by the accuracy, so that only right answers gain or lose.
    """
    options = Options.of(letters.upper(), None)

    def judge(sample: Sample) -> Verdict:
        agrees = _agrees(sample, lines, options)
        score = 0.0 if agrees is None else 1.0 if agrees else mismatch
        result = accuracy_of(sample) if times_result else 1.0
        return Verdict(score=score * result, parts={"consistency": score})

    return judge


def _agrees(sample: Sample, lines: int, options: Options) -> bool | None:
    """Tell whether the conclusion names the answer; None where it names none that can be read."""
    answer = sample.answer
    conclusion = "\n".join(_last_lines(sample.text, lines))
    if not answer or not conclusion:
        return None
    letter = letter_of(answer, options)
    if letter:
        try:
            return read(conclusion, options) == letter
        except NoAnswer:
            return None
    value = last_number(answer)
    if value is not None:
        concluded = last_number(conclusion)
        return None if concluded is None else concluded == value
    return True if squash(answer).rstrip(".") in squash(conclusion) else None


def _last_lines(text: str, count: int) -> list[str]:
    before = text.rpartition("<answer>")[0] or text.rpartition("\\boxed{")[0]
    plain = before.replace("<think>", "\n").replace("</think>", "\n")
    return [line.strip() for line in plain.splitlines() if line.strip()][-count:]
