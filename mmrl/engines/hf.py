"""Samples with the training model itself: every prompt is run once, its key-value cache is shared
out to the G completions, and
they are decoded together until all have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmrl.batch import PromptBatch, collate_prompts, micro_batches
from mmrl.config.schema import RolloutConfig
from mmrl.model import Policy
from mmrl.policy import allowed_logprobs, head_sees
from mmrl.seeds import derive
from mmrl.sharing.features import features_given
from mmrl.types import Completion, Prompt


@dataclass(frozen=True, slots=True)
class HfEngine:
    """The training model as an engine: its weights are those of training anyway."""

    policy: Policy
    elsewhere: bool = field(default=False, init=False)

    def sample(
        self,
        prompts_P: Sequence[Prompt],
        config: RolloutConfig,
        *,
        group_size: int,
        seed: int,
        places: Sequence[int] | None = None,
        greedy: bool = False,
    ) -> list[list[Completion]]:
        """Completions [P][G]; see `sample`."""
        return sample(
            self.policy,
            prompts_P,
            config,
            group_size=group_size,
            seed=seed,
            places=places,
            greedy=greedy,
        )

    def sync(self) -> None:
        """Nothing has to be taken over."""

    def __enter__(self) -> HfEngine:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing has to be closed."""


def read_completion(policy: Policy, ids: Sequence[int], logprobs: Sequence[float]) -> Completion:
    """The completion that the first token that ends one closes; without such a token it was cut."""
    end = next((place for place, token in enumerate(ids) if token in policy.end_ids), None)
    length = len(ids) if end is None else end + 1
    said = list(ids[: length if end is None else end])
    return Completion(
        ids=tuple(ids[:length]),
        logprobs=tuple(logprobs[:length]),
        text=policy.processor.tokenizer.decode(said, skip_special_tokens=False),
        stop="length" if end is None else "eos",
    )


@torch.no_grad()
def sample(
    policy: Policy,
    prompts_P: Sequence[Prompt],
    config: RolloutConfig,
    *,
    group_size: int,
    seed: int,
    places: Sequence[int] | None = None,
    greedy: bool = False,
) -> list[list[Completion]]:
    """Completions [P][G]. The same weights, prompt, seed and place among all prompts give the same
    tokens, whatever is decoded beside them; the places are 0, 1, ... unless given.

    `logprobs` are those of the whole allowed distribution at the sampling temperature, before top-p
    and top-k, as training scores them.
    """
    was_training = policy.model.training
    policy.model.eval()
    places = range(len(prompts_P)) if places is None else places
    most = max(1, config.max_batch // group_size)
    completions_PG: list[list[Completion]] = []
    for chunk in micro_batches(len(prompts_P), most):
        prompts = [prompts_P[index] for index in chunk]
        luck_BC = None
        if not greedy:
            luck_BC = torch.cat(
                [_luck(derive(seed, places[index]), group_size, config) for index in chunk]
            ).to(policy.device)
        completions_B = _sample(policy, prompts, config, group_size, luck_BC)
        completions_PG += [
            completions_B[start : start + group_size]
            for start in range(0, len(completions_B), group_size)
        ]
    policy.model.train(was_training)
    return completions_PG


def _sample(
    policy: Policy,
    prompts_P: Sequence[Prompt],
    config: RolloutConfig,
    group_size: int,
    luck_BC: Tensor | None,
) -> list[Completion]:
    """Completions [P * G] of prompts that are decoded together; greedy without luck."""
    batch = collate_prompts(prompts_P, pad_id=policy.pad_id, device=policy.device)
    logits_BV, cache = _prefill(policy, batch, group_size)
    mask_BT = batch.mask_PT.repeat_interleave(group_size, dim=0)
    position_B = (batch.positions_RPT.amax(dim=(0, 2)) + 1).repeat_interleave(group_size)
    axes = batch.positions_RPT.shape[0]
    ends = torch.tensor(policy.end_ids, device=policy.device)
    alive_B = torch.ones(len(mask_BT), dtype=torch.bool, device=policy.device)
    ids_CB: list[Tensor] = []
    logprobs_CB: list[Tensor] = []
    while True:
        logprobs_BV = allowed_logprobs(logits_BV, policy.banned_ids, temperature=config.temperature)
        ids_B = (
            logprobs_BV.argmax(-1)
            if luck_BC is None
            else _draw(logprobs_BV, config, luck_BC[:, len(ids_CB)])
        )
        ids_B = ids_B.where(alive_B, policy.pad_id)
        ids_CB.append(ids_B)
        logprobs_CB.append(logprobs_BV.gather(-1, ids_B[:, None])[:, 0])
        alive_B = alive_B & ~torch.isin(ids_B, ends)
        if len(ids_CB) == config.max_new_tokens or not alive_B.any():
            break
        mask_BT = torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1])], dim=1)
        positions_RB1 = position_B.expand(axes, -1)[..., None]
        output = policy(
            input_ids=ids_B[:, None],
            attention_mask=mask_BT,
            position_ids=positions_RB1 if axes > 1 else positions_RB1[0],
            past_key_values=cache,
            use_cache=True,
        )
        logits_BV = output.logits[:, -1]
        position_B = position_B + 1
    ids_BC, logprobs_BC = torch.stack(ids_CB, dim=1), torch.stack(logprobs_CB, dim=1)
    return _completions(policy, ids_BC.tolist(), logprobs_BC.tolist())


def _prefill(policy: Policy, batch: PromptBatch, group_size: int) -> tuple[Tensor, object]:
    positions = batch.positions_RPT
    with (
        head_sees(policy.model, lambda hidden_PTD: hidden_PTD[:, -1:]),
        features_given(policy, batch.ids_PT, batch.features),
    ):
        output = policy(
            input_ids=batch.ids_PT,
            attention_mask=batch.mask_PT,
            position_ids=positions if len(positions) > 1 else positions[0],
            use_cache=True,
            **batch.media,
        )
    cache = output.past_key_values
    prompts_B = torch.arange(len(positions[0]), device=positions.device)
    prompts_B = prompts_B.repeat_interleave(group_size)
    # Layers that carry a state along have this, and no way of their own to repeat it.
    cache.reorder_cache(prompts_B)
    return output.logits[prompts_B, -1], cache


def _luck(seed: int, group_size: int, config: RolloutConfig) -> Tensor:
    """A number from 0 to 1 for every token [G, C] that the prompt's completions may have."""
    generator = torch.Generator().manual_seed(seed)
    shape = (group_size, config.max_new_tokens)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def _draw(logprobs_BV: Tensor, config: RolloutConfig, luck_B: Tensor) -> Tensor:
    """The token at which the cumulative probability passes the row's number."""
    kept_BV = logprobs_BV
    if config.top_k is not None and config.top_k < kept_BV.shape[-1]:
        least_B1 = kept_BV.topk(config.top_k, dim=-1).values[:, -1:]
        kept_BV = kept_BV.masked_fill(kept_BV < least_B1, float("-inf"))
    if config.top_p < 1:
        sorted_BV, order_BV = kept_BV.softmax(-1).sort(dim=-1, descending=True)
        # a token stays while the mass before it is below top_p, so the likeliest always stays
        beyond_BV = sorted_BV.cumsum(-1) - sorted_BV >= config.top_p
        kept_BV = kept_BV.masked_fill(beyond_BV.gather(-1, order_BV.argsort(-1)), float("-inf"))
    passed_BV = kept_BV.double().softmax(-1).cumsum(-1)
    # what is not kept adds nothing, so it is never where the sum passes
    return torch.searchsorted(passed_BV, (luck_B * passed_BV[:, -1])[:, None], right=True)[:, 0]


def _completions(
    policy: Policy, ids_BC: list[list[int]], logprobs_BC: list[list[float]]
) -> list[Completion]:
    return [
        read_completion(policy, ids, logprobs)
        for ids, logprobs in zip(ids_BC, logprobs_BC, strict=True)
    ]
