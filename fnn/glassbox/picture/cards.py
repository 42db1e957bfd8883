"""A box of the picture as SVG: the value first, the operation and the name in the middle, the derivative last."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from fnn.glassbox.picture import symbols
from fnn.glassbox.picture.drawing import automatic
from fnn.glassbox.picture.maps import heat_map
from fnn.glassbox.picture.scenes import Part
from fnn.glassbox.records import Summary

#: Names longer than this are cut; the details show them in full.
LONGEST = 22
#: A sum of contributions is written on lines of at most this many characters.
LINE = 20
PADDING = 9.0


class Line(NamedTuple):
    """A line of text in a card."""

    text: str
    size: float
    kind: str
    """Its class: symbol, name, number, note."""


class Block(NamedTuple):
    """A third of a card: lines of text, and maybe a map above them."""

    lines: tuple[Line, ...] = ()
    drawing: str = ""
    across: float = 0.0
    along: float = 0.0
    """Width and height of the map."""

    @property
    def width(self) -> float:
        return max(
            [self.across, *(symbols.text_width(each.text, each.size, each.kind != "note") for each in self.lines)]
        )

    @property
    def height(self) -> float:
        return self.along + (4 if self.along and self.lines else 0) + math.fsum(each.size * 1.3 for each in self.lines)

    @property
    def empty(self) -> bool:
        return not self.lines and not self.along


class Card(NamedTuple):
    """A measured box."""

    width: float
    height: float
    blocks: tuple[Block, Block, Block]
    beside: bool
    """Whether the thirds are side by side."""


def card(part: Part, terms: Sequence[Any], *, beside: bool) -> Card:
    """Measure a part; `terms` are the contributions to its derivative."""
    node = part.node
    if part.kind == "small":
        inner = Block((Line(part.symbol, 13.0, "name"), Line(f"→ {symbols.shape(node)}", 12.0, "note")))
        blocks = (Block(), inner, Block())
    elif part.times > 1 and part.kind == "stack":
        lines = (Line(cut(part.name), 16.0, "name"), Line(f"{part.times} × ({symbols.shape(node)})", 12.0, "note"))
        blocks = (Block(), Block(lines), Block())
    else:
        value = _shown(node.value, symbols.shape(node), node.dtype)
        blocks = (value, _middle(part), _derivative(node.cotangent, terms))
    widths = [block.width + 2 * PADDING for block in blocks if not block.empty]
    heights = [block.height + PADDING for block in blocks if not block.empty]
    if beside:
        return Card(max(math.fsum(widths), 48.0), max(max(heights) + 3, 34.0), blocks, True)
    return Card(max(*widths, 52.0), max(math.fsum(heights), 34.0), blocks, False)


def _shown(value: Any, shape: str, dtype: Any) -> Block:
    if isinstance(value, Summary):
        texts = (
            shape,
            f"{symbols.number(value.least)} to {symbols.number(value.largest)}",
            f"norm {symbols.number(value.norm)}",
        )
        return Block(tuple(Line(text, 12.0, "note") for text in texts))
    if symbols.single(value):
        return Block((Line(symbols.number(symbols.entry(value)), 15.0, "number"),))
    drawn = heat_map(value)
    if drawn is None:
        return Block((Line(f"{dtype} {shape}".strip(), 12.0, "note"),))
    texts = [shape, "" if getattr(dtype, "kind", "") == "b" else drawn.scale, drawn.averaged]
    return Block(tuple(Line(text, 12.0, "note") for text in texts if text), drawn.drawing, drawn.width, drawn.height)


def _derivative(bar: Any, terms: Sequence[Any]) -> Block:
    if bar is None:
        return Block()
    if symbols.single(bar):
        return Block(tuple(Line(text, 15.0, "number") for text in summed(bar, terms)))
    many = f"sum of {len(terms)}" if len(terms) > 1 else ""
    if isinstance(bar, Summary):
        texts = (
            f"∂ {symbols.number(bar.least)} to {symbols.number(bar.largest)}",
            f"norm {symbols.number(bar.norm)}",
            many,
        )
        return Block(tuple(Line(text, 12.0, "note") for text in texts if text))
    drawn = heat_map(bar)
    if drawn is None:
        return Block((Line("∂", 12.0, "note"),))
    texts = (f"∂ {drawn.scale}".strip(), many, drawn.averaged)
    return Block(tuple(Line(text, 12.0, "note") for text in texts if text), drawn.drawing, drawn.width, drawn.height)


def summed(bar: Any, terms: Sequence[Any]) -> list[str]:
    """`∂ 4 + 22 = 26` on as many lines as needed; `∂ 26` if there is nothing to add."""
    total = symbols.number(symbols.entry(bar))
    numbers = [symbols.number(symbols.entry(term)) for term in terms if symbols.single(term)]
    if len(numbers) < 2:
        return [f"∂ {total}"]
    words = [numbers[0], *(f"− {text[1:]}" if text[0] == "−" else f"+ {text}" for text in numbers[1:]), f"= {total}"]
    lines = ["∂"]
    for word in words:
        if len(lines[-1]) + len(word) > LINE:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return lines


def _middle(part: Part) -> Block:
    lines = []
    if part.kind == "group":
        lines = [Line(cut(part.name), 16.0, "symbol"), Line(part.symbol, 12.0, "note")]
    else:
        if part.symbol and part.kind != "output":
            sign, _, axis = part.symbol.partition(" over ")
            lines.append(Line(cut(sign), 18.0 if len(sign) < 9 else 15.0, "symbol"))
            lines += [Line(f"over {axis}", 12.0, "note")] if axis else []
        own = part.kind in ("argument", "output") or part.name != part.node.name or not automatic(part.node)
        if part.name:
            size = 16.0 if part.kind == "argument" else 14.0 if own else 13.0
            lines.append(Line(cut(part.name), size, "name own" if own else "name"))
        elif not lines:
            lines.append(Line("constant", 12.0, "note"))
    if part.window is not None:
        return Block(tuple(lines), part.window.drawing, part.window.width, part.window.height)
    return Block(tuple(lines))


def cut(text: str) -> str:
    """The text, with its end replaced by … if it is too long."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def drawn(card: Card, x: float, y: float, round_: bool) -> str:
    """The SVG of a card whose top left corner is at (x, y)."""
    radius = 16 if round_ else 7
    place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(card.width)}" height="{_n(card.height)}" rx="{radius}"'
    out = [f'<rect class="card" {place}/>']
    at = x if card.beside else y
    spare = (card.width if card.beside else card.height) - math.fsum(_room(block, card.beside) for block in card.blocks)
    for k, (block, kind) in enumerate(zip(card.blocks, ("value", "middle", "bar"), strict=True)):
        if block.empty:
            continue
        # the remaining space goes to the middle
        room = _room(block, card.beside) + (spare if k == 1 else 0)
        box = (at, y, room, card.height) if card.beside else (x, at, card.width, room)
        tint = _tinted(box, radius, card.beside, k) if k != 1 else ""
        out.append(f'<g class="{kind}">{tint}{_filled(block, box)}</g>')
        at += room
    # the rim is drawn last, so that no tint covers it
    return "".join([*out, f'<rect class="rim" {place}/>'])


def _room(block: Block, beside: bool) -> float:
    if block.empty:
        return 0.0
    return block.width + 2 * PADDING if beside else block.height + PADDING


def _tinted(box: tuple[float, float, float, float], radius: float, beside: bool, k: int) -> str:
    """The tint behind the first or the last third, rounded like the card."""
    x, y, w, h = (box[0] + 1, box[1] + 1, box[2] - 2, box[3] - 2)
    r = radius - 1
    corners = [k == 0, k == 0, k == 2, k == 2] if not beside else [k == 0, k == 2, k == 2, k == 0]
    a, b, c, d = (r if corner else 0 for corner in corners)
    return (
        f'<path class="tint" d="M{_n(x + a)} {_n(y)}H{_n(x + w - b)}{_arc(b, b, b)}V{_n(y + h - c)}{_arc(c, -c, c)}'
        f'H{_n(x + d)}{_arc(d, -d, -d)}V{_n(y + a)}{_arc(a, a, -a)}z"/>'
    )


def _arc(r: float, dx: float, dy: float) -> str:
    return f"a{_n(r)} {_n(r)} 0 0 1 {_n(dx)} {_n(dy)}" if r else ""


def _filled(block: Block, box: tuple[float, float, float, float]) -> str:
    x, y, w, h = box
    top, middle, out = y + (h - block.height) / 2, x + w / 2, []
    if block.along:
        out.append(f'<g transform="translate({_n(middle - block.across / 2)} {_n(top)})">{block.drawing}</g>')
        top += block.along + (4 if block.lines else 0)
    for line in block.lines:
        # the baseline of a line of text is at 1.0 of its height of 1.3
        out.append(
            f'<text class="{line.kind}" x="{_n(middle)}" y="{_n(top + line.size)}" text-anchor="middle"'
            f"{_sized(line)}>{escape(line.text)}</text>"
        )
        top += line.size * 1.3
    return "".join(out)


#: The sizes in the style sheet; any other size is set on the text itself.
_STYLED = {"symbol": 18.0, "name": 13.0, "name own": 14.0, "number": 15.0, "note": 12.0}


def _sized(line: Line) -> str:
    return "" if _STYLED[line.kind] == line.size else f' style="font-size:{_n(line.size)}px"'


def _n(x: float) -> str:
    return f"{round(x, 1):g}"
