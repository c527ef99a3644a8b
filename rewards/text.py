"""Free text against one or several references: ROUGE, ANLS or word error rate, through the kept
libraries.

Video-R1 (arXiv 2503.21776) rewards free-form answers with the mean of ROUGE-1, -2 and -L (`rouge`)
and OCR with 1 - WER; EchoInk-R1 (arXiv 2505.04623) rewards free-form answers with ROUGE-L.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from mmrl.answer import BadGold, answered, as_text, squash, tagged
from mmrl.reward import Judge, verifier
from mmrl.types import Row, Sample

Metric = Literal["rouge1", "rouge2", "rougeL", "rouge", "anls", "wer"]
ROUGE = ("rouge1", "rouge2", "rougeL")


def _gold(row: Row) -> str:
    return tagged(_references(row)[0])


def _warm() -> None:
    import jiwer
    import rapidfuzz.distance
    import rouge_score.rouge_scorer  # noqa: F401

    jiwer.wer("a", "a")
    rapidfuzz.distance.Levenshtein.distance("a", "a")


@verifier(isolated=True, gold=_gold, warm=_warm, paper="Video-R1, arXiv 2503.21776")
def text(
    *,
    metric: Metric = "rougeL",
    stem: bool = True,
    ignore_case: bool = False,
    anls_threshold: float = 0.5,
    whole_text: bool = False,
) -> Judge:
    """The best score over the row's references, 0 to 1.

    `rouge1`, `rouge2`, `rougeL` are F-measures and `rouge` is their mean; `anls` is 1 - normalised
    edit distance, or 0 where that distance reaches the threshold; `wer` is 1 - word error rate,
    not below 0.

    Args:
        metric: What is measured.
        stem: ROUGE compares word stems.
        ignore_case: WER ignores case; ROUGE and ANLS always do.
        anls_threshold: Normalised edit distance from which ANLS gives nothing.
        whole_text: Judge what follows the thinking where there is neither a tag nor a box.
    """
    measures: dict[str, Callable[[str, str], float]] = {
        "anls": lambda gold, answer: _anls(gold, answer, anls_threshold),
        "wer": lambda gold, answer: _one_minus_wer(gold, answer, ignore_case),
    }
    measure = measures.get(metric, lambda gold, answer: _rouge(gold, answer, metric, stem))

    def judge(sample: Sample) -> float:
        references = _references(sample.row)
        answer = answered(sample, whole_text=whole_text)
        return max(_scores(references, answer, measure))

    return judge


def _scores(
    references: list[str], answer: str, measure: Callable[[str, str], float]
) -> list[float]:
    """Return the score by every reference that can be used; that none can is the row's fault."""
    scores, faults = [], []
    for reference in references:
        try:
            scores.append(measure(reference, answer))
        except BadGold as fault:
            faults.append(fault)
    if not scores:
        raise faults[0]
    return scores


def _references(row: Row) -> list[str]:
    given = row.answer if isinstance(row.answer, list | tuple) else [row.answer]
    references = [as_text(reference) for reference in given]
    if not references or not all(reference.split() for reference in references):
        raise BadGold("a reference is empty")
    return references


def _rouge(gold: str, answer: str, metric: str, stem: bool) -> float:
    """Return the F-measure; the mean leaves ROUGE-2 out where the reference is a single word."""
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenize import tokenize

    words = len(tokenize(gold, None))
    if words < (2 if metric == "rouge2" else 1):
        raise BadGold(f"{gold[:40]!r} is too short for {metric}")
    names = [n for n in ROUGE if metric in (n, "rouge") and (n != "rouge2" or words > 1)]
    scores = RougeScorer(names, use_stemmer=stem).score(gold, answer)
    return sum(scores[name].fmeasure for name in names) / len(names)


def _anls(gold: str, answer: str, threshold: float) -> float:
    from rapidfuzz.distance import Levenshtein

    distance = Levenshtein.normalized_distance(squash(gold), squash(answer))
    return 1.0 - distance if distance < threshold else 0.0


def _one_minus_wer(gold: str, answer: str, ignore_case: bool) -> float:
    import jiwer

    if ignore_case:
        gold, answer = gold.casefold(), answer.casefold()
    return max(0.0, 1.0 - float(jiwer.wer(" ".join(gold.split()), " ".join(answer.split()))))
