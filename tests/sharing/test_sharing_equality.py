"""Sharing changes no number: log-probs and every gradient are those of the plain path."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmrl.batch import collate
from mmrl.config.schema import MediaConfig, ModelConfig
from mmrl.families import FAMILIES
from mmrl.model import Policy, load_policy
from mmrl.policy import completion_logprobs
from mmrl.prompt import Prompts
from mmrl.sharing.attention import use_packed_attention

QUESTIONS = {
    "text": ("how many?",),
    "image": ("image:a.png", "what colour is it?"),
    "two_images": ("image:a.png", "and", "image:b.png", "which?"),
    "video": ("video:a.mp4", "what moves in the clip?"),
    "audio": ("audio:a.wav", "high?"),
    "two_audios": ("audio:a.wav", "then", "audio:b.wav", "which is higher?"),
    "mixed": ("image:a.png", "video:b.mp4", "audio:b.wav", "all?"),
}
LENGTHS = {
    "right- and left-over lengths": [(7, 2, 5)],
    "an empty completion": [(3, 0, 4)],
    "only an empty completion beside a group": [(0,), (2, 3)],
    "one token": [(1, 6)],
    "a group of one": [(5,)],
    "two groups of different size": [(4, 2), (3, 6, 1, 2)],
}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request, ask) -> SimpleNamespace:
    config = ModelConfig.model_validate(
        {"family": request.param, "tiny": request.param, "device": "cpu"}
    )
    policy = load_policy(config, seed=0)
    use_packed_attention(policy.model)
    prompts = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    rows = [ask(*parts, row_id=row_id) for row_id, parts in QUESTIONS.items()]
    kept = [row for row in rows if {medium.kind for medium in row.media} <= policy.family.media]
    return SimpleNamespace(policy=policy, prompts={row.id: prompts(row) for row in kept})


def _completions(policy: Policy, lengths: list[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(len(lengths))
    allowed = [i for i in range(policy.vocabulary) if i not in policy.banned_ids]
    return [
        [allowed[i] for i in torch.randint(len(allowed), (n,), generator=generator).tolist()]
        for n in lengths
    ]


def _run(policy: Policy, prompts_B, completions, sharing: str):
    """Log-probs, and the gradient of every parameter for weights that differ per token."""
    batch = collate(prompts_B, completions, sharing=sharing, pad_id=policy.pad_id)
    policy.model.zero_grad()
    logprobs_BC, entropy_BC = completion_logprobs(policy, batch, temperature=0.7)
    weights_BC = torch.linspace(-1, 2, logprobs_BC.numel()).view(logprobs_BC.shape)
    (logprobs_BC * weights_BC).sum().backward()
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in policy.model.named_parameters()
    }
    return logprobs_BC.detach(), entropy_BC.detach(), gradients


def _check_equal(policy: Policy, prompts_B, completions, sharing: str) -> None:
    expected = _run(policy, prompts_B, completions, "none")
    found = _run(policy, prompts_B, completions, sharing)
    assert expected[0].abs().max() > 1
    for ours, plain in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)
    largest = max(gradient.norm() for gradient in expected[2].values())
    for name, plain in expected[2].items():
        gap = (found[2][name] - plain).norm()
        # what is nearly zero against all others is measured against them
        assert gap <= 1e-4 * max(plain.norm(), 1e-3 * largest), name


@pytest.mark.parametrize("sharing", ["packed", "encoder"])
def test_every_mix_of_media_is_as_if_each_completion_stood_alone(family, sharing):
    prompts_B = [prompt for prompt in family.prompts.values() for _ in range(3)]
    completions = _completions(family.policy, [4, 1, 6] * len(family.prompts))
    _check_equal(family.policy, prompts_B, completions, sharing)


@pytest.mark.parametrize("sharing", ["packed", "encoder"])
@pytest.mark.parametrize("case", LENGTHS)
def test_groups_of_any_lengths_are_as_if_each_completion_stood_alone(family, case, sharing):
    kinds = list(family.prompts.values())[-2:]
    prompts_B = [p for p, lengths in zip(kinds, LENGTHS[case], strict=False) for _ in lengths]
    lengths = [length for group in LENGTHS[case] for length in group]
    _check_equal(family.policy, prompts_B, _completions(family.policy, lengths), sharing)
