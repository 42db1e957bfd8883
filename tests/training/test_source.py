"""Streams: the run that reads piece by piece is the run from memory, and never reads much at once."""

import threading

import jax
import numpy as np
import pytest

import fnn
from fnn.training.shuffle import part_of_permutation
from tests import tolerances
from tests.training.test_run import BY_HAND, PARAMS, X, Y, run, same
from tests.witnesses import assert_close


class Counted:
    """A source that makes its rows when they are asked for, and knows for which it was asked."""

    def __init__(self, count, row):
        self.count, self.row, self.asked = count, row, []

    def __len__(self):
        return self.count

    def __getitem__(self, rows):
        self.asked.append(np.array(rows))
        return self.row(rows)


@pytest.mark.parametrize("rows", [4, 8, 64])
def test_a_stream_trains_as_memory_does(rows):
    validation = X[:5], Y[:5]
    whole, curves = run(validation=validation, patience=5)
    state, history = run(data=fnn.Stream(X, Y, rows), validation=validation, patience=5)
    # the same steps in programs of their own: equal but for the order of sums
    assert_close(state.params, whole.params, tolerances.FORWARD["float32"] * 10)
    assert_close(history.step_loss, curves.step_loss, tolerances.FORWARD["float32"] * 10)
    assert set(history.metrics) == set(curves.metrics)


def test_a_part_of_a_permutation_is_that_part():
    for n in (1, 7, 100, 4097):
        whole = np.asarray(fnn.training.permutation(jax.random.key(n), n))
        for first in (0, n // 3, n - 1):
            count = min(5, n - first)
            part = np.asarray(part_of_permutation(jax.random.key(n), n, first, count))
            assert (part == whole[first : first + count]).all()


def test_every_row_is_read_once_an_epoch_in_small_pieces_in_the_order_of_the_source():
    x = Counted(1000, lambda rows: np.stack([rows, rows % 7, rows % 3], 1).astype(np.float32) / 1000)
    y = Counted(1000, lambda rows: (rows % 2).astype(np.int32))
    run(data=fnn.Stream(x, y, 130), batch_size=64, epochs=2)
    for source in (x, y):
        assert max(map(len, source.asked)) == 192  # in whole batches
        assert all((np.diff(rows) > 0).all() for rows in source.asked)
        epochs = np.split(np.concatenate(source.asked), 2)
        assert all((np.sort(rows) == np.arange(1000)).all() for rows in epochs)
        assert not (epochs[0] == epochs[1]).all()


def test_a_run_of_a_stream_goes_on_bit_for_bit(tmp_path):
    stream = fnn.Stream(X, Y, 4)
    whole, curves = run(data=stream)
    kept, calls = fnn.Checkpoints(tmp_path, every_seconds=0.0), []

    class Tired(Counted):
        def __getitem__(self, rows):
            calls.append(len(rows))
            if len(calls) == 9:
                raise KeyboardInterrupt
            return super().__getitem__(rows)

    with pytest.raises(KeyboardInterrupt):
        run(data=fnn.Stream(Tired(11, lambda rows: X[rows]), Y, 4), checkpoints=kept)
    state, history = run(data=stream, checkpoints=kept)
    assert same(state, whole) and same(history, curves)
    with pytest.raises(fnn.CheckpointError, match="another run: data is"):
        run(data=fnn.Stream(X, Y, 8), checkpoints=kept)


def test_what_is_wrong_in_a_piece_is_said():
    spoiled = np.where(np.arange(11)[:, None] == 9, np.nan, X)
    with pytest.raises(ValueError, match=r"x must be finite; row \d, column 0 is nan"):
        run(data=fnn.Stream(spoiled.astype(np.float32), Y, 4))
    with pytest.raises(ValueError, match=r"y must lie in 0 … 1; row"):
        run(data=fnn.Stream(X, np.where(np.arange(11) == 9, 2, Y), 4))
    with pytest.raises(ValueError, match="one row per example, at least one; x has 11 rows, y 10"):
        fnn.Stream(X, Y[:10])
    with pytest.raises(ValueError, match="Stream: rows must be at least 1"):
        fnn.Stream(X, Y, 0)
    huge = jax.tree.map(lambda leaf: leaf * 3e38, PARAMS)
    with pytest.raises(fnn.NonFiniteError, match=r"the value of 1.z is not finite in step \d"):
        run(BY_HAND, huge, data=fnn.Stream(X, Y, 8))


def test_what_reads_ahead_ends_with_the_run_even_while_the_error_is_kept():
    """Its traceback keeps the run alive; a thread that the garbage collector ends can wait for itself."""
    spoiled = np.where(np.arange(11)[:, None] == 9, np.nan, X).astype(np.float32)
    with pytest.raises(ValueError, match="x must be finite") as kept:
        run(data=fnn.Stream(spoiled, Y, 4))
    assert kept.tb is not None and not [each for each in threading.enumerate() if "ThreadPool" in each.name]
