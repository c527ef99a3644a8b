from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmrl.errors import DataError
from mmrl.media.image import decode_image
from mmrl.types import Medium


def decoded(source, config):
    return decode_image(Medium(kind="image", source=source), config, "geo-17")


def saved(image, format_name, **options):
    file = io.BytesIO()
    image.save(file, format=format_name, **options)
    return file.getvalue()


def huge_png(width, height):
    """A PNG that claims to be huge and holds nearly nothing."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def test_a_png_comes_back_pixel_for_pixel(png, config):
    image = decoded(png, config)
    expected = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert image.mode == "RGB"
    assert (np.asarray(image) == expected).all()


def test_bytes_decode_as_a_file_does(png, config):
    assert decoded(png, config).tobytes() == decoded(png.read_bytes(), config).tobytes()


def test_the_exif_orientation_is_applied(config):
    image = Image.new("RGB", (60, 40), "white")
    image.paste("red", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees to show
    shown = decoded(saved(image, "JPEG", exif=exif, quality=95), config)
    assert shown.size == (40, 60)
    red, green, _ = shown.getpixel((35, 5))
    assert red > 200
    assert green < 60


def test_transparency_is_flattened_on_white(config):
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 255, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))
    shown = decoded(saved(image, "PNG"), config)
    assert shown.getpixel((5, 5)) == (255, 255, 255)
    assert shown.getpixel((0, 0)) == (0, 0, 255)
    assert abs(shown.getpixel((1, 0))[0] - 127) <= 1


def test_a_palette_with_a_transparent_colour_is_flattened_too(config):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 1)
    shown = decoded(saved(image, "PNG", transparency=0), config)
    assert shown.getpixel((2, 2)) == (255, 255, 255)
    assert shown.getpixel((0, 0)) == (0, 255, 0)


def test_16_bit_grey_keeps_its_range(config):
    grey = np.array([[0, 0x80FF, 0xFFFF]], dtype=np.uint16).repeat(3, axis=0)
    shown = np.asarray(decoded(saved(Image.fromarray(grey), "PNG"), config))
    assert shown[0, :, 0].tolist() == [0, 0x80, 0xFF]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_other_modes_become_rgb(mode, config):
    format_name = "JPEG" if mode == "CMYK" else "PNG"
    shown = decoded(saved(Image.new(mode, (8, 8)), format_name), config)
    assert shown.mode == "RGB"


@pytest.mark.parametrize("format_name", ["JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_other_formats_are_read(format_name, config):
    shown = decoded(saved(Image.new("RGB", (20, 10), "red"), format_name), config)
    assert shown.size == (20, 10)
    assert np.abs(np.asarray(shown).astype(int) - (255, 0, 0)).max() < 12


def test_an_animation_is_refused(config):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    for format_name in ("GIF", "PNG", "WEBP", "TIFF"):
        encoded = saved(frames[0], format_name, save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match=r"3 frames or pages; keep one frame"):
            decoded(encoded, config)


def test_of_a_cameras_multi_picture_jpeg_the_main_picture_is_taken(config):
    main, preview = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (8, 4), "blue")
    encoded = saved(main, "MPO", save_all=True, append_images=[preview])
    shown = decoded(encoded, config)
    assert shown.size == (40, 20)
    assert shown.getpixel((20, 10))[0] > 240


def test_an_empty_file_is_one_line(tmp_path, config):
    (tmp_path / "17.png").touch()
    with pytest.raises(DataError) as error:
        decoded(tmp_path / "17.png", config)
    assert str(error.value) == (
        f"row geo-17: image {tmp_path}/17.png: 0 bytes; replace the file or remove the row"
    )


def test_a_missing_file_is_one_line(tmp_path, config):
    with pytest.raises(DataError, match=r"^row geo-17: image .*17\.png: no such file; restore"):
        decoded(tmp_path / "17.png", config)


def test_a_folder_is_no_image(tmp_path, config):
    with pytest.raises(DataError, match="not a regular file"):
        decoded(tmp_path, config)


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_truncated_file_is_refused(format_name, config):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    encoded = saved(Image.fromarray(noise), format_name)
    with pytest.raises(DataError, match="Pillow cannot decode it") as error:
        decoded(encoded[: len(encoded) // 2], config)
    assert "\n" not in str(error.value)


def test_damaged_bytes_are_refused(png, config):
    encoded = bytearray(png.read_bytes())
    encoded[len(encoded) // 2] ^= 0xFF
    with pytest.raises(DataError, match="Pillow cannot decode it"):
        decoded(bytes(encoded), config)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"hello, I am text", "it is a text file, not an image"),
        (b"<!DOCTYPE html><html>404</html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it is a text file, not an image"),
        (b"\x00\x01\x02\x03" * 8, "the bytes are of no known image format"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "it is a WAV sound, not an image"),
    ],
)
def test_an_error_says_what_the_file_is_instead(head, said, config):
    with pytest.raises(DataError) as error:
        decoded(head, config)
    assert said in str(error.value)


def test_a_video_is_no_image(mp4, config):
    with pytest.raises(DataError, match="it is an MP4 or MOV file, not an image"):
        decoded(mp4, config)


def test_a_giant_header_is_refused_before_anything_is_decoded(config):
    with pytest.raises(
        DataError, match=r"60000 x 60000 pixels is more than media.limit_image_pixels"
    ):
        decoded(huge_png(60_000, 60_000), config)


def test_the_limit_is_ours_and_not_pillows(config):
    guard = Image.MAX_IMAGE_PIXELS
    raised = config.model_copy(update={"limit_image_pixels": 10**10})
    with pytest.raises(DataError, match="Pillow cannot decode it") as error:
        decoded(huge_png(20_000, 9_500), raised)
    assert "bomb" not in str(error.value)
    assert guard == Image.MAX_IMAGE_PIXELS


def test_a_strip_that_processors_refuse_is_refused_here(config):
    with pytest.raises(DataError, match="one side is more than 200 times the other"):
        decoded(saved(Image.new("RGB", (2001, 10)), "PNG"), config)


def test_the_file_size_has_a_limit(png, config):
    small = config.model_copy(update={"limit_file_mb": 0.001})
    with pytest.raises(DataError, match=r"media.limit_file_mb \(0.001\); raise the limit"):
        decoded(png, small)
