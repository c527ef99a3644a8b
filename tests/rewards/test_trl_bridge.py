"""TRL's own GRPOTrainer trains a tiny model with a rubric of ours."""

from __future__ import annotations

import pytest

from mmrl.config.schema import RewardsConfig
from mmrl.errors import RewardError
from mmrl.reward import as_trl
from mmrl.rubric import Rubric
from mmrl.types import Row, VerifierTerm

ROWS = [
    Row(id=f"r{n}", source="s", prompt=[], answer=str(n), verifier=(VerifierTerm(name=name),))
    for n, name in enumerate(["exact", "number"])
]
CONFIG = RewardsConfig.model_validate(
    {
        "terms": {
            "accuracy": {},
            "format": {"name": "think_answer", "weight": 0.1},
            "length": {"name": "overlong", "params": {"max_length": 8, "cache_length": 4}},
            "band": {"name": "length_band", "params": {"low": 0, "high": 100}},
        }
    }
)


@pytest.fixture
def rubric():
    with Rubric(CONFIG, ROWS) as rubric:
        yield rubric


def test_the_function_gives_the_rubrics_scores_in_trls_order(rubric):
    (score,) = as_trl(rubric)
    logged = {}
    texts = ["<answer>1</answer>", "<answer>0</answer>", r"\boxed{1}", "<answer>0</answer>"]
    chat = [[{"role": "assistant", "content": text}] for text in texts]
    for completions in (texts, chat):
        scores = score(
            completions=completions,
            completion_ids=[[1] * 4, [1] * 6, [1] * 4, [1] * 9],
            id=["r1", "r0", "r1", "r0"],
            prompts=["x"] * 4,
            log_metric=logged.__setitem__,
        )
        assert scores == pytest.approx([1.2, 1 - 0.5 + 0.2, 1.2, 1 - 1 + 0.2])
    assert logged["rubric/accuracy"] == 1.0
    assert logged["rubric/unjudged_frac"] == 0.0


def test_what_could_not_be_judged_is_none_for_trl():
    row = Row(id="r", source="s", prompt=[], answer="?", verifier=(VerifierTerm(name="number"),))
    with Rubric(RewardsConfig(), [row]) as rubric:
        (score,) = as_trl(rubric)
        assert score(completions=["<answer>1</answer>"], completion_ids=[[1]], id=["r"]) == [None]


def test_a_data_set_without_the_rubrics_rows_is_told(rubric):
    (score,) = as_trl(rubric)
    with pytest.raises(RewardError, match="needs a column 'id'"):
        score(completions=["x"], completion_ids=[[1]])
    with pytest.raises(RewardError, match="names row 'zz'"):
        score(completions=["x"], completion_ids=[[1]], id=["zz"])


@pytest.mark.filterwarnings("ignore")
def test_trls_trainer_trains_with_a_rubric(rubric, tmp_path, monkeypatch):
    monkeypatch.setenv("CI", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from mmrl.compat import make_torchvision_importable

    make_torchvision_importable()
    import trl
    from datasets import Dataset
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from mmrl.tiny.tokenizer import load_tokenizer

    tokenizer = load_tokenizer()
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=as_trl(rubric, eos_token_id=tokenizer.eos_token_id),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            report_to="none",
            max_steps=2,
            logging_steps=1,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=6,
            save_strategy="no",
        ),
        train_dataset=Dataset.from_list([{"prompt": "1?", "id": row.id} for row in ROWS]),
        processing_class=tokenizer,
    )
    trainer.train()
    logged = trainer.state.log_history[0]
    assert trainer.state.global_step == 2
    assert logged["rubric/unjudged_frac"] == 0.0
    # six random tokens of at most eight, four of them free of punishment
    assert -0.5 <= logged["rewards/rubric_score/mean"] <= 0.0
    assert logged["rubric/length"] == pytest.approx(logged["rewards/rubric_score/mean"])
