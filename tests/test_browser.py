"""The browser of the tests notices what it is there to notice: errors, exceptions, requests, missing pictures."""

import pytest

from tests.browser import browser, open_page

PAGE = """<!doctype html><html lang="en"><title>a page</title>
<style>body { background: white } @media (prefers-color-scheme: dark) { body { background: black } }</style>
<button onclick="this.textContent = 'clicked'">a button</button><input>
<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"></svg>%s</html>"""


@pytest.fixture
def page_of(tmp_path):
    def write(more=""):
        file = tmp_path / "page of a test.html"
        file.write_text(PAGE % more, encoding="utf-8")
        return file

    return write


def test_a_quiet_page_and_what_a_reader_does(page_of, tmp_path):
    with open_page(page_of(), width=390, script="window.early = document.title") as page:
        assert page.evaluate("[document.title, innerWidth, window.early]") == ["a page", 390, ""]
        page.click("button")
        assert page.evaluate("document.querySelector('button').textContent") == "clicked"
        page.click("input")
        page.press("a")
        page.press("b")
        page.press("ArrowLeft")
        page.press("C", "Shift")
        assert page.evaluate("document.querySelector('input').value") == "aCb"
        backgrounds = []
        for dark in (False, True):
            page.emulate(dark=dark, width=800)
            backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert backgrounds == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"] and page.evaluate("innerWidth") == 800
        page.screenshot(tmp_path / "page.png", whole=True)
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
        assert page.console == [] and page.requests == []
        with pytest.raises(AssertionError, match="nothing matches h7"):
            page.click("h7")
        with pytest.raises(AssertionError, match="ReferenceError"):
            page.evaluate("nothing.of.that.name")


def test_errors_and_requests_are_noticed(page_of):
    noise = "<img src='http://localhost:59999/a.png'><script>console.error('told', 1); console.log('fine')</script>"
    with open_page(page_of(noise + "<script>undefined.thrown</script>")) as page:
        assert page.requests == ["http://localhost:59999/a.png"]
        told = page.console
        assert "error: told 1" in told and len(told) == 3
        assert any(each.startswith("exception: TypeError") for each in told)
        assert any("ERR_" in each for each in told)
        assert page.evaluate("[...document.images].map(i => i.naturalWidth)") == [0]


def test_a_missing_browser_is_a_skip_or_a_failure_as_told(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("FNN_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="is on the path"):
        browser()
    monkeypatch.setenv("FNN_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="Install chromium"):
        browser()
