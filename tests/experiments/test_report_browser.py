"""The report in a real browser: silent console, nothing from outside, every figure there, readable in light and dark,
on a wide screen and on a phone.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from experiments import report, results, series
from experiments.registry import EXPERIMENTS
from experiments.series import Series
from tests import tolerances
from tests.browser import open_page

#: [(contrast, text)] of every piece of text that is shown, after WCAG 2.2: (lighter + 0.05) / (darker + 0.05).
CONTRASTS = """
(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [.2126, .7152, .0722][k], 0);
  const ground = e => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), told = [];
  for (let node; node = texts.nextNode();) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.getClientRects().length) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    told.push([(a + .05) / (b + .05), node.data.trim().slice(0, 60)]);
  }
  return told;
})()
"""


def assert_readable(file, tmp_path):
    """The page has all its pictures, needs nothing else, and every text has contrast, at any width and scheme."""
    with open_page(file, width=1200) as page:
        pictures = page.evaluate("[...document.images].map(i => [i.naturalWidth > 0, i.clientWidth > 100, !!i.alt])")
        assert pictures and all(all(each) for each in pictures)
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        for dark in (False, True):
            page.emulate(dark=dark)
            contrasts = page.evaluate(CONTRASTS)
            assert len(contrasts) > 300
            assert min(contrasts)[0] >= tolerances.CONTRAST, min(contrasts)
        for width in (1200, 390):
            page.emulate(width=width)
            assert page.evaluate("document.documentElement.scrollWidth") == width
        page.screenshot(tmp_path / "report.png")
        assert page.console == [] and page.requests == []


def test_the_report_in_a_browser(tmp_path):
    assert series.run(["xor"], Series(quick=True, out=tmp_path), Console(quiet=True)) == series.DONE
    # a page with everything that it can show, a failure too
    saved = results.read(tmp_path / "xor" / results.FILE)
    results.claim(tmp_path / "digits")
    results.store(tmp_path / "digits", saved | {"verdicts": {}, "failure": "OSError: <no> space"})
    file = report.write(tmp_path)
    assert_readable(file, tmp_path)
    with open_page(file.as_uri() + "#A2", width=390) as page:
        page.click("#A2 a")
        assert page.evaluate("location.hash") == "#xor-A2"
        assert (
            page.evaluate("getComputedStyle(document.querySelector(':target')).backgroundColor") == "rgb(245, 246, 248)"
        )


@pytest.mark.skipif(sys.version_info < (3, 13), reason="a minute: in the lane of the newest Python only")
def test_all_in_their_quick_form(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "all", "--quick", "--out", tmp_path],
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == series.DONE, done.stdout + done.stderr
    for name in series.of_all():
        record = results.read(tmp_path / name / results.FILE)
        assert record is not None and set(record["verdicts"]) == set(EXPERIMENTS[name].claims), name
        assert all((tmp_path / name / file).exists() for file in record["figures"])
    assert_readable(tmp_path / report.FILE, tmp_path)
