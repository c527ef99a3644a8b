from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from mmrl.cli import run
from mmrl.data.rows import load_rows
from mmrl.data.split import Split, assign


@pytest.fixture
def mmrl(capfd):
    def call(*arguments):
        code = run(["data", "split", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return call


def digest(text):
    return hashlib.sha1(str(text).encode()).hexdigest()


def test_every_kind_is_cut_in_the_same_shares():
    kinds = [("a",)] * 600 + [("b",)] * 50 + [("c",)] * 10
    ids = [f"r{n}" for n in range(660)]
    parts = assign(ids, kinds, [[]] * 660, Split(shares={"train": 8, "eval": 1, "test": 1}))
    counts = Counter(zip(kinds, parts, strict=True))
    for kind, size in (("a", 600), ("b", 50), ("c", 10)):
        assert counts[(kind,), "train"] == pytest.approx(0.8 * size, abs=1)
        assert counts[(kind,), "eval"] == pytest.approx(0.1 * size, abs=1)


def test_kinds_of_one_row_do_not_all_go_to_the_largest_part():
    ids = [f"r{n}" for n in range(100)]
    parts = assign(
        ids, [(row_id,) for row_id in ids], [[]] * 100, Split(shares={"a": 0.7, "b": 0.3})
    )
    assert Counter(parts)["b"] == pytest.approx(30, abs=1)


def test_rows_that_share_a_medium_stay_together():
    media = [[digest(n // 3)] for n in range(90)] + [[digest(n), digest(n + 1)] for n in range(5)]
    ids = [f"r{n}" for n in range(len(media))]
    parts = assign(ids, [("a",)] * len(media), media, Split(shares={"a": 0.5, "b": 0.5}))
    where = {}
    for part, shown in zip(parts, media, strict=True):
        for medium in shown:
            assert where.setdefault(medium, part) == part
    assert abs(Counter(parts)["a"] - len(media) / 2) <= 10


def test_the_seed_alone_decides():
    ids, kinds, media = [f"r{n}" for n in range(50)], [("a",)] * 50, [[]] * 50
    cut = [
        assign(ids, kinds, media, Split(shares={"a": 1, "b": 1}, seed=seed)) for seed in (1, 1, 2)
    ]
    assert cut[0] == cut[1] != cut[2]


def test_the_command_writes_parts_and_a_manifest(
    tmp_path, mmrl, media, with_media, raw, write_jsonl
):
    path = write_jsonl(
        *(
            raw(f"a{n}", source="a", prompt=[{"role": "user", "content": f"{n}"}])
            for n in range(40)
        ),
        *(with_media(f"p{n}", image="media/a.png") for n in range(4)),
    )
    code, out, err = mmrl(
        path,
        f"out={tmp_path}/parts",
        "shares.train=0.75",
        "shares.eval=0.25",
        "by=[source,modality]",
    )
    assert (code, err) == (0, "")
    train, held = (load_rows(tmp_path / "parts" / f"{name}.jsonl") for name in ("train", "eval"))
    assert len(train) + len(held) == 44
    assert Counter(row.source for row in train)["a"] == 30
    assert len({row.media[0].source.is_file() for row in [*train, *held] if row.media}) == 1
    assert {row.id[0] for row in train} & {row.id[0] for row in held} == {"a"}
    assert "rows in" in out
    assert (tmp_path / "parts" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["out=p"], "shares: is missing"),
        (["out=p", "shares.a=1"], "shares: name two parts"),
        (["out=p", "shares.a=1", "shares.b=0"], "shares: name two parts"),
        (["out=p", "shares.a=1", "shares.b=1", "by=colour"], "by: 'colour' is none of"),
        (["out=p", "shares.a=1", "shares.b=1", "share=1"], "did you mean 'shares'?"),
        (["out=.", "shares.a=1", "shares.b=1"], "is there already"),
        (["out=p", "shares.a=x", "shares.b=1"], 'shares.a: "x" does not fit'),
    ],
)
def test_a_mistake_is_one_line(arguments, said, tmp_path, mmrl, raw, write_jsonl, monkeypatch):
    path = write_jsonl(raw())
    monkeypatch.chdir(tmp_path)
    code, out, err = mmrl(path, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
