"""The glass box: its gradients, its code, its names and its refusals."""

import importlib
import linecache
import os
import re
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.glassbox import gradient_by_rules
from fnn.glassbox.backpass import active
from fnn.glassbox.table import TABLE
from fnn.glassbox.trace import names
from fnn.glassbox.trace.program import traced
from tests import tolerances
from tests.corpus import CORPUS
from tests.glassbox.test_rules import ELSEWHERE as BESIDE
from tests.glassbox.test_rules import NEW, PLACED
from tests.witnesses import assert_finite, named_leaves

#: Every primitive that a gradient passes.
WITH_RULE = [name for name, primitive in TABLE.items() if primitive.rule]
#: What a planted mistake does to everything that a rule hands back.
MISTAKES = {"sign": -1.0, "twice": 2.0, "dropped": 0.0}
#: (primitive, mistake) pairs that the corpus has shown to be seen, and the functions that have run.
SEEN: set = set()
LOOKED_AT: set = set()
#: Primitives that one release of JAX has and the other not, or that never pass a gradient on.
ELSEWHERE = ("polynomial", "add_any", "copy_p", *BESIDE, *PLACED, *NEW)


pytestmark = pytest.mark.usefixtures("small_functions")


def case(name):
    """(the function, its arguments on the device in float64)."""
    f, args = CORPUS[name]
    return f, jax.tree.map(
        lambda leaf: jnp.asarray(leaf, np.float64 if np.asarray(leaf).dtype.kind == "f" else None), args
    )


def primitives(name):
    """The primitives of a corpus function through which a gradient flows."""
    f, args = case(name)
    program, _ = traced(f, args)
    counting = active(program, program.inputs)
    steps = [
        s
        for s in program.steps
        if s.primitive.name in TABLE and TABLE[s.primitive.name].rule and counting.intersection(s.inputs)
    ]
    return {s.primitive.name for s in steps if counting.intersection(s.outputs)}


def scaled(primitive, factor):
    """The primitive with all that its rule hands back multiplied by a number."""

    def function(*args, **params):
        return tuple(None if bar is None else bar * factor.astype(bar.dtype) for bar in primitive.pull(*args, **params))

    return replace(primitive, rule=function)


@pytest.mark.parametrize("name", CORPUS)
def test_rules_and_code_equal_autodiff_and_a_planted_mistake_is_seen(name, monkeypatch):
    f, args = case(name)
    floating = [k for k, a in enumerate(args) if all(np.asarray(leaf).dtype.kind == "f" for leaf in jax.tree.leaves(a))]
    source = fnn.show_backward(f, *args, tried=False)  # it is run below
    scope = {}
    exec(source.python, scope)
    names = sorted(primitives(name))
    by_rules = gradient_by_rules(f)

    @jax.jit
    def everything(factors, *args):
        with monkeypatch.context() as planted:
            for k, primitive in enumerate(names):
                planted.setitem(TABLE, primitive, scaled(TABLE[primitive], factors[k]))
            hand = by_rules(*args)
        written = scope["gradient"](*args, **source.constants)
        return hand, written, jax.grad(f, argnums=floating)(*args)

    right = np.ones(len(names))
    hand, written, auto = everything(right, *args)
    assert_finite(auto)
    assert jax.tree.structure(hand) == jax.tree.structure(written)
    for k, want in zip(floating, auto, strict=True):
        assert jax.tree.structure(hand[k]) == jax.tree.structure(want)
        assert distance(hand[k], want) <= tolerances.LEAF
        assert distance(written[k], want) <= tolerances.LEAF
    for k, primitive in enumerate(names):
        for mistake, factor in MISTAKES.items():
            wrong = everything(right + (factor - 1) * (np.arange(len(names)) == k), *args)[0]
            if max(distance(wrong[i], want) for i, want in zip(floating, auto, strict=True)) > tolerances.FAR:
                SEEN.add((primitive, mistake))
    LOOKED_AT.add(name)


def test_every_rule_is_covered_and_every_planted_mistake_is_seen_somewhere():
    # one function may hide a mistake: a sign that is turned twice, a path that another step stops
    if set(CORPUS) != LOOKED_AT:
        pytest.skip("the whole corpus must have run")
    due = {(primitive, mistake) for primitive in set(WITH_RULE) - set(ELSEWHERE) for mistake in MISTAKES}
    assert sorted(due - SEEN) == []


def distance(got, want):
    """The largest difference over the largest entry, of the worst leaf."""
    assert_finite(got)
    return max(
        np.abs(g - w).max(initial=0) / (np.abs(w).max(initial=0) or 1.0)
        for (_, g), (_, w) in zip(named_leaves(got), named_leaves(want), strict=True)
    )


# ---- the record -----------------------------------------------------------------------------------------------------


def test_the_graphs_of_the_lectures_number_by_number():
    # claim A10: c = 11, e = 121, f = 124; gradients 1, 22, 44
    f, args = case("a10")
    box = fnn.graph(f, *args)
    assert [float(box[name].value) for name in ("c", "e", "a10")] == [11, 121, 124]
    assert [float(box.cotangent(name)) for name in ("a10", "e", "c", "x1")] == [1, 1, 22, 44]
    # claim C7: d = 3, e = 12, L = 121; gradients 88, 88, 66
    f, args = case("c7")
    box = fnn.graph(f, *args)
    assert [float(box[name].value) for name in ("d", "e", "c7")] == [3, 12, 121]
    assert [float(g) for g in box.gradients] == [88, 88, 66]
    # claim D3: 4 x1^3 x2^2 + 3 (x1 + x2)^2 and 2 x1^4 x2 + 3 (x1 + x2)^2
    f, (x1, x2) = case("d3")
    want = [4 * x1**3 * x2**2 + 3 * (x1 + x2) ** 2, 2 * x1**4 * x2 + 3 * (x1 + x2) ** 2]
    np.testing.assert_allclose(fnn.graph(f, x1, x2).gradients, want, rtol=tolerances.LEAF)
    # claim E3: q = 3, f = -12; gradients -4, -4, 3
    f, args = case("e3")
    box = fnn.graph(f, *args)
    assert float(box["q"].value) == 3 and float(box.value) == -12
    assert [float(g) for g in box.gradients] == [-4, -4, 3] and float(box.cotangent("q")) == -4
    # claim E4: z = 1, every node of the sigmoid, and its slope 0.1966
    f, args = case("e4")
    box = fnn.graph(f, *args)
    chain = [float(box[name].value) for name in ("z", "negative", "exp", "added2", "e4")]
    np.testing.assert_allclose(chain, [1, -1, np.exp(-1), 1 + np.exp(-1), 0.7311], atol=tolerances.PRINTED[4])
    np.testing.assert_allclose(float(box.cotangent("z")), 0.1966, atol=tolerances.PRINTED[4])
    # claim E5: a maximum shares at a tie, an average shares always, and what flows along both branches adds up
    f, args = case("e5")
    box = fnn.graph(f, *args)
    average, largest = 5 / 3, 3.0
    shares = sorted(float(share.bar) for share in box["a"].shares)
    np.testing.assert_allclose(shares, sorted([average / 2, largest / 3]), rtol=tolerances.LEAF)
    np.testing.assert_allclose(box.gradients[0], sum(shares), rtol=tolerances.LEAF)


def test_every_node_is_told_whole():
    def f(x, y):
        hidden = fnn.glassbox.name(jnp.tanh(x @ y), "h")
        return jnp.sum(hidden * hidden)

    x, y = jnp.ones((2, 3)) / 2, jnp.ones((3, 4)) / 3
    box = fnn.graph(f, x, y)
    node = box["h"]
    assert node.operation == "tanh" and node.shape == (2, 4) and node.bytes == 64 and node.place.file == __file__
    assert "jnp.tanh(x @ y)" in node.place.text
    np.testing.assert_allclose(sum(share.bar for share in node.shares), node.cotangent)
    assert len(node.shares) == 2 and {share.consumer for share in node.shares} == set(box.consumers(node.index))
    # tanh keeps its output, the product both of its inputs, the sum nothing
    assert node.residuals == (node.index,)
    product = box.nodes[node.inputs[0]]
    assert {box.nodes[k].name for k in product.residuals} == {"x", "y"} and box["f"].residuals == ()
    assert product.operations == 2 * 2 * 3 * 4 and product.operations_back == 2 * product.operations
    assert all(k < node.index for node in box.nodes for k in node.inputs)
    assert [size.name for size in box.sizes()] == [n.name for n in box.nodes if n.cotangent is not None]


def test_names_are_those_of_the_source():
    net = fnn.mlp(3, 4, 2, activation="tanh")
    params = net.init(jax.random.key(0), jnp.float64)
    box = fnn.graph(fnn.objective(net, fnn.squared_error), params, jnp.ones((5, 3)), jnp.ones((5, 2)))
    names = [node.name for node in box.nodes]
    assert names[:6] == ["W1", "b1", "W2", "b2", "x", "y"] and len(set(names)) == len(names)
    # a lambda stands inside a statement and computes nothing for its target
    shadow = fnn.graph(lambda x: jnp.sin(x) ** 2, 1.0)
    assert [node.name for node in shadow.nodes] == ["x", "sin", "f"]

    def reused(x):
        x = x * 2
        x = jnp.sin(x)
        return x + 0

    assert [node.name for node in fnn.graph(reused, 1.0).nodes if node.operation != "constant"] == [
        "x",
        "x2",
        "x3",
        "reused",
    ]


#: Statements over x and y, and what the values are called that they make; what no line tells has the name of its step.
STATEMENTS = {
    "z = x * y; a = jnp.sin(z)\nreturn a + z": "product sin f",
    "z = x * y;\nreturn z + x": "z f",
    "z = (x\n + y); a = z * y\nreturn a + z": "added product f",
    "z = inner(x * y)\nreturn z + x": "product z f",
    "z = inner(inner(x))\nreturn z + x": "sin z f",
    "z = outer(x)\nu: float = outer(\n y)\nreturn z + u": "added1 z added2 u f",
    "z = inner(x).T\nz += inner(y)\nreturn z": "sin1 sin2 z",
    "z = u = inner(x)\nreturn z + u": "sin f",
    "z = second(x * y, x)\nu = second(x, x * y)\nreturn z + u": "product1 product2 f",
    "z = early(x)\nu = both(y)\nreturn z + u[1]": "s t sin cos f",
    "z = slope(x)\nu = apply(inner, y)\nreturn z + u": "product1 product2 sin f",
    "z = at_last(x, y)\nreturn z + x": "sin cos f",
    "z = jax.lax.top_k(jax.lax.full((2,), 3.0), 2)[1]\nreturn x + y": "copies top_k1 top_k2 f",
    "z = jnp.cos(x) * inner(y)\nreturn z + x": "cos sin z f",
    "z = compiled(x * y)\nu = compiled(x + y)\nreturn z + u": "product sin1 added sin2 f",
    "z = jax.jit(inner)(x * y)\nu = jax.jit(inner)(x + y)\nreturn z + u": "product sin1 added sin2 f",
    "z = [jnp.sin(v) for v in (x, y)]\nreturn z[0] + z[1]": "sin1 sin2 f",
    "z = jnp.sin(x), jnp.cos(y)\nreturn z[0] + z[1]": "sin cos f",
    "z = Pair(x * y)\nreturn z.x + x": "product f",
    "z = dict(x=x * y)\nreturn z['x'] + x": "product f",
    "z: float = x * y\nz += x\nreturn z * 2": "z1 z2 f",
    "if True: z = x * y\nreturn z + x": "z f",
    "for _ in range(2): z = x * y; x = z + 1\nreturn x": "product1 added product2 f",
    "z = (a := x * y) + x\nreturn z * a": "product z f",
}
#: What the statements call.
CALLED = """
def inner(v):
    return jnp.sin(v)
def outer(v):
    return inner(v + 1)
def early(v):
    s = jnp.sin(v)
    t = jnp.cos(s)
    return s
def both(v):
    return jnp.sin(v), jnp.cos(v)
def second(a, b):
    return b
def apply(f, v):
    return f(v)
def at_last(a, b):
    try:
        return jnp.sin(a)
    finally:
        jnp.cos(b)
@jax.grad
def slope(v):
    return v * 3
@jax.jit
def compiled(v):
    return jnp.sin(v)
class Pair:
    def __init__(self, x):
        self.x = x
"""


def test_a_name_is_given_by_a_line_that_tells_it(monkeypatch):
    for k, (body, want) in enumerate(STATEMENTS.items()):
        lines = [*CALLED.split("\n"), "def f(x, y):", *(f" {line}" for line in body.split("\n"))]
        file = f"statements{k}.py"
        monkeypatch.setitem(linecache.cache, file, (1, None, [f"{line}\n" for line in lines], file))
        scope = {"jax": jax, "jnp": jnp}
        exec(compile("\n".join(lines), file, "exec"), scope)
        program, _ = traced(scope["f"], (1.0, 2.0))
        made = [n for step in program.steps for n in step.outputs]
        named = names.named(program, scope["f"], (1.0, 2.0), [*program.inputs, *made])
        assert " ".join(named[n] for n in made) == want, body


def test_names_follow_a_module_that_is_mended_and_loaded_anew(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for k, line in enumerate(["first = x * x", "# a line more\n second = x * x"]):
        path = tmp_path / "mended_module.py"
        path.write_text(f"def f(x):\n {line}\n return {line.split()[-5]} + x\n")
        os.utime(path, (k, k))
        sys.modules.pop("mended_module", None)
        importlib.invalidate_caches()
        f = importlib.import_module("mended_module").f
        program, _ = traced(f, (1.0,))
        assert list(names.assigned(program).values()) == [line.split()[-5]]


def test_keys_of_every_script_are_names():
    keys = ["2nd", "fi", "x²", "α β", "ﬁ", "class"]
    held = names.arguments(lambda p: p, [dict.fromkeys(keys, 1.0)])
    assert dict(zip(sorted(keys), held, strict=True)) == {
        "2nd": "p_2nd", "class": "class_", "fi": "fi1", "x²": "x2", "α β": "α_β", "ﬁ": "fi2"
    }  # fmt: skip


def test_a_wrong_order_of_the_sweep_would_be_wrong():
    # why the order must be topological: a is read by b and by the product; who visits a before b has spoken hands on
    # too little
    def f(x):
        a = x * 2
        b = jnp.sin(a)
        return a * b

    box = fnn.graph(f, 1.0)
    first = next(share for share in box["a"].shares if box.nodes[share.consumer].name == "f")
    assert float(first.bar) != float(box.cotangent("a"))
    np.testing.assert_allclose(box.gradients[0], jax.grad(f)(1.0), rtol=tolerances.LEAF)
    assert abs(2 * float(first.bar) - float(jax.grad(f)(1.0))) > tolerances.FAR


def test_a_value_too_large_to_keep_is_summed_up_and_its_gradient_is_whole(monkeypatch):
    monkeypatch.setattr(sys.modules["fnn.glassbox._graph"], "LARGEST", 5)
    box = fnn.graph(lambda x: jnp.sum(x * x), jnp.arange(6.0))
    assert str(box["x"].value) == "from 0 to 5, norm 7.416" and "more than 5 entries" in str(box)
    np.testing.assert_array_equal(box.gradients[0], 2 * np.arange(6.0))


# ---- where numbers are lost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "backward", "what", "node"),
    [
        (lambda x: jnp.log(jnp.exp(x * -2000.0)), 1.0, False, "underflow", "exp"),
        (lambda x: x / (x - 1), 1.0, False, "infinite", "f"),
        (lambda x: jnp.sqrt(x - 2) + x, 1.0, False, "NaN", "sqrt"),
        (lambda x: jnp.tanh(x * 100) * 2, 1.0, True, "underflow", "product"),
        (lambda x: jnp.sqrt(x * 0) * 2, 1.0, True, "infinite", "product"),
        (lambda x: jnp.sum(jnp.where(x > 0, jnp.sqrt(x), 0.0)), jnp.zeros(2), True, "NaN", "x"),
        # put there, and then summed
        (lambda x: jnp.sum(jnp.where(x > 0, x, jnp.inf)), -1.0, False, "infinite", "f"),
        # of numbers in the source alone
        (lambda x: jnp.sum(jnp.log(jnp.array([-1.0, 1.0])) + x), 1.0, False, "NaN", "log"),
        # where is no guard when it chooses what is wrong
        (lambda x: jnp.sum(jnp.where(x < 0, jnp.log(x), 0.0)), -1.0, False, "NaN", "log"),
        # a mask beside a number that is simply too small
        (lambda x: jnp.sum(jnp.exp(jnp.stack([x - 1e4, x]))), -2000.0, False, "underflow", "exp"),
    ],
)
def test_the_first_trouble_is_named_with_its_place(f, x, backward, what, node):
    box = fnn.graph(f, x)
    found = box.trouble
    assert (found.backward, found.what, found.node.name) == (backward, what, node)
    assert str(found) in box.notes[-1] and (backward or "makes it" in str(found))
    if found.node.operation != "argument":
        assert "test_graph.py:" in str(found)


HEALTHY = {
    "variance": (jnp.var, jnp.arange(4.0)),
    "deviation": (lambda x: jnp.std(x, ddof=1), jnp.arange(4.0)),
    "guarded outside": (lambda x: jnp.sum(jnp.where(x > 0, jnp.log(x), 0.0)), jnp.array([1.0, -1.0])),
    "guarded inside": (
        lambda x: jnp.sum(jnp.where(x > 0, 1 / jnp.where(x > 0, x, 1.0), 0.0)), jnp.array([1.0, 0.0]),
    ),
    "guarded on the way back": (
        lambda x: jnp.sum(jnp.sqrt(jnp.where(x > 0, x, 0.0))[:1]) + jnp.sum(jnp.where(x > 0, x, 1.0)),
        jnp.array([4.0, -1.0]),
    ),
    "missing numbers": (jnp.nanmean, jnp.array([1.0, jnp.nan])),
    "an infinity put there": (
        lambda x: jnp.min(jnp.where(x > 0, x, jnp.inf)), jnp.array([1.0, 2.0, -1.0]),
    ),
    "a large negative mask": (
        lambda x: jnp.sum(jax.nn.softmax(jnp.where(x > 0, x, -1e9)) * jnp.arange(3.0)), jnp.array([1.0, 2.0, -1.0]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HEALTHY)
def test_what_is_not_chosen_is_no_trouble(what):
    f, x = HEALTHY[what]
    box = fnn.graph(f, x)
    assert box.trouble is None and np.isfinite(box.gradients[0]).all()


def test_a_healthy_graph_has_no_trouble():
    f, args = case("attention")
    # minus infinity masks, and zeros that are meant are no underflow
    assert fnn.graph(f, *args).trouble is None
    f, args = case("mlp_relu")
    assert fnn.graph(f, *args).trouble is None


# ---- the code -------------------------------------------------------------------------------------------------------


def test_the_code_is_what_a_student_would_write():
    f, args = case("c7")
    told = fnn.show_backward(f, *args)
    body = str(told).split("def gradient(x, y, z):\n")[1]
    assert body == (
        "    # forward\n    d = x + y\n    e = d * z\n"
        "    # backward\n    c7_bar = 1.0\n    e_bar = c7_bar * 2.0 * (e - 1.0)\n    d_bar = e_bar * z\n"
        "    x_bar = d_bar\n    y_bar = d_bar\n    z_bar = e_bar * d\n    return x_bar, y_bar, z_bar"
    )
    assert r"\bar{e} &= 2\, \bar{c}_{7}\, \left(e - 1\right)" in told.latex
    assert told.latex.startswith(r"\begin{aligned}") and told.latex.count("{") == told.latex.count("}")
    assert fnn.show_backward(f, *args) == told


def test_vectors_are_columns_in_latex():
    """A row here and a column there would add up to nothing that can be written on a board."""
    told = fnn.show_backward(lambda x, w, y: x @ w @ y, jnp.ones(3), jnp.ones((3, 2)), jnp.ones(2)).latex
    for line in (
        r"\bar{x} &= w\, \overline{\mathit{product}}",
        r"\bar{w} &= x\, \overline{\mathit{product}}^\top",
        r"\overline{\mathit{product}} &= \bar{f}\, y",
        r"\bar{y} &= \left(w^\top\, x\right)\, \bar{f}",
    ):
        assert line in told


@pytest.mark.parametrize("name", ["attention", "recurrent", "branches", "newton", "indexing", "mlp_gelu"])
def test_every_formula_is_balanced(name):
    f, args = case(name)
    told = fnn.show_backward(f, *args).latex
    assert told.count("{") == told.count("}") and told.count(r"\left") == told.count(r"\right")
    assert all("&" in line for line in told.splitlines()[1:-1])
    # TeX refuses a second subscript or superscript at one sign
    assert not re.search(r"_(\{[^{}]*\}|\w)_|\^(\{[^{}]*\}|\\top|\w)\^", told)


#: What a formula must say so that rows and columns fit, over vectors x and y, a matrix M and an array T of three axes.
FORMULAS = {
    "outer": (lambda x, y, M, T: jnp.sum((x[:, None] * y) ** 3), r"\left(x\, y^\top\right)^{2}"),
    "outer, turned": (lambda x, y, M, T: jnp.sum((y * x[:, None]) ** 3), r"\left(x\, y^\top\right)^{2}"),
    "a column and a row": (
        lambda x, y, M, T: jnp.sum((x[:, None] - y) ** 3),
        r"x\, \mathbf{1}^\top - \mathbf{1}\, y^\top",
    ),
    "three axes": (lambda x, y, M, T: jnp.sum(jnp.transpose(T, (2, 0, 1)) ** 3), r"T^{\top(3,1,2)}"),
    "parts": (
        lambda x, y, M, T: jnp.sum(M[1, :2] * y[::2] * y[0] * T[0, 1:2, 1:]),
        [
            r"M\left[2, 1, 2\right]",
            r"y\left[1, 3\right]",
            r"y\left[1\right]",
            r"T\left[1, 2, 2, 3\right]",
            r"\operatorname{pad}_{(0, 2)}",
            r"\operatorname{pad}_{(0, 0, 1)}",
        ],
    ),
    "truths": (
        lambda x, y, M, T: jnp.sum(jnp.where(jnp.tril(jnp.ones((3, 3), bool)) & (M > 0), M, 0.0) ** 2),
        r"\text{true}",
    ),
    "a name with a number": (
        lambda x, y, M, T: jnp.sum(jnp.einsum("abc,bdc->abd", T, fnn.glassbox.name(jnp.exp(T), "t2")) ** 2),
        r"{t_{2}}_{",
    ),
}


@pytest.mark.parametrize("what", FORMULAS)
def test_rows_and_columns_fit_in_formulas(what):
    f, wanted = FORMULAS[what]
    told = fnn.show_backward(f, jnp.ones(3), jnp.ones(3), jnp.ones((3, 3)), jnp.ones((3, 3, 3)), tried=False).latex
    for each in [wanted] if isinstance(wanted, str) else wanted:
        assert each in told, told


def test_large_constants_are_handed_over_by_name():
    data = jnp.arange(100.0)
    told = fnn.show_backward(lambda w: jnp.sum(w * data), 2.0)
    assert "def gradient(w, constant1):" in told.python and list(told.constants) == ["constant1"]
    np.testing.assert_array_equal(told.constants["constant1"], data)


# ---- bad input ------------------------------------------------------------------------------------------------------


def decides(x):
    return x if x > 0 else -x


def counts(n, x):
    return x ** len(range(n))


def uses_numpy(x):
    return np.sin(x)


def picks(x):
    return x[x > 0].sum()


def loops(x):
    return jax.lax.while_loop(lambda c: c < 3, lambda c: c * 2, x)


@pytest.mark.parametrize(
    ("f", "args", "options", "error", "message"),
    [
        (lambda x: (x, x), (1.0,), {}, ValueError, "returns 2 outputs, .*; choose one by output=0 to 1"),
        (lambda x: (x, x), (1.0,), {"output": 2}, ValueError, "output must be 0 to 1, .*, got 2"),
        (lambda x: (x, x), (1.0,), {"cotangents": 1.0}, ValueError, "cotangents must have the structure and the"),
        (lambda x: x * 2, (jnp.ones(3),), {}, ValueError, r"the output has shape \(3,\), and a gradient"),
        (lambda x: "no array", (1.0,), {}, TypeError, "must return arrays or numbers, or a pytree of them, got str"),
        (lambda x: None, (1.0,), {}, TypeError, "returns nothing to differentiate, None. .* is `return` missing"),
        (lambda x: jnp.asarray(3), (1.0,), {}, TypeError, "the output is int64, which has no derivative"),
        (decides, (1.0,), {}, TypeError, r"by the values .* in Python .* at test_graph.py:\d+, .* a trace runs f"),
        (counts, (3, 1.0), {}, TypeError, r"whole number of Python .* at test_graph.py:\d+, .* lambda x: f.3, x."),
        (uses_numpy, (1.0,), {}, TypeError, r"passes an argument to NumPy at test_graph.py:\d+, .* Use jax.numpy"),
        (picks, (jnp.ones(3),), {}, TypeError, r"by a mask at test_graph.py:\d+, .* Use jnp.where.mask, x, 0."),
        (lambda x: x, (1,), {}, TypeError, "nothing to differentiate: no argument holds floating numbers"),
        (lambda x: x, ("a",), {}, TypeError, "argument 0 must be a pytree of arrays, got a str"),
        ("f", (1.0,), {}, TypeError, "the first argument must be a function, got a str"),
        (lambda x: jax.lax.zeta(x, x).sum(), (jnp.eye(2),), {}, NotImplementedError, "`zeta` .test_graph"),
        (loops, (1.0,), {}, NotImplementedError, r"`while` .test_graph.py:\d+. .* through it: the number of its"),
        (
            lambda x: jax.lax.scan(lambda c, _: (loops(c), None), x, None, length=2)[0], (1.0,), {},
            NotImplementedError, r"the operation `while` .test_graph.py:\d+. has no rule",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(f, args, options, error, message):
    with pytest.raises(error, match=message):
        fnn.graph(f, *args, **options)


def test_tracers_are_refused():
    with pytest.raises(TypeError, match="got a tracer"):
        jax.jit(lambda x: fnn.graph(jnp.sin, x).gradients)(1.0)


def test_what_does_not_flow_is_zero_and_what_has_no_derivative_is_none():
    box = fnn.graph(lambda k, x, z, n: x * jax.random.normal(k, dtype=x.dtype), jax.random.key(0), 1.0, jnp.ones(2), 3)
    assert box.gradients[0] is None and box.gradients[3] is None
    np.testing.assert_array_equal(box.gradients[2], np.zeros(2))
    assert float(box.cotangent("z").sum()) == 0.0
    with pytest.raises(KeyError, match="no value is called 'nope'"):
        box["nope"]


def test_several_outputs_and_cotangents():
    def f(x):
        return x**2, jnp.stack([x, 3 * x])

    assert float(fnn.graph(f, 2.0, output=0).gradients[0]) == 4.0
    assert float(fnn.graph(f, 2.0, cotangents=(1.0, jnp.array([1.0, 10.0]))).gradients[0]) == 4 + 1 + 30


def test_functions_that_print_or_bring_a_derivative_are_noted():
    @jax.custom_vjp
    def halved(x):
        return x

    halved.defvjp(lambda x: (x, None), lambda kept, bar: (bar / 2,))

    def f(x):
        jax.debug.print("x = {}", x)
        return halved(x) * 3

    box = fnn.graph(f, 1.0)
    assert float(box.gradients[0]) == 3.0
    assert "has side effects" in box.notes[0] and "halved has its own derivative" in box.notes[1]


# ---- the command line -----------------------------------------------------------------------------------------------


def test_the_command_line(tmp_path, capsys, monkeypatch):
    from fnn.glassbox.__main__ import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "lecture.py").write_text(
        "def e3(x, y, z):\n    q = x + y\n    return q * z\ndef two(x):\n    return x, x\n"
    )
    assert main(["lecture.py:e3", "-2", "5", "-4", "--html", "out.html", "--svg", "out.svg"]) == 0
    assert "<svg" in (tmp_path / "out.svg").read_text() and "<html" in (tmp_path / "out.html").read_text()
    assert main(["lecture.py:e3", "-2", "5", "-4"]) == 0 and "q" in capsys.readouterr().out
    assert main(["lecture.py:e3", "-2", "5", "-4", "--code"]) == 0 and "q_bar" in capsys.readouterr().out
    assert main(["lecture.py:e3", "-2", "5", "-4", "--latex"]) == 0 and r"\bar{q}" in capsys.readouterr().out
    for arguments, message in (
        (["lecture.py"], "name the function"),
        (["lecture.py:e4", "1"], "perhaps 'e3'?"),
        (["nothing.py:f"], "there is no file nothing.py"),
        (["lecture.py:e3", "1", "2", "3", "--html", "no/where.html"], "there is no folder no"),
        (["lecture.py:e3", "2,", "2,", "2,"], "the output has shape (2,)"),
        (["lecture.py:two", "1"], "Here that is --output 0."),
        (["lecture.e3", "1", "2", "3"], "A function in a module is written lecture:e3."),
        (["lecture.py:e3", "1", "2", "3", "--fold"], "give --svg FILE too"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
