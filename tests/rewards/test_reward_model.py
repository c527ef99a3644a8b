"""`reward_model` with tiny models that are built here: a classifier and a language model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mmrl.compat import make_torchvision_importable
from mmrl.errors import RewardError
from mmrl.reward import build_verifier, check_row_term, sample_of
from mmrl.types import Row, Verdict, VerifierTerm

WORDS = ["[PAD]", "[UNK]", "yes", "no", "cat", "dog", "good", "bad", "Answer", ":", "?", "which"]
PROMPT = "which {question} ? Answer : {answer} ?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    import torch

    make_torchvision_importable()
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]")
    sizes = {"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 32}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 2}
    root = tmp_path_factory.mktemp("models")
    for name, labels in (("one", 1), ("three", 3)):
        config = BertConfig(**sizes, **heads, num_labels=labels, initializer_range=1.0)
        BertForSequenceClassification(config).save_pretrained(root / name)
    config = LlamaConfig(**sizes, **heads, num_key_value_heads=2, initializer_range=1.0)
    LlamaForCausalLM(config).save_pretrained(root / "language")
    for name in ("one", "three", "language"):
        tokenizer.save_pretrained(root / name)
    return root


ROW = Row(
    id="r",
    source="s",
    prompt=[{"role": "user", "content": [{"type": "text", "text": "cat"}]}],
    answer="good dog",
    verifier=(),
)


def judge(path: Path, text: str = "<answer>bad dog</answer>", **params) -> Verdict:
    return build_verifier("reward_model", {"path": str(path)} | params)(sample_of(ROW, text))


def logits_of(path: Path, *texts: str):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    encoded = AutoTokenizer.from_pretrained(path)(*texts, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    with torch.no_grad():
        return model(**encoded).logits[0].tolist()


def test_the_only_logit_is_the_score(folder):
    (logit,) = logits_of(folder / "one", "cat", "bad dog")
    assert judge(folder / "one").score == pytest.approx(logit, abs=1e-5)
    squashed = judge(folder / "one", squash=True).score
    assert squashed == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)


def test_of_several_labels_the_probability_counts(folder):
    logits = logits_of(folder / "three", "cat", "bad dog")
    shares = [math.exp(logit) / sum(map(math.exp, logits)) for logit in logits]
    assert judge(folder / "three").score == pytest.approx(shares[2], abs=1e-5)
    assert judge(folder / "three", label=0).score == pytest.approx(shares[0], abs=1e-5)


def test_a_language_model_is_asked_for_yes_or_no(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = folder / "language"
    asked = AutoTokenizer.from_pretrained(path)(
        "which cat ? Answer : bad dog ?", return_tensors="pt"
    )
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(path)(**asked).logits[0, -1]
    yes, no = math.exp(logits[2]), math.exp(logits[3])
    verdict = judge(path, kind="generative", prompt=PROMPT)
    assert verdict.score == pytest.approx(yes / (yes + no), abs=1e-5)


def test_the_reward_rises_with_the_lead_over_the_reference(folder):
    (ours,) = logits_of(folder / "one", "cat", "bad dog")
    (reference,) = logits_of(folder / "one", "cat", "good dog")
    expected = max(0.0, 1 - math.exp(-2 * (ours - reference)))
    verdict = judge(folder / "one", beta=2)
    assert verdict.score == pytest.approx(expected, abs=1e-5)
    assert verdict.parts == pytest.approx({"answer": ours, "reference": reference}, abs=1e-5)
    assert judge(folder / "one", "<answer>good dog</answer>", beta=2).score == 0
    swapped = sample_of(ROW, "<answer>dog</answer>"), sample_of(ROW, "<answer>cat cat</answer>")
    score = build_verifier("reward_model", {"path": str(folder / "one"), "beta": 2})
    assert all(0 <= score(one).score < 1 for one in swapped)


def test_nothing_is_cut(folder):
    verdict = judge(folder / "one", "<answer>dog dog dog</answer>", max_tokens=3)
    assert (verdict.score, verdict.status) == (None, "error")
    assert "max_tokens" in verdict.detail


def test_what_cannot_be_loaded_is_an_error_for_each_sample(tmp_path):
    assert judge(tmp_path / "nothing").status == "error"


def test_a_checkpoint_that_is_pickled_is_not_loaded(folder, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder / "one")
    model.config.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder / "one").save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert judge(tmp_path).status == "error"


@pytest.mark.parametrize("params", [{"beta": 0}, {"prompt": "?"}, {"kind": "x"}])
def test_parameters_that_cannot_work_are_refused(params):
    with pytest.raises(RewardError, match="reward_model"):
        build_verifier("reward_model", {"path": "x"} | params)


def test_a_data_row_cannot_name_a_model_to_load():
    with pytest.raises(RewardError, match="data row"):
        check_row_term(VerifierTerm(name="reward_model", params={"path": "x"}))
