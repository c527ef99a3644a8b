from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import typing
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipelines.synthetic import TASKS, TaskName
from data_pipelines.synthetic_drawing import COLOURS
from mmrl.answer import extract
from mmrl.config.schema import MediaConfig
from mmrl.data.golds import check_golds
from mmrl.data.rows import load_rows
from mmrl.data.sources import build_source
from mmrl.errors import UserError
from mmrl.judging.panel import Panel
from mmrl.media.audio import decode_audio
from mmrl.media.image import decode_image
from mmrl.media.video import decode_video

LEVELS = (0.0, 0.4, 1.0)
CONFIG = MediaConfig(video_fps=4)


def build(folder, *, seed=0, split="train", **params):
    return build_source("synthetic", params, folder=folder, seed=seed, split=split)


@pytest.fixture(scope="module")
def rows_of(tmp_path_factory):
    """Rows of a task at a difficulty, built once."""
    folder = tmp_path_factory.mktemp("synthetic")

    def rows(task, difficulty, count=24, **params):
        built = build(folder, tasks={task: count}, difficulty=difficulty, **params)
        return load_rows(built / "rows.jsonl")

    return rows


def pixels(row):
    return np.asarray(decode_image(row.media[0], CONFIG, row.id)).astype(int)


def shape_mask(picture):
    """Where a picture is not paper, which is light grey and grainy."""
    paper = np.median(picture[[0, -1]].reshape(-1, 3), axis=0)
    mask = (np.abs(picture - paper).max(axis=-1) > 55).astype(np.uint8)
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)).astype(bool)


def nearest_colour(picture, mask):
    mean = np.median(picture[mask], axis=0)
    return min(COLOURS, key=lambda name: np.abs(mean - COLOURS[name]).sum())


def pitch_of(samples, rate=16_000):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n=65536))
    return np.argmax(spectrum) * rate / 65536


@pytest.mark.parametrize("difficulty", LEVELS)
def test_colour_is_the_colour_of_the_shape(difficulty, rows_of):
    for row in rows_of("colour", difficulty):
        picture = pixels(row)
        assert nearest_colour(picture, shape_mask(picture)) == row.answer


@pytest.mark.parametrize("difficulty", LEVELS)
def test_count_is_the_number_of_separate_shapes(difficulty, rows_of):
    for row in rows_of("count", difficulty):
        mask = shape_mask(pixels(row)).astype(np.uint8)
        assert str(cv2.connectedComponents(mask, connectivity=4)[0] - 1) == row.answer


def test_shape_tells_the_roundness_apart(rows_of):
    fills = {}
    for row in rows_of("shape", 0.0, 60):
        contours, _ = cv2.findContours(
            shape_mask(pixels(row)).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        outline = max(contours, key=cv2.contourArea)
        _, (width, height), _ = cv2.minAreaRect(outline)
        fills.setdefault(row.answer, []).append(cv2.contourArea(outline) / (width * height))
    means = {name: np.mean(values) for name, values in fills.items()}
    assert means["square"] > 0.88 > means["circle"] > 0.68 > means["triangle"]


def assert_upright(landscape):
    """Sun on the upper left, flower on the lower left, house on the right, sky over grass."""
    red, green, blue = (landscape[..., channel] for channel in range(3))
    places = {
        "sun": (red > 200) & (green > 160) & (blue < 130),
        "flower": (red > 200) & (green < 130) & (blue > 120),
        "house": (red > 80) & (green < 115) & (blue < 90) & (red > green + 40),
    }
    (sun_y, sun_x), (flower_y, flower_x), (_, house_x) = (
        np.argwhere(mask).mean(axis=0) / len(landscape) for mask in places.values()
    )
    assert max(sun_x, sun_y, flower_x, 1 - house_x, 1 - flower_y) < 0.47
    half = len(landscape) // 2
    for columns in (slice(0, half), slice(half, None)):
        assert blue[:half, columns].mean() > blue[half:, columns].mean() + 30


@pytest.mark.parametrize("difficulty", LEVELS)
def test_rotation_is_what_turned_the_landscape_clockwise(difficulty, rows_of):
    for row in rows_of("rotation", difficulty):
        assert_upright(np.rot90(pixels(row), int(row.answer) // 90))


@pytest.mark.parametrize("difficulty", LEVELS)
def test_jigsaw_answers_put_the_picture_together_again(difficulty, rows_of):
    for row in rows_of("jigsaw", difficulty):
        picture = pixels(row)
        h = len(picture) // 2
        shown = [picture[:h, :h], picture[:h, h:], picture[h:, :h], picture[h:, h:]]
        place = {origin: shown[index] for index, origin in enumerate(row.answer)}
        assert_upright(
            np.vstack([np.hstack([place[1], place[2]]), np.hstack([place[3], place[4]])])
        )


@pytest.mark.parametrize(("difficulty", "orders"), [(0.0, 3), (0.5, 7), (1.0, 24)])
def test_jigsaw_orders_grow_with_difficulty(difficulty, orders, rows_of):
    found = Counter(tuple(row.answer) for row in rows_of("jigsaw", difficulty, 150))
    assert len(found) == orders


def test_a_jigsaw_may_have_another_grid(rows_of):
    for row in rows_of("jigsaw", 1.0, 5, grid=[2, 3], image_size=60):
        assert sorted(row.answer) == [1, 2, 3, 4, 5, 6]
        assert pixels(row).shape == (60, 60, 3)


@pytest.mark.parametrize("difficulty", LEVELS)
def test_boxes_enclose_the_shape_of_that_colour(difficulty, rows_of):
    for row in rows_of("box", difficulty):
        assert row.extra["coordinates"] == "norm1000"
        picture = pixels(row)
        asked = next(name for name in COLOURS if f" {name} " in row.prompt[0]["content"][1]["text"])
        left, top, right, bottom = (round(edge * len(picture) / 1000) for edge in row.answer)
        middle = picture[(top + bottom) // 2 - 2 : (top + bottom) // 2 + 3]
        middle = middle[:, (left + right) // 2 - 2 : (left + right) // 2 + 3]
        assert nearest_colour(middle, np.ones(middle.shape[:2], bool)) == asked
        ys, xs = np.nonzero(shape_mask(picture)[top - 1 if top else 0 : bottom + 1])
        inside = xs[(xs >= left - 1) & (xs <= right)]
        assert abs(inside.min() - left) <= 2
        assert abs(inside.max() + 1 - right) <= 2
        assert abs(ys.max() - ys.min() + 1 - (bottom - top)) <= 4


@pytest.mark.parametrize("difficulty", LEVELS)
def test_direction_is_where_the_shape_goes(difficulty, rows_of):
    for row in rows_of("direction", difficulty, 16):
        video = decode_video(row.media[0], CONFIG, row.id)
        assert (len(video.frames_THWC), video.fps) == (8, 4.0)
        centres = [
            np.argwhere(shape_mask(frame.astype(int))).mean(axis=0) for frame in video.frames_THWC
        ]
        dy, dx = centres[-1] - centres[0]
        named = {"left": -dx, "right": dx, "up": -dy, "down": dy}
        assert max(named, key=named.get) == row.answer
        assert abs(dx) < 1.5 or abs(dy) < 1.5


@pytest.mark.parametrize("difficulty", LEVELS)
def test_order_is_the_order_of_the_flashes(difficulty, rows_of):
    for row in rows_of("order", difficulty, 16):
        video = decode_video(row.media[0], CONFIG, row.id)
        seen = []
        for frame in video.frames_THWC.astype(int):
            mask = shape_mask(frame)
            if mask.sum() > 60 and (name := nearest_colour(frame, mask)) not in seen:
                seen.append(name)
        assert len(seen) == (2 if difficulty < 0.5 else 3)
        assert row.answer == (seen[0] if difficulty < 0.5 else " ".join(seen))
        assert " then ".join(seen) in row.response


@pytest.mark.parametrize("difficulty", LEVELS)
def test_pitches_keep_apart(difficulty, rows_of):
    heard = {"low": [], "middle": [], "high": []}
    for row in rows_of("pitch", difficulty):
        samples = decode_audio(row.media[0], CONFIG, 16_000, row.id)
        assert 0.59 < len(samples) / 16_000 < 1.01
        heard[row.answer].append(pitch_of(samples))
    assert max(heard["low"]) < min(heard["middle"])
    assert max(heard["middle"]) < min(heard["high"])


@pytest.mark.parametrize("difficulty", LEVELS)
def test_tones_come_in_the_order_of_the_answer(difficulty, rows_of):
    for row in rows_of("tone_order", difficulty):
        samples = decode_audio(row.media[0], CONFIG, 16_000, row.id)
        words = row.answer.split()
        pitches = [pitch_of(piece) for piece in np.array_split(samples, len(words))]
        rank = ["low", "middle", "high"]
        by_word = [
            pitches[index]
            for index in sorted(range(len(words)), key=lambda i: rank.index(words[i]))
        ]
        assert by_word == sorted(by_word)
        assert len(words) == len(set(words)) == (3 if difficulty == 1.0 else 2)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_row_is_short_answerable_and_carries_its_trace(task, rows_of):
    rows = rows_of(task, 0.4)
    for row in rows:
        kind, text = row.prompt[0]["content"][0]["type"], row.prompt[0]["content"][1]["text"]
        assert (row.source, kind, len(row.prompt)) == (task, TASKS[task].kind, 1)
        assert len(text.split()) <= 8
        assert "\n" not in row.response
        answer = extract(row.response)
        assert answer == (row.answer if isinstance(row.answer, str) else json.dumps(row.answer))
        think = row.response.partition("<think>")[2].partition("</think>")[0]
        assert 1 < len(think.split()) <= 6
        assert not (str(row.answer).isalpha() and str(row.answer) in row.id)
    assert check_golds(rows, Panel()).errors == ()


@pytest.mark.parametrize("task", sorted(TASKS))
def test_answers_are_spread_evenly(task, rows_of):
    counts = Counter(str(row.answer) for row in rows_of(task, 0.0, 100))
    assert len(counts) >= 2
    assert max(counts.values()) < 2 * 100 / len(counts)


def test_the_same_arguments_make_the_same_bytes_whatever_the_hash_seed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from mmrl.data.sources import build_source\n"
        "params = {'tasks': sys.argv[2].split(), 'count': 3, 'difficulty': 0.7}\n"
        "build_source('synthetic', params, folder=Path(sys.argv[1]), seed=5)"
    )
    found = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        arguments = [sys.executable, "-c", code, str(folder), " ".join(sorted(TASKS))]
        subprocess.run(arguments, env=env, check=True)
        found.append(
            {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        )
    assert found[0] == found[1]
    assert len(found[0]) == 3 * len(TASKS) + 3  # and rows, manifest, lock


def test_no_medium_of_the_heldout_rows_is_one_of_the_training_rows(tmp_path):
    hashes = {}
    for seed, split in ((0, "train"), (0, "heldout"), (1, "train")):
        built = build(
            tmp_path, seed=seed, split=split, tasks=sorted(TASKS), count=12, difficulty=0.0
        )
        media = (row.media[0].source.read_bytes() for row in load_rows(built / "rows.jsonl"))
        hashes[seed, split] = [hashlib.sha256(encoded).digest() for encoded in media]
    everything = list(itertools.chain(*hashes.values()))
    assert len(set(everything)) == len(everything) == 3 * 12 * len(TASKS)


def test_a_row_does_not_depend_on_its_neighbours(tmp_path):
    def by_id(folder):
        return {
            row.id: row.media[0].source.read_bytes() for row in load_rows(folder / "rows.jsonl")
        }

    alone = by_id(build(tmp_path, tasks={"colour": 3}))
    mixed = by_id(build(tmp_path, tasks={"shape": 2, "colour": 5}))
    assert {key: mixed[key] for key in alone} == alone


def test_tasks_are_mixed_and_may_differ_in_difficulty(tmp_path):
    built = build(
        tmp_path, tasks={"pitch": 20, "colour": 20}, difficulty={"pitch": 0.0, "colour": 1.0}
    )
    rows = load_rows(built / "rows.jsonl")
    assert {(row.source, row.difficulty) for row in rows} == {("pitch", 0.0), ("colour", 1.0)}
    changes = sum(one.source != other.source for one, other in itertools.pairwise(rows))
    assert changes > 8


def test_paraphrases_are_drawn_when_asked_for(tmp_path):
    rows = load_rows(build(tmp_path, tasks={"colour": 40}) / "rows.jsonl")
    assert {row.prompt[0]["content"][1]["text"] for row in rows} == {"Which colour?"}
    rows = load_rows(build(tmp_path, tasks={"colour": 40}, paraphrases=3) / "rows.jsonl")
    assert len({row.prompt[0]["content"][1]["text"] for row in rows}) == 3


def test_sizes_and_rates_are_parameters(tmp_path):
    sizes = {"image_size": 112, "frames": 12, "fps": 6, "sampling_rate": 8000}
    built = build(tmp_path, tasks=["colour", "direction", "pitch"], count=1, **sizes)
    found = {row.source: row for row in load_rows(built / "rows.jsonl")}
    assert pixels(found["colour"]).shape == (112, 112, 3)
    video = decode_video(found["direction"].media[0], MediaConfig(video_fps=6), "v")
    assert video.frames_THWC.shape == (12, 112, 112, 3)
    assert video.fps == 6.0
    import soundfile

    assert soundfile.info(found["pitch"].media[0].source).samplerate == 8000


def test_the_names_in_the_signature_are_the_tasks():
    assert set(typing.get_args(TaskName)) == set(TASKS)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"tasks": ["colour"]}, "a list of tasks needs 'count'"),
        ({"tasks": {"colour": 1}, "count": 2}, "'count' goes with a list of tasks"),
        ({"tasks": {}}, "holds no rows"),
    ],
)
def test_contradictions_are_refused(params, said, tmp_path):
    with pytest.raises(UserError, match=said):
        build(tmp_path, **params)
    assert [path.name for path in Path(tmp_path).iterdir()] == [".lock"]
