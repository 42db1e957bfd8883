"""The forward and the backward pass of a scene as steps, each with a sentence of numbers."""

from typing import Any, NamedTuple

from fnn.glassbox.picture import symbols
from fnn.glassbox.picture.cards import summed
from fnn.glassbox.picture.scenes import Flow, Scene

#: At most this many things are listed in one sentence.
LISTED = 6


class Step(NamedTuple):
    """One step of the walk through a scene."""

    caption: str
    part: int
    """The part at work, −1 for none."""
    flows: tuple[int, ...]
    """The arrows along which something moves."""


class Steps(NamedTuple):
    """The walk: step 0 shows everything; then come the forward and the backward steps."""

    steps: tuple[Step, ...]
    values: tuple[int, ...]
    """For each part, the step from which its value is known."""
    bars: tuple[int, ...]
    """For each part, the step from which its cotangent is complete; −1 if it has none."""
    shares: tuple[int, ...]
    """For each flow, the step that passes its contribution back; −1 if none does."""


def steps(scene: Scene) -> Steps:
    """The steps of a scene."""
    walk = [Step("Everything at once. Next goes through the forward pass, then the backward pass.", -1, ())]
    count = len(scene.parts)
    working = [k for k in range(count) if scene.into(k)]
    into = scene.arriving
    values = [1] * count
    sources = [k for k in range(count) if not scene.into(k)]
    walk.append(
        Step(f"Arguments: {_listed([_is(scene, k) for k in sources if scene.parts[k].kind != 'constant'])}.", -1, ())
    )
    for place, k in enumerate(working, start=1):
        values[k] = len(walk)
        walk.append(Step(f"Forward {place} of {len(working)}: {_computed(scene, k)}.", k, tuple(into[k])))

    bars, shares = [-1] * count, [-1] * len(scene.flows)
    back = [k for k in reversed(working) if any(scene.flows[e].active for e in into[k])]
    waiting = {k: sum(flow.active for flow in scene.out_of(k)) for k in range(count)}
    starts = [k for k in scene.outputs if scene.parts[k].node.cotangent is not None]
    for k in starts:
        if not waiting[k]:
            bars[k] = len(walk)
    if starts:
        walk.append(Step(f"Backward: {_begun(scene, starts)}.", starts[0], ()))
    for place, k in enumerate(back, start=1):
        moved = [e for e in into[k] if scene.flows[e].active]
        finished = []
        for e in moved:
            shares[e] = len(walk)
            tail = scene.flows[e].tail
            waiting[tail] -= 1
            if not waiting[tail]:
                bars[tail] = len(walk)
                finished.append(tail)
        sentence = f"Backward {place} of {len(back)}: {_passed(scene, k, [scene.flows[e] for e in moved])}"
        totals = [cotangent_in_words(scene, tail) for tail in dict.fromkeys(finished)]
        complete = _listed([total for total in totals if total])
        walk.append(Step(f"{sentence}{'; ' if complete else ''}{complete}.", k, tuple(moved)))
    return Steps(tuple(walk), tuple(values), tuple(bars), tuple(shares))


def _listed(words: list[str]) -> str:
    rest = len(words) - LISTED
    return ", ".join(words[:LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _with(words: str, value: Any, shape: str) -> str:
    """The words with their value: `q = 3`, `W1 (4 × 3)`."""
    if symbols.single(value):
        return f"{words} = {symbols.number(symbols.entry(value))}"
    return f"{words} ({shape})" if shape else words


def _name(scene: Scene, k: int) -> str:
    return scene.parts[k].name or "constants"


def _is(scene: Scene, k: int) -> str:
    node = scene.parts[k].node
    if scene.parts[k].times > 1:
        return f"{_name(scene, k)}, {scene.parts[k].times} arrays of {symbols.shape(node)}"
    return _with(_name(scene, k), node.value, symbols.shape(node))


def _computed(scene: Scene, k: int) -> str:
    part = scene.parts[k]
    value, shape = part.node.value, symbols.shape(part.node)
    if part.kind == "output":
        return f"{_with(part.name, value, shape)}, which {_name(scene, scene.into(k)[0].tail)} makes too"
    return _with(part.sentence if part.kind == "group" else f"{part.name} = {part.sentence}", value, shape)


def _begun(scene: Scene, starts: list[int]) -> str:
    if len(starts) == 1 and symbols.single(scene.parts[starts[0]].node.cotangent):
        node = scene.parts[starts[0]].node
        if not scene.out_of(starts[0]) and symbols.entry(node.cotangent) == 1:
            return f"the derivative of {_name(scene, starts[0])} with respect to itself is 1"
    return f"the backward pass starts at {_listed([_name(scene, k) for k in starts])} with the given cotangents"


def _passed(scene: Scene, k: int, flows: list[Flow]) -> str:
    part = scene.parts[k]
    bar = part.node.cotangent
    if any(flow.rule and not symbols.single(flow.share) for flow in flows):
        return f"{_name(scene, k)} = {part.sentence}, so {_listed([_added(scene, flow) for flow in flows])}"
    words = []
    for flow in flows:
        node, name = scene.parts[flow.tail].node, _name(scene, flow.tail)
        if flow.share is not None and symbols.single(flow.share):
            share = symbols.number(symbols.entry(flow.share))
            product = (
                f"{symbols.number(symbols.entry(bar))} · {_factor(flow.local)} = " if flow.local is not None else ""
            )
            words.append(f"{product}{share} back to {name}")
        else:
            shape = f"an array of {symbols.shape(node)}" if node.shape else "its contribution"
            words.append(f"{shape} back to {name}")
    return f"{_name(scene, k)} passes {_listed(words)}"


def _added(scene: Scene, flow: Flow) -> str:
    """`x̄ += −ȳ (2 × 2)`: what the rule adds to a cotangent, or sets it to."""
    node, sign = scene.parts[flow.tail].node, "+=" if len(scene.terms(flow.tail)) > 1 else "="
    shape = f" ({symbols.shape(node)})" if symbols.shape(node) else ""
    bar = symbols.barred(_name(scene, flow.tail))
    if symbols.single(flow.share) and not flow.rule:
        return f"{bar} {sign} {symbols.number(symbols.entry(flow.share))}"
    return f"{bar} {sign} {flow.rule or 'what its rule gives'}{shape}"


def _factor(local: float) -> str:
    text = symbols.number(local)
    return f"({text})" if text[0] == "−" else text


def cotangent_in_words(scene: Scene, k: int) -> str:
    """`x̄ = 4 + 22 = 26`; "" for an array that has one contribution."""
    node, terms = scene.parts[k].node, scene.terms(k)
    name = _name(scene, k)
    bar = symbols.barred(name)
    if node.cotangent is None or scene.parts[k].times > 1:
        return ""
    if symbols.single(node.cotangent):
        return f"{bar} = {' '.join(summed(node.cotangent, terms)).removeprefix('∂ ')}"
    return f"{bar} is the sum of {len(terms)}" if len(terms) > 1 else ""
