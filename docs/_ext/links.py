"""Links that an author need not write: the number of a claim leads to its evidence, a name or a file of the package to
the reference, an experiment's command to its page.

Promises: only running text, and code in it, is changed; headings, links and formulas stay as they are.
"""

import re
from typing import Any

import reference
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform

from experiments.claims import CLAIMS
from experiments.registry import EXPERIMENTS

CLAIM = re.compile(r"\b[A-E]\d{1,2}\b")
COMMAND = re.compile(r"python -m experiments (\w+)")
LEFT_ALONE = (nodes.title, nodes.reference, pending_xref, nodes.math, nodes.FixedTextElement, nodes.raw)
FILE = re.compile(r"fnn/(\w+)(?:\.py|/(?:\w+\.py)?)")
#: A name, or one call of it.
NAME = re.compile(r"([\w.]+)(?:\((?:[^()]|\([^()]*\))*\))?")


class Links(SphinxTransform):
    # after the parser's own targets and before references are resolved
    default_priority = 600

    def apply(self, **_: Any) -> None:
        for text in list(self.document.findall(nodes.Text)):
            if not _within(text, *LEFT_ALONE):
                self._link(text)

    def _link(self, text: nodes.Text) -> None:
        code = text.parent if isinstance(text.parent, nodes.literal) else None
        if code is None:
            found = [match for match in CLAIM.finditer(text) if match[0] in CLAIMS]
            if found:
                text.parent.replace(text, self._claims(str(text), found))
        elif page := _page(str(text)):
            to = self.app.builder.get_relative_uri(self.env.current_document.docname, page)
            code.replace_self(nodes.reference("", "", code.deepcopy(), internal=True, refuri=to))
        elif name := _name(str(text)):
            code.replace_self(self._reference(code.deepcopy(), "py", "obj", name))

    def _claims(self, text: str, found: list[re.Match[str]]) -> list[nodes.Node]:
        pieces: list[nodes.Node] = []
        end = 0
        for match in found:
            pieces += [nodes.Text(text[end : match.start()])] if match.start() > end else []
            number = nodes.inline("", match[0], classes=["claim"])
            pieces.append(self._reference(number, "std", "ref", match[0].lower()))
            end = match.end()
        return [*pieces, *([nodes.Text(text[end:])] if end < len(text) else [])]

    def _reference(self, content: nodes.Node, domain: str, kind: str, target: str) -> pending_xref:
        options = {"refdomain": domain, "reftype": kind, "reftarget": target, "refexplicit": True, "refwarn": True}
        return pending_xref("", content, refdoc=self.env.current_document.docname, **options)


def _within(node: nodes.Node, *kinds: type) -> bool:
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False


def _page(code: str) -> str:
    """The page about the command, the file or the namespace that this code names, if there is one."""
    if (command := COMMAND.match(code)) and command[1] in EXPERIMENTS:
        return f"generated/evidence/experiments/{command[1]}"
    file = FILE.fullmatch(code)
    module = f"fnn.{file[1]}" if file else code
    if module in reference.namespaces():
        return f"generated/reference/{module.removeprefix('fnn.')}"
    return ""


def _name(code: str) -> str:
    """The public name that this code is or calls, as the reference has it."""
    written = NAME.fullmatch(code)
    name = reference.addresses().get(written[1]) if written else None
    return name.address if name else ""


def setup(app: Any) -> dict[str, bool]:
    app.add_transform(Links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
