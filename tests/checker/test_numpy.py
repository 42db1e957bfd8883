"""Losses and gradients in NumPy, as a course sets them: right ones are not blamed, of wrong ones it is told why."""

import math
import re

import jax.numpy as jnp
import numpy as np
import pytest
from ml_dtypes import bfloat16

import fnn
from tests.cases import random

X, Y = random("numpy").normal(size=(8, 4)), random("numpy", 1).normal(size=8)


def lasso(w, X, y):
    return np.mean((X @ w - y) ** 2) + 0.3 * np.abs(w).sum()


def lasso_gradient(w, X, y):
    return 2 * X.T @ (X @ w - y) / len(y) + 0.3 * np.sign(w)


#: One weight is 0, where the penalty has a kink.
W = np.array([0.5, 0.0, -1.0, 2.0])
AT_A_KINK = {
    "right": (lambda g, w: g, ""),
    "another choice at the kink": (lambda g, w: g + 0.29 * (w == 0), ""),
    "half": (lambda g, w: g / 2, "a factor of ½ too many"),
    "sign": (lambda g, w: -g, "the sign is wrong"),
    "one entry": (lambda g, w: g * np.array([1, 1, 1.0001, 1]), r"one entry only: [2]"),
    "the kink alone": (lambda g, w: g + 5 * (w == 0), "there is no derivative here; the slopes go from"),
}


@pytest.mark.parametrize("what", AT_A_KINK)
def test_an_entry_at_a_kink_says_nothing_of_the_others(what):
    change, says = AT_A_KINK[what]
    report = fnn.check(lasso, W, X, Y, gradient=lambda w, X, y: change(lasso_gradient(w, X, y), w))
    (finding,) = report.findings
    assert report.ok == (not says) and finding.message.startswith(says), str(report)


def test_rows_that_must_sum_to_0_are_told_of_where_they_must():
    c = random("identity").normal(size=(2, 3, 4))
    wrong = fnn.check(lambda x: np.sum(np.tanh(x) * c), c, gradient=lambda x: c * (1 - x**2)).findings[0]
    assert not wrong.certain and "must sum to 0" not in wrong.message, wrong.message

    def centred(x):
        return np.sum(np.tanh(x - x.mean(-2, keepdims=True)) * c)

    wrong = fnn.check(centred, c, gradient=lambda x: c * (1 - np.tanh(x - x.mean(-2, keepdims=True)) ** 2))
    assert wrong.findings[0].message.endswith(
        "its columns must sum to 0, for a number added to a column changes no value"
    )


def softmax_loss(W, X, y, dtype=np.float32):
    """The loss and its gradient, computed in a narrow dtype inside."""
    scores = X.astype(dtype) @ W.astype(dtype)
    scores -= scores.max(1, keepdims=True)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    d = p.copy()
    d[range(len(y)), y] -= 1
    return -np.log(p[range(len(y)), y]).mean(), X.T @ d / len(y)


LABELS, V = np.array([0, 2, 1, 1, 0, 2, 0, 1]), random("numpy", 2).normal(size=(4, 3))
#: What is done to the gradient, and what is said of it; the function computes in float32.
IN_FLOAT32 = {
    "right": (lambda g: g, ""),
    "in a buffer": (lambda g: g.astype(np.float32), ""),
    "half": (lambda g: g / 2, "a factor of ½ too many"),
    "N forgotten": (lambda g: 8 * g, "a factor of 8 too many"),
    "some percent": (lambda g: 1.05 * g, "a constant factor of 1.05 too many"),
    "less than is told": (lambda g: 1.003 * g, "a wrong term or factor (off by 0.003 of the largest entry)"),
    "one entry": (lambda g: g + 0.05 * (g == g.max()), "one entry only: ["),
}


@pytest.mark.parametrize("what", IN_FLOAT32)
def test_a_function_that_computes_in_float32_inside(what):
    change, says = IN_FLOAT32[what]
    report = fnn.check(
        lambda *args: softmax_loss(*args)[0], V, X, LABELS, gradient=lambda *args: change(softmax_loss(*args)[1])
    )
    (finding,) = report.findings
    assert report.ok == (not says) and finding.message.startswith(says), str(report)
    assert "the function computes in float32 inside, or loses as much" in report.notes[0]


def test_a_gradient_in_float32_of_a_function_in_float64():
    def check(change, dtype=np.float32):
        return fnn.check(
            lambda W, X, y: softmax_loss(W, X, y, np.float64)[0], V, X, LABELS,
            gradient=lambda *args: change(softmax_loss(*args, dtype)[1]),
        )  # fmt: skip

    assert check(lambda g: g).ok
    report = check(lambda g: g.astype(np.float32), np.float64)
    assert report.ok and "the gradient comes back in float32: what is lost" in str(report), str(report)
    assert check(lambda g: -g).findings[0].message == "the sign is wrong"
    assert not check(lambda g: g * (1 + 1e-4 * (g == g.max()))).ok
    # along a straight line nothing but rounding is seen
    line = lambda w, X: float(np.dot(X @ w, Y))  # noqa: E731
    assert fnn.check(line, W, X, gradient=lambda w, X: (X.T @ Y).astype(np.float32)).ok


#: Who computes in half precision, function and gradient, and what a right gradient is then.
IN_HALF = {
    "both": (np.float16, np.float16, "OK"), "the function": (np.float16, np.float64, "OK"),
    "the gradient": (np.float64, np.float16, "UNDECIDED"), "bfloat16": (bfloat16, bfloat16, "UNDECIDED"),
}  # fmt: skip


@pytest.mark.parametrize("what", IN_HALF)
def test_half_precision_inside_is_not_blamed(what):
    *dtypes, verdict = IN_HALF[what]

    def check(factor):
        return fnn.check(
            lambda *args: softmax_loss(*args, dtypes[0])[0], V, X, LABELS,
            gradient=lambda *args: factor * softmax_loss(*args, dtypes[1])[1],
        ).findings[0]  # fmt: skip

    assert (right := check(1)).verdict == verdict, right
    assert check(3).verdict == "FORMULA"


def test_a_function_too_coarse_to_tell_is_undecided():
    # nearly all of the value is a constant, and float32 forgets the rest
    f = lambda x: np.float32(1e7) + np.sum(np.asarray(x, np.float32) ** 2)  # noqa: E731
    (finding,) = fnn.check(f, np.array([1.0, -2.0]), gradient=lambda x: 2 * x).findings
    assert finding.verdict == "UNDECIDED" and "too coarse to tell. Compute in float64" in finding.message, finding


@pytest.mark.filterwarnings("error")
def test_no_warnings_of_numbers_that_the_checker_made_up():
    y = LABELS % 2

    def cost(w, X, y):
        a = 1 / (1 + np.exp(-X @ w))
        return -np.mean(y * np.log(a) + (1 - y) * np.log(1 - a))

    assert fnn.check(cost, W, X, y, gradient=lambda w, X, y: X.T @ (1 / (1 + np.exp(-X @ w)) - y) / len(y)).ok


class Held:
    """A number in an object, as small engines of autodiff have it."""

    data = 1.0


def labelled(W, X, y):
    scores = X @ W
    return -(scores[range(len(y)), y] - np.log(np.exp(scores).sum(1))).mean()


def zeros(W, *_):
    return 0 * W


def squares(a, b):
    return math.tanh(a * b)


REFUSED = {
    "its own error": (IndexError, r"index 3 is out of bounds", labelled, (V, X, LABELS + 1), zeros),
    "a list": (AttributeError, r"'list' object has no attribute 'T'", lambda w, X: float(np.sum(X.T @ w)), (
        W, [[1.0, 2.0]] * 4), zeros),
    "an object": (TypeError, r"it returns a Held. Give its number", lambda W: Held(), (V,), zeros),
    "random": (ValueError, r"not pure. Pass its random numbers, or the key or seed they come", lambda w: float(
        np.random.default_rng().random() + w[0]), (W,), zeros),
    "an array in float64": (TypeError, r"it returns \(4,\) float64", lambda w: math.tanh(w[0]) * w, (W,), zeros),
    "a gradient by place": (TypeError, r"Write gradient=zeros\.", lambda w: np.sum(w), (W, zeros), None),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_checked_is_told_in_words_of_numpy(what):
    error, says, f, args, gradient = REFUSED[what]
    with pytest.raises(error, match=says) as raised:
        fnn.check(f, *args, gradient=gradient)
    notes = getattr(raised.value, "__notes__", [])
    assert (bool(notes) == (what in ("its own error", "a list")) and raised.value.__context__ is None) or not notes
    assert what != "a list" or "Argument 1 is a list: give np.array of it." in notes[0]


def test_a_gradient_that_raises_is_wrong_and_shows_its_error():
    (finding,) = fnn.check(lasso, W, X, Y, gradient=lambda w, X, y: w[range(5)]).findings
    assert finding.message == "the rule does not run: IndexError: index 4 is out of bounds for axis 0 with size 4"


#: Gradients in another structure than the argument, and what is said of them.
STRUCTURES = {
    "one for each argument": (squares, (0.5, -0.3), lambda a, b: (b * (1 - squares(a, b) ** 2), 0.0),
                              "it gives a gradient for each of the 2 arguments, and the first alone is checked. Pass"),
    "a value beside": (squares, (0.5, -0.3), lambda a, b: (squares(a, b), 0.0), "it gives a value beside its gradient"),
    "a list": (lambda p: math.tanh(p[0] * p[1]), (W[:2],), lambda p: [p[1], p[0]],
               "the gradient must be an array of shape (2,), got [*, *]. Give np.array of it"),
    "a list for a dict": (lambda p: math.tanh(p["w"]), ({"w": 0.5},), lambda p: [0.3],
                          "the gradient must have the structure {'w': *} of its argument, got [*]"),
    "of the second argument": (lambda x, p: math.tanh(x * p["w"]), (0.5, {"w": 0.3}), lambda x, p: {"w": 0.1},
                               "the gradient must be that of argument 0, of structure *, got one like argument 1. Put"),
}  # fmt: skip


@pytest.mark.parametrize("what", STRUCTURES)
def test_a_gradient_in_another_structure(what):
    f, args, gradient, says = STRUCTURES[what]
    (finding,) = fnn.check(f, *args, gradient=gradient).findings
    assert finding.kind == "structure" and finding.message.startswith(says), finding.message


def test_integers_among_parameters_are_held_fixed():
    f = lambda p, X: float(np.sum(np.tanh(X @ p["w"] + p["b"])))  # noqa: E731

    def gradient(p, X):
        d = 1 - np.tanh(X @ p["w"] + p["b"]) ** 2
        return {"w": X.T @ d, "b": d.sum()}

    report = fnn.check(f, {"w": W, "b": 0}, X, gradient=gradient)
    assert report.ok and report.skipped == ("argument 0['b'] (an integer: give 0.0 to have it checked)",)


def test_arguments_arrive_as_they_stand():
    seen = []

    def f(x):
        seen.extend([x.dtype] * isinstance(x, np.ndarray))
        return float(np.sum(x * x))

    # what was kept of a forward pass in float64 agrees to float64
    kept = 2 * V
    report = fnn.check(f, V, gradient=lambda x: kept if np.array_equal(x, V) else 2 * x)
    assert report.ok and {*seen} == {np.dtype(np.float64)}, str(report)


def logistic(guard):
    def cost(w, X, y):
        a = 1 / (1 + np.exp(-X @ w))
        return -np.mean(y * np.log(guard(a)) + (1 - y) * np.log(guard(1 - a)))

    return cost


def logistic_gradient(w, X, y):
    return X.T @ (1 / (1 + np.exp(-X @ w)) - y) / len(y)


def test_a_guard_that_the_gradient_leaves_out_is_asked_for():
    y = LABELS % 2
    report = fnn.check(logistic(lambda a: a + 1e-8), W, X, y, gradient=logistic_gradient)
    (finding,) = report.findings
    assert finding.kind == "small" and not finding.certain and "a guard such as + 1e-8" in finding.message, str(report)
    assert "autodiff" not in str(report) and "entries compared with differences" in str(report)
    report = fnn.check(logistic(lambda a: np.maximum(a, 1e-3)), W / 4, X, y, gradient=logistic_gradient)
    (finding,) = report.findings
    assert "at random inputs, and right where your run called it: a guard, such as clip?" in finding.message
    w, *rest = finding.inputs
    assert np.abs(w).max() > 1 and [np.shape(each) for each in rest] == [X.shape, y.shape]


#: What a gradient of x leaves out: its value in the run, what is said of it, and the function.
HIDING = {
    "g": (np.ones(V.shape), "all ones", lambda x, g: np.sin(x) * g),
    "c": (np.zeros(V.shape), "all zeros", lambda x, c: np.sin(x) + x * c),
    "s": (1.0, "1", lambda x, s: np.sin(x) * s),
    "A": (np.eye(V.shape[1]), "the identity", lambda x, A: np.sin(x) @ A),
}


@pytest.mark.parametrize("name", HIDING)
def test_an_argument_that_hides_the_mistake_in_the_run_is_named(name):
    """A bias that is 0 in the run, and right, is not."""
    value, says, of = HIDING[name]
    f = lambda p, hiding: float(np.sum(of(p["x"], hiding)) + np.sum(p["b"] ** 2))  # noqa: E731
    wrong = lambda p, hiding: {"x": np.cos(p["x"]), "b": 2 * p["b"]}  # noqa: E731
    report = fnn.check(f, {"x": V.copy(), "b": np.zeros(2)}, value, gradient=wrong)
    (finding,) = (each for each in report.findings if each.verdict == "FORMULA")
    assert finding.argument == "argument 0['x']" and "guard" not in str(report), str(report)
    assert finding.message.endswith(f"where argument 1 is {says}: does the gradient leave that out?"), finding.message


def test_a_gradient_of_0_that_differences_show():
    """A bias before its mean is taken away: right, it is 0 and not in the bound; wrong, it must be 0."""

    def f(p):
        z = X @ p["W"] + p["b"]
        return float(np.sum((z - z.mean(0)) ** 3))

    def gradient(p, b):
        d = 3 * (X @ p["W"] - (X @ p["W"]).mean(0)) ** 2
        d = d - d.mean(0)
        return {"W": X.T @ d, "b": d.sum(0) + b}

    p = {"W": np.random.default_rng(0).normal(size=(X.shape[1], 3)), "b": np.zeros(3)}
    note = str(fnn.check(f, p, gradient=lambda p: gradient(p, 0.0)))
    bound = re.search(r"in a leaf whose gradient is not 0 to rounding, an entry wrong by (\S+) of", note)
    assert bound and float(bound[1]) < 1e-3, note
    report = fnn.check(f, p, gradient=lambda p: gradient(p, 0.3 * np.arange(1, 4)))
    (finding,) = (each for each in report.findings if each.verdict == "FORMULA")
    assert finding.message == "it must be 0, and 3 of 3 entries are not", finding


def test_a_gradient_that_writes_into_its_arguments_is_noted():
    def gradient(p, x):
        p["W"] -= 0.1
        return {"W": 2 * (p["W"] + 0.1) * x}

    f = lambda p, x: float(np.sum(p["W"] ** 2 * x))  # noqa: E731
    report = fnn.check(f, {"W": V.copy()}, V.copy(), gradient=gradient)
    assert report.ok and "the gradient writes into argument 0['W']" in str(report), str(report)
    assert "writes into" not in str(fnn.check(f, {"W": V.copy()}, V, gradient=lambda p, x: {"W": 2 * p["W"] * x}))


def test_a_pattern_of_one_set_of_data_is_a_hint():
    """The mistake is = for +=; where it shows is for these numbers where the gradient is above 0."""

    def f(x, w):
        return sum(float(np.sum(x[:, i : i + 3] * w)) * (i + 1) for i in range(3))

    def gradient(x, w):
        out = np.zeros_like(x)
        for i in range(3):
            out[:, i : i + 3] = w * (i + 1)
        return out

    rng = np.random.default_rng(0)
    (finding,) = fnn.check(f, rng.normal(size=(4, 5)), rng.normal(size=3), gradient=gradient).findings
    assert finding.message.startswith("wrong only where the true gradient is above 0") and not finding.certain, finding
    # one that holds whatever the data are is certain
    half = lambda x: np.where(x > 0, 2, 1) * np.cos(x)  # noqa: E731
    (finding,) = fnn.check(lambda x: float(np.sum(np.sin(x))), V, gradient=half).findings
    assert finding.message.startswith("wrong only where the input is above 0") and finding.certain, finding


def test_terms_are_named_by_the_arguments():
    p = {"W1": V, "W2": V[::-1] / 2}
    f = lambda p, t: float(np.sum(np.tanh(p["W1"] * p["W2"])) + np.sum(t))  # noqa: E731

    def gradient(p, t, by="W2"):
        d = 1 - np.tanh(p["W1"] * p["W2"]) ** 2
        return {"W1": d * p["W2"] + 0.1 * (p["W2"] if by == "W2" else t), "W2": d * p["W1"]}

    told = fnn.check(f, p, V**3, gradient=gradient).findings[0].message
    assert told == "it is off by 0.1 times argument 0['W2']: a wrong term"
    told = fnn.check(f, p, V**3, gradient=lambda p, t: gradient(p, t, "t")).findings[0].message
    assert told == "it is off by 0.1 times argument 1: a wrong term"


def test_the_report_shows_no_empty_places():
    report = fnn.check(lambda p: float(np.tanh(p["b"])), {"b": 0.3}, gradient=lambda p: {"b": 0.0})
    assert "[]" not in str(report) and "argument 0['b']  FORMULA  0" in str(report) and "-0" not in str(report)
    assert str(fnn.check(math.tanh, 0.3, gradient=lambda x: [x, x])).endswith("NOT OK, wrong: gradient")


def two_layers(p, X, y, dtype=np.float32):
    narrow = {name: each.astype(dtype) for name, each in p.items()}
    z = X.astype(dtype) @ narrow["W1"] + narrow["b1"]
    loss, d = softmax_loss(narrow["W2"], np.maximum(0, z), y, dtype)
    scores = np.maximum(0, z) @ narrow["W2"]
    bar = np.exp(scores - scores.max(1, keepdims=True))
    bar /= bar.sum(1, keepdims=True)
    bar[range(len(y)), y] -= 1
    z_bar = bar @ narrow["W2"].T * (z > 0) / len(y)
    return loss, {"W1": X.T.astype(dtype) @ z_bar, "b1": z_bar.sum(0), "W2": d}


@pytest.mark.parametrize("seed", [1, 4])
def test_kinks_within_the_wide_steps_of_float32(seed):
    """Biases of 0, a row of 0 in the data, and units that turn within a wide step."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(7, 4)), rng.integers(0, 3, 7)
    x[2] = 0
    p = {"W1": rng.normal(size=(4, 5)), "b1": np.zeros(5), "W2": rng.normal(size=(5, 3))}
    loss, gradient = (lambda *args: two_layers(*args)[0]), (lambda *args: two_layers(*args)[1])
    assert (report := fnn.check(loss, p, x, y, gradient=gradient)).ok, str(report)
    report = fnn.check(loss, p, x, y, gradient=lambda *args: {**gradient(*args), "W2": 7 * gradient(*args)["W2"]})
    (finding,) = [f for f in report.findings if not f.verdict.fine]
    assert finding.argument == "argument 0['W2']" and finding.message.startswith("a factor of 7 too many"), str(report)


def largest(x):
    return np.max(np.array(x))


def share(x):
    return (x == x.max()) / np.sum(x == x.max())


def first(x):
    return np.eye(x.size)[np.argmax(x)]


def to_all(x):
    return np.where(x == x.max(), 1.0, 0.0)


@pytest.mark.parametrize(("gradient", "ok"), [(share, True), (first, True), (to_all, False)])
def test_a_maximum_may_not_give_all_to_all_ties(gradient, ok):
    report = fnn.check(largest, np.array([1.0, 3.0, 3.0, 2.0]), gradient=gradient)
    assert report.ok == ok and ("together they are not" in str(report)) != ok


def test_kinks_that_have_nothing_to_do_with_each_other_are_taken_one_by_one():
    rows = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 2.0]])
    weights = np.array([[1.0, -2.0, 3.0], [0.5, 1.0, -1.0]])
    for at_zero in (0.0, 0.5, 1.0):
        slope = lambda x, a=at_zero: weights * np.where(x > 0, 1.0, np.where(x == 0, a, 0.0))  # noqa: E731
        assert fnn.check(lambda x: np.sum(weights * np.maximum(np.array(x), 0)), rows, gradient=slope).ok


def test_an_error_along_a_row_is_no_multiple_of_ones():
    A, x = random("numpy", 2).normal(size=(4, 3)), random("numpy", 3).normal(size=(2, 4))
    loss = lambda x, B: np.sum((np.array(x) @ A) ** 2) + np.sum(np.array(x) * B)  # noqa: E731
    wrong = lambda x, B: 2 * x @ A @ A.T + B + np.array([[1.0], [2.0]])  # noqa: E731
    report = fnn.check(loss, x, np.ones((2, 4)), gradient=wrong)
    assert not report.ok and "a multiple of" not in str(report)


def softmax(z, xp):
    p = xp.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def attention(q, k, v, xp=np):
    return xp.sum(xp.sin(softmax(q @ k.T / 2, xp) @ v))


def attention_gradients(q, k, v):
    p = softmax(q @ k.T / 2, np)
    y_bar = np.cos(p @ v)
    p_bar = y_bar @ v.T
    z_bar = p * (p_bar - np.sum(p * p_bar, -1, keepdims=True)) / 2
    return z_bar @ k, z_bar.T @ q, p.T @ y_bar


#: Queries, keys and values; k is small, and all of them are of one shape.
QKV = tuple(np.random.default_rng(3).normal(size=(3, 5, 4)))


@pytest.mark.parametrize("xp", [np, jnp])
def test_the_gradient_of_another_argument_is_named(xp):
    attend = lambda q, k, v: attention(q, k, v, xp)  # noqa: E731
    (finding,) = fnn.check(attend, *QKV, gradient=lambda *args: attention_gradients(*args)[2]).findings
    assert finding.message.startswith("it equals the gradient of argument 2: exchanged, or copied"), finding


def test_a_gradient_of_0_to_rounding_is_right_and_a_small_one_that_is_wrong_is_not():
    attend, ones = (lambda *args: attention(*args, jnp)), (np.ones((6, 4)),) * 3
    queries = attention_gradients(*ones)[0]
    assert 0 < np.abs(queries).max() < 1e-15
    assert (report := fnn.check(attend, *ones, gradient=lambda *args: attention_gradients(*args)[0])).ok, str(report)
    small = {"a": W, "b": 2 * W[:2]}
    f = lambda p: jnp.sum(p["a"] ** 2) + 1e-11 * jnp.sum(jnp.sin(p["b"]))  # noqa: E731
    gradient = lambda p: {"a": 2 * p["a"], "b": 1.5e-11 * np.cos(p["b"])}  # noqa: E731
    report = fnn.check(f, small, gradient=gradient)
    assert not report.ok and "argument 0['b']: a constant factor of 1.5 too many" in str(report), str(report)


def test_numbers_in_the_code_may_be_thresholds():
    """A gradient that forgets the upper end of relu6 is right for all ordinary numbers."""

    def of(gradient):
        return fnn.check(lambda x: np.sum(np.clip(x, 0, 6)), V, gradient=gradient)

    right, wrong = of(lambda x: 1.0 * ((x > 0) & (x < 6))), of(lambda x: 1.0 * (x > 0))
    assert {f.verdict for f in right.findings} == {"OK"}
    (finding,) = wrong.findings
    assert finding.verdict == "ASSUMES" and finding.by_hand - finding.truth == 1
    assert re.match(r"right for ordinary numbers; for inputs of up to 1\d\S* its entry", finding.message)


#: A mask that leaves nothing out, and other arrays.
EVERYTHING, SOME = np.ones(V.shape, bool), V > 0


@pytest.mark.parametrize("xp", [np, jnp])
def test_a_captured_mask_that_leaves_nothing_out_is_noted(xp):
    def noted(mask):
        report = fnn.check(lambda x: xp.sum(xp.where(mask, x**2, 0.0)), V, gradient=lambda x: 2 * x * (mask != 0))
        assert report.ok
        return [note for note in report.notes if "closes over mask, an array of shape" in note]

    (note,) = noted(EVERYTHING)
    assert note.endswith("that is all True: whether the gradient uses it cannot be seen. Pass it as an argument")
    assert noted(EVERYTHING.astype(float)) and not noted(SOME) and not noted(3.0 * EVERYTHING)


def test_what_computes_in_float32_is_noted_once():
    """The data that the function closes over are float32 in JAX."""
    report = fnn.check(lambda w: np.mean((X @ w - Y) ** 2), W, gradient=lambda w: 2 * X.T @ (X @ w - Y) / len(Y))
    assert report.ok and sum("computes in float32 whatever" in note for note in report.notes) == 1, str(report)
