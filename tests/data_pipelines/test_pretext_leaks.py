"""Nothing is trained here: names, sizes, metadata and seams must not tell an answer."""

from __future__ import annotations

import re
import struct
from collections import defaultdict

import cv2
import numpy as np
import pytest

from data_pipelines._clips import video_part
from data_pipelines._pictures import GRID, cut, encode, paste

PICTURES = ("jigsaw", "rotation", "contrastive", "position", "masked_patch")
VIDEOS = ("temporal_jigsaw", "video_speed", "video_reversal", "anomaly_grounding", "object_count")
SOUNDS = ("audio_order", "audio_reversal", "splice_point")


@pytest.fixture(scope="session")
def folders(photos, clips, sounds):
    kinds = {**dict.fromkeys(PICTURES, photos), **dict.fromkeys(SOUNDS, sounds)}
    return {"frame_order": clips, **kinds, **dict.fromkeys(VIDEOS, clips)}


@pytest.fixture(scope="session")
def rows_for(rows_of, folders):
    return lambda task, **params: rows_of(task, folders[task], **{"difficulty": 0.5, **params})


def areas_beside(encoded, answers):
    """How well a number tells one answer from the rest: 0.5 by chance, 0 or 1 always."""
    found = []
    for answer in set(answers):
        own = [value for value, other in zip(encoded, answers, strict=True) if other == answer]
        rest = [value for value, other in zip(encoded, answers, strict=True) if other != answer]
        wins = [(a > b) + (a == b) / 2 for a in own for b in rest]
        found.append((np.mean(wins), len(own), len(rest)))
    return found


@pytest.mark.parametrize("task", [*PICTURES, *VIDEOS, "frame_order", *SOUNDS])
def test_names_are_hashes_and_ids_hold_no_answer(task, rows_for):
    for row in rows_for(task, count=2):
        for medium in row.media:
            assert re.fullmatch(r"[0-9a-f]{32}\.(jpg|mp4|wav)", medium.source.name)
        assert re.fullmatch(rf"{task}-0-[0-9a-f]{{12}}-\d", row.id)
        stamp = {medium.source.stat().st_mode for medium in row.media}
        assert len(stamp) == 1


@pytest.mark.parametrize("task", [*PICTURES, "frame_order"])
def test_pictures_carry_no_metadata_and_are_all_coded_alike(task, rows_for):
    tables = set()
    for row in rows_for(task, count=2):
        for medium in row.media:
            segments = jpeg_segments(medium.source.read_bytes())
            assert {marker for marker, _ in segments} <= {0xE0, 0xDB, 0xC0, 0xC4, 0xDA}
            tables |= {(marker, body) for marker, body in segments if marker == 0xDB}
            header = next(body for marker, body in segments if marker == 0xC0)
            assert header[7] == header[10] == header[13] == 0x11  # no colour at half resolution
    assert len(tables) <= 2


def jpeg_segments(encoded):
    found, at = [], 2
    while at < len(encoded):
        marker, length = encoded[at + 1], struct.unpack(">H", encoded[at + 2 : at + 4])[0]
        found.append((marker, encoded[at + 4 : at + 2 + length]))
        if marker == 0xDA:
            return found
        at += 2 + length
    raise AssertionError("no picture in it")


@pytest.mark.parametrize("task", VIDEOS)
def test_videos_carry_no_metadata_and_all_clips_are_alike(task, rows_for):
    import av

    settings = set()
    for row in rows_for(task, count=2):
        facts = set()
        for medium in row.media:
            encoded = medium.source.read_bytes()
            for word in (b"creation", b"Lavf", b"Lavc", b"\xa9too"):
                assert word not in encoded
            # What the encoder says of its settings is the same in all files.
            settings.add(encoded[encoded.index(b"x264 - core") :].split(b"\0")[0])
            with av.open(str(medium.source)) as container:
                stream = container.streams.video[0]
                keys = [p.is_keyframe for p in container.demux(stream) if p.size]
                assert all(keys)
                facts.add((len(keys), stream.average_rate, stream.width, stream.height))
                assert set(container.metadata) <= {
                    "major_brand",
                    "minor_version",
                    "compatible_brands",
                }
        assert len(facts) == 1
    assert len(settings) == 1


@pytest.mark.parametrize("task", SOUNDS)
def test_sounds_hold_samples_and_nothing_else(task, rows_for):
    for row in rows_for(task, count=2):
        encoded = row.media[0].source.read_bytes()
        chunks, at = [], 12
        while at < len(encoded):
            name, size = struct.unpack_from("<4sI", encoded, at)
            chunks.append(name)
            at += 8 + size
        assert chunks == [b"fmt ", b"data"]


@pytest.fixture(scope="session")
def all_ways(photos, tmp_path_factory):
    """Photographs in all eight turns and mirrors, so that no corner has more in it than another."""
    folder = tmp_path_factory.mktemp("all_ways")
    for path in sorted(photos.rglob("*.jpg"))[:10]:
        photo = cv2.imread(str(path))
        for turns in range(4):
            for mirrored in (photo, photo[:, ::-1]):
                name = f"{path.stem} {turns} {mirrored is photo}.png"
                cv2.imwrite(str(folder / name), np.rot90(mirrored, turns))
    return folder


@pytest.mark.parametrize("task", ["rotation", "contrastive", "position", "masked_patch"])
def test_the_size_of_a_picture_does_not_tell_the_answer(task, rows_of, all_ways):
    params = {"step": 90} if task == "rotation" else {}
    check_sizes(rows_of(task, all_ways, **params))


@pytest.mark.parametrize("task", ["video_reversal", "audio_reversal"])
def test_the_size_of_a_clip_or_a_sound_does_not_tell_the_answer(task, rows_for):
    check_sizes(rows_for(task, count=12))


def check_sizes(rows):
    answers = [row.answer for row in rows]
    assert len(rows) >= 48
    for place in range(len(rows[0].media)):
        sizes = [row.media[place].source.stat().st_size for row in rows]
        for area, own, rest in areas_beside(sizes, answers):
            deviation = np.sqrt((own + rest + 1) / (12 * own * rest))
            assert abs(area - 0.5) < 3.5 * deviation


def test_a_clip_weighs_the_same_forwards_and_backwards_and_in_any_order(rows_for, look, tmp_path):
    (clip,) = look(rows_for("video_reversal")[0])
    orders = [clip, clip[::-1], np.concatenate([clip[5:], clip[:5]])]
    paths = [tmp_path / video_part(tmp_path, frames, 2.0)["video"] for frames in orders]
    sizes = [path.stat().st_size for path in paths]
    assert max(sizes) - min(sizes) <= 16
    shown = [frames_of(path) for path in paths]
    assert np.array_equal(shown[0], shown[1][::-1])
    assert np.array_equal(shown[0], np.concatenate([shown[2][-5:], shown[2][:-5]]))


def frames_of(path):
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_an_order_of_tiles_hardly_changes_the_size_of_the_picture(photos):
    photo = cv2.imread(str(next(photos.rglob("photo 02.jpg"))))
    pieces = cut(photo, 3, 3)
    rng = np.random.default_rng(0)
    sizes = [
        len(encode(paste([pieces[at] for at in order], 3)))
        for order in [range(9), *(rng.permutation(9) for _ in range(10))]
    ]
    assert (max(sizes) - min(sizes)) / min(sizes) < 0.02


def test_the_blocks_of_the_source_lie_alike_in_all_tiles(rows_of, tmp_path, look):
    """A JPEG that is not resized keeps its 8 x 8 blocks; cut elsewhere, they would tell places."""
    rng = np.random.default_rng(1)
    noise = cv2.resize(rng.normal(128, 40, (60, 80, 3)), (444, 330), interpolation=cv2.INTER_CUBIC)
    for number in range(3):
        picture = np.clip(noise + rng.normal(0, 8, noise.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 30])
    phases = defaultdict(set)
    for row in rows_of("jigsaw", tmp_path, grid=[3, 3], count=3):
        (shown,) = look(row)
        height, width = shown.shape[0] // 3, shown.shape[1] // 3
        assert height % GRID == width % GRID == 0
        for y in range(3):
            for x in range(3):
                tile = shown[y * height : (y + 1) * height, x * width : (x + 1) * width]
                phases[row.extra["file"]].add(block_phase(tile))
    assert {len(found) for found in phases.values()} == {1}


def block_phase(tile):
    """At which of the 8 columns and rows the steps between pixels are the largest."""
    grey = tile.astype(float).mean(axis=-1)
    found = []
    for steps in (
        np.abs(np.diff(grey, axis=1)).mean(axis=0),
        np.abs(np.diff(grey, axis=0)).mean(axis=1),
    ):
        strength = [steps[phase::8].mean() for phase in range(8)]
        found.append(int(np.argmax(strength)))
    return tuple(found)


def test_a_right_angle_is_as_sharp_as_any_other(rows_for, look):
    sharpness = defaultdict(list)
    for row in rows_for("rotation", step=45, count=6):
        first, second = look(row)
        ratio = cv2.Laplacian(second, cv2.CV_64F).var() / cv2.Laplacian(first, cv2.CV_64F).var()
        sharpness[int(row.answer) % 90].append(np.log(ratio))
    straight, slanted = sharpness[0], sharpness[45]
    spread = np.sqrt(np.var(straight) / len(straight) + np.var(slanted) / len(slanted))
    assert abs(np.mean(straight) - np.mean(slanted)) < max(0.15, 3 * spread)


def test_no_clip_of_one_speed_repeats_a_frame(rows_for, look):
    for row in rows_for("video_speed", difficulty=0.5, count=3):
        for clip in look(row):
            steps = np.abs(np.diff(clip.astype(int), axis=0)).mean(axis=(1, 2, 3))
            assert steps.min() > 0.2


def test_pieces_of_a_sound_begin_and_end_alike(rows_for):
    import soundfile

    for row in rows_for("audio_order", count=3):
        samples, _ = soundfile.read(row.media[0].source)
        loud = np.flatnonzero(np.abs(samples) > 1e-4)
        cuts = np.flatnonzero(np.diff(loud) > 4000)
        for edge in (loud[0], *loud[cuts + 1]):
            assert np.abs(samples[max(0, edge - 8) : edge + 4]).max() < 0.05
        for edge in (*loud[cuts], loud[-1]):
            assert np.abs(samples[edge - 4 : edge + 8]).max() < 0.05


def test_answers_are_spread_evenly(rows_for):
    for task in ("contrastive", "video_reversal", "audio_reversal", "position", "masked_patch"):
        answers = [row.answer for row in rows_for(task, count=12 if "video" in task else 4)]
        kinds = len(set(answers))
        for answer in set(answers):
            expected = len(answers) / kinds
            assert abs(answers.count(answer) - expected) < 4 * np.sqrt(expected)
