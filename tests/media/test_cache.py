"""The cache on disk and the one of features: bounded, shared, and never a reason to stop."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest
import torch

from mmrl.errors import ConfigError
from mmrl.media.cache import DiskCache, FeatureCache, hash_weights


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def disk(tmp_path, lines) -> DiskCache:
    return DiskCache(folder=tmp_path / "cache", limit_mb=1, warn=lines.append)


def _some(kilobytes: float = 100, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a": torch.rand(int(kilobytes * 250), generator=generator)}


def _files(disk: DiskCache) -> list[str]:
    return sorted(item.name for item in disk.folder.iterdir())


def test_what_is_kept_comes_back_bit_for_bit(disk):
    tensors = {
        "float": torch.tensor([[1.5, float("nan")], [-0.0, 1e-40]]),
        "half": torch.tensor([0.1], dtype=torch.bfloat16),
        "whole": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "none": torch.zeros(0, 3),
        "turned": torch.arange(6).reshape(2, 3).T,
    }
    disk.put("k1", tensors, {"width": 3, "name": "ü"})
    again = DiskCache(folder=disk.folder, limit_mb=1)
    entry = again.get("k1")
    assert entry is not None
    assert entry.notes == {"width": 3, "name": "ü"}
    assert set(entry.tensors) == set(tensors)
    for name, tensor in tensors.items():
        found = entry.tensors[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        plain = (found.contiguous().flatten(), tensor.contiguous().flatten())
        assert plain[0].view(torch.uint8).tolist() == plain[1].view(torch.uint8).tolist()
    assert again.get("k2") is None


def test_the_folder_stays_within_its_limit_and_forgets_what_was_used_longest_ago(disk):
    for place in range(9):
        disk.put(f"k{place}", _some())
        _age(disk, f"k{place}", 100 - place)
    assert disk.get("k0") is not None  # used just now
    for place in range(9, 12):
        disk.put(f"k{place}", _some())
        _age(disk, f"k{place}", 50 - place)
    assert sum(item.stat().st_size for item in disk.folder.iterdir()) <= 1e6
    assert [place for place in range(12) if disk.get(f"k{place}")] == [0, *range(4, 12)]


def _age(disk: DiskCache, key: str, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(disk.folder / f"{key}.safetensors", (moment, moment))


def test_a_smaller_limit_shrinks_the_folder_at_once(disk):
    for place in range(8):
        disk.put(f"k{place}", _some())
    DiskCache(folder=disk.folder, limit_mb=0.35)
    assert len(_files(disk)) == 3


def test_an_entry_larger_than_the_limit_is_not_kept_and_costs_no_other(disk):
    disk.put("small", _some())
    disk.put("large", _some(1001))
    assert disk.get("small")
    assert disk.get("large") is None


DAMAGE = {
    "empty": lambda encoded: b"",
    "cut": lambda encoded: encoded[: len(encoded) // 2],
    "longer": lambda encoded: encoded + b"x",
    "a flipped bit": lambda encoded: encoded[:-9] + bytes([encoded[-9] ^ 1]) + encoded[-8:],
    "notes changed": lambda encoded: encoded.replace(b"width", b"wIdth"),
    "huge header": lambda encoded: b"\xff" * 8 + encoded[8:],
    "no json": lambda encoded: encoded[:8] + b"[" * 20 + encoded[28:],
    "deep json": lambda encoded: (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "no metadata": lambda encoded: encoded.replace(b"__metadata__", b"__metadatA__"),
    "other": lambda encoded: b"hello, I am a text file\n" * 10,
    "text": lambda encoded: "ünïcode".encode("utf-16"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_missing_with_a_warning_and_is_made_again(disk, lines, damage):
    disk.put("k1", _some(), {"width": 1})
    path = disk.folder / "k1.safetensors"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert disk.get("k1") is None
    assert len(lines) == 1
    assert lines[0].startswith("mmrl: warning: cache ")
    assert "k1.safetensors: not what was written; it is made again" in lines[0]
    assert not path.exists()
    disk.put("k1", _some(), {"width": 1})
    assert disk.get("k1") is not None
    assert len(lines) == 1


def test_an_entry_under_another_key_is_not_believed(disk, lines):
    disk.put("k1", _some())
    (disk.folder / "k1.safetensors").rename(disk.folder / "k2.safetensors")
    assert disk.get("k2") is None
    assert len(lines) == 1


def test_a_folder_in_the_place_of_an_entry_stops_nothing(disk, lines):
    (disk.folder / "k1.safetensors").mkdir()
    assert disk.get("k1") is None
    disk.put("k1", _some())
    assert len(lines) == 2
    assert "nothing more is written" in lines[1]
    disk.put("k2", _some())
    assert disk.get("k2") is None
    assert [name for name in _files(disk) if name.endswith(".writing")] == []


def test_a_folder_that_cannot_be_is_an_error_of_the_configuration(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"media.cache_dir: cannot use .*/file: File exists"):
        DiskCache(folder=tmp_path / "file", limit_mb=1)
    with pytest.raises(ConfigError, match=r"media.cache_dir: cannot use .*: Not a directory"):
        DiskCache(folder=tmp_path / "file" / "cache", limit_mb=1)


def test_what_a_killed_process_left_half_written_is_swept_up_later(disk):
    old, new = (disk.folder / f".k{place}.safetensors.0.writing" for place in (1, 2))
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    DiskCache(folder=disk.folder, limit_mb=1)
    assert _files(disk) == [new.name]


def _hammer(folder, seed: int, failures) -> None:
    torch.set_num_threads(1)
    lines: list[str] = []
    cache = DiskCache(folder=folder, limit_mb=0.2, warn=lines.append)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(150):
        place = int(torch.randint(6, (1,), generator=generator))
        entry = cache.get(f"k{place}")
        if entry is None:
            cache.put(f"k{place}", _some(50, seed=place))
        elif not torch.equal(entry.tensors["a"], _some(50, seed=place)["a"]):
            lines.append("other tensors")
    failures.put(lines)


def test_processes_share_a_folder_while_they_evict_from_it(tmp_path):
    context = multiprocessing.get_context("fork")
    failures = context.SimpleQueue()
    workers = [
        context.Process(target=_hammer, args=(tmp_path / "cache", seed, failures))
        for seed in range(2)
    ]
    for worker in workers:
        worker.start()
    assert [failures.get() for _ in workers] == [[], []]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    sizes = [item.stat().st_size for item in (tmp_path / "cache").iterdir()]
    assert 0 < sum(sizes) <= 0.2e6 + 2 * 60e3


def test_features_are_found_in_memory_and_behind_that_on_disk(disk):
    cache = FeatureCache(limit_mb=0.25, disk=disk)
    learnt = torch.nn.Parameter(_some()["a"])
    for key in ("aa", "bb", "cc"):
        assert cache.get(key) is None
        cache.put(key, {"features": learnt * 2})
    assert (cache.encoded, cache.found) == (3, 0)
    for key in ("cc", "aa"):
        found = cache.get(key)
        assert found is not None
        assert not found["features"].requires_grad
        assert torch.equal(found["features"], learnt.detach() * 2)
    assert (cache.encoded, cache.found) == (3, 2)
    assert _files(disk) == [f"features-{key}.safetensors" for key in ("aa", "bb", "cc")]


def test_features_without_a_disk_are_forgotten_oldest_first():
    cache = FeatureCache(limit_mb=0.25)
    cache.put("aa", _some())
    cache.put("bb", _some())
    assert cache.get("aa") is not None
    cache.put("aa", _some())  # again: nothing is counted twice
    cache.put("cc", _some())
    assert [key for key in ("aa", "bb", "cc") if cache.get(key)] == ["aa", "cc"]
    FeatureCache(limit_mb=0).put("aa", _some())


def test_kept_features_do_not_change_with_the_tensor_they_came_from():
    cache, tensor = FeatureCache(limit_mb=1), torch.zeros(3)
    cache.put("aa", {"features": tensor})
    tensor += 1
    found = cache.get("aa")
    assert found is not None
    assert found["features"].tolist() == [0, 0, 0]


def test_the_hash_of_weights_tells_any_change():
    def tower(value: float = 1.0, name: str = "w", shape: tuple[int, ...] = (2, 3)):
        weights = torch.ones(shape)
        weights[-1] = value
        return [(name, weights), ("b", torch.zeros(2, dtype=torch.bfloat16))]

    hashes = {
        hash_weights(tower()),
        hash_weights(tower(1.0000001)),
        hash_weights(tower(name="v")),
        hash_weights(tower(shape=(3, 2))),
        hash_weights(tower()[:1]),
    }
    assert len(hashes) == 5
    assert hash_weights(tower()) == hash_weights(tower())
