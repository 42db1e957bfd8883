"""The claims of the lectures for readers: a title in words, the statement typeset, what its picture shows, and, if a
lecture is wrong, what it says and what is right.

Promises: `statements.toml` holds all of it, in Markdown with TeX between dollars; nothing in it is measured: verdicts
and numbers come from the records. `experiments.claims.CLAIMS` has the same claims in plain text, for terminals.
"""

import tomllib
from pathlib import Path
from typing import NamedTuple


class Picture(NamedTuple):
    """The title and caption of a picture."""

    title: str
    seen: str
    """What is seen in it, and what that means."""
    panels: tuple[int, ...] = ()
    """The panels that are shown alone, by the order of their axes in the figure; all if empty."""


class Statement(NamedTuple):
    """One claim."""

    title: str
    text: str
    """What is claimed; where the lecture is wrong, the right version."""
    seen: str
    """What is seen in its picture, and what that means."""
    panels: tuple[int, ...] = ()
    picture: str = ""
    """The experiment whose picture is shown, where several have one; the first if empty."""
    lecture: str = ""
    """What the lecture says, where it is wrong."""
    right: str = ""
    """What is right, and why."""

    @property
    def corrected(self) -> bool:
        """Whether the lecture is wrong."""
        return bool(self.lecture)


_DATA = tomllib.loads((Path(__file__).parent / "statements.toml").read_text(encoding="utf-8"))
STATEMENTS: dict[str, Statement] = {
    claim: Statement(**each | {"panels": tuple(each.get("panels", ()))}) for claim, each in _DATA["claims"].items()
}
#: The pictures that show no claim, by experiment and file.
OTHER_PICTURES: dict[str, Picture] = {
    name: Picture(**each | {"panels": tuple(each.get("panels", ()))}) for name, each in _DATA["pictures"].items()
}
