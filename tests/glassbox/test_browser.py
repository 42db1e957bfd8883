"""The page of the glass box in a browser: steps by click and key, no request or error, contrast in both themes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.glassbox._graph import graph
from tests.browser import open_page
from tests.corpus import CORPUS

#: WCAG 2 level AA for text of normal size.
CONTRAST = 4.5

#: Every text that is seen: its words, its colour, and the colour of what lies behind it.
COLOURS = """
(() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => {
    const linear = (x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = parse(c).map((x) => linear(x / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    // a number in a map stands on its cell
    if (e.matches(".cell")) return getComputedStyle(e.previousElementSibling).fill;
    if (e.closest("svg")) {
      const tint = e.parentElement.querySelector(":scope > .tint"), part = e.closest(".part");
      const under = tint || (part && part.querySelector(".card")) || e.closest("svg").querySelector(".sheet");
      return getComputedStyle(under).fill;
    }
    for (let at = e; at; at = at.parentElement) {
      const c = getComputedStyle(at).backgroundColor;
      if (c && parse(c)[3] !== 0) return c;
    }
  };
  const seen = [...document.querySelectorAll("text, h1, h2, p, button, dt, dd")].filter((e) =>
    e.textContent.trim() && e.getClientRects().length && getComputedStyle(e).visibility === "visible");
  return seen.map((e) => {
    const style = getComputedStyle(e);
    const fore = light(e.closest("svg") ? style.fill : style.color), back = light(behind(e));
    return [e.textContent.slice(0, 40), (Math.max(fore, back) + 0.05) / (Math.min(fore, back) + 0.05)];
  });
})()
"""


def neuron(theta, x):
    z = theta[0] * x[0] + theta[1] * x[1] + theta[2]
    with jax.named_scope("sigma"):
        return 1 / (1 + jnp.exp(-z))


@pytest.fixture
def page_of(tmp_path):
    def written(f, *args):
        path = tmp_path / "page.html"
        # functions of the corpus promote as users' functions do
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            path.write_text(graph(f, *args).html(), encoding="utf-8")
        return path

    return written


def test_the_walk_goes_by_click_and_by_key(page_of):
    f, args = CORPUS["e3"]
    with open_page(page_of(f, *args)) as page:

        def caption():
            return page.evaluate("document.getElementById('caption').textContent")

        def seen(word):
            """What of the numbers in the boxes is to be seen: "value" or "bar"."""
            return page.evaluate(
                f"[...document.querySelectorAll('.part .{word} text')].filter(e => "
                "getComputedStyle(e).visibility === 'visible').map(e => e.textContent)"
            )

        assert caption().startswith("Everything at once")
        assert seen("bar") == ["∂ −4", "∂ −4", "∂ 3", "∂ −4", "∂ 1"]
        page.click("#next")
        assert caption().startswith("Arguments: x = −2") and seen("value") == ["−2", "5", "−4"] and seen("bar") == []
        page.press("ArrowRight")
        assert caption() == "Forward 1 of 2: q = x + y = 3."
        assert page.evaluate("document.querySelector('.part.now title').textContent").startswith("q = x + y")
        assert page.evaluate("document.querySelectorAll('.flow.now').length") == 4
        assert page.evaluate("document.querySelector('#details h2').textContent") == "q = x + y"
        page.press("End")
        assert caption().startswith("Backward 2 of 2") and len(seen("bar")) == 5
        assert page.evaluate("document.getElementById('next').disabled")
        page.press("ArrowLeft")
        assert caption().startswith("Backward 1 of 2") and seen("bar") == ["∂ 3", "∂ −4", "∂ 1"]
        page.click("#previous")
        page.press("Home")
        assert caption().startswith("Everything at once")
        page.click("#play")
        assert page.evaluate("document.getElementById('play').textContent") == "Pause"
        page.press("End")
        assert page.evaluate("document.getElementById('play').textContent") == "Play"
        page.click("#start")
        assert page.evaluate("step") == 0
        assert page.console == [] and page.requests == []


def test_a_box_tells_its_details_on_click_and_on_focus(page_of):
    f, args = CORPUS["e5"]
    with open_page(page_of(f, *args)) as page:
        page.click('[data-part="0"] .card')
        told = page.evaluate("document.getElementById('details').textContent")
        assert "contributions" in told and ": 1" in told and "largest: 0.833" in told
        page.press("Tab")
        assert page.evaluate("document.activeElement.dataset.part") == "1"
        assert page.evaluate("document.querySelector('#details h2').textContent") == "b"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
            "b, value 3, derivative 1.833"
        )
        assert page.console == []


def test_groups_fold_and_unfold(page_of):
    with open_page(page_of(neuron, *CORPUS["e4"][1])) as page:
        count = "document.querySelectorAll('.view:not([hidden]) .part').length"
        assert page.evaluate(count) == 13
        page.click("#fold")
        assert page.evaluate(count) == 10
        page.press("End")
        page.press("ArrowLeft")
        page.click("#fold")
        assert page.evaluate(count) == 13 and page.evaluate("step") == 0
        assert page.console == [] and page.requests == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast_in_both_themes(page_of, dark):
    net = fnn.mlp(3, 4, 3)
    f, args = fnn.objective(net, fnn.softmax_cross_entropy), CORPUS["mlp_tanh"][1][1:]
    with open_page(page_of(f, net.init(jax.random.key(0)), *args), dark=dark) as page:
        for turned in (False, True):
            if turned:
                page.click("#theme")
                assert page.evaluate("dark()") is not dark
            page.press("End")
            found = page.evaluate(COLOURS)
            assert len(found) > 60 and page.evaluate("document.querySelectorAll('.cell').length") >= 6
            assert [each for each in found if each[1] < CONTRAST] == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_step_at_work_is_marked_in_both_themes(page_of, dark):
    f, args = CORPUS["e3"]
    with open_page(page_of(f, *args), dark=dark) as page:
        for turned in (False, True):
            if turned:
                page.click("#theme")
            page.press("End")
            page.press("ArrowLeft")  # the output, whose rim is drawn thick at rest too
            accent = "rgb(255, 122, 196)" if dark != turned else "rgb(194, 24, 122)"
            for mark in (".part.now .rim", ".flow.now path"):
                stroke = f"getComputedStyle(document.querySelector('{mark}')).stroke"
                assert page.evaluate(stroke) == accent, mark


@pytest.mark.parametrize("dark", [False, True])
def test_a_cell_of_a_notebook_shows_the_graph_in_its_theme(tmp_path, dark):
    f, args = CORPUS["e5"]
    cell = graph(f, *args)._repr_html_()
    path = tmp_path / "notebook.html"
    # the page as JupyterLab sets it up; two cells share its style
    path.write_text(
        '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        f'<body data-jp-theme-light="{str(not dark).lower()}">'
        f'<div style="width:500px">{cell}{cell}</div>',
        encoding="utf-8",
    )
    with open_page(path, dark=not dark) as page:
        inside = "document.querySelector('iframe').contentDocument"
        page.evaluate(f"{inside}.getElementById('next').click()")
        assert page.evaluate(f"{inside}.getElementById('caption').textContent").startswith("Arguments: a = 3")
        assert page.evaluate("document.querySelector('iframe').contentWindow.dark()") is dark
        # viewers without scripts or frames have the picture
        page.evaluate("document.querySelectorAll('iframe').forEach(e => e.remove())")
        page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
        found = page.evaluate(COLOURS)
        assert len(found) > 40 and [each for each in found if each[1] < CONTRAST] == []
        sheet = page.evaluate("getComputedStyle(document.querySelector('.sheet')).fill")
        assert sheet == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
        # the wide picture scrolls in its cell
        assert page.evaluate("document.documentElement.scrollWidth") == 1200
        assert page.console == [] and page.requests == []


def test_a_name_that_tries_to_inject_a_script_stays_text(page_of):
    def f(x):
        return fnn.glassbox.name(jnp.sin(x), "<img src=x onerror=window.hit=1>") * 2

    f.__name__ = "</title></script><script>window.hit=1</script>"
    with open_page(page_of(f, 1.0)) as page:
        page.press("End")
        page.click('[data-part="1"] .card')
        assert page.evaluate("window.hit === undefined")
        assert page.evaluate("document.querySelectorAll('img, script:not([type])').length") == 1
        assert page.console == [] and page.requests == []


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_overflows_the_page(page_of, width):
    f, args = CORPUS["attention"]
    with open_page(page_of(f, *args), width=width) as page:
        for _ in range(12):
            page.press("ArrowRight")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        # the part at work is within its frame
        inside = page.evaluate(
            "(() => { const p = document.querySelector('.part.now').getBoundingClientRect(),"
            "f = document.getElementById('whole').getBoundingClientRect();"
            "return p.left < f.right && p.right > f.left && p.top < f.bottom && p.bottom > f.top })()"
        )
        assert inside
        assert page.console == []


@pytest.mark.parametrize("width", [350, 684])
def test_a_frame_opens_at_the_output_and_is_filled(page_of, width):
    address = page_of(neuron, *CORPUS["e4"][1]).as_uri() + "?framed"
    with open_page(address, width=width, height=640) as page:
        inside = page.evaluate(
            "(() => { const p = document.querySelector('.part.output').getBoundingClientRect(),"
            "f = document.getElementById('whole').getBoundingClientRect();"
            "return p.left >= f.left && p.right <= f.right + 1 && p.top >= f.top && p.bottom <= f.bottom + 1 })()"
        )
        assert inside
        last = "Math.max(...[...document.querySelectorAll('#details dd')].map(e => e.getBoundingClientRect().bottom))"
        assert page.evaluate(last) > 2 / 3 * 640
        # the first step shows what is given
        page.press("ArrowRight")
        assert page.evaluate("document.querySelector('#details h2').textContent") == "theta_0"
        assert page.console == []


def test_a_page_of_large_arrays_stays_small(page_of):
    path = page_of(
        lambda x, w: jnp.sum(jnp.tanh(x @ w)), np.ones((300, 200), np.float32), np.ones((200, 100), np.float32)
    )
    assert path.stat().st_size < 200_000
