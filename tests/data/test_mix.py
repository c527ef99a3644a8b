from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from mmrl.cli import run
from mmrl.data.duplicates import COMMON
from mmrl.data.likeness import Looks, near, picture_look
from mmrl.data.mix import apportion
from mmrl.data.rows import load_rows

LONG = "the quick brown fox jumps over the lazy dog while seven grey cats watch from a wall"


@pytest.fixture
def mmrl(capfd):
    def call(*arguments):
        code = run(["data", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return call


@pytest.fixture
def rows_file(raw, write_jsonl):
    """A file of so many different rows."""

    def make(name, count, **changes):
        rows = [
            raw(f"{name}{number}", source=name, prompt=ask(f"{name} {number}?"), **changes)
            for number in range(count)
        ]
        return write_jsonl(*rows, name=f"{name}.jsonl")

    return make


def ask(text, *pictures):
    parts = [{"type": "image", "image": picture} for picture in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def scene(seed):
    """A picture with large and small shapes, so that smaller copies look like it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    fine = np.asarray(Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC))
    noise = rng.integers(-6, 7, fine.shape)
    return Image.fromarray(np.clip(fine + noise, 0, 255).astype(np.uint8))


def test_weights_are_kept_and_nothing_is_taken_twice(tmp_path, mmrl, rows_file):
    a, b = rows_file("a", 90), rows_file("b", 30)
    out = tmp_path / "m.jsonl"
    code, said, err = mmrl(
        "mix", f"in.a={a}", f"in.b={b}", f"out={out}", "weights.a=1", "weights.b=1"
    )
    assert (code, err) == (0, "")
    assert said.endswith(f"60 rows in {out}\n")
    rows = load_rows(out)
    assert Counter(row.source for row in rows) == {"a": 30, "b": 30}
    assert len({row.id for row in rows}) == 60
    assert [row.source for row in rows] != sorted(row.source for row in rows)


def test_caps_repeats_and_a_total(tmp_path, mmrl, rows_file):
    a, b = rows_file("a", 50), rows_file("b", 10)
    out = tmp_path / "m.jsonl"
    arguments = [f"in.a={a}", f"in.b={b}", "weights.a=3", "weights.b=2", "total=50", "caps.a=35"]
    code, _, err = mmrl("mix", *arguments, f"out={out}")
    assert code == 2
    assert "weights: b has 10 rows for 20 places" in err
    assert "repeats.b=2" in err
    code, _, err = mmrl("mix", *arguments, "repeats.b=2", f"out={out}")
    assert (code, err) == (0, "")
    ids = [row.id for row in load_rows(out)]
    assert len(ids) == 50
    again = {name for name in ids if name.startswith("b")}
    assert again == {f"b{n}" for n in range(10)} | {f"b{n}~2" for n in range(10)}


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path, mmrl, rows_file):
    a, b = rows_file("a", 40), rows_file("b", 40)
    made = []
    for name, seed in (("1", 5), ("2", 5), ("3", 6)):
        out = tmp_path / f"{name}.jsonl"
        assert (
            mmrl("mix", f"in.a={a}", f"in.b={b}", f"out={out}", f"seed={seed}", "caps.a=20")[0] == 0
        )
        made.append(out.read_bytes())
    assert made[0] == made[1] != made[2]
    assert sorted(made[0].splitlines()) != sorted(made[2].splitlines())


def test_another_source_moves_no_row_of_the_first(tmp_path, mmrl, rows_file):
    a, b = rows_file("a", 40), rows_file("b", 15)
    mmrl("mix", f"in.a={a}", f"out={tmp_path}/1.jsonl", "caps.a=12")
    mmrl("mix", f"in.a={a}", f"in.b={b}", f"out={tmp_path}/2.jsonl", "caps.a=12")
    one = [row.id for row in load_rows(tmp_path / "1.jsonl")]
    two = [row.id for row in load_rows(tmp_path / "2.jsonl") if row.source == "a"]
    assert one == two


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_manifest_repeats_a_mixture_to_the_byte(
    suffix, tmp_path, mmrl, media, with_media, rows_file, write_jsonl
):
    pictures = write_jsonl(
        *(with_media(f"p{n}", image="media/a.png", answer=str(n)) for n in range(5)), name="p.jsonl"
    )
    out = tmp_path / f"m.{suffix}"
    arguments = [f"in.a={rows_file('a', 20)}", f"in.p={pictures}", "weights.a=2", "weights.p=1"]
    assert (
        mmrl("mix", *arguments, f"out={out}", "seed=3", "dedup=[content,perceptual,ngrams]")[0] == 0
    )
    before, manifest = out.read_bytes(), tmp_path / "m.manifest.json"
    said = json.loads(manifest.read_text())
    assert said["sources"]["p"]["rows"] == 5
    assert said["mixture"]["sources"]["p"] == "p.jsonl"
    out.unlink()
    code, _, err = mmrl("mix", f"manifest={manifest}")
    assert (code, err, out.read_bytes() == before) == (0, "", True)
    assert mmrl("mix", f"manifest={manifest}")[0] == 0
    code, _, err = mmrl("mix", f"manifest={manifest}", "seed=4")
    assert (code, "seed: the manifest says it" in err) == (2, True)


def test_a_manifest_notices_what_has_changed(
    tmp_path, mmrl, media, with_media, rows_file, write_jsonl
):
    a = rows_file("a", 5)
    pictures = write_jsonl(with_media("p", image="media/a.png"), name="p.jsonl")
    out, manifest = tmp_path / "m.jsonl", tmp_path / "m.manifest.json"
    mmrl("mix", f"in.a={a}", f"in.p={pictures}", f"out={out}")
    before = out.read_bytes()
    picture = (media / "a.png").read_bytes()
    scene(1).save(media / "a.png")
    code, _, err = mmrl("mix", f"manifest={manifest}")
    assert (code, err) == (2, "mmrl: manifest: p: its media have changed since\n")
    (media / "a.png").write_bytes(picture)
    a.write_text(a.read_text() + "\n")
    code, _, err = mmrl("mix", f"manifest={manifest}")
    assert code == 2
    assert f"manifest: a: {a} has changed since" in err
    a.unlink()
    code, _, err = mmrl("mix", f"manifest={manifest}")
    assert (code, "a.jsonl: no such file" in err) == (2, True)
    assert out.read_bytes() == before
    manifest.write_text("{}")
    assert "is no manifest of a mixture" in mmrl("mix", f"manifest={manifest}")[2]


def test_a_picture_saved_again_looks_the_same_and_others_do_not():
    pictures = [scene(seed) for seed in range(60)]
    looks = [picture_look(picture) for picture in pictures]
    for picture, look in zip(pictures, looks, strict=True):
        assert near(look, picture_look(picture.resize((160, 120))))
        assert near(look, picture_look(ImageEnhance.Brightness(picture).enhance(0.95)))
    for place, look in enumerate(looks):
        assert not any(near(look, other) for other in looks[place + 1 :])
    assert not near(*(picture_look(Image.new("RGB", (50, 50), name)) for name in ("red", "blue")))


def test_the_index_of_looks_finds_what_comparing_all_pairs_finds():
    rng = np.random.default_rng(0)
    looks = [bytes(rng.integers(0, 256, 64, dtype=np.uint8)) for _ in range(80)]
    for look in looks[:40]:
        signs = int.from_bytes(look[:16], "big")
        for place in rng.choice(128, int(rng.integers(1, 10)), replace=False):
            signs ^= 1 << int(place)
        looks.append(signs.to_bytes(16, "big") + look[16:])
    index, kept = Looks(), []
    for number, look in enumerate(looks):
        wanted = next((other for other in kept if near(look, looks[other])), number)
        if wanted == number:
            kept.append(number)
        assert index.first(str(number), look) == str(wanted)
    assert len(kept) < len(looks)


def duplicates_of(mmrl, tmp_path, rows, write_jsonl, *arguments):
    path = write_jsonl(*rows, name="d.jsonl")
    (tmp_path / "m.jsonl").unlink(missing_ok=True)
    code, said, err = mmrl("mix", f"in.d={path}", f"out={tmp_path}/m.jsonl", *arguments)
    assert (code, err) == (0, "")
    return sorted(row.id for row in load_rows(tmp_path / "m.jsonl")), said


def test_duplicates_are_found_by_content_looks_and_words(tmp_path, mmrl, raw, write_jsonl):
    picture = scene(1)
    picture.save(tmp_path / "a.png")
    picture.resize((160, 120)).save(tmp_path / "b.jpg", quality=80)
    scene(2).save(tmp_path / "c.png")
    close = LONG.replace("wall", "roof") + " " + LONG
    rows = [
        raw("a", prompt=ask("What is it?", "a.png"), answer="x"),
        raw("a-again", prompt=ask("what is  IT", "a.png"), answer="x"),
        raw("a-other-answer", prompt=ask("What is it?", "a.png"), answer="y"),
        raw("a-smaller", prompt=ask("What is it?", "b.jpg"), answer="x"),
        raw("c", prompt=ask("What is it?", "c.png"), answer="x"),
        raw("words", prompt=ask(f"{LONG} {close} {LONG} one two three"), answer="x"),
        raw("words-again", prompt=ask(f"{LONG} {close} {LONG} one two four"), answer="x"),
        raw("words-other-answer", prompt=ask(f"{LONG} {close} {LONG} one two four"), answer="y"),
        raw(
            "words-with-picture",
            prompt=ask(f"{LONG} {close} {LONG} one two four", "a.png"),
            answer="x",
        ),
    ]
    kept, said = duplicates_of(mmrl, tmp_path, rows, write_jsonl)
    assert {"a-again"} == {row["id"] for row in rows} - set(kept)
    assert "1 repeat another (content)" in said
    kept, _ = duplicates_of(mmrl, tmp_path, rows, write_jsonl, "dedup=[content,perceptual]")
    assert {"a-again", "a-smaller"} == {row["id"] for row in rows} - set(kept)
    kept, said = duplicates_of(mmrl, tmp_path, rows, write_jsonl, "dedup=ngrams")
    assert {"words-again"} == {row["id"] for row in rows} - set(kept)
    kept, _ = duplicates_of(mmrl, tmp_path, rows, write_jsonl, "dedup=[]")
    assert len(kept) == len(rows)


def test_overlap_with_a_test_set_is_reported_or_dropped(tmp_path, mmrl, raw, write_jsonl):
    scene(1).save(tmp_path / "a.png")
    scene(1).resize((160, 120)).save(tmp_path / "b.png")
    formula = "please think step by step and put the final answer into a box thank you very much"
    train = [
        raw("same-picture", prompt=ask("Another question?", "b.png")),
        raw("same-words", prompt=ask(f"Read this: {LONG}. Why?")),
        raw("same-row", prompt=ask("Short?"), answer="7"),
        *(raw(f"free{n}", prompt=ask(f"Number {n}? {formula}")) for n in range(COMMON + 2)),
    ]
    test = [
        raw("t1", prompt=ask("What is it?", "a.png")),
        raw("t2", prompt=ask(f"{LONG} as ever")),
        raw("t3", prompt=ask("short"), answer="7"),
        raw("t4", prompt=ask(f"Say a word. {formula}")),
    ]
    path, tests = write_jsonl(*train, name="train.jsonl"), write_jsonl(*test, name="test.jsonl")
    arguments = [f"in.train={path}", f"against={tests}"]
    code, said, _ = mmrl("mix", *arguments, f"out={tmp_path}/m.jsonl")
    assert code == 0
    for kind in ("row", "medium", "words"):
        assert f"1 share a {kind} with {tests}, kept" in said
    examples = json.loads((tmp_path / "m.manifest.json").read_text())["against"]["examples"]
    assert sorted(examples) == [
        "same-picture ~ t1 (medium)",
        "same-row ~ t3 (row)",
        "same-words ~ t2 (words)",
    ]
    assert len(load_rows(tmp_path / "m.jsonl")) == len(train)
    mmrl("mix", *arguments, f"out={tmp_path}/n.jsonl", "overlap=drop")
    assert all(row.id.startswith("free") for row in load_rows(tmp_path / "n.jsonl"))
    assert len(load_rows(tmp_path / "n.jsonl")) == COMMON + 2


def test_ids_of_two_files_may_clash_only_with_names_before_them(tmp_path, mmrl, raw, write_jsonl):
    a = write_jsonl(raw("1", prompt=ask("a")), name="a.jsonl")
    b = write_jsonl(raw("1", prompt=ask("b")), name="b.jsonl")
    code, _, err = mmrl("mix", f"in.a={a}", f"in.b={b}", f"out={tmp_path}/m.jsonl")
    assert code == 2
    assert err == "mmrl: the id 1 is in a and b; ids=prefix puts names before ids\n"
    code, _, _ = mmrl("mix", f"in.a={a}", f"in.b={b}", f"out={tmp_path}/m.jsonl", "ids=prefix")
    assert sorted(row.id for row in load_rows(tmp_path / "m.jsonl")) == ["a/1", "b/1"]


def test_bad_rows_are_named_and_left_out(tmp_path, mmrl, raw, write_jsonl):
    path = write_jsonl(
        raw("a"), raw("b", anwser="4"), raw("c", prompt=ask("?", "no.png")), name="a.jsonl"
    )
    code, said, err = mmrl("mix", f"in.a={path}", f"out={tmp_path}/m.jsonl")
    assert code == 2
    lines = err.splitlines()
    assert "a row has no key 'anwser'" in lines[0]
    assert "no.png: No such file or directory" in lines[1]
    assert lines[2] == "mmrl: 2 rows left out; --allow-skips accepts that"
    assert said.endswith(f"1 rows in {tmp_path}/m.jsonl\n")
    assert mmrl("mix", f"in.a={path}", f"out={tmp_path}/n.jsonl", "--allow-skips")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["out=m.jsonl"], "in: give each file a name"),
        (["in.a=a.jsonl", "out=m.jsonl", "weights.b=1"], "weights.b: there is no such source"),
        (["in.a=a.jsonl", "out=m.jsonl", "weight.a=1"], "did you mean 'weights'?"),
        (["in.a=a.jsonl", "out=m.jsonl", "weights.a=-1"], "weights.a: must be at least 0"),
        (["in.a=a.jsonl", "out=m.jsonl", "weights.a=0"], "weights: all are 0"),
        (["in.a=a.jsonl", "out=m.jsonl", "repeats.a=0"], "repeats.a: must be at least 1"),
        (["in.a=a.jsonl", "out=m.jsonl", "dedup=[fuzzy]"], 'dedup.0: "fuzzy" does not fit'),
        (["in.a=a.jsonl", "out=a.jsonl"], "a.jsonl is there already"),
        (["in.a=b.jsonl", "out=m.jsonl"], "b.jsonl: no such file"),
        (["manifest=no.json"], "manifest: no.json: is no manifest"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, tmp_path, mmrl, raw, write_jsonl, monkeypatch):
    write_jsonl(raw(), name="a.jsonl")
    monkeypatch.chdir(tmp_path)
    code, out, err = mmrl("mix", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert [found.name for found in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("total", [0, 1, 7, 100])
def test_places_are_shared_out_whole(total):
    weights = {"a": 0.2, "b": 3, "c": 1.7}
    counts = apportion(total, weights)
    assert sum(counts.values()) == total
    for name, weight in weights.items():
        assert abs(counts[name] - total * weight / 4.9) < 1
