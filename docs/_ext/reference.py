"""The reference: a page for each namespace, with every public name from its docstring.

Promises: what is public is read from `fnn.__all__` and the `__all__` of each namespace that it names, so no public name
can be missing and no private one can appear. A name without a docstring or without an example ends the build
(`lacking`). A name that stands in `fnn` itself is documented as such (`fnn.tanh`), on the page of its namespace.
[source] beside a record such as `relu` leads to the lines of its class. Sphinx is not needed to import this file: tests
do.
"""

import functools
import importlib
import inspect
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import generated

import fnn

#: The order of the pages; a namespace that is not named here comes last.
ORDER = (
    *("activations", "linear", "losses", "regularizers", "initializers", "layers", "network", "gradients"),
    *("differences", "optimizers", "metrics", "data", "training", "storage", "checker", "glassbox", "lectures"),
)


class Name(NamedTuple):
    """A public name."""

    where: str
    """The module that a user takes it from: fnn, fnn.checker."""
    name: str
    page: str
    """The namespace on whose page it stands: fnn.activations."""

    @property
    def address(self) -> str:
        """How a user writes it: fnn.tanh, fnn.losses.Huber."""
        return f"{self.where}.{self.name}"

    @property
    def value(self) -> Any:
        return getattr(importlib.import_module(self.where), self.name)

    @property
    def described(self) -> Any:
        """The object with the docstring: the value itself, or the class of a record."""
        value = self.value
        return value if inspect.isclass(value) or inspect.isroutine(value) else type(value)


@functools.cache
def namespaces() -> tuple[str, ...]:
    """The modules that `fnn.__all__` names and the optional ones, in the order of their pages."""
    found = [name for name in fnn.__all__ if inspect.ismodule(getattr(fnn, name))] + list(fnn._OPTIONAL)
    return tuple(f"fnn.{name}" for name in sorted(found, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER)))


@functools.cache
def names() -> tuple[Name, ...]:
    """Every public name, once, page by page; names that stand in no namespace come first.

    >>> names()[:2]
    (Name(where='fnn', name='CastWarning', page='fnn'), Name(where='fnn', name='custom_vjp', page='fnn'))
    >>> [name for name in names() if name.name == "Huber"]
    [Name(where='fnn.losses', name='Huber', page='fnn.losses')]
    """
    flat = [name for name in fnn.__all__ if f"fnn.{name}" not in namespaces()]
    found: list[Name] = []
    for space in namespaces():
        module = importlib.import_module(space)
        for name in module.__all__:
            here = name in flat and getattr(fnn, name) is getattr(module, name)
            found.append(Name("fnn" if here else space, name, space))
    elsewhere = {each.name for each in found if each.where == "fnn"}
    return (*(Name("fnn", name, "fnn") for name in flat if name not in elsewhere), *found)


@functools.cache
def addresses() -> dict[str, Name]:
    """{each way to write a public name: the name}: fnn.tanh and fnn.activations.tanh are one."""
    return {address: name for name in names() for address in (f"{name.page}.{name.name}", name.address)}


def named(text: str, page: str = "fnn") -> Name | None:
    """The public name that a docstring on this page means by `text`, if it means one.

    >>> named("fit").address, named("fnn.activations.tanh").address, named("get", "fnn.losses").address, named("get")
    ('fnn.fit', 'fnn.tanh', 'fnn.losses.get', None)
    """
    for address in (f"{page}.{text}", f"fnn.{text}", text):
        if address in addresses():
            return addresses()[address]
    # a class by its own name, which only one namespace has
    last = text.split(".")[-1]
    found = [name for name in names() if name.name == last and last[:1].isupper()]
    return found[0] if len(found) == 1 else None


def lacking(name: Name) -> str:
    """What a public name still needs: "a docstring", "an example", or nothing.

    >>> lacking(names()[0])
    ''
    """
    described = name.described
    text = vars(described).get("__doc__") if inspect.isclass(described) else described.__doc__
    # a dataclass without a docstring is given its signature as one
    if not text or text.startswith(f"{getattr(described, '__name__', '')}("):
        return "a docstring"
    return "" if ">>>" in text else "an example"


# ---- docstrings, which are plain text with a few conventions, as reStructuredText -----------------------------------


def markup(lines: Iterable[str]) -> list[str]:
    """The lines of a docstring, with every sign escaped that reStructuredText would interpret.

    >>> markup(["λ Σ |W| over `params`, b_ too", ">>> 2 * 3"])
    ['λ Σ \\\\|W\\\\| over `params`, b\\\\_ too', '>>> 2 * 3']
    """
    marked, example, returns = [], False, False
    for line in lines:
        # words before a colon there are not a type, which an extra colon tells napoleon
        if returns and line.strip():
            line = re.sub(r"^( *)", r"\g<1>:", line)
        returns = line.strip() == "Returns:" or (returns and not line.strip())
        example = (example and bool(line.strip())) or line.lstrip().startswith(">>>")
        marked.append(line if example else "".join(map(_escaped, re.split(r"(``?[^`]+``?|\*\w[\w ]*\*)", line))))
    return marked


def _escaped(piece: str) -> str:
    as_it_is = piece.startswith("`") or re.fullmatch(r"\*\w.*\*", piece)
    return piece if as_it_is else re.sub(r"[*|]|_(?=\W|$)", r"\\\g<0>", piece)


def _indented_as_written(lines: list[str]) -> list[str]:
    """Indented lines of a module's docstring are small tables, which are shown as they are written."""
    shown: list[str] = []
    for k, line in enumerate(lines):
        if line.startswith("    ") and not (k and lines[k - 1].startswith("    ")):
            shown += ["", ".. code-block:: text", ""]
        elif k and lines[k - 1].startswith("    ") and line and not line.startswith("    "):
            shown.append("")
        shown.append(line)
    return shown


# ---- pages ----------------------------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """{file name: its reStructuredText}: a page for each namespace, and an index of all names."""
    by_page: dict[str, list[Name]] = {}
    for name in names():
        by_page.setdefault(name.page, []).append(name)
    made = {page.removeprefix("fnn."): _page(page, each) for page, each in by_page.items()}
    return {f"{title}.rst": text for title, text in made.items()} | {"index.rst": _index(by_page)}


def _heading(text: str, line: str = "=") -> list[str]:
    return [text, line * len(text), ""]


def _page(module: str, each: list[Name]) -> str:
    about = inspect.getdoc(importlib.import_module(module)) or ""
    lines = [*_heading(module), f".. currentmodule:: {module}", ""]
    lines += [*_indented_as_written(markup(about.splitlines())), ""]
    if module == "fnn":
        flat = ", ".join(f":py:obj:`{name.address}`" for name in names() if name.where == module != name.page)
        lines += ["Names of `fnn` that are described on the page of their namespace:", "", flat + ".", ""]
    for name in each:
        lines += [f".. currentmodule:: {name.where}", "", *_ways_back(name), *_entry(name), ""]
    return "\n".join(lines) + "\n"


def _ways_back(name: Name) -> list[str]:
    """Further places at which a link from the page of the source arrives: it takes all names of a file to be public in
    one module, that of the first name it meets.
    """
    file = name.described.__module__
    modules = {other.where for other in names() if other.described.__module__ == file} - {name.where}
    members = [f".{each}" for each in vars(name.value)] if inspect.isclass(name.value) else []
    places = [f"{module}.{name.name}{member}" for module in sorted(modules) for member in ["", *members]]
    return [".. raw:: html", "", *(f'   <span id="{place}"></span>' for place in places), ""] if places else []


def _entry(name: Name) -> list[str]:
    value = name.value
    if inspect.isroutine(value):
        return [f".. autofunction:: {name.address}"]
    if inspect.isclass(value) and value.__name__ == name.name:
        # scikit-learn gives its estimators methods whose docstrings lead to its own site
        foreign = ", ".join(each for each in dir(value) if each.startswith("set_") and each.endswith("_request"))
        lines = [f".. autoclass:: {name.address}", "   :members:", "   :special-members: __call__"]
        return lines + ([f"   :exclude-members: {foreign}"] if foreign else [])
    # a record, or the class of records under the name that users write: relu, uniform(0.1)
    described = name.described
    kind, signature = ("class", str(inspect.signature(described))) if inspect.isclass(value) else ("data", "")
    signature = re.sub(r"\b(\w+\.)+(?=\w+)| -> None", "", signature)
    doc = markup((inspect.getdoc(described) or "").splitlines())
    options = [] if inspect.isclass(value) else [f"   :type: ~{described.__mro__[1].__name__}"]
    return [f".. py:{kind}:: {name.name}{signature}", *options, "", *(f"   {line}".rstrip() for line in doc)]


def _index(by_page: dict[str, list[Name]]) -> str:
    about = "Every public name, by namespace. [source] leads to its lines."
    lines = [*_heading("Reference"), about, ""]
    pages = [f"   {short} <{short}>" for short in (page.removeprefix("fnn.") for page in by_page)]
    lines += [".. toctree::", "   :hidden:", "", *pages, ""]
    lines += [".. list-table::", "   :class: names", "   :widths: auto", ""]
    for page, each in by_page.items():
        listed = ", ".join(f":py:obj:`{name.address} <{name.address}>`" for name in each)
        lines += [f"   * - :doc:`{page.removeprefix('fnn.')} <{page.removeprefix('fnn.')}>`", f"     - {listed}"]
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

    wanting = [f"{name.address} needs {what}" for name in names() if (what := lacking(name))]
    if wanting:
        raise ExtensionError("\n".join(["Every public name has a docstring and an example.", *wanting]))
    generated.write("reference", pages())


def _docstring(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    # what Python says of a field of a named tuple that has no docstring
    lines[:] = [] if lines[:1] and lines[0].startswith("Alias for field number") else markup(lines)
    if what in ("attribute", "property") and lines:
        # words before a colon are not a type here either
        lines[0] = f":{lines[0]}"


def _signature(app: Any, what: str, name: str, value: Any, options: Any, text: str | None, back: str | None) -> Any:
    # a default that is made for each call has no Python name
    return (text and text.replace("<factory>", "..."), back)


def _dashes(app: Any, page: Any) -> None:
    """Sphinx writes two hyphens between a parameter and its description."""
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
    """A type that is written as its file names it, fnn.losses.Loss, leads to its public name, fnn.Loss."""
    if node.get("refdomain") != "py":
        return None
    if name := named(node["reftarget"], _page_of(node["refdoc"])):
        domain = env.domains["py"]
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name.address, node, content)
    # types of Python and of other packages, for which this site has no page
    return content if node["reftype"] in ("class", "data", "exc") else None


def _complete(app: Any, env: Any) -> None:
    from sphinx.errors import ExtensionError

    found = env.domains["py"].objects
    if missing := [name.address for name in names() if name.address not in found]:
        raise ExtensionError(f"The reference lacks {', '.join(missing)}.")


def _code_or_name(role: str, raw: str, text: str, line: int, inliner: Any, *rest: Any) -> tuple[list[Any], list[Any]]:
    """`fit` leads to fnn.fit; anything that is not a public name is code."""
    from docutils import nodes
    from sphinx.addnodes import pending_xref

    code = nodes.literal(text, text)
    page = inliner.document.settings.env.current_document.docname
    name = named(text.removesuffix("()"), _page_of(page))
    if name is None:
        return [code], []
    options = {"refdomain": "py", "reftype": "obj", "reftarget": name.address, "refexplicit": True, "refdoc": page}
    return [pending_xref("", code, **options)], []


def _page_of(document: str) -> str:
    """The namespace that a page of the site is about, fnn where it is none."""
    page = document.removeprefix("generated/reference/")
    return f"fnn.{page}" if f"fnn.{page}" in namespaces() else "fnn"
