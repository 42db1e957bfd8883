"""What stands around the checker: one line for every rule of a module, the command line, the picture."""

import json
import sys
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
import fnn.regularizers
from fnn.checker import every_rule
from fnn.checker.__main__ import main
from fnn.checker.every import reports_of, rules_of
from fnn.checker.picture import ROWS, blocks, draw

#: A module as a user would write it; `cube` is wrong by 2 / 3, `Square` and `scaled` are right.
SOURCE = """
import jax, jax.numpy as jnp, numpy as np
import fnn
from fnn import tanh  # imported, and so not tested again
from functools import partial

@jax.custom_vjp
def cube(x):
    return x**3

cube.defvjp(lambda x: (x**3, x), lambda x, bar: (bar * 2 * x**2,))

@jax.jit
@jax.custom_jvp
def twice(x, y):
    return 2 * x + y, jnp.sum(y)

twice.__wrapped__.defjvp(lambda p, t: (twice(*p), (2 * t[0] + t[1], jnp.sum(t[1]))))

@partial(jax.custom_vjp, nondiff_argnums=(0,))
def at_label(k, x):
    return x[..., k]

at_label.defvjp(lambda k, x: (x[..., k], x), lambda k, x, bar: (jnp.zeros_like(x).at[..., k].set(bar),))

class Square(fnn.Activation):
    def forward(self, z):
        return z * z, z

    def backward(self, z, a_bar):
        return 2 * z * a_bar

def loss(x, strength):
    return jnp.sum(strength * cube(x))

def product(x):
    return x * tanh(x)

def beside(x, strength):
    return 3 * x**2 * strength

def in_numpy(x):
    return np.log(np.exp(x)).sum()

def raises(x):
    raise ValueError("of the user's own")

def labelled(x, y):
    return jnp.sum(x[jnp.arange(len(y)), y])

def of_layer(x, W):
    return jnp.sum(x @ W)
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "written_by_hand.py"
    path.write_text(SOURCE)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield path
    for name in ("written_by_hand", "checked_written_by_hand"):
        sys.modules.pop(name, None)


def written(**names):
    """A module that defines these."""
    module = ModuleType("written")
    for name, value in names.items():
        if isinstance(value, jax.custom_vjp):
            value.__module__ = "written"
        setattr(module, name, value)
    return module


def power(factor):
    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, bar: (bar * factor * x**2,))
    return cube


def cases(test):
    return [case.id for case in test.pytestmark[0].args[1]]


# ---- every rule of a module -----------------------------------------------------------------------------------------


def test_every_rule_of_a_module_is_found_and_the_wrong_one_is_named():
    module = written(right=power(3), wrong=power(2), also=jnp.tanh, tanh=fnn.tanh, number=3)
    test = every_rule(module)
    assert cases(test) == ["right", "wrong"]
    test("right")
    with pytest.raises(AssertionError, match=r"written\.wrong\n(.|\n)*NOT OK, wrong: cube"):
        test("wrong")


def test_inputs_are_used():
    seen = []

    @jax.custom_vjp
    def f(x):
        seen.append(x.shape)
        return x * x

    f.defvjp(lambda x: (x * x, x), lambda x, bar: (bar * 2 * x,))
    every_rule(written(f=f), inputs={"f": (np.ones((2, 7), np.float32),)})("f")
    assert set(seen) == {(2, 7)}


class Wrong(fnn.Activation):
    def forward(self, z):
        return z * z, z

    def backward(self, z, a_bar):
        return z * a_bar


class WrongLoss(fnn.Loss):
    def values(self, prediction, target):
        return jnp.sum((prediction - target) ** 2, axis=-1), prediction - target

    def slope(self, e):
        return e


class WrongPenalty(fnn.Regularizer):
    def __call__(self, params, strength):
        # a pair, as the elastic net takes it
        first, second = strength
        return sum((first + second) * jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    def gradient(self, params, strength):
        return jax.tree.map(lambda leaf: sum(strength) * leaf, params)


class Pair(fnn.Layer):
    """(u, v) -> u v: two inputs, and a wrong cotangent of the second."""

    def forward(self, params, x):
        return x[0] * x[1], x

    def backward(self, params, x, y_bar):
        return (), (x[1] * y_bar, -x[0] * y_bar)


@pytest.mark.parametrize(
    ("rule", "inputs", "culprit"),
    [
        (fnn.dense(4, 3, activation=Wrong()), None, "wrong"),
        (WrongLoss(), (np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)), "wrong_loss"),
        (WrongPenalty(), None, "wrong_penalty"),
        (Pair(), ((np.ones(3, np.float32), np.full(3, 2.0, np.float32)),), "pair"),
    ],
)
def test_records_are_checked(rule, inputs, culprit):
    (report,) = reports_of("mine", rule, inputs)
    assert report.culprits == (culprit,), str(report)


def test_losses_get_targets_that_suit_them():
    # predictions and targets that are probabilities, and then labels
    assert [report.ok for report in reports_of("nll", fnn.negative_log_likelihood)] == [True, True]


def test_the_rules_of_the_package_are_its_rules():
    assert list(rules_of(fnn.regularizers)) == ["l1", "l2", "elastic_net"]


def test_what_does_not_fit_is_said():
    @jax.custom_vjp
    def labelled(x, label):
        return jnp.take_along_axis(x, label[:, None], axis=1)

    module = written(labelled=labelled)
    with pytest.raises(ValueError, match=r"labelled takes no 2 normal float32 arrays of shape \(3, 4\) \(.*inputs="):
        every_rule(module)("labelled")
    with pytest.raises(ValueError, match="there is no hand-written rule in written"):
        every_rule(written(tanh=fnn.tanh))
    with pytest.raises(ValueError, match=r"got inputs for 'labeled', which is no rule of written. Perhaps 'labelled'"):
        every_rule(module, inputs={"labeled": (1.0,)})
    with pytest.raises(TypeError, match=r"inputs\['labelled'\] must be a tuple of arguments, got float"):
        every_rule(module, inputs={"labelled": 1.0})


def affine(factor):
    """x γ + β, with a gradient of γ that is right for one row of them, and not for the shapes that are guessed."""
    forward = lambda x, gamma, beta: x * jnp.broadcast_to(gamma, x.shape) + jnp.broadcast_to(beta, x.shape)  # noqa: E731
    rule = jax.custom_vjp(forward)
    rule.defvjp(
        lambda x, gamma, beta: (forward(x, gamma, beta), (x, jnp.broadcast_to(gamma, x.shape))),
        lambda kept, bar: (bar * kept[1], factor * (bar * kept[0]).sum(0), bar.sum(0)),
    )
    return rule


def test_a_right_rule_is_not_wrong_because_shapes_were_guessed():
    module, x, row = written(right=affine(1), wrong=affine(2)), np.ones((3, 4), np.float32), np.ones(4, np.float32)
    says = r"right takes 3 normal.*a guess.*argument 1: .*got shape.*Not checked: give inputs=\{'right': \(x, gamma"
    with pytest.raises(ValueError, match=says):
        every_rule(module)("right")
    test = every_rule(module, inputs=dict.fromkeys(("right", "wrong"), (x, row, row)))
    test("right")
    with pytest.raises(AssertionError, match="a factor of 2 too many"):
        test("wrong")


def test_a_layer_for_other_shapes_is_not_blamed_and_shows_its_own_line():
    @dataclass(frozen=True)
    class Shifted(fnn.Layer):
        """(N, L, C) -> (N, L − 1, C): forward happens to run on two axes too."""

        factor: float = 1.0

        def forward(self, params, x):
            return x[:, 1:], x

        def backward(self, params, x, y_bar):
            n, _, channels = x.shape
            return (), self.factor * jnp.concatenate([jnp.zeros((n, 1, channels)), y_bar], 1)

    with pytest.raises(ValueError, match=r"shifted takes an array of shape \(6, 4\) forward, and backward raises Val"):
        reports_of("shifted", Shifted())
    x = jnp.arange(24.0).reshape(2, 3, 4) / 10
    assert [reports_of("shifted", Shifted(factor), (x,))[0].culprits for factor in (1.0, 2.0)] == [(), ("shifted",)]


def test_a_layer_of_a_pair_shows_the_line_of_its_own_derivative():
    @dataclass(frozen=True)
    class Scaled(fnn.Layer):
        def forward(self, params, x):
            return x[0] * x[1], x

        def backward(self, params, x, y_bar):
            return (), (y_bar * x[1], 2 * y_bar * x[0])

    x = jnp.asarray([1.0, 2.0])
    with pytest.raises(ValueError, match=r"scaled takes no input of shape \(\) \(IndexError"):
        reports_of("scaled", Scaled(), (1.0,))
    (report,) = reports_of("scaled", Scaled(), ((x, 3 * x),))
    assert "scaled (test_every.py:" in str(report) and "a factor of 2 too many" in str(report), str(report)


# ---- the command line -----------------------------------------------------------------------------------------------


def test_the_command_line_checks_one_function(file, tmp_path, capsys):
    at = tmp_path / "s.npy"
    np.save(at, np.float32(0.5))
    saved, picture = tmp_path / "report.json", tmp_path / "report.png"
    written_to = ["--json", str(saved), "--picture", str(picture)]
    assert main([f"{file}:loss", "3,4", str(at), *written_to]) == 1
    assert "NOT OK, wrong: cube" in capsys.readouterr().out
    assert json.loads(saved.read_text())["culprits"] == ["cube"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main([f"{file}:loss", "2,", "-1e-1", "--gradient", f"{file}:beside"]) == 0
    # an array is summed with weights; a rule needs no argument
    assert main([f"{file}:product", "2,:bfloat16", "--seed", "1"]) == 0
    assert "more than one number" in capsys.readouterr().out
    assert main([f"{file}:at_label", "1:int", "3,2"]) == 0
    # a class of records stands for its record
    assert main([f"{file}:Square", "3,2"]) == 0
    # what differs on purpose
    assert main([f"{file}:loss", "2,", "0.5", "--expected", "cube"]) == 0
    assert "differs from the derivative on purpose, as declared" in capsys.readouterr().out


def test_the_command_line_checks_every_rule(file, tmp_path, capsys):
    assert main([str(file), "--json", str(tmp_path / "all.json")]) == 1
    told = capsys.readouterr().out
    assert "NOT OK, wrong: cube" in told and "twice     ok: " in told and "Square    ok: " in told
    assert "at_label  not checked: at_label takes no 2 normal" in told and f"{file}:at_label …" in told
    assert set(json.loads((tmp_path / "all.json").read_text())) == {"cube", "twice", "Square"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py:f"], "there is no file nowhere.py."),
        (["no_such_module:f", "3,"], "there is no module 'no_such_module'"),
        (["FILE:los", "3,"], "there is no 'los' in written_by_hand; perhaps 'loss'?"),
        (["FILE:loss", "3x4", "1"], "the argument '3x4' is not understood. Give a number such as 0.5, a shape"),
        (["FILE:loss", "3,:int8", "1"], "names no floating dtype"),
        (["FILE:loss", "3,:float64", "1"], "float64 needs JAX's 64-bit mode"),
        (["FILE:loss", "3,", "x.npy"], "there is no file x.npy."),
        (
            ["FILE:loss", "6,:below3", "2:int"],
            "there is nothing to check: no argument holds a floating number",
        ),
        (["FILE:loss", "3,"], "missing 1 required positional argument: 'strength'"),
        (["FILE", "3,"], "arguments belong to one function: name it"),
        (["FILE:loss", "3,", "1", "--picture", "no/where.png"], "there is no folder no."),
        (["FILE:loss", "3,", "1", "--gradient", "FILE"], "--gradient needs a function, module:name"),
        (["FILE:loss", "--sede", "1"], "unrecognized arguments: --sede"),
        (
            ["FILE:in_numpy", "3,"],
            "written_by_hand.py:43 uses NumPy on a value that has no numbers then",
        ),
        (["FILE:of_layer", "4,5", "6,3"], "written_by_hand.py:52 does not run on these arguments (TypeError: dot_gen"),
        (["FILE:labelled", "6,3", "6,"], "labels are whole numbers, written 6,:below3."),
    ],
)
def test_a_refusal_is_one_sentence(file, capsys, arguments, message):
    assert main([each.replace("FILE", str(file)) for each in arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and "Traceback" not in told


def test_an_error_of_the_user_shows_its_place(file, capsys):
    assert main([f"{file}:raises", "3,"]) == 2
    told = capsys.readouterr().err
    assert "Traceback" in told and "written_by_hand.py" in told and "of the user's own" in told


def test_pickles_are_refused(file, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    assert main([f"{file}:product", str(tmp_path / "x.npy")]) == 2
    assert "allow_pickle=False" in capsys.readouterr().err


def test_the_help_holds_an_example(capsys):
    assert main(["--help"]) == 0
    assert "python -m fnn.checker cube.py:loss 3,4 0.5" in capsys.readouterr().out


# ---- the picture ----------------------------------------------------------------------------------------------------


def texts(figure):
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(lambda each: hasattr(each, "get_text")))


def overlap(axes):
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    return any(a.overlaps(b) for a, b in pairwise(boxes))


@pytest.mark.parametrize("factor", [2, 3])
def test_the_picture_of_a_report(factor, tmp_path):
    cube = power(factor)
    report = fnn.check(lambda x: jnp.sum(cube(x)), jnp.asarray(np.arange(1.0, 7.0, dtype=np.float32).reshape(2, 3)))
    figure = draw(report.findings, tmp_path / "report.png")
    left, right = figure.axes[:2]
    assert left.get_xlabel() == "largest |by hand − truth| / largest |truth|" and left.get_xscale() == "log"
    assert right.get_xlabel() == "last axis" and right.get_ylabel() == "axis 0"
    told = texts(figure)
    assert "cube · argument 0" in told and "by hand − truth" in told
    if factor == 2:
        assert "NOT OK, wrong: cube" in told and "Worst leaf, FORMULA" in told and "framed: entry [" in told
        assert left.get_yticklabels()[0].get_text() == "cube · argument 0"
    else:
        assert report.ok and "Largest rounding error" in told and "FORMULA" not in told
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_a_picture_of_many_findings_and_large_leaves():
    leaf = np.zeros((3, 200, 5))
    off = leaf.copy()
    off[2, 199, 4] = np.nan
    findings = [
        fnn.checker.Finding(
            f"dense({k}, 5, activation=leaky_relu(slope=0.1))", "a.py:1", f"params[{k}]['weights']['W']",
            list(fnn.checker.Verdict)[k % 5], leaf=(off, leaf), relative=[0.0, None, np.nan, 0.1][k % 4],
        )
        for k in range(ROWS + 5)
    ]  # fmt: skip
    figure = draw(tuple(findings))
    told = texts(figure)
    assert "the gravest 40 of 45 leaves" in told and "exact" in told and "not a number" in told and "no number" in told
    assert "each cell the largest of a 10 × 1 block" in told and "framed: entry [2, 199, 4]\nby hand nan" in told
    assert not overlap(figure.axes[0])


def test_the_blocks_of_a_map_keep_the_largest_entry_and_its_sign():
    table = np.random.default_rng(0).normal(size=(130, 67))
    table[129, 66] = -50.0
    cells, size = blocks(table)
    assert size == (3, 2) and cells.shape == (44, 34) and cells[-1, -1] == -50.0
    assert np.array_equal(blocks(table[:5, :5])[0], table[:5, :5])


def test_a_picture_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r'a picture needs matplotlib.*pip install -e "\.\[experiments\]"'):
        fnn.check(lambda x: jnp.sum(x**2), jnp.ones(2)).draw()


def test_nothing_is_no_picture():
    with pytest.raises(ValueError, match="the report holds no finding"):
        draw(())


def test_a_rule_of_another_library_is_found_by_its_methods():
    class Foreign:
        """As `equinox.filter_custom_vjp` is made."""

        def __init__(self, factor):
            self.rule = jax.custom_vjp(lambda x: x**3)
            self.rule.defvjp(lambda x: (x**3, x), lambda x, bar: (factor * bar * x**2,))

        def __call__(self, x):
            return self.rule(x)

        def def_fwd(self, forward): ...

    module = ModuleType("mine")
    module.right, module.wrong = Foreign(3), Foreign(2)
    for each in (module.right, module.wrong):
        each.__module__ = "mine"
    test = every_rule(module)
    test("right")
    with pytest.raises(AssertionError, match="NOT OK, wrong"):
        test("wrong")


def applied(factor):
    """A rule that takes a function, and is written for x -> x."""

    def forward(fn, x):
        return fn(x) ** 3, x

    rule = jax.custom_vjp(lambda x, fn: fn(x) ** 3, nondiff_argnums=(1,))
    rule.defvjp(lambda x, fn: forward(fn, x), lambda fn, x, bar: (factor * bar * x**2,))
    return rule


def test_a_rule_that_takes_a_function_is_wrong_if_it_is_for_the_simplest_one():
    test = every_rule(written(right=applied(3), wrong=applied(2)))
    with pytest.raises(AssertionError, match=r"NOT OK, wrong(.|\n)*a factor of|constant factor"):
        test("wrong")
    # right for x -> x says too little of other functions
    with pytest.raises(ValueError, match=r"right takes no 2 normal float32 arrays .*inputs="):
        test("right")


def test_rules_of_equinox_have_the_line_of_the_user():
    eqx = pytest.importorskip("equinox")

    def made(factor):
        @eqx.filter_custom_vjp
        def cube(x, scale):
            return scale * x**3

        cube.def_fwd(lambda perturbed, x, scale: (scale * x**3, x))
        cube.def_bwd(lambda kept, bar, perturbed, x, scale: factor * scale * bar * kept**2)
        cube.__module__ = "mine"
        return cube

    right, wrong, scale = made(3), made(2), jnp.array(2.0)

    def both(x):
        first = right(x, scale)
        second = wrong(x, scale)
        return jnp.sum(first + second)

    report = fnn.check(both, jnp.array([1.0, 2.0]))
    rules = {f.where: f.verdict for f in report.findings if f.rule != "gradient"}
    assert all(where.startswith("called at test_every.py:") for where in rules), str(report)
    assert sorted(rules.values()) == ["FORMULA", "OK"], str(report)
    module = ModuleType("mine")
    # on inputs of the user's, of which the first alone is differentiated; on generic ones with a function
    module.wrong, module.taking = wrong, eqx.filter_custom_vjp(lambda x, fn: fn(x) ** 3)
    module.taking.def_fwd(lambda perturbed, x, fn: (fn(x) ** 3, x))
    module.taking.def_bwd(lambda kept, bar, perturbed, x, fn: 2 * bar * kept**2)
    module.taking.__module__ = "mine"
    test = every_rule(module, inputs={"wrong": (jnp.array([1.0, 2.0]), 2.0)})
    for name in ("wrong", "taking"):
        with pytest.raises(AssertionError, match="NOT OK, wrong"):
            test(name)
