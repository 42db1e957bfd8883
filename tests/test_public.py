"""What is public: about sixty names and the namespaces in `fnn`, and in each namespace the names of its `__all__`."""

import ast
import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import fnn
from fnn.types import Record

NAMESPACES = [name for name in fnn.__all__ if inspect.ismodule(getattr(fnn, name))]
#: Names without an underscore that other files of the package use and that are not public, each with the reason.
INTERNAL = {
    ("layers", "with_parts"),  # walks the fields of any dataclass, for the checker and for sweeps
    ("layers", "without_examples"),  # a sentence that a layer and the training mode of a net share
}


def modules() -> list[ModuleType]:
    """`fnn` and every module and package in it; a `__main__` would run."""
    names = [each.name for each in pkgutil.walk_packages(fnn.__path__, "fnn.") if not each.name.endswith("__main__")]
    return [fnn, *map(importlib.import_module, names)]


def test_what_dir_shows_is_what_is_public():
    assert sorted(dir(fnn)) == sorted([*fnn.__all__, "__version__"])


def test_the_flat_names_are_few():
    assert len(NAMESPACES) < 20
    assert 50 <= len(fnn.__all__) - len(NAMESPACES) <= 65


@pytest.mark.parametrize("module", ["", *NAMESPACES])
def test_every_public_name_is_there_once_and_in_order(module):
    space = getattr(fnn, module) if module else fnn
    assert space.__all__ == sorted(set(space.__all__))
    assert not [name for name in space.__all__ if name.startswith("_") or not hasattr(space, name)]


def test_every_flat_name_is_that_of_a_namespace():
    public = {(name, id(getattr(fnn, name))) for name in fnn.__all__ if name not in NAMESPACES}
    within = {(name, id(getattr(getattr(fnn, s), name))) for s in NAMESPACES for name in getattr(fnn, s).__all__}
    # the adapter and the warning stand in files that hold nothing else for a user
    assert {name for name, _ in public - within} == {"CastWarning", "custom_vjp"}


def test_no_attribute_is_both_a_module_and_something_else():
    shadowed = []
    for package in modules():
        # importing a file binds its name in the package, over a function of that name or under it
        functions = {*getattr(package, "__all__", ())} - {*(NAMESPACES if package is fnn else ())} - _files_of(package)
        for each in pkgutil.iter_modules(getattr(package, "__path__", ())):
            of_a_file = each.name == "__main__" or inspect.ismodule(getattr(package, each.name))
            shadowed += [] if of_a_file and each.name not in functions else [f"{package.__name__}.{each.name}"]
    assert shadowed == []


def _files_of(package) -> set[str]:
    """What a package imports of itself: its own files, under their own names."""
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    own = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == package.__name__]
    return {each.name for node in own for each in node.names}


@pytest.mark.parametrize("name", [n for n in NAMESPACES if not hasattr(getattr(fnn, n), "__path__")])
def test_what_a_namespace_defines_without_an_underscore_is_public(name):
    space = getattr(fnn, name)
    tree = ast.parse(Path(inspect.getfile(space)).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    # the class of a record that is public under its own name: Tanh of tanh
    of_records = {type(getattr(space, each)).__name__ for each in space.__all__}
    # constant, uniform and normal are the classes themselves, under the names that users write
    renamed = {value.__name__ for each in space.__all__ if inspect.isclass(value := getattr(space, each))}
    private = {each for each in defined if each.startswith("_") or (name, each) in INTERNAL}
    assert defined - private - of_records - renamed - set(space.__all__) == set()


def test_what_get_returns_is_public():
    for space in (fnn.activations, fnn.losses, fnn.regularizers, fnn.initializers):
        table = getattr(space, space.__name__.rpartition(".")[2].upper())
        assert all(isinstance(each, Record) and space.get(name) is each for name, each in table.items())
        assert set(table) <= set(space.__all__)


def test_the_page_of_a_package_index_leads_nowhere_in_the_repository():
    root = Path(fnn.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    links = re.findall(r"\]\(([^)]+)\)", (root / project["readme"]).read_text(encoding="utf-8"))
    assert links and all(link.startswith("https://") for link in links)
