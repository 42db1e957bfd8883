"""Nets as units and edges."""

import re
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.glassbox.picture.nets import PLACES
from fnn.glassbox.picture.themes import DARK, LIGHT


def drawn(picture, tag):
    """The elements of this tag in a picture, which must be XML."""
    return ElementTree.fromstring(picture).findall(f".//{{http://www.w3.org/2000/svg}}{tag}")


@pytest.fixture(scope="module")
def params():
    """Of 2-3-1, a number of each kind among them: 0, negative, large, not finite."""
    first = {"W": jnp.array([[0.0, -1.0, 2.0], [0.5, jnp.nan, -4.0]]), "b": jnp.array([0.0, -0.3, 0.1])}
    return first, {"W": jnp.array([[1.0], [-0.25], [jnp.inf]]), "b": jnp.zeros(1)}


def test_every_line_is_its_weight(params):
    net = fnn.mlp(2, 3, 1, activation="relu")
    picture = net.svg(params)
    lines = drawn(picture, "line")
    kinds = ["none", "negative", "positive", "positive", "bad", "negative", "positive", "negative", "bad"]
    assert [line.get("class").removeprefix("edge ") for line in lines] == kinds
    assert [float(line.get("stroke-width")) for line in lines] == [0, 1.5, 3, 0.75, 6, 6, 1.5, 0.375, 6]
    assert lines[4][0].text == "W1[1, 1] = NaN" and lines[7][0].text == "W2[1, 0] = −0.25"
    # a line joins the circle of its input to that of its output
    centres = [(each.get("cx"), each.get("cy")) for each in drawn(picture, "circle")]
    ends = [(centres.index((e.get("x1"), e.get("y1"))), centres.index((e.get("x2"), e.get("y2")))) for e in lines]
    assert ends == [(i, j) for i in (0, 1) for j in (2, 3, 4)] + [(i, 5) for i in (2, 3, 4)]
    assert [each.get("class").split()[1] for each in drawn(picture, "circle")] == [
        "plain",
        "plain",
        "m0",
        "n8",
        "p3",
        "m0",
    ]
    words = {each.text for each in drawn(picture, "text")}
    assert {"inputs", "hidden", "outputs", "relu", "identity", "dashed: not finite"} <= words
    assert picture == net.svg(params)
    for theme, text in ((LIGHT, picture), (DARK, net.svg(params, dark=True))):
        assert f".edge.positive{{stroke:{theme.positive}}}" in text and f".edge.bad{{stroke:{theme.bad}" in text


def test_without_params_all_lines_are_alike():
    for net in (fnn.mlp(2, 3, 1), fnn.sequential(fnn.sequential(fnn.dense(2, 3)), fnn.dense(3, 1))):
        lines = drawn(net.svg(), "line")
        assert len(lines) == 9 and {tuple(line.keys()) for line in lines} == {("class", "x1", "y1", "x2", "y2")}
    assert len(drawn(fnn.dense(2, 3).svg(), "circle")) == 5


def test_a_wide_layer_says_how_many_units_are_left_out():
    net = fnn.mlp(PLACES, 64, 2)
    picture = net.svg(jax.tree.map(np.asarray, net.init(jax.random.key(0))))
    assert len(drawn(picture, "circle")) == PLACES + (PLACES - 1) + 2
    (told,) = (each.text for each in drawn(picture, "text") if each.text.startswith("⋮"))
    assert told == f"⋮ {64 - PLACES + 1} more"
    assert "W1[0, 63] = " in picture and "W1[0, 8] = " not in picture and "W1[0, 7] = " in picture


def test_names_stand_in_the_circles(params):
    picture = fnn.mlp(2, 3, 1).svg(params, names=[["x<1>", "x2"], ["1", "2", "3"], ["y"]])
    assert [each.text for each in drawn(picture, "text") if each.get("class") == "own"] == ["x<1>", "x2", *"123y"]
    assert not re.search("nan|inf", re.sub("<title>.*?</title>", "", picture))


@pytest.mark.parametrize(
    ("params", "names", "message"),
    [
        (({"W": np.ones((3, 2)), "b": np.ones(3)},), (), r"b of shape \(3,\), got \(3, 2\) and \(3,\)\. Do the"),
        (({"W": np.ones((5, 2, 3)), "b": np.ones((5, 3))},), (), r"got \(5, 2, 3\) and \(5, 3\)\. Do the parameters"),
        (({"V": 1},), (), r"svg: layer 1 needs \{'W': …, 'b': …\}, got a dict of \['V'\]\. Make it with net\.init"),
        ((3,), (), r"got int\. Make it with net\.init"),
        ((1, 2), (), "sequential needs a tuple with the params of each layer, 1 entries, got 2 entries"),
        (None, [["a"], ["b"]], r"names must hold one per unit, in columns of \[2, 3\], got \[1, 1\]\. Give a list"),
    ],
)
def test_what_does_not_fit_is_refused(params, names, message):
    with pytest.raises(ValueError, match=message):
        fnn.mlp(2, 3).svg(params, names=names)


def test_what_is_not_dense_is_refused():
    net = fnn.sequential(fnn.dense(2, 2), fnn.skip(fnn.dense(2, 2)))
    with pytest.raises(ValueError, match=r"svg draws dense layers .*, got skip\(dense\(2, 2\)\)\. Draw the operations"):
        net.svg()
