"""TRL's GRPOTrainer and ours, given the same rollouts, find the same loss and the same gradient.

TRL builds its own prompts, positions, masks, advantages and log-probs here; only the completions
and their scores are ours. Rollouts are used for two epochs of two optimizer steps, so that all
steps but the first are off-policy.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from mmrl.batch import collate
from mmrl.compat import make_torchvision_importable
from mmrl.config.schema import AlgoConfig, MediaConfig, ModelConfig
from mmrl.model import Policy, load_policy, save_policy
from mmrl.policy import completion_logprobs
from mmrl.prompt import Prompts
from mmrl.rollout import fill_advantages
from mmrl.rubric import combine
from mmrl.sharing.attention import use_packed_attention
from mmrl.types import Completion, Prompt, Rollout, Verdict
from mmrl.update import Scoring, backward, mean_metrics, minibatches

TEXTS = ("How many?", "What colour is the left shape?", "Find x.", "Which of the two is first?")
SCORES_PG = [
    [1.0, 0.0, 0.0, 0.5],
    [0.2, 0.4, 0.9, 1.0],
    [1.0, 1.0, 1.0, 1.0],
    [0.0, None, 1.0, 0.0],
]
LENGTHS_PG = [[5, 2, 8, 8], [1, 8, 3, 4], [2, 6, 6, 7], [8, 3, 4, 5]]
G, MAX_LENGTH, MINIBATCHES, EPOCHS = 4, 8, 2, 2
SCALING = {"grpo": "group", "dr_grpo": "none", "lite_ppo": "batch", "batch": "group"}
SMOOTH = ("sapo", "vespo")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder from which both sides load the same weights and processor."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_policy(_build(None), folder)
    return folder


@pytest.fixture(scope="module")
def prompts_P(ask, checkpoint):
    prompts = Prompts(policy=_build(checkpoint), media=MediaConfig(image_max_pixels=448 * 448))
    return [
        prompts(ask(f"image:{'ab'[place % 2]}.png", text, row_id=f"r{place}"))
        for place, text in enumerate(TEXTS)
    ]


@pytest.fixture(scope="module")
def trl():
    """TRL, imported without telemetry and without a hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CI", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        make_torchvision_importable()
        import trl

        yield trl


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("algo", "temperature"),
    [
        ({"loss": "grpo"}, 1.0),
        ({"loss": "grpo", "clip_low": 0.1, "clip_high": 0.5, "mask_truncated": True}, 0.7),
        ({"loss": "dr_grpo", "advantage": "dr_grpo"}, 1.0),
        ({"loss": "dapo"}, 1.0),
        ({"loss": "dapo", "advantage": "lite_ppo", "mask_truncated": True}, 1.0),
        ({"loss": "dapo", "kl_weight": 0.5}, 0.7),
        ({"loss": "bnpo", "kl_weight": 0.5, "kl_correction": True}, 1.0),
        ({"loss": "bnpo", "mask_truncated": True}, 1.0),
        ({"loss": "cispo", "clip_high": 0.3}, 1.0),
        ({"loss": "gspo", "clip_low": 0.02, "clip_high": 0.04}, 1.0),
        ({"loss": "gspo", "clip_low": 0.02, "clip_high": 0.04, "kl_weight": 0.5}, 1.0),
        ({"loss": "gspo", "clip_low": 0.02, "kl_weight": 0.5, "kl_correction": True}, 1.0),
        ({"loss": "sapo", "sapo_temperatures": (0.9, 1.7), "kl_weight": 0.5}, 1.0),
        ({"loss": "luspo", "clip_low": 0.02, "clip_high": 0.04}, 0.7),
        ({"loss": "vespo"}, 1.0),
        ({"loss": "gmpo", "clip_low": 0.05, "clip_high": 0.05, "kl_weight": 0.5}, 1.0),
        ({"loss": "dapo", "ratio_cap": 1.3}, 1.0),
        ({"loss": "grpo", "entropy_weight": 0.3}, 0.7),
        ({"loss": "dapo", "high_entropy_share": 0.4, "entropy_weight": 0.3}, 1.0),
        ({"loss": "gmpo", "clip_low": 0.05, "clip_high": 0.05, "high_entropy_share": 0.6}, 1.0),
        ({"loss": "dapo", "advantage": "batch"}, 1.0),
        ({"loss": "dapo", "importance": {"level": "token", "mode": "truncate", "cap": 1.2}}, 1.0),
        ({"loss": "grpo", "importance": {"level": "token", "mode": "mask", "cap": 1.2}}, 0.7),
        (
            {"loss": "dapo", "importance": {"level": "sequence", "mode": "truncate", "cap": 1.5}},
            1.0,
        ),
        (
            {
                "loss": "bnpo",
                "importance": {"level": "sequence", "mode": "mask", "cap": 1.5},
                "mask_truncated": True,
            },
            1.0,
        ),
        (
            {
                "loss": "gspo",
                "clip_low": 0.02,
                "clip_high": 0.04,
                "importance": {"level": "token", "mode": "truncate", "cap": 1.2},
            },
            1.0,
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_trl_finds_the_same_loss_and_gradient(
    trl, ask, checkpoint, prompts_P, algo, temperature, tmp_path
):
    algo = AlgoConfig(epochs=EPOCHS, minibatches=MINIBATCHES, **algo)
    rollouts_PG = _rollouts(prompts_P)
    if algo.importance is not None:
        rollouts_PG = _sampled_elsewhere(_build(checkpoint), rollouts_PG, temperature)
    ours = _ours(checkpoint, rollouts_PG, algo, temperature)
    theirs = _theirs(trl, checkpoint, rollouts_PG, algo, temperature, tmp_path)
    assert ours.prompt_ids == theirs.prompt_ids
    assert ours.advantages == pytest.approx(theirs.advantages, rel=1e-5, abs=1e-7)
    assert ours.metrics["policy/loss"] == pytest.approx(theirs.loss, rel=1e-5, abs=1e-7)
    assert (0 < ours.metrics["policy/clip_frac"] < 1) == (algo.loss not in SMOOTH)
    if algo.importance is not None:
        assert 0 < ours.metrics["policy/importance_capped_frac"] < 1
    assert len(ours.gradients) == len(theirs.gradients) == EPOCHS * MINIBATCHES
    for mine, other in zip(ours.gradients, theirs.gradients, strict=True):
        assert mine.keys() == other.keys()
        for name in mine:
            scale = max(float(other[name].abs().max()), 1e-6)
            assert float((mine[name] - other[name]).abs().max()) < 1e-5 * scale + 1e-8, name


def _build(folder) -> Policy:
    config = ModelConfig(family="qwen2_5_vl", tiny="qwen2_5_vl", device="cpu")
    policy = load_policy(config, seed=3, weights=folder)
    # TRL keeps media tokens in the softmax
    return dataclasses.replace(policy, banned_ids=())


def _rollouts(prompts_P: list[Prompt]) -> list[list[Rollout]]:
    """Completions of random tokens; the ones that are MAX_LENGTH long were cut."""
    generator = torch.Generator().manual_seed(0)
    rollouts_PG = []
    for prompt, scores_G, lengths_G in zip(prompts_P, SCORES_PG, LENGTHS_PG, strict=True):
        rollouts_G = []
        for score, length in zip(scores_G, lengths_G, strict=True):
            ids = torch.randint(20, 300, (length,), generator=generator).tolist()
            if length < MAX_LENGTH:
                ids[-1] = 2
            stop = "eos" if length < MAX_LENGTH else "length"
            completion = Completion(ids=tuple(ids), logprobs=(0.0,) * length, text="", stop=stop)
            status = "ok" if score is not None else "error"
            verdict = Verdict(score=score, status=status)
            rollouts_G.append(Rollout(prompt=prompt, completion=completion, verdict=verdict))
        rollouts_PG.append(rollouts_G)
    return rollouts_PG


def _sampled_elsewhere(policy: Policy, rollouts_PG, temperature: float) -> list[list[Rollout]]:
    """With log-probs of a sampler that is a little off, on some completions further than on
    others."""
    generator = torch.Generator().manual_seed(2)
    found_PG = []
    for place, rollouts_G in enumerate(rollouts_PG):
        ids = [rollout.completion.ids for rollout in rollouts_G]
        batch = collate(
            [rollout.prompt for rollout in rollouts_G], ids, sharing="none", pad_id=policy.pad_id
        )
        with torch.no_grad():
            scored_BC, _ = completion_logprobs(policy, batch, temperature=temperature)
        found_PG.append([])
        for row_C, rollout in zip(scored_BC, rollouts_G, strict=True):
            length = len(rollout.completion.ids)
            off_C = 0.2 * (1 + place) * torch.randn(length, generator=generator)
            logprobs = tuple((row_C[:length] + off_C).tolist())
            completion = dataclasses.replace(rollout.completion, logprobs=logprobs)
            found_PG[-1].append(dataclasses.replace(rollout, completion=completion))
    return found_PG


class _Recorder:
    """Keeps each gradient and moves the weights by seeded noise instead, the same on both sides."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.gradients: list[dict[str, torch.Tensor]] = []
        self._model = model
        self._generator = torch.Generator().manual_seed(1)

    @torch.no_grad()
    def step(self, step: int) -> dict[str, float]:
        found = {}
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None:
                found[name] = parameter.grad.clone()
                parameter.grad = None
            noise = torch.randn(parameter.shape, generator=self._generator)
            parameter += 0.008 * noise
        self.gradients.append(found)
        return {}


def update_from_rollouts(policy, reference, optimizer, rollouts_PG, algo, scoring):
    """The optimizer steps of a training step, as the trainer makes them."""
    steps = minibatches(policy, reference, rollouts_PG, algo, scoring)
    return mean_metrics(
        [backward(policy, minibatch, algo, scoring) | optimizer.step(0) for minibatch in steps]
    )


def _ours(checkpoint, rollouts_PG, algo: AlgoConfig, temperature: float) -> SimpleNamespace:
    policy = _build(checkpoint)
    reference = _build(checkpoint) if algo.kl_weight else None
    for scored in [policy, *([reference] if reference else [])]:
        use_packed_attention(scored.model)
    recorder = _Recorder(policy.model)
    if algo.advantage == "batch":
        rollouts_PG = [_normalised(rollouts_G) for rollouts_G in rollouts_PG]
    fill_advantages(rollouts_PG, algo)
    metrics = update_from_rollouts(
        policy,
        reference,
        recorder,
        rollouts_PG,
        algo,
        Scoring(temperature=temperature, max_length=MAX_LENGTH, micro_tokens=200, sharing="packed"),
    )
    rollouts = [rollout for rollouts_G in rollouts_PG for rollout in rollouts_G]
    return SimpleNamespace(
        prompt_ids=[list(rollout.prompt.ids) for rollout in rollouts],
        advantages=[rollout.advantage for rollout in rollouts],
        metrics=metrics,
        gradients=recorder.gradients,
    )


def _normalised(rollouts_G: list[Rollout]) -> list[Rollout]:
    """With the scores of `rewards.combine: normalise`, the first half of GDPO."""
    scores = [rollout.verdict.score for rollout in rollouts_G]
    found = combine(
        "normalise",
        [None if score is None else {"accuracy": score} for score in scores],
        [{"accuracy": 1.0}] * len(scores),
    )
    return [
        dataclasses.replace(rollout, verdict=dataclasses.replace(rollout.verdict, score=score))
        for rollout, score in zip(rollouts_G, found, strict=True)
    ]


def _theirs(
    trl, checkpoint, rollouts_PG, algo: AlgoConfig, temperature: float, folder
) -> SimpleNamespace:
    from trl.trainer.utils import (
        split_pixel_values_by_grid,
        split_tensor_dict,
        unsplit_pixel_values_by_grid,
    )

    rollouts = [rollout for rollouts_G in rollouts_PG for rollout in rollouts_G]
    trainer = _trainer(trl, checkpoint, rollouts, algo, temperature, folder)
    model = trainer.model.train()
    recorder = _Recorder(model)
    batch = trainer._generate_and_score_completions([_example(rollout) for rollout in rollouts])
    prompt_ids = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True)
    ]
    advantages = batch["advantages"].tolist()
    pieces = split_tensor_dict(split_pixel_values_by_grid(batch), MINIBATCHES)
    losses = []
    for _ in range(EPOCHS):
        for piece in pieces:
            loss = trainer._compute_loss(model, unsplit_pixel_values_by_grid(dict(piece)))
            loss.backward()
            losses.append(loss.item())
            recorder.step(0)
    return SimpleNamespace(
        prompt_ids=prompt_ids,
        advantages=advantages,
        loss=sum(losses) / len(losses),
        gradients=recorder.gradients,
    )


def _trainer(trl, checkpoint, rollouts, algo: AlgoConfig, temperature: float, folder):
    from datasets import Dataset
    from transformers import AutoProcessor
    from trl.experimental.gmpo import GMPOConfig, GMPOTrainer

    geometric = algo.loss == "gmpo"

    class Replay(GMPOTrainer if geometric else trl.GRPOTrainer):
        """Takes our completions instead of sampling."""

        def _generate_single_turn(self, prompt_ids, *rest):
            assert len(prompt_ids) == len(rollouts)
            logprobs = [list(rollout.completion.logprobs) for rollout in rollouts]
            ids = [list(rollout.completion.ids) for rollout in rollouts]
            return ids, logprobs if algo.importance else None

    correction = {}
    if algo.importance is not None:
        correction = {
            "vllm_importance_sampling_mode": f"{algo.importance.level}_{algo.importance.mode}",
            "vllm_importance_sampling_clip_max": algo.importance.cap,
        }
    positive, other = algo.sapo_temperatures or (1.0, 1.05)
    settings = (GMPOConfig if geometric else trl.GRPOConfig)(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=False,
        model_init_kwargs={"dtype": "float32"},
        per_device_train_batch_size=len(rollouts) // MINIBATCHES,
        gradient_accumulation_steps=1,
        steps_per_generation=MINIBATCHES,
        num_iterations=EPOCHS,
        num_generations=G,
        max_completion_length=MAX_LENGTH,
        temperature=temperature,
        loss_type="grpo" if algo.loss in ("gspo", "gmpo") else algo.loss,
        importance_sampling_level="sequence" if algo.loss in ("gspo", "luspo") else "token",
        scale_rewards=SCALING[algo.advantage],
        multi_objective_aggregation="normalize_then_sum"
        if algo.advantage == "batch"
        else "sum_then_normalize",
        delta=algo.ratio_cap,
        sapo_temperature_pos=positive,
        sapo_temperature_neg=other,
        entropy_coef=algo.entropy_weight,
        top_entropy_quantile=algo.high_entropy_share,
        epsilon=algo.clip_low,
        epsilon_high=algo.clip_high + (1 if algo.loss == "cispo" else 0),
        beta=algo.kl_weight,
        use_bias_correction_kl=algo.kl_correction,
        mask_truncated_completions=algo.mask_truncated,
        **correction,
    )
    trainer = Replay(
        model=str(checkpoint),
        reward_funcs=lambda completions, score, **_: score,
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "x"}]}]),
        processing_class=AutoProcessor.from_pretrained(checkpoint),
    )
    trainer.current_gradient_accumulation_steps = 1
    # said afterwards, so that no vLLM is started
    trainer.use_vllm = algo.importance is not None
    return trainer


def _example(rollout: Rollout) -> dict[str, object]:
    from PIL import Image

    medium, text = (part[part["type"]] for part in rollout.prompt.row.prompt[0]["content"])
    return {
        "prompt": [{"role": "user", "content": text}],
        "image": Image.open(medium.source).convert("RGB"),
        "score": rollout.verdict.score,
    }
