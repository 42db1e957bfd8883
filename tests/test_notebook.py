"""What a cell of a notebook shows: tables of text, escaped; plain text stays for terminals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import notebook
from fnn.layers import Layer

pytestmark = pytest.mark.quick_compilation


@pytest.fixture(scope="module")
def run():
    """A short training run: (state, history)."""
    by_hand = fnn.backprop(fnn.mlp(2, 4, 2), fnn.softmax_cross_entropy)
    params = by_hand.net.init(jax.random.key(0))
    options = {"optimizer": fnn.optimizers.sgd(0.1), "epochs": 3, "batch_size": 4, "key": jax.random.key(1)}
    return fnn.fit(by_hand, params, fnn.data.xor(), **options)


def cells(html):
    """The texts of the cells, row by row."""
    assert html.count("<table>") == html.count("</table>") == 1 and html.count("<tr>") == html.count("</tr>")
    rows = html.split("<tr>")[1:]
    return [[cell.split(">", 1)[1] for cell in row.replace("<th ", "<td ").split("<td ")[1:]] for row in rows]


def texts(html):
    return [[cell.split("<")[0] for cell in row] for row in cells(html)]


def test_nothing_is_markup_and_numbers_are_whole():
    html = notebook.table(("<b>",), [("<script>",), (1170.4,), (1170,), (0.19661,), (None,)], above="<i>", below=["&"])
    assert not {"<b></th>", "<script>", "<i>"} & {*html.split("'")} and "<script>" not in html and "&amp;" in html
    assert [row[0] for row in texts(html)] == ["&lt;b&gt;", "&lt;script&gt;", "1,170", "1,170", "0.1966", ""]


def test_a_report_shows_its_table_and_its_sentences():
    def wrong(w):
        return w * 3

    report = fnn.check(lambda w: jnp.sum(w**2), jnp.arange(1.0, 4.0), gradient=wrong)
    head, row, *_ = texts(report._repr_html_())
    assert head == ["rule", "argument", "verdict", "by hand", "truth", "error"] and row[2] == "FORMULA"
    assert "NOT OK, wrong" in report._repr_html_() and "\x1b" not in report._repr_html_()
    assert "a constant factor of 1.5" in report._repr_html_() and "factor of 1.5" in str(report)


def test_a_state_and_a_history_show_their_numbers(run):
    state, history = run
    rows = texts(state._repr_html_())
    assert [row[:3] for row in rows[1:]] == [
        ["[0][&#x27;W&#x27;]", "2 × 4", "float32"], ["[0][&#x27;b&#x27;]", "4", "float32"],
        ["[1][&#x27;W&#x27;]", "4 × 2", "float32"], ["[1][&#x27;b&#x27;]", "2", "float32"],
    ]  # fmt: skip
    size = np.sqrt(np.mean(np.square(state.params[0]["W"])))
    assert rows[1][3] == f"{size:.4g}" and "epochs: 3" in state._repr_html_()
    (_, row) = texts(history._repr_html_())
    loss = history.metrics["loss"]
    assert row == ["loss", *(f"{value:.4g}" for value in (loss[0], loss[-1], loss.min(), loss.max()))]


def test_a_sweep_shows_its_best_run_first_and_not_all():
    runs = [{"seed": k} for k in range(30)]
    value, failed = np.arange(30.0), np.arange(30) == 4
    found = fnn.training.SweepResult(runs=runs, metrics={}, params=[()] * 30, value=value, failed=failed, best=7)
    rows = texts(found._repr_html_())
    assert rows[:2] == [["run", "seed", "value"], ["7", "7", "7"]] and ["4", "4", "failed"] in rows
    assert len(rows) == 21 and "and 10 more" in found._repr_html_()


class Scale(Layer):
    def forward(self, params, x):
        return 2 * x, None

    def backward(self, params, residuals, y_bar):
        return (), 2 * y_bar


def test_the_summary_counts_each_layer_once():
    net = fnn.sequential(fnn.dense(4, 8, activation="tanh"), fnn.repeated(fnn.dense(8, 8), 3), Scale())
    params = net.init(jax.random.key(0))
    told = net.summary(params, jnp.zeros(4))
    assert [row.parameters for row in told.rows] == [40, 3 * 72, 0]
    # 2 · 4 · 8 of the product, 8 of the bias, 8 of tanh
    assert [row.operations for row in told.rows] == [80, 3 * (128 + 8), 8] and told.total.operations == 496
    # the input and the output of the first layer; the inputs of the three that are repeated, and
    # their output
    assert [row.kept for row in told.rows] == [4 * (4 + 8), 4 * (3 * 8 + 8), 0]
    assert texts(net._repr_html_())[-1] == ["in all", "", *(f"{count:,}" for count in told.total[2:])]
    assert [line.split("(")[0].split()[0] for line in str(told).splitlines()] == [
        "layer", "dense", "repeated", "Scale", "in",
    ]  # fmt: skip
    assert net.summary(jax.eval_shape(net.init, jax.random.key(0)), jnp.zeros(4)) == told


def test_a_layer_of_any_size_needs_an_input():
    assert Scale()._repr_html_() == "<code>Scale()</code>"
    assert Scale().summary((), jnp.zeros(3)).total.operations == 3
    with pytest.raises(ValueError, match=r"takes inputs of any size, got no x. Give an input of one example"):
        Scale().summary(())
