from __future__ import annotations

import functools
import importlib.util
import json
import operator

import pytest

from mmrl.cli import run
from mmrl.data import engines
from mmrl.data.engines import map_items, pack, unpack
from mmrl.errors import ConfigError

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is an extra: pip install mmrl-toolkit[ray]"
)
ENGINES = ["local", "processes", pytest.param("ray", marks=needs_ray)]


@pytest.fixture(scope="module")
def ray():
    """A Ray of two workers, for all tests of this file."""
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install mmrl-toolkit[ray]")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, 2.5, "ä\n", True, {"a": {}}],
        {"image": b"\x00\xff", "more": [b"", {"x": b"1"}]},
        {"bytes": "c29tZQ=="},
        [{"bytes": "no base64!"}, {"image": {"bytes": b"\xff"}}, {"bytes_": ""}],
        'a text with {"bytes": in it',
        [b"x", '{"bytes":'],
    ],
)
def test_what_is_packed_is_unpacked(value):
    assert unpack(pack(value)) == value


def test_what_is_no_value_cannot_be_sent():
    with pytest.raises(TypeError, match="a set cannot be sent"):
        pack({1, 2})


@pytest.mark.parametrize("engine", ["local", "processes"])
def test_results_come_in_the_order_of_the_items(engine, monkeypatch):
    monkeypatch.setattr(engines, "_CHUNK_ITEMS", 7)
    items = [{"n": n, "image": bytes([n])} for n in range(40)]
    found = map_items(operator.itemgetter("image"), items, engine=engine, workers=2)
    assert list(found) == [bytes([n]) for n in range(40)]
    assert list(map_items(operator.itemgetter("n"), [], engine=engine, workers=2)) == []


def test_local_items_are_read_as_they_are_needed():
    read = []
    items = (read.append(n) or n for n in range(10))
    found = map_items(operator.neg, items)
    assert [next(found), next(found)] == [0, -1]
    assert read == [0, 1]


def test_an_unknown_engine_or_no_workers_is_a_mistake():
    with pytest.raises(ConfigError, match="engine: must be one of local, processes, ray"):
        map_items(operator.neg, [], engine="spark")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="workers: must be at least 1"):
        map_items(operator.neg, [], workers=0)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Records of which some do not fit, and pictures."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("records")
    for n in range(3):
        Image.new("RGB", (8 + n, 8), (n * 90, 9, 9)).save(folder / f"{n}.png")
    lines = [
        json.dumps({"problem": f"<image>{n}?", "answer": str(n), "images": [f"{n % 4}.png"]})
        for n in range(60)
    ]
    (folder / "d.jsonl").write_text("\n".join([*lines, "{broken"]))
    return folder


def converted(records, out, engine, capfd, *more):
    arguments = ["data", "convert", "from=easyr1", f"in={records}/d.jsonl", f"out={out}"]
    code = run([*arguments, f"engine={engine}", "workers=2", *more])
    err = capfd.readouterr().err
    return code, out.read_bytes(), [line for line in err.splitlines() if line.startswith("mmrl: ")]


def test_rows_are_the_same_in_worker_processes(records, tmp_path, capfd):
    here = converted(records, tmp_path / "a.jsonl", "local", capfd)
    there = converted(records, tmp_path / "b.jsonl", "processes", capfd)
    assert here == there
    assert (here[0], here[1].count(b"\n")) == (2, 45)


@needs_ray
def test_rows_are_the_same_on_a_ray_of_two_workers(records, tmp_path, capfd, ray, monkeypatch):
    monkeypatch.setattr(engines, "_CHUNK_ITEMS", 25)
    here = converted(records, tmp_path / "a.jsonl", "local", capfd)
    there = converted(records, tmp_path / "b.jsonl", "ray", capfd)
    assert here == there
    assert (here[0], here[1].count(b"\n")) == (2, 45)


@needs_ray
def test_a_mixture_is_the_same_on_ray(records, tmp_path, capfd, ray):
    rows = tmp_path / "rows.jsonl"
    converted(records, rows, "local", capfd)
    made = []
    for engine in ("local", "ray"):
        out = tmp_path / f"{engine}.jsonl"
        arguments = [f"in.a={rows}", f"out={out}", "dedup=[content,perceptual]", "caps.a=20"]
        assert run(["data", "mix", *arguments, f"engine={engine}", "workers=2"]) == 0
        made.append(out.read_bytes())
    assert made[0] == made[1]
    assert made[0].count(b"\n") == 20


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mistake_of_the_user_stays_one_line_in_other_processes(
    engine, records, tmp_path, capfd, request
):
    if engine == "ray":
        request.getfixturevalue("ray")
    (tmp_path / "d.csv").write_text("question,answer\na,b\n")
    arguments = [f"in={tmp_path}/d.csv", f"out={tmp_path}/a.jsonl", "columns.ask=x", "workers=2"]
    code = run(["data", "convert", "from=csv", *arguments, f"engine={engine}"])
    err = [line for line in capfd.readouterr().err.splitlines() if line.startswith("mmrl: ")]
    assert code == 2
    assert err == [err[0]]
    assert "columns: there is no 'ask'" in err[0]
    assert not (tmp_path / "a.jsonl").exists()


def test_a_function_with_arguments_is_sent_too():
    add = functools.partial(operator.add, 2)
    assert list(map_items(add, range(5), engine="processes", workers=2)) == [2, 3, 4, 5, 6]
