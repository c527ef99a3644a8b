"""What each recipe will do, step by step, against what its paper says; read off the resolved
configuration, nothing is trained.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mmrl.curriculum.weights import group_weight
from mmrl.reward import build_verifier
from mmrl.schedule import Schedule


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("vl_cogito", ["easy", "medium", "hard"]),
        ("humansense", ["video", "audio", "video_audio"]),
        ("infi_mmr", ["text", "captions", "images"]),
        ("curr_reft", ["binary", "choice", "open", "rejection", "sft"]),
        ("spatial_ladder", ["localization", "understanding", "cold_start", "reasoning"]),
        ("vision_r1_reasoning", ["sft", "ptst_1", "ptst_2"]),
        ("med_curriculum", ["closed", "open"]),
        ("craft_gui", ["short", "medium", "long"]),
        ("jigsaw_r1", ["size_3", "size_4"]),
        ("apriel_15b_thinker", ["foundations", "visual", "thoughts"]),
        ("observe_r1", ["ladder", "rl"]),
        ("ton", ["sft", "rl"]),
        ("ui_r1_e", ["dast", "direct"]),
        (
            "openvlthinker",
            [
                "sft",
                "rl",
                "traces_1",
                "refine_1",
                "reinforce_1",
                "traces_2",
                "refine_2",
                "reinforce_2",
            ],
        ),
        (
            "keye_vl_1_5",
            [
                "cold",
                "rl",
                "resample_1",
                "cold_again_1",
                "sometimes_right_1",
                "rl_again_1",
                "alignment",
            ],
        ),
    ],
)
def test_stages_come_in_the_order_of_the_paper(stages, name, order):
    assert list(stages(name)) == order


@pytest.mark.parametrize(
    ("name", "stage", "group", "length"),
    [
        ("vl_cogito", "hard", 16, 4096),
        ("observe_r1", "rl", 8, 8192),
        ("vision_r1_alignment", "rl", 4, 512),
        ("v_triune", "rl", 8, 2048),
        ("mm_upt", "rl", 10, 2048),
        ("ssl4rl", "rotation", 5, 2048),
        ("videossr", "rl", 8, 2048),
        ("jigsaw_r1", "size_3", 8, 512),
        ("openvlthinker", "rl", 5, 2048),
        ("rl_with_cold_start", "rl", 10, 2048),
        ("thinklite_vl", "rl", 32, 2048),
        ("ton", "rl", 8, 2048),
        ("cls_rl", "thinking", 4, 1024),
        ("ui_r1", "rl", 8, 512),
        ("spatial_ladder", "reasoning", 4, 1024),
        ("humansense", "audio", 8, 2048),
        ("curr_reft", "binary", 4, 1024),
        ("curr_reft", "choice", 2, 1024),
        ("curr_reft", "open", 4, 1024),
        ("vision_r1_reasoning", "ptst_1", 16, 4096),
        ("vision_r1_reasoning", "ptst_2", 8, 8192),
    ],
)
def test_groups_and_lengths_are_those_of_the_paper(stages, name, stage, group, length):
    rollout = stages(name)[stage].rollout
    assert (rollout.group_size, rollout.max_new_tokens) == (group, length)


def test_suppressed_thinking_keeps_length_times_group(stages):
    found = [s.rollout for s in stages("vision_r1_reasoning").values() if s.kind == "grpo"]
    assert [r.max_new_tokens * r.group_size for r in found] == [65_536, 65_536]


@pytest.mark.parametrize(
    ("name", "stage", "weight"),
    [
        ("seed_bench_r1", "rl", 0.1),
        ("humansense", "video", 0.1),
        ("vl_cogito", "easy", 1e-3),
        ("vision_r1_alignment", "rl", 0.2),
        ("vision_r1_reasoning", "ptst_1", 0.01),
        ("mm_upt", "rl", 0.01),
        ("openvlthinker", "rl", 0.01),
        ("ssl4rl", "jigsaw", 0.01),
        ("videossr", "rl", 1e-3),
        ("jigsaw_r1", "size_4", 0.04),
        ("modomodo", "rl", 0.04),
        ("cls_rl", "no_thinking", 0.04),
        ("vlaa_thinking", "rl", 1e-3),
        ("r1_reward", "rl", 1e-3),
        ("spatial_ladder", "reasoning", 0.01),
        ("v_triune", "rl", 0),
    ],
)
def test_divergence_weighs_what_the_paper_says(stages, name, stage, weight):
    assert stages(name)[stage].algo.kl_weight == weight


def test_objectives_that_are_not_plain_grpo(stages):
    algo = stages("r1_reward")["rl"].algo
    assert (algo.loss, algo.advantage, algo.clip_high) == ("bnpo", "batch", 0.2)
    assert (algo.ratio_bound, algo.advantage_limit) == (1000, 3)
    keye = stages("keye_vl_1_5")["rl"].algo
    assert (keye.loss, keye.clip_low, keye.clip_high) == ("gspo", 3e-4, 4e-4)
    triune = stages("v_triune")["rl"].algo
    assert (triune.clip_low, triune.clip_high, triune.minibatches) == (0.2, 0.28, 1)
    assert all(s.kind == "sft" for s in stages("apriel_15b_thinker").values())


@pytest.mark.parametrize(
    ("share", "easy", "medium", "hard"),
    [
        (0, 0, 0, 0.25),
        (0.25, math.sin(math.pi / 4), math.sin(math.pi / 4), 1),
        (0.5, 1, 1, 1),
        (0.75, 1, math.sin(math.pi * 0.75), math.sin(math.pi * 0.75)),
        (1, 1, 0, 0),
    ],
)
def test_vl_cogito_prefers_harder_prompts_from_stage_to_stage(stages, share, easy, medium, hard):
    found = [group_weight(share, stage.weight) for stage in stages("vl_cogito").values()]
    assert found == pytest.approx([easy, medium, hard])


def test_only_the_hard_stage_of_vl_cogito_rewards_length(stages):
    terms = [stage.rewards.terms for stage in stages("vl_cogito").values()]
    assert ["length" in one for one in terms] == [False, False, True]
    assert terms[2]["length"].params == {"variant": "paper", "target": 750}
    assert [one["format"].weight for one in terms] == [0.5] * 3


@pytest.mark.parametrize(("right", "weight"), [(0, 0), (1, 0.7875), (2, 1.35), (4, 1.8), (8, 0)])
def test_observe_r1_weighs_most_what_is_right_half_of_the_time(stages, right, weight):
    stage = stages("observe_r1")["rl"]
    assert group_weight(right / 8, stage.weight) == pytest.approx(weight)


def test_observe_r1_climbs_a_ladder_of_difficulty_then_length(stages):
    ladder, rl = stages("observe_r1").values()
    assert rl.data.train["ladder"].stage == "ladder"
    assert (rl.sampling.kind, rl.sampling.then_by) == ("easy_to_hard", "mean_length")
    assert ladder.select.high < 1  # what is always right is dropped
    assert rl.rewards.terms["concise"].params == {"bonus": 0.2, "min_length": 100}
    assert rl.rewards.terms["observe"].params == {"points": 0.5}


@pytest.mark.parametrize(
    ("step", "least"), [(0, 0.85), (10, 0.85), (11, 0.95), (25, 0.95), (26, 0.99), (99, 0.99)]
)
def test_v_triunes_boxes_have_to_overlap_more_and_more(judge_row, recipe, step, least):
    row = smoke_rows(recipe, "v_triune", "detection")
    for overlap, counts in ((least + 0.004, True), (least - 0.004, False)):
        guess = [{"bbox_2d": [0, 0, 100, 100 * overlap], "label": "dog"}]
        gold = [{"bbox_2d": [0, 0, 100, 100], "label": "dog"}]
        verdict = judge_row(row, gold, guess, progress=step / 100)
        assert bool(verdict.score) == counts
        assert verdict.parts["threshold"] == least


@pytest.mark.parametrize(
    ("overlap", "begin", "advanced"), [(0.6, 0.6, 0), (0.75, 1, 0.75), (0.9, 1, 1)]
)
def test_vision_r1s_criteria_change_halfway(judge_row, stages, overlap, begin, advanced):
    term = stages("vision_r1_alignment")["rl"].rewards.terms["criteria"]
    gold = [{"bbox_2d": [0, 0, 100, 100], "label": "dog"}]
    guess = [{"bbox_2d": [0, 0, 100, 100 * overlap], "label": "dog"}]
    early, late = (judge_row(term, gold, guess, progress=p) for p in (0.5, 0.51))
    assert early.parts["precision"] == pytest.approx(begin)
    assert late.parts["precision"] == pytest.approx(advanced)
    assert (early.parts["valid_iou"], late.parts["valid_iou"]) == (0.5, 0.75)


def test_modomodos_weights_follow_from_its_published_scores(stages):
    stage = stages("modomodo")["rl"]
    names = ["coco", "lisa", "geoqav", "sat", "scienceqa"]
    scores = [0.5146, 0.4783, 0.4889, 0.4721, 0.4930]  # Out-Score of all but this one
    raw = [0.2 - 0.1 * (s - min(scores)) / (max(scores) - min(scores)) for s in scores]
    wanted = {name: one / sum(raw) for name, one in zip(names, raw, strict=True)}
    assert stage.mixture.weights == pytest.approx(wanted, abs=1e-6)
    assert stage.mixture.exhausted == "stop"
    assert stage.rewards.combine == "gate"
    weights = {key: term.weight for key, term in stage.rewards.terms.items()}
    assert weights == {"accuracy": 2.0, "format": 1.0}


def test_medical_questions_open_up_by_and_by(stages):
    weights = stages("med_curriculum")["open"].mixture.weights
    open_share = [weights["open"].at(p) for p in (0.1, 0.3, 0.6, 1.0)]
    closed_share = [weights["closed"].at(p) for p in (0.1, 0.3, 0.6, 1.0)]
    assert open_share == [0.25, 0.5, 1, 1]
    assert closed_share == [0.75, 0.5, 0, 0]


def test_every_sft_of_openvlthinker_starts_from_the_base_model(stages):
    found = stages("openvlthinker")
    starts = {name: stage.start for name, stage in found.items()}
    assert starts["refine_1"] == starts["refine_2"] == "base"
    assert starts["rl"] is starts["reinforce_1"] is starts["reinforce_2"] is None
    sources = [found[f"refine_{n}"].data.train for n in (1, 2)]
    assert [list(source) for source in sources] == [["traces"], ["traces"]]
    assert found["traces_1"].select.response == "shortest"


def test_arms_start_from_the_same_weights(stages):
    assert stages("seed_bench_r1")["sft"].start == "base"
    assert stages("cls_rl")["thinking"].start == "base"
    ssl = stages("ssl4rl")
    assert [ssl[name].start for name in ("position", "contrastive", "jigsaw")] == ["base"] * 3


def test_keye_helps_where_nothing_is_right_and_trains_on_what_sometimes_is(stages):
    found = stages("keye_vl_1_5")
    assert found["rl"].guidance.kind == "keye"
    assert found["alignment"].guidance.kind == "none"
    band = found["sometimes_right_1"].select
    assert 0 < band.low < 1 / 8
    assert 7 / 8 < band.high < 1


def test_labels_have_no_part_in_an_unsupervised_reward(stages):
    terms = stages("mm_upt")["rl"].rewards.terms
    weights = {key: Schedule.of(term.weight).at(0) for key, term in terms.items()}
    assert weights == {"accuracy": 0, "vote": 1}


def test_rewards_without_a_point_for_the_format(stages):
    plain = (("seed_bench_r1", "rl"), ("openvlthinker", "rl"), ("rl_with_cold_start", "rl"))
    for name, stage in (*plain, ("ssl4rl", "rotation"), ("videossr", "rl")):
        assert list(stages(name)[stage].rewards.terms) == ["accuracy"], name


@pytest.mark.parametrize(
    ("name", "stage", "lr"),
    [
        ("seed_bench_r1", "sft", 2e-5),
        ("openvlthinker", "sft", 5e-7),
        ("r1_reward", "rl", 3e-7),
        ("ui_r1", "rl", 9.98e-7),
        ("vision_r1_reasoning", "sft", 5e-6),
        ("spatial_ladder", "localization", 1e-5),
        ("curr_reft", "sft", 2e-7),
        ("vl_cogito", "hard", 1e-6),
    ],
)
def test_learning_rates_are_those_of_the_paper(stages, name, stage, lr):
    assert stages(name)[stage].optim.lr == lr


def test_video_frames_are_as_many_and_as_large_as_in_the_paper(stages):
    seed = stages("seed_bench_r1")["rl"].media
    assert (seed.video_fps, seed.video_min_frames, seed.video_max_frames) == (2, 4, 16)
    assert seed.video_max_pixels == seed.image_max_pixels == 252 * 252
    ssr = stages("videossr")["rl"]
    assert ssr.media.video_max_frames == 48
    assert (ssr.media.video_min_pixels, ssr.media.video_max_pixels) == (128**2, 256**2)
    assert ssr.data.train["jigsaw"].params["clips"] == 6


def smoke_rows(recipe, name: str, source: str) -> dict:
    """The verifier that the smoke form's rows name; the data of the recipe is to name the same."""
    run = recipe(name, "smoke=true")
    return run.stages["rl"].data.train[source].params["verifier"]


@pytest.fixture
def judge_row():
    """Judge a guess by a verifier as rows and terms write it down."""
    from mmrl.data.rows import parse_rows
    from mmrl.reward import sample_of

    def run(term, gold, guess, *, progress):
        name, params = (
            (term["name"], term["params"]) if isinstance(term, dict) else (term.name, term.params)
        )
        raw = {
            "id": "r",
            "source": "s",
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "?"}]}],
            "answer": gold,
            "verifier": name,
        }
        (row,) = parse_rows([("r", raw)], folder=Path("."), name="r")
        text = json.dumps(guess)
        if name == "detection":
            text = f"<answer>{text}</answer>"
        return build_verifier(name, params)(sample_of(row, text, progress=progress))

    return run
