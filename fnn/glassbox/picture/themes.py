"""The colours of the pictures, light and dark, as style sheets.

Values are blue and come first, derivatives are orange, come last and have the sign ∂: distinct without colour too.
Maps run from purple (negative) through the neutral colour (zero) to green (positive), which colour-blind readers can
tell apart. Text has a contrast of at least 4.5 to its background, in both themes.
"""

from typing import NamedTuple

#: How many steps of colour there are between zero and the largest entry of a map.
SHADES = 8


class Theme(NamedTuple):
    """Colours by what they mean."""

    page: str
    text: str
    muted: str
    line: str
    card: str
    border: str
    value: str
    value_tint: str
    bar: str
    bar_tint: str
    zero: str
    positive: str
    negative: str
    bad: str
    group: str
    accent: str


LIGHT = Theme(
    page="#ffffff", text="#1b1f24", muted="#59626d", line="#6b7683", card="#ffffff", border="#98a2ae",
    value="#0a4f9c", value_tint="#e8f1fb", bar="#9a3b00", bar_tint="#fdf0e4", zero="#f4f4f4", positive="#0b7a37",
    negative="#7b3294", bad="#111111", group="#f3f5f7", accent="#c2187a",
)  # fmt: skip
DARK = Theme(
    page="#14181d", text="#eceff3", muted="#a9b3be", line="#8793a0", card="#1c2229", border="#5d6976",
    value="#8cc8ff", value_tint="#17304a", bar="#ffb37a", bar_tint="#43290f", zero="#2b323a", positive="#63d68f",
    negative="#cf8fe6", bad="#ffffff", group="#242c35", accent="#ff7ac4",
)  # fmt: skip


def style(theme: Theme, root: str) -> str:
    """The rules of a theme for the pictures below `root`, a selector."""
    rules = {
        "text": f"fill:{theme.text};font-family:Helvetica,Arial,'Liberation Sans',sans-serif;font-size:13px",
        ".sheet": f"fill:{theme.page}",
        ".card": f"fill:{theme.card}",
        ".rim": f"fill:none;stroke:{theme.border};stroke-width:1.2",
        ".group .rim": "stroke-dasharray:6 3",
        ".group .card": f"fill:{theme.group}",
        ".output .rim": f"stroke:{theme.text};stroke-width:2",
        ".still .card": f"fill:{theme.group}",
        ".tint": f"fill:{theme.value_tint}",
        ".bar .tint": f"fill:{theme.bar_tint}",
        ".symbol": "font-size:18px;font-weight:700",
        ".name": f"fill:{theme.muted}",
        ".argument .name,.name.own": f"fill:{theme.text};font-weight:700",
        ".name.own": "font-size:14px",
        ".argument .name": "font-size:16px",
        ".number": "font-size:15px;font-weight:700",
        ".value text": f"fill:{theme.value}",
        ".bar text,.back .share": f"fill:{theme.bar}",
        # the arrow under a label is hidden around the letters
        ".share,.local": f"paint-order:stroke;stroke:{theme.page};stroke-width:5px;stroke-linejoin:round",
        ".share": "font-weight:700;font-size:14px",
        ".local": f"fill:{theme.muted};font-style:italic",
        ".note,.value .note,.bar .note": "font-size:12px",
        ".note": f"fill:{theme.muted}",
        # a number in a map stands on its colour, not on the tint of a value or a derivative
        ".value .cell,.bar .cell": f"fill:{theme.text};font-size:12px",
        ".value .off,.bar .off": f"fill:{theme.page}",
        ".flow path": f"fill:none;stroke:{theme.line};stroke-width:1.6",
        ".flow .head": f"fill:{theme.line};stroke:none",
        ".flow.still path": "stroke-dasharray:4 4",
        ".flow.still .head": "stroke-dasharray:none",
        ".frame": f"fill:none;stroke:{theme.border};stroke-width:1",
        ".grid": f"fill:none;stroke:{theme.border};stroke-width:0.7",
        ".place": f"fill:{theme.value_tint}",
        ".window": f"fill:none;stroke:{theme.accent};stroke-width:2",
        ".taken": f"fill:{theme.accent}",
        ".m0": f"fill:{theme.zero}",
        ".bad": f"fill:{theme.bad}",
    }
    for k in range(1, SHADES + 1):
        rules[f".p{k}"] = f"fill:{_mixed(theme.zero, theme.positive, k / SHADES)}"
        rules[f".n{k}"] = f"fill:{_mixed(theme.zero, theme.negative, k / SHADES)}"
    return "\n".join(f"{_below(root, selector)}{{{rule}}}" for selector, rule in rules.items())


def _below(root: str, selectors: str) -> str:
    return ",".join(f"{root} {selector}" for selector in selectors.split(","))


def _mixed(a: str, b: str, share: float) -> str:
    pairs = zip(bytes.fromhex(a[1:]), bytes.fromhex(b[1:]), strict=True)
    return "#" + "".join(f"{round(x + (y - x) * share):02x}" for x, y in pairs)
