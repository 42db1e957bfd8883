"""The report."""

from pathlib import Path


def write(folder: Path) -> Path:
    page = folder / "report.html"
    page.write_text("<!doctype html><title>report</title>")
    return page
