"""Data as people have it: right, or a sentence with the remedy that fits, for fit, sweep and Stream."""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.training import rows
from tests.cases import drawn, random
from tests.training.test_run import BY_HAND, X, Y, run, same

pytestmark = pytest.mark.quick_compilation
SGD = optax.sgd(0.1)
NAMES = np.array(["no", "yes"])[Y]
LINE = fnn.mlp(1, 1)
LINE_PARAMS = drawn(LINE, random("line"))


class Sparse:
    """As SciPy's: without a length, with these two."""

    nnz, shape = 3, X.shape

    def toarray(self):
        return X


class Table:
    """As pandas': an index of columns, not of rows."""

    iloc, shape, columns = None, X.shape, ["a", "b", "c"]

    def __len__(self):
        return len(X)

    def __getitem__(self, key):
        raise KeyError(f"None of {key} are in the columns")

    def to_numpy(self):
        return X


class Tensor:
    requires_grad = True


def mixed():
    array = X.astype(object)
    array[4, 1] = "a"
    return array


REFUSED = {
    "masked x": (np.ma.masked_array(X, X > 1), Y, TypeError, r"x of data must be an ordinary array, got a masked one"),
    "masked y": (X, np.ma.masked_array(Y, Y == 1), TypeError, r"y of data must be an ordinary array, got a masked one"),
    "sparse x": (Sparse(), Y, TypeError, r"must be dense, got a sparse Sparse. Give .toarray\(\)"),
    "tensor": (Tensor(), Y, TypeError, r"requires grad. Give .detach\(\).numpy\(\)"),
    "text labels": (X, NAMES, TypeError, r"must hold real numbers, got text, '(no|yes)' among .*np.unique\(y, return"),
    "text bytes": (X, NAMES.astype("S"), TypeError, r"got text, b'(no|yes)' among others. Number the"),
    "objects": (X, NAMES.astype(object), TypeError, r"got Python objects, '(no|yes)' among others. Number the classes"),
    "decimals": (X, np.array([decimal.Decimal(1)] * 11), TypeError, r"got Python objects, Decimal.*cast once with"),
    "one text among numbers": (mixed(), Y, TypeError, r"got Python objects, 'a' among others"),
    "dates": (X, Y.astype("M8[s]"), TypeError, r"got dates, .*Make them numbers"),
    "spans": (X, Y.astype("m8[s]"), TypeError, r"got time spans"),
    "complex": (X.astype(np.complex64), Y, TypeError, r"got complex numbers, complex64. Give real and imaginary"),
    "fields": (np.zeros(11, [("a", "f4"), ("b", "f4")]), Y, TypeError, r"got named fields"),
    "bytes of images": ((X * 16).astype(np.uint8), Y, TypeError, r"got uint8. Scale images once, .* / 255"),
    "a generator": ((row for row in X), Y, TypeError, r"got Python objects, a generator"),
    "nothing": (None, Y, TypeError, r"got Python objects, a NoneType"),
    "rows of unequal length": ([[1.0, 2.0], [3.0]] * 5 + [[1.0]], Y, ValueError, r"rows of unequal length"),
    "beyond float32": (np.where(X > 1, 1e39, X.astype(np.float64)), Y, ValueError, r"cast to float32, must be finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::fnn.CastWarning", "ignore:overflow encountered")
def test_what_cannot_be_data_is_refused_with_its_remedy(name):
    x, y, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        run(data=(x, y), optimizer=SGD, epochs=1)


@pytest.mark.parametrize("name", ["masked x", "text labels", "sparse x"])
def test_a_sweep_says_the_same_in_its_own_name(name):
    x, y, error, message = REFUSED[name]
    with pytest.raises(error, match=f"sweep: .*{message}"):
        fnn.sweep(BY_HAND, (x, y), over={"seed": [0]}, optimizer=SGD, epochs=1, batch_size=4)


def test_masked_weights_and_masks_that_mask_nothing():
    with pytest.raises(TypeError, match="weights of data must be an ordinary array, got a masked one with 2 masked"):
        run(data=(X, Y, np.ma.masked_array(np.ones(11), np.arange(11) < 2)), optimizer=SGD, epochs=1)
    plain, _ = run(optimizer=SGD, epochs=1)
    assert same(run(data=(np.ma.masked_array(X), np.ma.masked_array(Y)), optimizer=SGD, epochs=1)[0], plain)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "uint64", ">i4", "list", "O"])
def test_labels_of_every_kind_train_alike(kind):
    plain, _ = run(optimizer=SGD, epochs=1)
    labels = Y.tolist() if kind == "list" else Y.astype(kind)
    assert same(run(data=(X, labels), optimizer=SGD, epochs=1)[0], plain)


def test_many_classes_with_narrow_labels():
    net = fnn.mlp(3, 200)
    params, labels = net.init(jax.random.key(0)), np.arange(11) * 11
    gradient = fnn.backprop(net, "softmax_cross_entropy")
    ends = [run(gradient, params, (X, labels.astype(kind)), optimizer=SGD, epochs=1)[0] for kind in ("int32", "int8")]
    assert same(*ends)


@pytest.mark.parametrize("kind", [">f4", "list", "Fortran", "strided", "longdouble"])
@pytest.mark.filterwarnings("ignore::fnn.CastWarning")
def test_inputs_of_every_kind_train_alike(kind):
    plain, _ = run(optimizer=SGD, epochs=1)
    x = {
        ">f4": X.astype(">f4"), "list": X.tolist(), "Fortran": np.asfortranarray(X),
        "strided": np.repeat(X, 2, 1)[:, ::2], "longdouble": X.astype(np.longdouble),
    }[kind]  # fmt: skip
    assert same(run(data=(x, Y), optimizer=SGD, epochs=1)[0], plain)


@pytest.mark.parametrize("value", [5_000_000_000, -(2**40), 2**63])
def test_targets_beyond_32_bits_are_right_or_refused_by_row(value):
    y = np.full((11, 1), value, np.uint64 if value >= 2**63 else np.int64)
    gradient = fnn.backprop(LINE, "absolute_error")
    _, history = run(gradient, LINE_PARAMS, (X[:, :1], y), optimizer=optax.sgd(1e-9), epochs=1, batch_size=11)
    assert history.step_loss[0, 0] == pytest.approx(abs(value), rel=1e-5)
    with pytest.raises(ValueError, match=rf"y of data must fit into 32 bits, got {value} in row 0. Cast it"):
        run(lambda w, x, y: (w, w), jnp.asarray(1.0), (X, y), optimizer=SGD, epochs=1)


def embedded(p, x, y):
    return fnn.softmax_cross_entropy(p["table"][x].mean(1) @ p["W"], y)


def test_token_ids_and_trees_of_inputs_train():
    params = {"table": jnp.asarray(np.random.default_rng(0).normal(size=(50, 4)), jnp.float32), "W": jnp.eye(4)[:, :2]}
    ids = np.arange(77).reshape(11, 7) % 50
    state, _ = run(jax.value_and_grad(embedded), params, (ids, Y), optimizer=SGD, epochs=1)
    wide = run(jax.value_and_grad(embedded), params, (ids.astype(np.uint8), Y), optimizer=SGD, epochs=1)[0]
    assert same(state.params, wide.params) and not same(state.params, params)

    def both(p, x, y):
        return embedded(p, x["ids"], y) + jnp.mean(x["more"]) * 0

    _, history = run(jax.value_and_grad(both), params, ({"ids": ids, "more": X}, Y), optimizer=SGD, epochs=1)
    assert history.step_loss.shape == (1, 3)
    _, pair = run(
        jax.value_and_grad(lambda p, x, y: both(p, {"ids": x[0], "more": x[1]}, y)), params, ((ids, X), Y),
        optimizer=SGD, epochs=1,
    )  # fmt: skip
    assert same(pair.step_loss, history.step_loss)
    with pytest.raises(ValueError, match="x must be finite"):
        run(jax.value_and_grad(both), params, ({"ids": ids, "more": X * np.nan}, Y), optimizer=SGD, epochs=1)


# ---- streams --------------------------------------------------------------------------------------------------------


class Zarr:
    """As zarr 3: a shape and rows, no length."""

    shape, dtype = X.shape, X.dtype

    def __getitem__(self, rows):
        return X[rows]


def test_a_source_needs_no_length():
    plain, _ = run(data=fnn.Stream(X, Y, 4), optimizer=SGD, epochs=1)
    assert same(run(data=fnn.Stream(Zarr(), Y, 4), optimizer=SGD, epochs=1)[0], plain)


def test_bytes_of_images_are_scaled_as_they_are_read():
    images = (np.abs(X) * 100).astype(np.uint8)
    with pytest.raises(TypeError, match=r"fnn.Stream does it with scale=1 / 255"):
        run(data=fnn.Stream(images, Y, 4), optimizer=SGD, epochs=1)
    scaled, _ = run(data=fnn.Stream(images, Y, 4, scale=1 / 255), optimizer=SGD, epochs=1)
    plain, _ = run(data=fnn.Stream(images.astype(np.float32) * np.float32(1 / 255), Y, 4), optimizer=SGD, epochs=1)
    assert same(scaled.params, plain.params)
    with pytest.raises(ValueError, match="Stream: scale must be a finite number other than 0, got 0"):
        fnn.Stream(images, Y, scale=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.Stream("x.npy", Y), r"x must return rows, got the path 'x.npy'. Open it: np.load"),
        (lambda: fnn.Stream(X.tolist(), Y), r"x must return rows for an array of row numbers, got a list"),
        (lambda: fnn.Stream(Table(), Y), r"x must return rows by their numbers, got a Table. Give .to_numpy\(\)"),
        (lambda: fnn.Stream((row for row in X), Y), r"x must have a shape or a length, got a generator"),
        (
            lambda: fnn.Stream(X, Y, np.ones(11)),
            r"rows must be a whole number, got an array of shape \(11,\).*weights=w",
        ),
    ],
)
def test_what_cannot_be_streamed_is_refused_at_once(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_what_gives_something_else_than_rows_is_said_when_it_is_read():
    class Objects(Zarr):
        def __getitem__(self, rows):
            return np.array([None] * len(rows))

    class Fails(Zarr):
        def __getitem__(self, rows):
            raise KeyError("no such rows")

    with pytest.raises(TypeError, match=r"x must return rows .* got Objects, which returned object of shape"):
        run(data=fnn.Stream(Objects(), Y, 4), optimizer=SGD, epochs=1)
    with pytest.raises(TypeError, match=r"x must return rows .* got KeyError from a Fails: 'no such rows'"):
        run(data=fnn.Stream(Fails(), Y, 4), optimizer=SGD, epochs=1)


def test_weights_of_a_stream_are_looked_at_and_read_once():
    weights = np.ones(11)
    stream = fnn.Stream(X, Y, 4, weights=weights)
    weights[:] = 7
    assert stream.weights.tolist() == [1.0] * 11
    with pytest.raises(ValueError, match=r"Stream: weights must hold one number per row, shape \(11,\), got \(4,\)"):
        fnn.Stream(X, Y, weights=np.ones(4))
    with pytest.raises(ValueError, match="Stream: weights must be finite, at least 0, and not all 0"):
        fnn.Stream(X, Y, weights=np.zeros(11))
    for data, message in (((stream, weights), r"Give Stream\(x, y, weights=w\)"),):
        with pytest.raises(TypeError, match=message):
            run(data=data)
    with pytest.raises(TypeError, match="validation must be in memory, got a Stream"):
        run(validation=stream)
    with pytest.raises(TypeError, match=r"sweep: data must be in memory, got a Stream. Give data="):
        fnn.sweep(BY_HAND, stream, over={"seed": [0]}, optimizer=SGD, epochs=1, batch_size=4)


def test_without_jit_the_last_piece_may_be_shorter_than_a_batch():
    with jax.disable_jit():
        _, history = run(data=fnn.Stream(X[:5], Y[:5], 4), optimizer=SGD, epochs=1)
    assert history.step_loss.shape == (1, 2)


# ---- looked at once -------------------------------------------------------------------------------------------------


def test_the_same_arrays_are_looked_at_once_and_changed_ones_again(monkeypatch):
    looked, real = [], rows.looked_at
    monkeypatch.setattr(rows, "looked_at", lambda *a, **k: (looked.append(1), real(*a, **k)))
    x, y = X.copy(), Y.copy()
    state, _ = run(data=(x, y), optimizer=SGD, epochs=1)
    state, _ = run(params=state, data=(x, y), optimizer=SGD, epochs=1)
    assert len(looked) == 1
    # rows that change places in place, a number that is no number
    x[:] = x[::-1]
    changed, _ = run(params=state, data=(x, y), optimizer=SGD, epochs=1)
    assert len(looked) == 2
    assert same(changed, run(params=state, data=(x.copy(), y.copy()), optimizer=SGD, epochs=1)[0])
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="x must be finite; row 3, column 1 is nan"):
        run(params=state, data=(x, y), optimizer=SGD, epochs=1)


def test_a_mark_sees_rows_that_change_places():
    array = np.random.default_rng(0).normal(size=(5000, 16))
    before = rows.mark(array)
    assert rows.mark(array.copy()) == before
    swapped = array.copy()
    swapped[[0, 4000]] = swapped[[4000, 0]]
    assert (
        rows.mark(swapped) != before and rows.mark(array[::-1]) != before and rows.mark(array.reshape(-1, 8)) != before
    )


def test_inside_jit_and_what_is_no_parameters():
    for transform in (jax.jit, lambda f: jax.vmap(f)):
        keys = jax.random.key(0) if transform is jax.jit else jax.random.split(jax.random.key(0), 2)
        with pytest.raises(TypeError, match=r"fit trains whole runs, outside jit, vmap and grad.*fnn.sweep"):
            transform(lambda key: run(params=BY_HAND.net.init(key))[0].params)(keys)
    with pytest.raises(TypeError, match="fit trains whole runs, outside jit"):
        jax.vmap(lambda key: run(key=key)[0].params)(jax.random.split(jax.random.key(0), 2))
    with pytest.raises(TypeError, match="fit trains whole runs, outside jit"):
        jax.grad(lambda rate: run(optimizer=optax.sgd, learning_rate=rate)[0].loss_sum)(0.1)
    key = jax.random.key(0)
    with pytest.raises(TypeError, match=r"x of data must be an array, got the traced .*: whole runs"):
        jax.jit(lambda x: run(data=(x, Y), key=key)[0].params)(X)
    with pytest.raises(TypeError, match=r"params must be parameters, got the net sequential.*Give net.init\(key\)"):
        run(params=BY_HAND.net)
    with pytest.raises(TypeError, match=r"got the pair that fit returns. Unpack it"):
        run(params=run(optimizer=SGD, epochs=1))


def test_predictions_that_are_no_probabilities_are_said_at_the_start():
    x, y = fnn.data.xor()
    net = fnn.mlp(2, 3, 2)
    options = {"optimizer": fnn.optimizers.sgd(0.1), "epochs": 1, "batch_size": 4}
    by_hand = fnn.backprop(net, "negative_log_likelihood")
    with pytest.warns(
        UserWarning, match=r'negative_log_likelihood takes probabilities; .* Give the net output="softmax"'
    ):
        fnn.fit(by_hand, net.init(jax.random.key(0)), (x, y), key=jax.random.key(1), **options)
    with pytest.warns(UserWarning, match="negative_log_likelihood takes probabilities"):
        fnn.fit(by_hand, net.init(jax.random.key(0)), fnn.Stream(x, y, 4), key=jax.random.key(1), **options)
    with pytest.warns(UserWarning, match="negative_log_likelihood takes probabilities"):
        fnn.sweep(by_hand, (x, y), over={"seed": [0]}, **options)
    twice = fnn.backprop(fnn.mlp(2, 3, 2, output="softmax"), "softmax_cross_entropy")
    with pytest.warns(UserWarning, match="softmax_cross_entropy applies the softmax itself.*use negative_log_like"):
        fnn.fit(twice, twice.net.init(jax.random.key(0)), (x, y), key=jax.random.key(1), **options)
    # and nothing is said where they are, which warnings are errors would show
    right = fnn.backprop(fnn.mlp(2, 3, 2, output="softmax"), "negative_log_likelihood")
    for data in ((x, y), fnn.Stream(x, y, 4)):
        fnn.fit(right, right.net.init(jax.random.key(0)), data, key=jax.random.key(1), **options)
