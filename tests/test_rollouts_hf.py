"""Sampling with the training model: what is sampled is what is scored, for every mix of media."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmrl.batch import collate
from mmrl.config.schema import MediaConfig, ModelConfig, RolloutConfig
from mmrl.engines.hf import sample
from mmrl.errors import DataError
from mmrl.media.writers import write_mp4, write_png, write_wav
from mmrl.model import Policy, load_policy
from mmrl.policy import completion_logprobs
from mmrl.processing import process
from mmrl.prompt import Prompts
from mmrl.recipe import decode
from mmrl.types import VerifierTerm

FAMILIES = (
    "qwen2_5_omni",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen2_vl",
    "qwen2_audio",
    pytest.param(
        "smolvlm",
        marks=pytest.mark.skipif(find_spec("num2words") is None, reason="needs num2words"),
    ),
    "llava_onevision",
)
QUESTIONS = {
    "text": ("how many?",),
    "image": ("image:a.png", "what colour is it?"),
    "two_images": ("image:a.png", "and", "image:b.png", "which?"),
    "video": ("video:a.mp4", "what moves in the clip?"),
    "two_videos": ("video:a.mp4", "video:b.mp4", "first?"),
    "audio": ("audio:a.wav", "high?"),
    "two_audios": ("audio:a.wav", "then", "audio:b.wav", "which is higher?"),
    "mixed": ("image:a.png", "video:b.mp4", "audio:b.wav", "all?"),
}
MEDIA = MediaConfig(video_fps=4)
SAMPLING = RolloutConfig(max_new_tokens=10)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, ask) -> SimpleNamespace:
    """A tiny policy with a prompt of every kind that its family takes."""
    return _of_family(request.param, ask)


@pytest.fixture(scope="module")
def omni(ask) -> SimpleNamespace:
    return _of_family("qwen2_5_omni", ask)


def _of_family(name: str, ask) -> SimpleNamespace:
    config = ModelConfig.model_validate({"family": name, "tiny": name, "device": "cpu"})
    policy = load_policy(config, seed=0)
    with torch.no_grad():
        # as initialised, the most likely token is always the last one again
        for parameter_name, parameter in policy.model.named_parameters():
            if parameter.ndim > 1 and "embed_tokens" not in parameter_name:
                parameter *= 4
    prompts = Prompts(policy=policy, media=MEDIA)
    rows = [ask(*parts, row_id=row_id) for row_id, parts in QUESTIONS.items()]
    kept = [row for row in rows if {medium.kind for medium in row.media} <= policy.family.media]
    return SimpleNamespace(policy=policy, prompts_P=[prompts(row) for row in kept])


def _score(policy: Policy, prompts, completions) -> list[list[float]]:
    batch = collate(prompts, completions, sharing="none", pad_id=policy.pad_id)
    with torch.no_grad():
        logprobs_BC, _ = completion_logprobs(policy, batch)
    return [row[: len(ids)] for row, ids in zip(logprobs_BC.tolist(), completions, strict=True)]


def test_sampled_tokens_have_the_logprobs_that_training_scores(family):
    completions_PG = sample(family.policy, family.prompts_P, SAMPLING, group_size=3, seed=1)
    pairs = [
        (prompt, completion)
        for prompt, completions_G in zip(family.prompts_P, completions_PG, strict=True)
        for completion in completions_G
    ]
    assert len({len(prompt.ids) for prompt, _ in pairs}) >= 3
    scored = _score(family.policy, [p for p, _ in pairs], [c.ids for _, c in pairs])
    for (prompt, completion), logprobs in zip(pairs, scored, strict=True):
        assert completion.logprobs == pytest.approx(logprobs, abs=1e-4), prompt.row.id


def test_a_batch_of_mixed_media_scores_as_each_row_alone(family):
    completions_PG = sample(family.policy, family.prompts_P, SAMPLING, group_size=1, seed=2)
    completions = [completion.ids for [completion] in completions_PG]
    together = _score(family.policy, family.prompts_P, completions)
    for prompt, ids, logprobs in zip(family.prompts_P, completions, together, strict=True):
        [alone] = _score(family.policy, [prompt], [ids])
        assert logprobs == pytest.approx(alone, abs=1e-4), prompt.row.id


def test_sampling_in_a_batch_is_sampling_alone(family):
    together = sample(family.policy, family.prompts_P, SAMPLING, group_size=2, seed=0, greedy=True)
    for prompt, completions_G in zip(family.prompts_P, together, strict=True):
        [[alone]] = sample(family.policy, [prompt], SAMPLING, group_size=1, seed=9, greedy=True)
        assert [completion.ids for completion in completions_G] == [alone.ids] * 2
    assert len({completions_G[0].ids for completions_G in together}) == len(together)


def test_luck_belongs_to_a_prompts_place_and_not_to_what_is_decoded_beside_it(family):
    """So it is the same in one batch, in several, and spread over processes."""
    policy, prompts_P = family.policy, family.prompts_P
    together = sample(policy, prompts_P, SAMPLING, group_size=3, seed=5)
    few = SAMPLING.model_copy(update={"max_batch": 3})
    apart = sample(policy, prompts_P, few, group_size=3, seed=5)
    assert [[c.ids for c in g] for g in apart] == [[c.ids for c in g] for g in together]
    last = sample(
        policy, prompts_P[-1:], SAMPLING, group_size=3, seed=5, places=[len(prompts_P) - 1]
    )
    assert [c.ids for c in last[0]] == [c.ids for c in together[-1]]
    assert len({c.ids for group in together for c in group}) > len(prompts_P)


def _has_token_types(policy: Policy) -> bool:
    return policy.model.config.model_type in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def test_greedy_is_what_transformers_generates(family):
    """transformers counts positions and expands features its own way, here from the processor's
    whole output."""
    policy = family.policy
    for prompt in family.prompts_P:
        if prompt.row.id == "two_videos" and policy.family.video_timing == "fps":
            continue  # its processor takes one frame rate for both
        if policy.family.processing is not None and prompt.row.modality != "text":
            continue  # what it is given is not what its own processor gives
        if policy.model.config.model_type in ("qwen2_vl", "qwen2_5_vl") and (
            "video" in prompt.row.modality
        ):
            continue  # what follows a video is not where it was in pretraining (test_positions.py)
        encoded = process(prompt.row, decode(prompt.row, policy, MEDIA), policy, MEDIA)
        ids_1T = encoded["input_ids"]
        # token types are what `process` leaves out, as positions are counted before
        extra = {}
        if _has_token_types(policy):
            kinds = {policy.model.config.image_token_id: 1, policy.model.config.video_token_id: 2}
            extra["mm_token_type_ids"] = torch.tensor([[kinds.get(i, 0) for i in prompt.ids]])
        found = policy.model.eval().generate(
            **encoded,
            **extra,
            attention_mask=torch.ones_like(ids_1T),
            do_sample=False,
            max_new_tokens=SAMPLING.max_new_tokens,
            suppress_tokens=list(policy.banned_ids),
        )
        [[ours]] = sample(policy, [prompt], SAMPLING, group_size=1, seed=0, greedy=True)
        assert list(ours.ids) == found[0, ids_1T.shape[1] :].tolist(), prompt.row.id


def test_positions_are_those_that_the_model_counts_itself(family):
    policy = family.policy
    for prompt in family.prompts_P:
        if prompt.row.modality not in ("text", "image"):
            continue
        inputs = {
            "input_ids": torch.tensor([prompt.ids]),
            "attention_mask": torch.ones(1, len(prompt.ids), dtype=torch.long),
            **prompt.media,
        }
        positions_RT = prompt.positions_RT
        given = {"position_ids": positions_RT[:, None] if len(positions_RT) > 1 else positions_RT}
        own = {}
        if _has_token_types(policy):
            image = inputs["input_ids"] == policy.model.config.image_token_id
            own["mm_token_type_ids"] = image.int()
        with torch.no_grad():
            expected = policy.model(**inputs, **own).logits
            found = policy.model(**inputs, **given).logits
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_what_is_seen_and_heard_changes_the_logprobs(family, ask, tmp_path):
    """Pixels and samples of the same shape give the same tokens another probability."""
    rng = np.random.default_rng(7)
    write_png(tmp_path / "a.png", rng.integers(0, 256, (56, 84, 3), dtype=np.uint8))
    write_mp4(tmp_path / "a.mp4", rng.integers(0, 256, (8, 56, 56, 3), dtype=np.uint8), fps=4)
    write_wav(tmp_path / "a.wav", 0.5 * np.sin(np.arange(16_000) / 3))
    fresh = Prompts(policy=family.policy, media=MEDIA)
    for prompt in family.prompts_P:
        if prompt.row.id not in ("image", "video", "audio"):
            continue
        other = fresh(ask(*QUESTIONS[prompt.row.id], row_id=prompt.row.id, folder=tmp_path))
        assert other.ids == prompt.ids
        completions = [(30, 40, 50, 60)]
        [before] = _score(family.policy, [prompt], completions)
        [after] = _score(family.policy, [other], completions)
        assert max(abs(np.subtract(before, after))) > 1e-3, prompt.row.id


def test_each_sound_of_a_prompt_is_heard_in_its_place(omni, ask):
    prompts = Prompts(policy=omni.policy, media=MEDIA)
    one = prompts(ask("audio:a.wav", "then", "audio:b.wav", "?", row_id="ab"))
    other = prompts(ask("audio:b.wav", "then", "audio:a.wav", "?", row_id="ba"))
    [first], [second] = (_score(omni.policy, [prompt], [(30, 40)]) for prompt in (one, other))
    assert first != pytest.approx(second, abs=1e-4)


def test_frames_further_apart_stand_further_apart(omni, ask):
    """b.mp4 has half the frame rate of a.mp4 and is sampled at its own."""
    prompts = Prompts(policy=omni.policy, media=MediaConfig(video_fps=2))
    two = prompts(ask("video:a.mp4", "video:b.mp4", "?", row_id="two"))
    seconds = two.media["video_second_per_grid"]
    slow = prompts(ask("video:b.mp4", "?", row_id="slow"))
    assert seconds.tolist() == pytest.approx([1.0, 1.0])
    fast = Prompts(policy=omni.policy, media=MEDIA)(ask("video:a.mp4", "?", row_id="fast"))
    assert fast.media["video_second_per_grid"].tolist() == pytest.approx([0.5])
    time_of = {name: prompt.positions_RT[0] for name, prompt in (("s", slow), ("f", fast))}
    # Omni counts 25 positions a second: a pair of frames at 2 fps is twice as long as one at 4
    assert _largest_gap(time_of["s"], slow, omni) == 25
    assert _largest_gap(time_of["f"], fast, omni) in (12, 13)


def _largest_gap(positions_T, prompt, omni) -> int:
    token = omni.policy.model.config.video_token_id
    places = torch.tensor(prompt.ids) == token
    return int(positions_T[places].diff().max())


def test_media_tokens_are_never_sampled_however_likely(omni):
    policy = omni.policy
    head = policy.model.get_output_embeddings()
    with torch.no_grad():
        lift = torch.zeros(head.weight.shape[0])
        lift[list(policy.banned_ids)] = 1e4
    head.bias = torch.nn.Parameter(lift)
    try:
        completions_PG = sample(policy, omni.prompts_P[:2], SAMPLING, group_size=4, seed=0)
        ids = {i for group in completions_PG for completion in group for i in completion.ids}
        scored = _score(policy, omni.prompts_P[:1], [completions_PG[0][0].ids])
    finally:
        head.bias = None
    assert ids
    assert not ids & set(policy.banned_ids)
    assert completions_PG[0][0].logprobs == pytest.approx(scored[0], abs=1e-4)


def test_completions_end_at_the_end_token_or_at_the_limit(omni):
    """Any token may be declared an end token: the ids keep it, the text does not."""
    policy = omni.policy
    [[free]] = sample(policy, omni.prompts_P[:1], SAMPLING, group_size=1, seed=0, greedy=True)
    assert (free.stop, len(free.ids)) == ("length", 10)
    place = max(free.ids.index(token) for token in free.ids)
    assert place > 0
    ending = dataclasses.replace(policy, end_ids=(free.ids[place],))
    [[cut], *rest] = sample(ending, omni.prompts_P, SAMPLING, group_size=1, seed=0, greedy=True)
    assert cut.stop == "eos"
    assert cut.ids == free.ids[: place + 1]
    assert len(cut.logprobs) == len(cut.ids)
    assert cut.text == policy.processor.tokenizer.decode(free.ids[:place])
    for [completion] in rest:
        assert (completion.stop == "eos") == (completion.ids[-1] == free.ids[place])
        assert completion.stop == "eos" or len(completion.ids) == 10
    one = RolloutConfig(max_new_tokens=1)
    [[last]] = sample(ending, omni.prompts_P[:1], one, group_size=1, seed=0, greedy=True)
    assert (last.ids, last.stop) == (free.ids[:1], "length")


def test_the_same_seed_gives_the_same_tokens(omni):
    first, again, other = (
        sample(omni.policy, omni.prompts_P, SAMPLING, group_size=2, seed=seed) for seed in (4, 4, 5)
    )
    assert first == again
    assert first != other


def test_sampling_leaves_the_model_training(omni):
    omni.policy.model.train()
    sample(omni.policy, omni.prompts_P[:1], SAMPLING, group_size=1, seed=0)
    assert omni.policy.model.training


def test_a_row_is_decoded_and_processed_once(omni, ask):
    prompts = Prompts(policy=omni.policy, media=MEDIA)
    mixed = ask(*QUESTIONS["mixed"], row_id="mixed")
    first = prompts(mixed)
    assert prompts(mixed).media is first.media
    prompts(ask(*QUESTIONS["two_images"], row_id="two"))
    assert (prompts.decoded, prompts.processed) == (5, 2)
    forgetful = Prompts(policy=omni.policy, media=MediaConfig(video_fps=4, cache_mb=0))
    assert torch.equal(forgetful(mixed).media["pixel_values"], first.media["pixel_values"])
    forgetful(mixed)
    assert (forgetful.decoded, forgetful.processed) == (6, 2)


def test_the_oldest_prompts_are_forgotten_first(omni, ask):
    rows = [ask("image:a.png", "?", row_id=f"r{number}") for number in range(3)]
    size = Prompts(policy=omni.policy, media=MEDIA)(rows[0]).media["pixel_values"].nbytes
    assert 1e5 < size < 5e5
    prompts = Prompts(policy=omni.policy, media=MediaConfig(cache_mb=1))
    many = [ask("image:a.png", "?", row_id=f"r{number}") for number in range(int(1e6 // size) + 2)]
    for row in many:
        prompts(row)
    prompts(many[-1])
    assert prompts.processed == len(many)
    prompts(many[0])
    assert prompts.processed == len(many) + 1


@pytest.mark.parametrize("parts", [(), ("image:a.png",), ("video:a.mp4",)])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_placeholder_in_a_question_is_an_error_of_the_data(family, ask, parts, kind):
    prompts = Prompts(policy=family.policy, media=MEDIA)
    if "image" not in family.policy.family.media:
        parts, kind = (), "audio"
    token = getattr(family.policy.processor, f"{kind}_token")
    with pytest.raises(DataError, match=r"row bad: the text of its prompt holds '<"):
        prompts(ask(*parts, f"what is {token}?", row_id="bad"))


def test_a_medium_that_the_model_does_not_take_is_an_error_of_the_data(family, ask):
    takes = family.policy.family.media
    prompts = Prompts(
        policy=dataclasses.replace(
            family.policy, family=dataclasses.replace(family.policy.family, media=takes - {"video"})
        ),
        media=MEDIA,
    )
    with pytest.raises(DataError, match="row bad: the prompt has a video, the model takes only"):
        prompts(ask("video:a.mp4", "?", row_id="bad"))
    if "audio" not in takes:
        with pytest.raises(DataError, match="row bad: the prompt has a audio"):
            prompts(ask("audio:a.wav", "?", row_id="bad"))


def test_a_sound_longer_than_the_model_hears_is_an_error_of_the_data(omni, ask, tmp_path):
    write_wav(tmp_path / "whole.wav", np.zeros(64_000))
    write_wav(tmp_path / "long.wav", np.zeros(64_100))
    prompts = Prompts(policy=omni.policy, media=MEDIA)
    assert prompts(ask("audio:whole.wav", "?", row_id="whole", folder=tmp_path)).ids
    with pytest.raises(DataError, match=r"row long: a sound of 4\.01 s; the model hears at most 4"):
        prompts(ask("audio:long.wav", "?", row_id="long", folder=tmp_path))


def test_what_the_processor_refuses_is_an_error_of_the_data(ask, tmp_path):
    policy = _of_family("qwen3_vl", ask).policy
    write_mp4(tmp_path / "short.mp4", np.zeros((1, 56, 56, 3), dtype=np.uint8), fps=4)
    prompts = Prompts(policy=policy, media=MEDIA)
    with pytest.raises(DataError, match="row short: the processor refuses its media"):
        prompts(ask("video:short.mp4", "?", row_id="short", folder=tmp_path))


def test_a_remembered_prompt_is_judged_as_the_row_asks_now(ask):
    policy = load_policy(ModelConfig(family="qwen2_5_omni", tiny="qwen2_5_omni"), seed=0)
    prompts = Prompts(policy=policy, media=MEDIA)
    row = ask("image:a.png", "which?", row_id="again")
    first = prompts(row)
    terms = (VerifierTerm(name="number"),)
    second = prompts(dataclasses.replace(row, verifier=terms))
    assert second.row.verifier == terms
    assert second.row.extra == first.row.extra
    assert second.media is first.media
    assert (prompts.decoded, prompts.processed) == (1, 1)
