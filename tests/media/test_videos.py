from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from mmrl.config.schema import MediaConfig
from mmrl.errors import DataError
from mmrl.media.key_frames import facts_of, has_clean_starts
from mmrl.media.video import decode_video, frame_count, frame_indices
from mmrl.media.writers import write_mp4
from mmrl.types import Medium

DECODERS = ("decord", "pyav")


def decoded(source, config):
    return decode_video(Medium(kind="video", source=source), config, "v-3")


def with_decoder(config, name, **changes):
    return config.model_copy(update={"video_decoder": name, **changes})


def constant_rate(path, frames, *, codec, fps=10, options=None):
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def variable_rate(path, frames, moments_ms):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.options = {"crf": "4", "bf": "2"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, moment in zip(frames, moments_ms, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = moment, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def silent_mp4_with_sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_short_video_comes_whole_with_its_rate(decoder, mp4, frames, config):
    video = decoded(mp4, with_decoder(config, decoder))
    assert video.frames_THWC.shape == frames.shape
    assert video.frames_THWC.dtype == np.uint8
    assert video.indices == tuple(range(12))
    assert (video.fps, video.source_fps, video.duration_s) == (4.0, 4.0, 3.0)
    flat = video.frames_THWC[6, 2:20, 2:30].astype(
        int
    )  # chroma is halved, so look where it is flat
    assert np.abs(flat - (120, 135, 128)).max() < 12


@pytest.mark.parametrize("fps", [0.7, 2, 3, 4])
@pytest.mark.parametrize("largest", [4, 6, 64])
def test_both_decoders_give_the_same_frames(fps, largest, mp4, config):
    one, other = (
        decoded(mp4, with_decoder(config, name, video_fps=fps, video_max_frames=largest))
        for name in DECODERS
    )
    assert one.indices == other.indices
    assert one.fps == other.fps
    assert (one.frames_THWC == other.frames_THWC).all()


@pytest.mark.parametrize("decoder", DECODERS)
def test_bytes_decode_as_a_file_does(decoder, mp4, config):
    config = with_decoder(config, decoder)
    assert (decoded(mp4, config).frames_THWC == decoded(mp4.read_bytes(), config).frames_THWC).all()


def test_the_rate_after_sampling_is_frames_over_duration(mp4, config):
    video = decoded(mp4, config.model_copy(update={"video_fps": 2.0}))
    assert len(video.indices) == 6
    assert video.fps == 2.0
    assert video.indices == (0, 2, 4, 7, 9, 11)


@pytest.mark.parametrize(
    ("available", "seconds", "changes", "count"),
    [
        (100, 10, {}, 20),
        (100, 10, {"video_fps": 0.1}, 4),  # never fewer than the minimum
        (1000, 100, {}, 64),  # never more than the maximum
        (3, 10, {}, 2),  # never more than there are
        (1, 0.04, {}, 1),
        (2, 1, {}, 2),
        (100, 4.4, {}, 8),  # 8.8 is 9, made even
        (100, 2.6, {"video_min_frames": 5}, 6),  # 5 may not shrink
        (5, 2.6, {"video_min_frames": 5}, 4),  # there is no sixth
        (100, 10, {"video_max_frames": 7}, 6),
        (100, 10, {"video_min_frames": 1, "video_max_frames": 1}, 1),
        (100, 0.5, {"video_min_frames": 1}, 2),  # one frame is half a temporal patch
    ],
)
def test_the_number_of_frames_follows_the_rule(available, seconds, changes, count):
    config = MediaConfig(**changes)
    assert frame_count(available, seconds, config) == count


def test_the_number_of_frames_stays_in_its_bounds():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        low, high = sorted(rng.integers(1, 40, 2).tolist())
        config = MediaConfig(
            video_fps=float(rng.uniform(0.1, 30)), video_min_frames=low, video_max_frames=high
        )
        available, seconds = int(rng.integers(1, 60)), Fraction(int(rng.integers(1, 900)), 30)
        count = frame_count(available, seconds, config)
        assert 1 <= count <= min(available, high)
        assert count % 2 == 0 or min(available, high) == 1
        assert count >= min(low, available, high) - 1


def test_indices_are_those_of_numpy_at_a_constant_rate():
    for available in (2, 5, 8, 30, 301):
        times = [Fraction(index, 30) for index in range(available)]
        for count in range(2, min(available, 40) + 1):
            found = frame_indices(times, count)
            exact = np.linspace(0, available - 1, count)
            assert np.abs(np.array(found) - exact).max() <= 0.5 + 1e-9
            assert found[0] == 0
            assert found[-1] == available - 1
            assert found == sorted(set(found))


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_variable_rate_is_sampled_by_time(decoder, tmp_path, frames, config):
    moments = [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 3000, 3900]
    path = variable_rate(tmp_path / "vfr.mp4", frames, moments)
    video = decoded(path, with_decoder(config, decoder, video_fps=1.0))
    assert video.duration_s == pytest.approx(4.0, abs=0.15)
    assert len(video.indices) == 4
    # At 0 s, 1.3 s, 2.6 s and 3.9 s: the frame of 0.9 s stands until 3.0 s.
    assert video.indices == (0, 9, 9, 11)
    assert (video.frames_THWC[1] == video.frames_THWC[2]).all()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_is_applied_by_both(degrees, mp4, turn, config):
    plain = decoded(mp4, config).frames_THWC
    expected = np.rot90(plain, -degrees // 90, axes=(1, 2))
    for decoder in DECODERS:
        found = decoded(turn(mp4, degrees), with_decoder(config, decoder)).frames_THWC
        assert (found == expected).all()


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mp4", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
        ("mp4", "libx264", {"g": "12", "bf": "3"}),
        ("mkv", "libx264", {"g": "250", "bf": "3"}),
        ("mkv", "libx264", {"g": "30", "bf": "2", "x264-params": "open-gop=1"}),
        ("flv", "libx264", {"g": "12", "bf": "3"}),
        ("mp4", "libx265", {"g": "12", "x265-params": "log-level=none:open-gop=0"}),
        ("mp4", "libx265", {"g": "12", "x265-params": "log-level=none"}),
        ("mp4", "mpeg4", {"g": "12", "bf": "2"}),
        ("avi", "mpeg4", {"g": "12", "bf": "2"}),
        ("webm", "libvpx", {"g": "12"}),
        ("mpg", "mpeg2video", {"g": "12", "bf": "2"}),
        ("wmv", "wmv2", {"g": "12"}),
    ],
)
def test_frames_between_key_frames_are_the_right_ones(suffix, codec, options, tmp_path, config):
    frames = np.zeros((60, 56, 80, 3), dtype=np.uint8)
    frames += (4 * np.arange(60, dtype=np.uint8))[
        :, None, None, None
    ]  # grey says which frame it is
    path = tmp_path / f"long.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 56, 80, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    one, other = (decoded(path, with_decoder(config, name)) for name in DECODERS)
    assert one.indices == other.indices
    assert (one.frames_THWC == other.frames_THWC).all()
    shown = one.frames_THWC.mean(axis=(1, 2, 3)) / 4
    assert np.abs(shown - np.array(one.indices)).max() < 1.0


def test_transport_streams_are_left_to_pyav(tmp_path, frames, config):
    path = constant_rate(tmp_path / "clip.ts", frames, codec="libx264", fps=25)
    with pytest.raises(DataError, match=r"misplaces frames in MPEG transport streams; .*=pyav$"):
        decoded(path, config)
    assert len(decoded(path, with_decoder(config, "pyav")).indices) == 4


CODECS = {"mkv": "libx264", "avi": "mpeg4", "webm": "libvpx", "flv": "flv", "mpg": "mpeg2video"}


@pytest.mark.parametrize("suffix", CODECS)
def test_other_containers_are_read_alike(suffix, tmp_path, frames, config):
    fps = 25 if suffix == "mpg" else 10
    path = constant_rate(tmp_path / f"clip.{suffix}", frames, codec=CODECS[suffix], fps=fps)
    one, other = (decoded(path, with_decoder(config, name)) for name in DECODERS)
    assert one.duration_s == pytest.approx(12 / fps, abs=0.01)
    assert one.indices == other.indices
    assert (one.frames_THWC == other.frames_THWC).all()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_video_cut_before_its_index_is_refused(decoder, share, mp4, config, capfd):
    encoded = mp4.read_bytes()
    assert encoded.find(b"moov") > encoded.find(b"mdat")
    cut = mp4.with_name("cut.mp4")
    cut.write_bytes(encoded[: int(len(encoded) * share)])
    with pytest.raises(DataError, match=r"^row v-3: video .*cut\.mp4: PyAV cannot read it"):
        decoded(cut, with_decoder(config, decoder))
    out, err = capfd.readouterr()
    assert out + err == ""


@pytest.mark.parametrize("decoder", DECODERS)
def test_frames_that_stop_early_are_noticed(decoder, tmp_path, frames, config, capfd):
    path = tmp_path / "streamable.mp4"
    constant_rate(path, frames, codec="libx264", options={"movflags": "+faststart"})
    encoded = path.read_bytes()
    path.write_bytes(encoded[: len(encoded) // 2])
    with pytest.raises(DataError, match=r"it is truncated: 12 frames are promised, \d+ are there"):
        decoded(path, with_decoder(config, decoder))
    out, err = capfd.readouterr()
    assert out + err == ""


@pytest.mark.parametrize("suffix", ["mkv", "avi", "webm", "flv"])
def test_other_containers_that_stop_early_are_noticed(suffix, tmp_path, frames, config):
    path = constant_rate(tmp_path / f"clip.{suffix}", frames, codec=CODECS[suffix], fps=4)
    encoded = path.read_bytes()
    path.write_bytes(encoded[: len(encoded) // 2])
    with pytest.raises(DataError, match=r"it is truncated"):
        decoded(path, config)


@pytest.mark.parametrize("decoder", DECODERS)
def test_damaged_frames_are_refused(decoder, mp4, config, capfd):
    encoded = bytearray(mp4.read_bytes())
    at = encoded.find(b"mdat")
    encoded[at + 2000 : at + 9000] = bytes(7000)
    mp4.write_bytes(encoded)
    with pytest.raises(DataError, match="cannot decode its frames") as error:
        decoded(mp4, with_decoder(config, decoder))
    assert "\n" not in str(error.value)
    out, err = capfd.readouterr()
    assert out + err == ""


def test_a_sound_without_pictures_is_refused(tmp_path, config):
    path = silent_mp4_with_sound_only(tmp_path / "sound.mp4")
    with pytest.raises(DataError, match="it has no video track"):
        decoded(path, config)


def test_a_video_without_frames_is_refused(tmp_path, frames, config):
    path = constant_rate(tmp_path / "one.avi", frames[:1], codec="mpeg4")
    encoded = path.read_bytes()
    path.write_bytes(encoded[: encoded.find(b"movi") + 4])
    with pytest.raises(DataError, match=r"it holds no frames|PyAV cannot read it"):
        decoded(path, config)


def test_a_picture_is_no_video(png, config):
    with pytest.raises(DataError) as error:
        decoded(png, config)
    assert str(error.value).endswith(
        "it is a PNG image, not a video; replace the file or remove the row"
    )


@pytest.mark.parametrize("text", ["#EXTM3U\nhttp://localhost/x.ts\n", "ffconcat version 1.0\n"])
def test_a_playlist_is_never_followed(text, tmp_path, config):
    (tmp_path / "list.mp4").write_text(text)
    with pytest.raises(DataError, match="not a video"):
        decoded(tmp_path / "list.mp4", config)


def test_the_duration_has_a_limit(mp4, config):
    with pytest.raises(DataError, match=r"3.0 s is more than media.limit_video_seconds \(2\)"):
        decoded(mp4, config.model_copy(update={"limit_video_seconds": 2.0}))


def test_the_size_of_a_frame_has_a_limit(mp4, config):
    with pytest.raises(DataError, match=r"80 x 56 pixels is more than media.limit_image_pixels"):
        decoded(mp4, config.model_copy(update={"limit_image_pixels": 1000}))


@pytest.mark.parametrize("decoder", DECODERS)
def test_random_damage_never_crashes(decoder, mp4, config):
    encoded = mp4.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(encoded)
        for _ in range(8):
            broken[rng.integers(8, len(broken))] = rng.integers(0, 256)
        try:
            decoded(bytes(broken), with_decoder(config, decoder))
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_width_that_decord_miscounts_is_refused_and_pyav_reads_it(tmp_path, frames, config):
    path = tmp_path / "narrow.mp4"
    write_mp4(path, frames[:, :, :48], fps=4)
    with pytest.raises(DataError, match=r"or set media\.video_decoder=pyav$"):
        decoded(path, config)
    assert decoded(path, with_decoder(config, "pyav")).frames_THWC.shape == (12, 56, 48, 3)


@pytest.mark.parametrize("content", ["noise", "grey"])
@pytest.mark.parametrize("is_open", [False, True])
def test_decord_seeks_only_where_every_key_frame_is_a_clean_start(
    content, is_open, tmp_path, config
):
    frames = np.zeros((120, 56, 80, 3), dtype=np.uint8)
    frames += (2 * np.arange(120, dtype=np.uint8))[:, None, None, None]
    if content == "noise":
        frames = np.random.default_rng(1).integers(0, 256, frames.shape, dtype=np.uint8)
    path = tmp_path / "long.mkv"
    options = {"g": "30", "bf": "2", "x264-params": f"open-gop={int(is_open)}"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 56, 80, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [facts_of(packet, stream) for packet in container.demux(stream) if packet.size]
    assert has_clean_starts(packets) == (not is_open)
    one, other = (
        decoded(path, with_decoder(config, name, video_max_frames=10)) for name in DECODERS
    )
    assert (one.frames_THWC == other.frames_THWC).all()
