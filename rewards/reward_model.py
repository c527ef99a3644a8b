"""A reward model of one's own: a sequence classifier, or a language model asked yes or no.

A classifier's score is its only logit, or the probability of the label that stands for good; a
generative one's is the probability of `yes` against `no` as the next word. With `beta` the score is
1 - exp(-beta * (score - score of the reference)) where the answer is better than the reference and
0 elsewhere (VLAA-Thinking, arXiv 2504.11468).

Only safetensors are loaded, and no code that comes with a checkpoint is run.

    beta 1: the answer scores 1.2, the reference 0.2 -> 0.632;  both 0.2 -> 0
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from mmrl.answer import answered, as_text, question_text
from mmrl.compat import make_torchvision_importable
from mmrl.reward import Judge, verifier
from mmrl.types import Sample, Verdict

if TYPE_CHECKING:
    from torch import Tensor

Score = Callable[[str, str], float]
"""Question and answer in, score out."""
PROMPT = "Question: {question}\nAnswer: {answer}\nIs the answer right? Reply yes or no.\n"

_LOADING = threading.Lock()


@verifier(
    term=True, trusted=("path", "revision", "device"), paper="VLAA-Thinking, arXiv 2504.11468"
)
def reward_model(
    *,
    path: str,
    kind: Literal["classifier", "generative"] = "classifier",
    revision: str | None = None,
    device: str = "cpu",
    label: int | None = None,
    yes: str = "yes",
    no: str = "no",
    prompt: str = PROMPT,
    beta: float | None = None,
    squash: bool = False,
    max_tokens: int = 4096,
    whole_text: bool = True,
) -> Judge:
    """The score that a reward model gives to the answer.

    Args:
        path: A checkpoint folder, or a name on the model hub.
        kind: `classifier` reads question and answer as two texts; `generative` is asked for yes or
            no.
        revision: Commit, branch or tag on the hub.
        device: Where the model runs: `cpu`, `cuda`, `cuda:1`.
        label: The label whose probability is the score, where a classifier has several; the last if
            not given.
        yes: The word for good, of which a generative model's first token counts.
        no: The word for bad.
        prompt: What a generative model is asked, with {question} and {answer} to be filled in.
        beta: Compare with the score of the row's answer, and how fast the reward rises above it.
        squash: Pass a single logit through the logistic function, to 0..1.
        max_tokens: A longer text is an error; nothing is cut.
        whole_text: Judge what follows the thinking where there is neither a tag nor a box.
    """
    if "{answer}" not in prompt:
        raise ValueError("prompt needs a place for the {answer}")
    if beta is not None and beta <= 0:
        raise ValueError(f"beta is positive, got {beta}")

    @functools.cache
    def load() -> Score:
        if kind == "generative":
            return _generative(path, revision, device, prompt, (yes, no), max_tokens)
        return _classifier(path, revision, device, label, squash, max_tokens)

    def judge(sample: Sample) -> Verdict:
        answer = answered(sample, whole_text=whole_text)
        question = question_text(sample.row)
        with _LOADING:
            score = load()
        found = score(question, answer)
        if beta is None:
            return Verdict(score=found)
        reference = score(question, as_text(sample.row.answer))
        parts = {"answer": found, "reference": reference}
        return Verdict(score=better_than(found, reference, beta), parts=parts)

    return judge


def better_than(score: float, reference: float, beta: float) -> float:
    """Return 1 - exp(-beta * lead) where the score leads, else 0.

    >>> round(better_than(1.2, 0.2, 1.0), 6), better_than(0.2, 0.2, 1.0)
    (0.632121, 0.0)
    """
    return 1.0 - math.exp(-beta * (score - reference)) if score > reference else 0.0


def _classifier(
    path: str, revision: str | None, device: str, label: int | None, squash: bool, max_tokens: int
) -> Score:
    make_torchvision_importable()
    from transformers import AutoModelForSequenceClassification

    tokenizer, model = _loaded(AutoModelForSequenceClassification, path, revision, device)

    def score(question: str, answer: str) -> float:
        encoded = tokenizer(question, answer, return_tensors="pt")
        logits = _logits(model, encoded, device, max_tokens)[0]
        if logits.numel() == 1:
            return float(logits.sigmoid() if squash else logits)
        return float(logits.softmax(-1)[-1 if label is None else label])

    return score


def _generative(
    path: str,
    revision: str | None,
    device: str,
    prompt: str,
    words: tuple[str, str],
    max_tokens: int,
) -> Score:
    make_torchvision_importable()
    from transformers import AutoModelForCausalLM

    tokenizer, model = _loaded(AutoModelForCausalLM, path, revision, device)
    first = [_first_token(tokenizer, word) for word in words]
    if first[0] == first[1]:
        raise ValueError(f"the tokenizer begins {words[0]!r} and {words[1]!r} with the same token")

    def score(question: str, answer: str) -> float:
        before, _, after = prompt.partition("{answer}")
        text = (
            before.replace("{question}", question) + answer + after.replace("{question}", question)
        )
        logits = _logits(model, tokenizer(text, return_tensors="pt"), device, max_tokens)[0, -1]
        return float(logits[first].softmax(-1)[0])

    return score


def _loaded(kind: Any, path: str, revision: str | None, device: str) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
    model = kind.from_pretrained(path, revision=revision, use_safetensors=True)
    return tokenizer, model.to(device).eval().requires_grad_(False)


def _logits(model: Any, encoded: Any, device: str, max_tokens: int) -> Tensor:
    import torch

    count = encoded["input_ids"].shape[1]
    if count > max_tokens:
        raise ValueError(f"{count} tokens are more than max_tokens, {max_tokens}")
    with torch.inference_mode():
        return model(**encoded.to(device)).logits.float()


def _first_token(tokenizer: Any, word: str) -> int:
    ids: Sequence[int] = tokenizer.encode(word, add_special_tokens=False)
    if not ids:
        raise ValueError(f"the tokenizer has no token for {word!r}")
    return ids[0]
