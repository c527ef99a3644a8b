from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmrl.data.golds import check_golds
from mmrl.errors import ConfigError, DataError
from mmrl.judging.panel import Panel

TASKS = ("jigsaw", "rotation", "contrastive", "position", "masked_patch")
LEVELS = (0.0, 0.5, 1.0)


def photo_of(row, photos):
    (path,) = photos.rglob(Path(row.extra["file"]).name)
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def found_at(piece, picture):
    """Where a piece fits best, and how well (1 is perfectly)."""
    grey = [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in (picture, piece)]
    scores = cv2.matchTemplate(*grey, cv2.TM_CCOEFF_NORMED)
    _, score, _, (x, y) = cv2.minMaxLoc(scores)
    return x, y, score


def tiles_of(picture, rows, columns):
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    return [
        picture[y * height : (y + 1) * height, x * width : (x + 1) * width]
        for y, x in itertools.product(range(rows), range(columns))
    ]


def original_places(row, picture, photos):
    """Read from the photograph where each tile of a shown jigsaw was: centres, in tiles."""
    rows, columns = row.extra["rows"], row.extra["columns"]
    photo = photo_of(row, photos)
    longest = max(photo.shape[:2])
    if longest > 448:
        size = [round(side * 448 / longest) for side in photo.shape[1::-1]]
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    places = []
    for tile in tiles_of(picture, rows, columns):
        x, y, score = found_at(tile, photo)
        assert score > 0.95
        places.append((y / tile.shape[0], x / tile.shape[1]))
    return np.array(places)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("level", LEVELS)
def test_gold_answers_pass_and_those_of_neighbours_do_not(task, level, rows_of, photos):
    rows = rows_of(task, photos, difficulty=level)
    report = check_golds(rows, Panel())
    assert report.errors == ()
    assert report.judged == len(rows) == 20
    assert report.unopposed == 0
    assert {row.difficulty for row in rows} == {level}


@pytest.mark.parametrize("level", LEVELS)
def test_the_answer_of_a_jigsaw_puts_the_photograph_together(level, rows_of, photos, look):
    for row in rows_of("jigsaw", photos, difficulty=level)[:10]:
        (picture,) = look(row)
        places = original_places(row, picture, photos)
        offsets = places.min(axis=0)
        columns = row.extra["columns"]
        read = [int(round(y) * columns + round(x)) + 1 for y, x in places - offsets]
        assert list(itertools.chain(*row.answer)) == read
        assert [len(line) for line in row.answer] == [columns] * row.extra["rows"]


def test_the_letter_of_a_pair_is_how_the_two_pieces_lay(rows_of, photos, look):
    signs = {"above": (-1, 0), "below": (1, 0), "left": (0, -1), "right": (0, 1)}
    rows = rows_of("jigsaw", photos, difficulty=[0, 1], question="pair", count=2)
    for row in rows[::3]:
        (picture,) = look(row)
        text = row.prompt[0]["content"][1]["text"]
        first, second = map(int, re.findall(r"now at place (\d+)", text))
        option = re.search(rf"\b{row.answer}\. ([a-z ]+?) (?=[B-H]\.|Answer)", text).group(1)
        places = np.round(original_places(row, picture, photos), 0)
        seen = np.sign(places[first - 1] - places[second - 1])
        said = np.sum([signs[word] for word in option.split(" and ")], axis=0)
        assert tuple(seen) == tuple(said)
    assert len({row.answer for row in rows}) > 4


def test_grids_grow_with_difficulty_and_may_be_given(rows_of, photos):
    def pieces(**params):
        rows = rows_of("jigsaw", photos, **params)
        return {row.extra["rows"] * row.extra["columns"] for row in rows}

    assert pieces(difficulty=0.0) == {2}
    assert pieces(difficulty=0.5) == {9}
    assert pieces(difficulty=1.0) == {16}
    assert len(pieces(difficulty=[0, 1])) > 2
    rows = rows_of("jigsaw", photos, grid=[1, 3])
    assert {(row.extra["rows"], row.extra["columns"]) for row in rows} == {(1, 3)}
    assert {row.difficulty for row in rows} == {0.08}


def test_a_border_hides_the_edges(rows_of, photos, look):
    row = rows_of("jigsaw", photos, grid=[2, 2], border=0.2)[0]
    for tile in tiles_of(look(row)[0], 2, 2):
        edge = tile.shape[0] // 10 - 4
        assert np.abs(tile[:edge].astype(int) - 127).max() < 12
        assert tile[tile.shape[0] // 2].std() > 5


@pytest.mark.parametrize("level", [0.0, 0.3, 0.6, 1.0])
def test_turning_the_first_picture_by_the_answer_gives_the_second(level, rows_of, photos, look):
    step = {0.0: 90, 0.3: 45, 0.6: 30, 1.0: 15}[level]
    rows = rows_of("rotation", photos, difficulty=level)
    for row in rows[:12]:
        first, second = look(row)
        assert first.shape == second.shape == (224, 224, 3)
        middle = slice(40, 184)
        scores = {}
        for angle in range(0, 360, step):
            matrix = cv2.getRotationMatrix2D((111.5, 111.5), angle, 1.0)
            turned = cv2.warpAffine(first, matrix, (224, 224))[middle, middle]
            scores[str(angle)] = cv2.matchTemplate(
                second, turned[8:-8, 8:-8], cv2.TM_CCOEFF_NORMED
            )[40:56, 40:56].max()
        assert max(scores, key=scores.get) == row.answer
    assert len({row.answer for row in rows}) > 2


def test_a_rotation_without_reference_shows_one_picture(rows_of, photos):
    rows = rows_of("rotation", photos, reference=False, step=90)
    assert {len(row.media) for row in rows} == {1}
    assert {row.difficulty for row in rows} == {0.12}


def test_positive_views_are_of_one_photograph_and_negative_ones_of_two(rows_of, photos, look):
    averages = {
        path.name: cv2.imread(str(path))[..., ::-1].mean(axis=(0, 1))
        for path in photos.rglob("*.jpg")
    }
    rows = rows_of("contrastive", photos, difficulty=0.0, count=2)
    hits = 0
    for row in rows:
        nearest = [
            sorted(averages, key=lambda name: np.abs(averages[name] - view.mean(axis=(0, 1))).sum())
            for view in look(row)
        ]
        own = Path(row.extra["file"]).name
        ranks = [names.index(own) for names in nearest]
        assert ranks[0] <= 6
        hits += (ranks[1] <= 3) == (row.answer == "positive")
    assert hits / len(rows) > 0.8
    assert set(Counter(row.answer for row in rows)) == {"positive", "negative"}


@pytest.mark.parametrize("level", LEVELS)
def test_the_piece_is_found_in_the_quarter_that_the_answer_names(level, rows_of, photos, look):
    rows = rows_of("position", photos, difficulty=level)
    for row in rows:
        whole, piece = look(row)
        share = 0.8 - 0.6 * level
        size = [max(8, round(side // 2 * share)) for side in whole.shape[1::-1]]
        x, y, score = found_at(cv2.resize(piece, size, interpolation=cv2.INTER_AREA), whole)
        assert score > 0.8
        centre = (y + size[1] / 2 > whole.shape[0] / 2, x + size[0] / 2 > whole.shape[1] / 2)
        names = {(0, 0): "top-left", (0, 1): "top-right", (1, 0): "bottom-left"}
        assert names.get(centre, "bottom-right") == row.answer
    assert len({row.answer for row in rows}) == 4


@pytest.mark.parametrize("level", LEVELS)
def test_the_right_patch_is_what_the_photograph_has_there(level, rows_of, photos, look):
    rows = rows_of("masked_patch", photos, difficulty=level)
    for row in rows:
        whole, *patches = look(row)
        places = tiles_of(whole, 4, 4)
        (hidden,) = [
            at for at, tile in enumerate(places) if np.abs(tile.astype(int) - 127).max() < 9
        ]
        y, x = divmod(hidden, 4)
        photo = photo_of(row, photos)
        if max(photo.shape) > 448:
            scale = 448 / max(photo.shape)
            size = [round(side * scale) for side in photo.shape[1::-1]]
            photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        tile_h, tile_w = places[0].shape[:2]
        top = (photo.shape[0] - 4 * tile_h) // 2 + y * tile_h
        left = (photo.shape[1] - 4 * tile_w) // 2 + x * tile_w
        true = photo[top : top + tile_h, left : left + tile_w].astype(int)
        errors = [np.abs(patch.astype(int) - true).mean() for patch in patches]
        assert "ABCD"[int(np.argmin(errors))] == row.answer
        assert sorted(errors)[1] > 2 * min(errors)
    assert len({row.answer for row in rows}) == 4


@pytest.mark.parametrize("task", TASKS)
def test_a_picture_in_which_nothing_can_be_told_is_left_out(task, tmp_path, rows_of):
    from PIL import Image

    for number, grey in enumerate((90, 200)):
        Image.new("RGB", (448, 448), (grey,) * 3).save(tmp_path / f"{number}.png")
    if task == "contrastive":  # two greys are two pictures, one alone has no other
        assert len(rows_of(task, tmp_path)) == 2
        (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match="left out"):
        rows_of(task, tmp_path, seed=1, count=10)


@pytest.mark.parametrize(
    ("task", "params", "said"),
    [
        ("jigsaw", {"grid": [1, 1]}, "one piece is no jigsaw"),
        ("jigsaw", {"grid": [9, 1]}, "does not fit"),
        ("jigsaw", {"difficulty": 1.5}, "does not fit"),
        ("rotation", {"step": 60}, "does not fit"),
        ("position", {"heldout": 1.0}, "does not fit"),
        ("masked_patch", {"options": 1}, "does not fit"),
    ],
)
def test_wrong_params_are_one_line(task, params, said, rows_of, photos):
    with pytest.raises(ConfigError, match=said) as error:
        rows_of(task, photos, **params)
    assert "\n" not in str(error.value)


def test_pictures_are_upright_by_their_exif(tmp_path, rows_of, photos, look):
    from PIL import Image

    pixels = np.asarray(Image.open(next(photos.rglob("photo 00.jpg"))))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    whole, _ = look(rows_of("position", tmp_path)[0])
    assert whole.shape[:2] == pixels.shape[1::-1]
    assert np.abs(whole.astype(int) - np.rot90(pixels, -1)).mean() < 4
