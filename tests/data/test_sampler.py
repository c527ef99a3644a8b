from __future__ import annotations

import subprocess
import sys

import pytest

from mmrl.data.sampler import RowSampler
from mmrl.errors import RunError

EXPECTED = [4, 6, 3, 0, 1, 7, 5, 2]


def test_every_epoch_takes_every_row_once():
    sampler = RowSampler(10, seed=3)
    epochs = [sampler.take(10) for _ in range(5)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_batches_cross_the_border_of_epochs_and_are_never_short():
    sampler, straight = RowSampler(10, seed=0), RowSampler(10, seed=0)
    pieces = [sampler.take(n) for n in (4, 4, 4, 25, 1, 2)]
    assert [len(piece) for piece in pieces] == [4, 4, 4, 25, 1, 2]
    assert [row for piece in pieces for row in piece] == [
        row for epoch in range(4) for row in straight.order(epoch)
    ]


def test_the_order_depends_on_seed_and_epoch_alone():
    used = RowSampler(50, seed=7)
    used.take(333)
    assert used.order(2) == RowSampler(50, seed=7).order(2)
    assert used.order(2) != RowSampler(50, seed=8).order(2)


def test_the_order_is_the_one_that_was_written_down():
    assert RowSampler(8, seed=0).order(0) == EXPECTED
    code = "from mmrl.data.sampler import RowSampler; print(RowSampler(8, seed=0).order(0))"
    for hash_seed in ("1", "2"):
        env = {"PYTHONHASHSEED": hash_seed, "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(EXPECTED)


@pytest.mark.parametrize("taken", [0, 1, 9, 10, 11, 37])
def test_a_sampler_goes_on_where_its_state_was_taken(taken):
    first = RowSampler(10, seed=1)
    first.take(taken)
    second = RowSampler(10, seed=1)
    second.load_state_dict(first.state_dict())
    assert second.take(23) == first.take(23)


@pytest.mark.parametrize("state", [{}, {"epoch": 0, "position": 11}, {"epoch": -1, "position": 0}])
def test_a_state_that_does_not_fit_is_refused(state):
    with pytest.raises(RunError, match="does not fit 10 rows"):
        RowSampler(10, seed=0).load_state_dict(state)


def test_no_rows_are_no_sampler():
    with pytest.raises(ValueError, match="needs rows"):
        RowSampler(0, seed=0)


def test_all_orders_are_about_equally_likely():
    counts = {}
    for seed in range(2400):
        order = tuple(RowSampler(4, seed=seed).order(0))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert 60 < min(counts.values()) <= max(counts.values()) < 145
