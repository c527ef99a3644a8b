from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from mmrl.errors import DataError
from mmrl.media.audio import decode_audio
from mmrl.types import Medium


def decoded(source, config, rate=16_000):
    return decode_audio(Medium(kind="audio", source=source), config, rate, "s-1")


def encoded_wav(samples, rate=16_000, **options):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=options.pop("format", "WAV"), **options)
    return file.getvalue()


def test_a_wav_comes_back_within_16_bits(wav, config):
    samples = decoded(wav, config)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    assert samples.dtype == np.float32
    assert samples.shape == (8000,)
    assert np.abs(samples - expected).max() < 1e-4


def test_bytes_decode_as_a_file_does(wav, config):
    assert (decoded(wav, config) == decoded(wav.read_bytes(), config)).all()


def test_channels_are_averaged(config):
    left, right = np.full(100, 0.5), np.full(100, -0.25)
    samples = decoded(encoded_wav(np.stack([left, right], axis=1)), config)
    assert np.allclose(samples, 0.125, atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_resampling_keeps_pitch_and_length(rate, config):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    samples = decoded(encoded_wav(tone, rate), config)
    assert abs(len(samples) - 16_000) <= 1
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) * 16_000 / len(samples) - 1000) < 2
    assert abs(np.abs(samples[4000:12000]).max() - 0.5) < 0.01


@pytest.mark.parametrize("format_name", ["FLAC", "OGG", "MP3", "AIFF"])
def test_other_formats_are_read(format_name, config):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    samples = decoded(encoded_wav(tone, format=format_name), config)
    assert abs(len(samples) - 16_000) < 2500  # MP3 pads with silence
    assert abs(np.abs(samples[4000:12000]).max() - 0.5) < 0.05


def test_a_wav_that_is_text_is_one_line(tmp_path, config):
    (tmp_path / "a.wav").write_text("not a sound at all\nreally\n")
    with pytest.raises(DataError) as error:
        decoded(tmp_path / "a.wav", config)
    assert str(error.value) == (
        f"row s-1: audio {tmp_path}/a.wav: it is a text file, not an audio; "
        "replace the file or remove the row"
    )


def test_a_truncated_wav_is_refused(wav, config):
    encoded = wav.read_bytes()
    with pytest.raises(DataError, match="it is truncated: 6000 bytes of sound are missing"):
        decoded(encoded[:-6000], config)


def test_a_truncated_flac_is_refused(config):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    encoded = encoded_wav(noise, format="FLAC")
    with pytest.raises(DataError, match=r"truncated|cannot decode"):
        decoded(encoded[: len(encoded) // 2], config)


def test_a_streamed_wav_without_sizes_is_read(wav, config):
    encoded = bytearray(wav.read_bytes())
    struct.pack_into("<I", encoded, 4, 0xFFFFFFFF)
    struct.pack_into("<I", encoded, encoded.find(b"data") + 4, 0xFFFFFFFF)
    assert len(decoded(bytes(encoded), config)) == 8000


def test_a_header_without_samples_is_refused(config):
    with pytest.raises(DataError, match="it holds no samples"):
        decoded(encoded_wav(np.zeros(0)), config)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(value, config):
    samples = np.zeros(100, dtype=np.float32)
    samples[50] = value
    with pytest.raises(DataError, match="not finite"):
        decoded(encoded_wav(samples, subtype="FLOAT"), config)


def test_the_duration_has_a_limit(wav, config):
    short = config.model_copy(update={"limit_audio_seconds": 0.25})
    with pytest.raises(DataError, match=r"0.5 s is more than media.limit_audio_seconds \(0.25\)"):
        decoded(wav, short)


def test_damaged_headers_never_crash(wav, config):
    encoded = wav.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(encoded)
        broken[rng.integers(0, 44)] = rng.integers(0, 256)
        try:
            decoded(bytes(broken), config)
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_picture_is_no_sound(png, config):
    with pytest.raises(DataError, match="it is a PNG image, not an audio"):
        decoded(png, config)
