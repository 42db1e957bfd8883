"""The documentation site: what its pages are made of, and, where it is built, every page as a reader opens it.

The second half opens `site/` from the disk in a real browser. It is skipped where the site is not built;
FNN_REQUIRE_SITE=1 makes that a failure.
"""

import contextlib
import functools
import hashlib
import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import evidence
import pytest
import reference

import fnn
from experiments import figures, report, results, trial
from experiments.claims import CLAIMS, Witnesses, witnesses
from experiments.registry import EXPERIMENTS
from experiments.statements import STATEMENTS
from tests import browser, tolerances
from tests.browser import SECONDS, open_page

ROOT = Path(__file__).parents[1]
SITE = ROOT / "site"
COMMITTED = ROOT / "experiments" / "measured"

# ---- what the pages are made of -------------------------------------------------------------------------------------


def test_every_public_name_has_a_docstring_and_an_example():
    assert not [(name.name, what) for name in reference.names() if (what := reference.lacking(name))]


def test_a_name_without_docstring_or_example_is_seen(monkeypatch):
    def without():
        pass

    def bare():
        """One line and no more."""

    monkeypatch.setattr(fnn, "bare", bare, raising=False)
    monkeypatch.setattr(fnn, "without", without, raising=False)
    name = reference.names()[0]
    assert reference.lacking(name._replace(name="without")) == "a docstring"
    assert reference.lacking(name._replace(name="bare")) == "an example"


def test_the_reference_has_an_entry_for_every_name():
    text = "\n".join(reference.pages().values())
    for name in reference.names():
        assert re.search(rf"^\.\. (auto|py:)\w+:: ({re.escape(name.where)}\.)?{name.name}\b", text, re.M), name


def test_docstrings_are_escaped_outside_code_and_examples():
    lines = ["Σ |W| of `a_b`, W* and b_", ">>> 2 * 3", "6", "", "Returns:", "    (state, history): both"]
    shown = reference.markup(lines)
    assert shown[0] == r"Σ \|W\| of `a_b`, W\* and b\_"
    assert shown[1:3] == lines[1:3]
    assert shown[-1] == "    :(state, history): both"


@pytest.fixture
def record(tmp_path):
    """A folder with one record, of an experiment that found something unexpected."""
    results.claim(tmp_path / "xor")
    (tmp_path / "xor" / "regions.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    verdicts = {
        "A2": ["refuted", "a line with 4 of 4: |w| = $5 <b>", "regions.svg"],
        "E8": ["open", "more *seeds*", ""],
    }
    run = {
        "experiment": "xor",
        "options": {"seeds": 3},
        "verdicts": verdicts,
        "figures": {"regions.svg": "Line: $x_2$"},
    }
    results.store(tmp_path / "xor", run)
    return tmp_path


def test_claims_are_shown_as_in_their_records(record):
    pages = evidence.pages(record)
    rows = dict(re.findall(r"^\| ([A-E]\d+) \| (.*) \|$", pages["claims.md"], re.M))
    assert list(rows) == list(CLAIMS)
    assert "{.verdict .refuted}" in rows["A2"] and "{.verdict .open}" in rows["E8"]
    fallen = dict(re.findall(r"^\| \[([A-E]\d+)\]\S+ \| (.*) \|$", pages["claims/mutants.md"], re.M))
    assert list(fallen) == list(CLAIMS) and "refuted (xor)" in fallen["A2"] and "*Tests:* A2 " in fallen["A2"]
    # nobody judged it here, but tests bear its number
    assert "asserted by tests" in rows["A5"]
    # a prediction of the record stands under the claims that rest on it
    kept = results.read(COMMITTED / "xor" / results.FILE)
    results.store(record / "xor", results.read(record / "xor" / results.FILE) | {"predictions": kept["predictions"]})
    page = evidence.pages(record)["experiments/xor.md"]
    first, second = page.partition("- E8: ")[::2]
    assert "  - [✓ held]{.verdict .confirmed} the best line gets 3 of 4" in first and "fnn.backprop" in second
    about = pages["claims/A.md"].partition("(a2)=")[2].partition("(a3)=")[0]
    assert r"\|w\| = \$5 \<b\>" in about and "figures/xor/regions.svg" in about
    assert "A_tests.md#a2-tests" in about and "test_fit.py" in pages["claims/A_tests.md"].partition("(a2-tests)=")[2]
    # what the record does not say is no sentence of ours: the statement is
    assert "## XOR needs a hidden layer" in about and "[✗ refuted]{.verdict .refuted}" in about


def test_pictures_come_with_words_and_the_command_that_makes_them(record):
    pages = evidence.pages(record)
    assert ':alt: "Line: x_2"' in pages["gallery.md"] and ':alt: "Line: x_2"' in pages["experiments/xor.md"]
    assert "XOR needs a hidden layer (A2)" in pages["gallery.md"]
    assert "python -m experiments xor --seeds 3" in pages["experiments/xor.md"]
    assert pages["figures/xor/regions.svg"] == (record / "xor" / "regions.svg").read_bytes()
    (record / "xor" / "regions.svg").unlink()
    with pytest.raises(FileNotFoundError, match=r"regions\.svg"):
        evidence.pages(record)


def test_every_experiment_has_a_page_without_results_too(tmp_path):
    pages = evidence.pages(tmp_path)
    for name, experiment in EXPERIMENTS.items():
        assert f"../../../../{experiment.module.replace('.', '/')}" in pages[f"experiments/{name}.md"]
        assert report.described(experiment.module).question[1:30] in pages[f"experiments/{name}.md"].replace("\\", "")


@pytest.mark.skipif(not COMMITTED.is_dir(), reason="no results are committed")
def test_every_experiment_has_committed_results():
    named = {name for name in EXPERIMENTS if not trial.of_its_own(name).is_dir()}
    assert named == {file.parent.name for file in COMMITTED.glob(f"*/{results.FILE}")}


def test_every_claim_has_a_statement():
    assert list(STATEMENTS) == list(CLAIMS)
    for claim, statement in STATEMENTS.items():
        assert statement.title and statement.text and statement.seen.endswith("."), claim
        assert bool(statement.lecture) == bool(statement.right), claim
    pages = evidence.pages(COMMITTED.parent / "no results")
    corrected = [claim for claim, statement in STATEMENTS.items() if statement.corrected]
    assert re.findall(r"^([A-E]\d+) ·", pages["corrections.md"], re.M) == corrected
    # only what was confirmed, or asserted by tests, is called right
    seen = Witnesses((), ("test",))
    assert report.standing("B17", seen, {}) == report.standing("B17", seen, {"depth": "confirmed"}) == "corrected"
    assert report.standing("B17", seen, {"depth": "refuted"}) == "refuted"
    assert report.standing("B18", seen, {}) == "tested"


def test_a_panel_is_cut_out_of_its_figure(tmp_path):
    figure, (spots,) = figures.blank(8, 3, columns=2)
    for axes, name in zip(spots, ("left", "right"), strict=True):
        axes.set(title=name, xlabel="x")
    evidence._draw_panels(figure, (1,), tmp_path / "one.svg")
    figure.savefig(tmp_path / "both.svg")
    sizes = [
        re.search(r"viewBox='?\"?0 0 ([\d.]+) ([\d.]+)", file.read_text())[1] for file in sorted(tmp_path.iterdir())
    ]
    both, one = map(float, sizes)
    assert 0.3 * both < one < 0.6 * both
    assert all(axes.get_visible() for axes in figure.axes)


def test_every_claim_has_a_witness():
    assert all(witness.experiments or witness.tests for witness in witnesses().values())


def test_derivations_say_which_files_and_claims_they_are_about():
    assert evidence.derivations()["linear"] == (
        "The affine map", ["fnn/linear.py"], ["A15", "A16", "C3", "D4", "D6", "D8"],
    )  # fmt: skip
    assert all(claim in CLAIMS for _, _, claims in evidence.derivations().values() for claim in claims)


def test_mathjax_is_the_file_that_it_says():
    folder = ROOT / "docs" / "_static" / "mathjax"
    digest = hashlib.sha256((folder / "tex-svg.js").read_bytes()).hexdigest()
    assert digest in (folder / "SOURCE.md").read_text(encoding="utf-8")


# ---- the built site -------------------------------------------------------------------------------------------------


class Links(HTMLParser):
    """What a page leads to, what it loads, and the places in it that one can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.to: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.without_words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.places |= {attributes["id"]} if attributes.get("id") else set()
        if tag == "a" and attributes.get("href"):
            self.to.append(attributes["href"])
        elif tag in ("script", "img", "iframe") and attributes.get("src"):
            self.loads.append(attributes["src"])
        elif tag == "link" and attributes.get("rel") in ("stylesheet", "icon"):
            self.loads.append(attributes["href"])
        if (tag == "img" and not attributes.get("alt")) or (tag == "iframe" and not attributes.get("title")):
            self.without_words.append(attributes.get("src", ""))


@functools.cache
def site() -> dict[Path, Links]:
    """{page: its links}, of all pages; files that come as they are, such as the glass box's, are tried elsewhere."""
    if not (SITE / "index.html").exists():
        if os.environ.get("FNN_REQUIRE_SITE") == "1":
            pytest.fail(f"FNN_REQUIRE_SITE=1, and {SITE} holds no site. Build it as the README says.")
        pytest.skip("the site is not built")
    pages = [page for page in sorted(SITE.rglob("*.html")) if "_downloads" not in page.parts]
    return {page: Links(page.read_text(encoding="utf-8")) for page in pages}


def test_no_link_inside_is_broken():
    broken = []
    for page, links in site().items():
        for address in [*links.to, *links.loads]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            to = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            place = unquote(parts.fragment)
            if not to.exists() or (place and to in site() and place not in site()[to].places):
                broken.append((page.relative_to(SITE).as_posix(), address))
    assert not broken


def test_nothing_is_loaded_from_outside():
    loaded = {address for links in site().values() for address in links.loads}
    assert loaded and not [address for address in loaded if urlsplit(address).scheme not in ("", "data")]


def test_every_picture_has_words():
    # the theme's own logo has none, and there is none here
    assert not [(page.name, each) for page, links in site().items() for each in links.without_words]


def test_every_name_claim_and_experiment_is_there():
    text = {page.relative_to(SITE).as_posix(): links.places for page, links in site().items()}
    entries = {place for page, places in text.items() if page.startswith("generated/reference/") for place in places}
    assert not [name for name in reference.names() if name.address not in entries]
    assert all(claim.lower() in text[f"generated/evidence/claims/{claim[0]}.html"] for claim in CLAIMS)
    assert all(f"generated/evidence/experiments/{name}.html" in text for name in EXPERIMENTS)


#: Each distinct pair of text and ground once: [(contrast, text)], after WCAG 2.2; large text counts as it is.
CONTRASTS = """
(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const over = (top, under) => top.slice(0, 3).map((v, k) => v * (top[3] ?? 1) + under[k] * (1 - (top[3] ?? 1)));
  const light = c => c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [.2126, .7152, .0722][k], 0);
  const ground = e => {
    if (!e) return [255, 255, 255];
    const c = parse(getComputedStyle(e).backgroundColor);
    return (c[3] ?? 1) === 1 ? c : over(c, ground(e.parentElement));
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), seen = {};
  for (let node; node = texts.nextNode();) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const style = getComputedStyle(e);
    if (e.closest('script, style, mjx-assistive-mml') || style.clip === 'rect(0px, 0px, 0px, 0px)') continue;
    const under = ground(e), own = over(parse(style.color), under), key = own + '/' + under;
    if (seen[key]) continue;
    const [a, b] = [light(own), light(under)].sort((x, y) => y - x);
    seen[key] = [(a + .05) / (b + .05), node.data.trim().slice(0, 60)];
  }
  return Object.values(seen).sort((x, y) => x[0] - y[0]);
})()
"""
#: Formulas that were not rendered: MathJax's errors, macros that it does not know (it writes them in red), elements
#: that it left as they were, and TeX that stands in running text.
UNRENDERED = r"""
(() => {
  const wrong = [...document.querySelectorAll('[data-mml-node=merror], [data-mjx-error], mjx-container [fill=red]'),
    ...[...document.querySelectorAll('.math.notranslate')].filter(e => !e.querySelector('mjx-container svg'))];
  const apart = 'pre, code, script, mjx-container';
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = texts.nextNode();)
    if (!node.parentElement.closest(apart) && /\$[^$\s]|\\[(\[a-zA-Z]/.test(node.data)) wrong.push(node);
  return wrong.map(e => e.textContent);
})()
"""
#: What reaches beyond the window where nothing scrolls: it would be cut.
CUT = """
[...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
  .filter(e => e.checkVisibility() && !e.closest('mjx-assistive-mml')).filter(e => {
    for (; e.tagName !== 'ARTICLE'; e = e.parentElement)
      if (['auto', 'scroll'].includes(getComputedStyle(e).overflowX)) return false;
    return true;
  }).map(e => e.textContent.trim().slice(0, 60)).filter(text => text)
"""
#: Code, tables and formulas that are wider than their box: a part of them is hidden until one scrolls.
WIDE = """
[...document.querySelectorAll('article :is(pre, .highlight, table, .table-wrapper, div.math, mjx-container)')]
  .filter(e => e.checkVisibility() && e.clientWidth && e.scrollWidth > e.clientWidth)
  .map(e => [e.scrollWidth, e.clientWidth, e.textContent.trim().slice(0, 60)])
"""
#: On a phone they scroll; a shade at the edge must say so.
WITHOUT_CUE = """
[...document.querySelectorAll('article pre, article .table-wrapper, article div.math')]
  .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1)
  .filter(e => !getComputedStyle(e).backgroundImage.includes('gradient')).map(e => e.textContent.trim().slice(0, 60))
"""
#: Windows in which nothing is wider than its box.
WINDOWS = (1280, 1400, 1920)
RENDERED = "window.MathJax?.startup ? MathJax.startup.promise.then(() => 0) : 0"
PHONE = 390


def test_every_page_as_it_is_read():
    """Maths rendered, console silent, nothing asked of a network, readable in both themes, nothing wider than its box
    in a window, no wider than a phone."""
    wrong = []
    formulas = 0
    with open_page(SITE / "index.html" if site() else "") as page:
        for file in site():
            page.emulate(width=1200, dark=False)
            page.load(file)
            page.evaluate(RENDERED)
            formulas += page.evaluate("document.querySelectorAll('mjx-container svg').length")
            wrong += [(file.name, "not rendered", text) for text in page.evaluate(UNRENDERED)]
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            for dark in (False, True):
                page.emulate(dark=dark)
                wrong += [(file.name, dark, each) for each in page.evaluate(CONTRASTS) if each[0] < tolerances.CONTRAST]
            for window in WINDOWS:
                # the dark theme differs in colours alone
                page.emulate(width=window)
                wrong += [(file.name, f"wider than its box at {window}", each) for each in page.evaluate(WIDE)]
            page.emulate(width=PHONE)
            if (width := page.evaluate("document.documentElement.scrollWidth")) > PHONE:
                wrong.append((file.name, "wider than a phone", width))
            wrong += [(file.name, "cut on a phone", text) for text in page.evaluate(CUT)]
            wrong += [(file.name, "scrolls without a cue", text) for text in page.evaluate(WITHOUT_CUE)]
        wrong += page.console + [url for url in page.requests if not url.startswith("file:")]
    assert not wrong, wrong[:20]
    assert formulas > 500


def test_what_is_wider_than_its_box_is_seen():
    with open_page(SITE / "tutorial.html" if site() else "") as page:
        page.emulate(width=1400)
        assert page.evaluate(WIDE) == []
        page.evaluate("document.querySelector('article pre').textContent = 'x'.repeat(200)")
        assert len(page.evaluate(WIDE)) == 1
        page.emulate(width=PHONE)
        assert page.evaluate(WITHOUT_CUE) == []
        page.evaluate("document.querySelector('article pre').style.background = 'white'")
        assert len(page.evaluate(WITHOUT_CUE)) == 1


def test_a_typed_query_finds_a_page():
    with open_page(SITE / "index.html" if site() else "") as page:
        page.click("input[name=q]")
        for letter in "back propagation":
            page.press(letter)
        page.press("Enter")
        found: list[str] = []
        for _ in range(SECONDS * 10):
            # while the page of results is on its way there is no page to ask
            with contextlib.suppress(AssertionError):
                found = page.evaluate("[...document.querySelectorAll('#search-results a')].map(a => a.pathname)")
            if found:
                break
            time.sleep(0.1)
        assert any(path.endswith("derivations/gradients.html") for path in found), found
        assert page.console == [] and all(url.startswith("file:") for url in page.requests)


def test_the_keyboard_reaches_the_text():
    with open_page(SITE / "derivations" / "linear.html" if site() else "") as page:
        page.press("Tab")
        assert page.evaluate("document.activeElement.textContent.trim()") == "Skip to content"
        page.press("Enter")
        assert page.evaluate("location.hash") == "#furo-main-content"


LIVE = {f"{name}.html?framed" for name in ("A10", "C7", "D3", "E3", "E4", "E5", "convolution")} | {
    f"{name}.html?framed&folded" for name in ("E4", "net")
}


@pytest.fixture
def glass_box(monkeypatch):
    """The page of the graphs, in a browser that keeps files apart, as a reader's does."""
    apart = tuple(flag for flag in browser.FLAGS if flag != "--allow-file-access-from-files")
    monkeypatch.setattr(browser, "FLAGS", apart)
    with open_page(SITE / "glassbox.html" if site() else "") as page:
        yield page
        assert page.console == [] and all(url.startswith("file:") for url in page.requests)


def _loaded(page, frame: str) -> None:
    """Scroll to the frame, which is loaded only then, and wait until its script has set it up."""
    # at once: a click while the page still scrolls would go beside
    page.evaluate(f"document.querySelector('iframe[src$=\"{frame}\"]').scrollIntoView({{behavior: 'instant'}})")
    _wait(page, "document.querySelector('.framed #caption')?.textContent.startsWith('Everything at once')", frame)


def _wait(page, expression: str, frame: str) -> None:
    for _ in range(SECONDS * 10):
        # while the frame is on its way there is no document to ask
        with contextlib.suppress(AssertionError):
            if page.evaluate(expression, frame=frame):
                return
        time.sleep(0.1)
    pytest.fail(f"{frame}: never {expression}")


def test_every_graph_is_live_within_the_page(glass_box):
    page, caption = glass_box, "document.getElementById('caption').textContent"
    found = page.evaluate("[...document.querySelectorAll('iframe.graph')].map(e => e.getAttribute('src'))")
    assert len(found) == len(LIVE) and {src.removeprefix("graphs/") for src in found} == LIVE
    for frame in found:
        _loaded(page, frame)
        assert page.evaluate("document.getElementById('folded')?.hidden ?? true", frame=frame) != ("folded" in frame)
        page.click("#next", frame=frame)
        assert page.evaluate(caption, frame=frame).startswith("Arguments: "), frame
        page.press("ArrowRight")
        assert page.evaluate(caption, frame=frame).startswith("Forward 1 of "), frame
        page.press("End")
        assert re.match(r"Backward (\d+) of \1\b", page.evaluate(caption, frame=frame)), frame
        for width in (1200, PHONE):
            page.emulate(width=width)
            size = "[document.body.scrollWidth <= innerWidth, document.body.scrollHeight <= innerHeight]"
            assert page.evaluate(size, frame=frame) == [True, True], (frame, width, "the frame scrolls as a whole")
        page.emulate(width=1200)


def test_a_live_graph_has_the_theme_of_the_page(glass_box):
    page, frame = glass_box, "E3.html?framed"
    light, dark = "rgb(255, 255, 255)", "rgb(20, 24, 29)"
    _loaded(page, frame)
    # the page's button goes from the system's theme to the other one, then to the system's by name, then back
    for asked in (False, True):
        page.emulate(dark=asked)
        for theme in ("auto", "light" if asked else "dark", "dark" if asked else "light", "auto"):
            if page.evaluate("document.body.dataset.theme") != theme:
                page.click(".theme-toggle-content .theme-toggle")
            assert page.evaluate("document.body.dataset.theme") == theme
            ground = dark if theme == "dark" or (theme == "auto" and asked) else light
            _wait(page, f"getComputedStyle(document.body).backgroundColor === '{ground}'", frame)
