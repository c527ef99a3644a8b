"""Models whose completions cannot stand behind a shared prompt: what is sampled is scored, too."""

from __future__ import annotations

import pytest
import torch

from mmrl.config.schema import MediaConfig, RolloutConfig
from mmrl.engines.hf import sample
from mmrl.prompt import Prompts

SAMPLING = RolloutConfig(max_new_tokens=6)
QUESTIONS = {
    "text": ("how many?",),
    "image": ("image:a.png", "what colour is it?"),
    "two_images": ("image:a.png", "and", "image:b.png", "which?"),
}


@pytest.fixture(params=["bidirectional_policy", "recurrent_policy"])
def policy(request):
    return request.getfixturevalue(request.param)


def _prompts(policy, ask):
    prompts = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    return [prompts(ask(*parts, row_id=row_id)) for row_id, parts in QUESTIONS.items()]


def _logits(policy, prompt, ids) -> torch.Tensor:
    positions = torch.arange(len(ids)) + prompt.positions_RT.max() + 1
    positions_RT = torch.cat(
        [prompt.positions_RT, positions.expand(len(prompt.positions_RT), -1)], dim=1
    )
    with torch.no_grad():
        return policy.model(
            input_ids=torch.tensor([[*prompt.ids, *ids]]),
            position_ids=positions_RT[:, None] if len(positions_RT) > 1 else positions_RT,
            use_cache=False,
            **prompt.media,
        ).logits[0]


def test_sampled_tokens_have_the_logprobs_of_one_plain_forward(policy, ask):
    prompts_P = _prompts(policy, ask)
    completions_PG = sample(policy, prompts_P, SAMPLING, group_size=2, seed=1)
    for prompt, completions_G in zip(prompts_P, completions_PG, strict=True):
        for completion in completions_G:
            logits_TV = _logits(policy, prompt, completion.ids)[len(prompt.ids) - 1 : -1]
            logits_TV[:, list(policy.banned_ids)] = float("-inf")
            chosen = logits_TV.log_softmax(-1).gather(-1, torch.tensor(completion.ids)[:, None])
            assert completion.logprobs == pytest.approx(chosen[:, 0].tolist(), abs=1e-4)


def test_a_picture_sees_itself_from_both_ends(bidirectional_policy, ask):
    """With a second picture behind it, what stands before a picture's end does not change; with the
    same picture seen only backwards, it does."""
    policy = bidirectional_policy
    prompt = _prompts(policy, ask)[1]
    both = _logits(policy, prompt, (30,))
    hooks, policy.model._forward_pre_hooks = policy.model._forward_pre_hooks, {}
    try:
        backwards = _logits(policy, prompt, (30,))
    finally:
        policy.model._forward_pre_hooks = hooks
    assert (both - backwards).abs().max() > 1e-3


def test_a_state_is_carried_over_tokens_that_no_mask_shows(recurrent_policy, ask):
    """A token between prompt and completion changes the completion even when attention skips it."""
    policy = recurrent_policy
    kinds = policy.model.config.text_config.layer_types
    assert kinds.count("linear_attention") == 3
    text = _prompts(policy, ask)[0]
    ids = torch.tensor([[*text.ids, 40, 30]])
    width = ids.shape[1]
    causal = torch.full((width, width), float("-inf")).triu(1)
    causal[-1, -2] = float("-inf")
    positions = torch.tensor([*range(width - 1), width - 2]).expand(3, 1, -1)
    with torch.no_grad():
        hidden = policy.model.model.language_model(
            input_ids=ids,
            attention_mask=causal[None, None],
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state[0, -1]
        without = policy.model.model.language_model(
            input_ids=torch.cat([ids[:, :-2], ids[:, -1:]], dim=1), use_cache=False
        ).last_hidden_state[0, -1]
    assert (hidden - without).abs().max() > 1e-3
