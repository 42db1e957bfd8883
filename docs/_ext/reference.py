"""The reference: a page for each file of the package, every public name from its docstring.

Promises: what is public is read off `fnn/__init__.py` and the `__all__` of `fnn.checker` and `fnn.glassbox`, so that no
name can be left out; a name without a docstring or without an example ends the build (`lacking`). [source] beside a
record such as `relu` leads to the lines of its class. Sphinx is not needed to import this file: tests do.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import generated

PACKAGE = Path(__file__).parents[2] / "fnn"
#: Packages of which more is public than `fnn` itself passes on.
ROOMS = ("fnn.checker", "fnn.glassbox")


class Name(NamedTuple):
    """A public name."""

    where: str
    """The module a user takes it from: fnn, fnn.checker."""
    name: str
    page: str
    """The module that is told on its page: fnn.activations."""

    @property
    def value(self) -> Any:
        return getattr(importlib.import_module(self.where), self.name)

    @property
    def described(self) -> Any:
        """What holds the docstring: itself, or the class of a record."""
        value = self.value
        return value if inspect.isclass(value) or inspect.isroutine(value) else type(value)


def names() -> list[Name]:
    """Every public name, once, in the order of `fnn/__init__.py`.

    >>> names()[0]
    Name(where='fnn', name='Activation', page='fnn.activations')
    """
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    found = [
        Name("fnn", each.asname or each.name, str(node.module))
        for node in imports
        if str(node.module).startswith("fnn.")
        for each in node.names
    ]
    told = {each.name for each in found}
    for room in ROOMS:
        found += [Name(room, name, room) for name in importlib.import_module(room).__all__ if name not in told]
    return found


def lacking(name: Name) -> str:
    """What a public name still needs: "a docstring", "an example", or nothing.

    >>> lacking(names()[0])
    ''
    """
    described = name.described
    text = vars(described).get("__doc__") if inspect.isclass(described) else described.__doc__
    if not text or text.startswith(f"{getattr(described, '__name__', '')}("):  # the second is what a dataclass invents
        return "a docstring"
    return "" if ">>>" in text else "an example"


# ---- docstrings, which are plain text with a few conventions, as reStructuredText -----------------------------------


def markup(lines: Iterable[str]) -> list[str]:
    """The lines of a docstring with every sign escaped that reStructuredText would read.

    >>> markup(["λ Σ |W| over `params`, b_ too", ">>> 2 * 3"])
    ['λ Σ \\\\|W\\\\| over `params`, b\\\\_ too', '>>> 2 * 3']
    """
    told, example, returns = [], False, False
    for line in lines:
        # what stands before a colon there is no type: napoleon is told so by a colon of its own
        if returns and line.strip():
            line = re.sub(r"^( *)", r"\g<1>:", line)
        returns = line.strip() == "Returns:" or (returns and not line.strip())
        example = (example and bool(line.strip())) or line.lstrip().startswith(">>>")
        told.append(line if example else "".join(map(_escaped, re.split(r"(``?[^`]+``?|\*\w[\w ]*\*)", line))))
    return told


def _escaped(piece: str) -> str:
    as_it_is = piece.startswith("`") or re.fullmatch(r"\*\w.*\*", piece)
    return piece if as_it_is else re.sub(r"[*|]|_(?=\W|$)", r"\\\g<0>", piece)


def _indented_as_written(lines: list[str]) -> list[str]:
    """Indented lines of a module's docstring are tables of a kind: shown as they stand."""
    told: list[str] = []
    for k, line in enumerate(lines):
        if line.startswith("    ") and not (k and lines[k - 1].startswith("    ")):
            told += ["", ".. code-block:: text", ""]
        elif k and lines[k - 1].startswith("    ") and line and not line.startswith("    "):
            told.append("")
        told.append(line)
    return told


# ---- pages ----------------------------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """{file name: its reStructuredText}: a page for each module, and an index of all names."""
    by_page: dict[str, list[Name]] = {}
    for name in names():
        by_page.setdefault(name.page, []).append(name)
    made = {page.removeprefix("fnn."): _page(page, each) for page, each in by_page.items()}
    return {f"{title}.rst": text for title, text in made.items()} | {"index.rst": _index(by_page)}


def _heading(text: str, line: str = "=") -> list[str]:
    return [text, line * len(text), ""]


def _page(module: str, each: list[Name]) -> str:
    about = inspect.getdoc(importlib.import_module(module)) or ""
    lines = [*_heading(module), f".. currentmodule:: {each[0].where}", ""]
    lines += [*_indented_as_written(markup(about.splitlines())), ""]
    for name in each:
        if name.where != "fnn":
            # the page of the source leads back to where it thinks that the name is public
            lines += [".. raw:: html", "", f'   <span id="fnn.{name.name}"></span>', ""]
        lines += [*_entry(name), ""]
    return "\n".join(lines) + "\n"


def _entry(name: Name) -> list[str]:
    told, value = f"{name.where}.{name.name}", name.value
    if inspect.isroutine(value):
        return [f".. autofunction:: {told}"]
    if inspect.isclass(value) and value.__name__ == name.name:
        return [f".. autoclass:: {told}", "   :members:", "   :special-members: __call__"]
    # a record, or the class of records under the name that users write: relu, uniform(0.1)
    described = name.described
    kind, signature = ("class", str(inspect.signature(described))) if inspect.isclass(value) else ("data", "")
    signature = re.sub(r"\b(\w+\.)+(?=\w+)| -> None", "", signature)
    doc = markup((inspect.getdoc(described) or "").splitlines())
    options = [] if inspect.isclass(value) else [f"   :type: ~{described.__mro__[1].__name__}"]
    return [f".. py:{kind}:: {name.name}{signature}", *options, "", *(f"   {line}".rstrip() for line in doc)]


def _index(by_page: dict[str, list[Name]]) -> str:
    lines = [*_heading("Reference"), "Every public name, file by file. [source] leads to its lines.", ""]
    pages = [f"   {short} <{short}>" for short in (page.removeprefix("fnn.") for page in by_page)]
    lines += [".. toctree::", "   :hidden:", "", *pages, ""]
    lines += [".. list-table::", "   :class: names", "   :widths: auto", ""]
    for page, each in by_page.items():
        told = ", ".join(f":py:obj:`~{name.where}.{name.name}`" for name in each)
        lines += [f"   * - :doc:`{page.removeprefix('fnn.')} <{page.removeprefix('fnn.')}>`", f"     - {told}"]
    return "\n".join(lines) + "\n"


# ---- Sphinx ---------------------------------------------------------------------------------------------------------


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", _write)
    app.connect("autodoc-process-docstring", _docstring, priority=100)  # before napoleon, which adds markup of its own
    app.connect("autodoc-process-signature", _signature)
    app.connect("doctree-read", _dashes)
    app.connect("viewcode-find-source", _source)
    app.connect("missing-reference", _public_name)
    app.connect("env-check-consistency", _complete)
    app.add_role("fnn", _code_or_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write(app: Any) -> None:
    from sphinx.errors import ExtensionError

    told = [f"fnn: {'.'.join(name[:2])} needs {what}" for name in names() if (what := lacking(name))]
    if told:
        raise ExtensionError("\n".join(["Every public name has a docstring and an example.", *told]))
    generated.write("reference", pages())


def _docstring(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = markup(lines)
    if what in ("attribute", "property") and lines:
        # what stands before a colon there is no type either
        lines[0] = f":{lines[0]}"


def _signature(app: Any, what: str, name: str, value: Any, options: Any, told: str | None, back: str | None) -> Any:
    # a default that is made anew each time has no Python name
    return (told and told.replace("<factory>", "..."), back)


def _dashes(app: Any, page: Any) -> None:
    """Between a parameter and what is said of it Sphinx writes two hyphens."""
    from docutils import nodes

    for text in list(page.findall(nodes.Text)):
        if str(text) == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def _source(app: Any, module: str) -> tuple[str, dict[str, Any]] | None:
    """The lines of a module's names, records such as `relu` at those of their class."""
    if not module.startswith("fnn"):
        return None
    from sphinx.pycode import ModuleAnalyzer

    analyzer = ModuleAnalyzer.for_module(module)
    tags = dict(analyzer.find_tags())
    for name in names():
        described = name.described
        if described.__module__ == module and described.__name__ in tags:
            tags.setdefault(name.name, tags[described.__name__])
    return analyzer.code, tags


def _public_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A type that is written as its file names it, fnn.losses.Loss, is told under its public name, fnn.Loss."""
    if node.get("refdomain") != "py":
        return None
    last = node["reftarget"].split(".")[-1]
    for name in names():
        if name.name == last:
            domain, where = env.domains["py"], f"{name.where}.{name.name}"
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", where, node, content)
    # types of Python and of other packages, for which this site has no page
    return content if node["reftype"] in ("class", "data", "exc") else None


def _complete(app: Any, env: Any) -> None:
    from sphinx.errors import ExtensionError

    found = env.domains["py"].objects
    if missing := [".".join(name[:2]) for name in names() if ".".join(name[:2]) not in found]:
        raise ExtensionError(f"The reference lacks {', '.join(missing)}.")


def _code_or_name(role: str, raw: str, text: str, line: int, inliner: Any, *rest: Any) -> tuple[list[Any], list[Any]]:
    """`fit` leads to fnn.fit, anything else is code."""
    from docutils import nodes
    from sphinx.addnodes import pending_xref

    code = nodes.literal(text, text)
    plain = text.removesuffix("()")
    found = next((name for name in names() if plain in (name.name, f"{name.where}.{name.name}")), None)
    if found is None:
        return [code], []
    page = inliner.document.settings.env.current_document.docname
    target = f"{found.where}.{found.name}"
    return [pending_xref("", code, refdomain="py", reftype="obj", reftarget=target, refexplicit=True, refdoc=page)], []
