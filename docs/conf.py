"""The documentation site, by Sphinx: Markdown pages, a reference from the docstrings, pages made from the results.

    python -m sphinx -W -n -b html docs site

Promises: built without a network, and read without one; a warning is an error; a public name that is undocumented or
without an example ends the build.
"""

import ast
import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

project = "fnn"
author = "The fnn developers"
copyright = "The fnn developers. Apache License 2.0"
release = next(
    ast.literal_eval(line.split("=")[1].strip())
    for line in (DOCS.parent / "fnn" / "__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

extensions = [
    *("myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon", "sphinx.ext.viewcode"),
    *("reference", "evidence", "notebooks", "links", "live"),
]
exclude_patterns = ["_static", "_ext"]
# a reference that leads nowhere is an error
nitpicky = True
# --option is an option, not a dash
smartquotes = False

# ---- pages ----------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "attrs_inline"]
# a link to any heading of a page, as GitHub names it
myst_heading_anchors = 3

# ---- the reference --------------------------------------------------------------------------------------------------

# `fit` in a docstring leads to fnn.fit, any other word there is code
default_role = "fnn"
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 170

# ---- the evidence ---------------------------------------------------------------------------------------------------

# the folder of results; another one for a look at results that are not committed
fnn_results = os.environ.get("FNN_RESULTS", str(DOCS.parent / "experiments" / "measured"))

# ---- how they look --------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"fnn {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("frames.js", {"defer": "defer"})]
# a page opened from a disk may not read the others, which the lines below a search result would need
html_show_search_summary = False
html_copy_source = False
html_show_sphinx = False

mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {
    # the menu would fetch further parts, which are not here
    "options": {"enableMenu": False},
    # long formulas scroll in their own line
    "svg": {"fontCache": "global"},
}
