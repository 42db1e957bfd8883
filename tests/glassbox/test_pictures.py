"""What the glass box shows: layout, scenes, pictures, pages and text."""

import re
import sys
from html import unescape
from inspect import signature
from random import Random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import fnn
from fnn.glassbox._graph import graph
from fnn.glassbox.picture import drawing as drawing_module
from fnn.glassbox.picture import groups as groups_module
from fnn.glassbox.picture import layout as layout_module
from fnn.glassbox.picture import page as pages_module
from fnn.glassbox.picture import scenes as scenes_module
from fnn.glassbox.picture import steps as steps_module
from fnn.glassbox.picture import svg as pictures_module
from fnn.glassbox.picture.layout import MARGIN, layered, layout
from fnn.glassbox.picture.maps import CELLS, DEEPEST, heat_map
from fnn.glassbox.picture.scenes import foldable, scene
from fnn.glassbox.picture.steps import steps
from fnn.glassbox.picture.svg import SIDE_BY_SIDE, on_curve
from fnn.glassbox.picture.symbols import number
from fnn.glassbox.table import TABLE
from tests.cases import random
from tests.corpus import CORPUS
from tests.tolerances import LEAF, PRINTED

#: Of the corpus, what is drawn: the lectures' graphs, and one function of each kind of box (a mask, steps with several
#: outputs, a loop, a branch, indices, a nested call, named layers, a scan of layers, what no gradient passes).
SHOWN = [
    "a10", "c7", "d3", "e3", "e4", "e5", "attention", "rare", "recurrent", "branches", "indexing", "with_jit_inside",
    "nested_parameters", "skip", "repeated", "stopped", "mlp_tanh",
]  # fmt: skip


def made(name):
    """The graph of an entry of the corpus. Its functions promote as users' functions do."""
    f, args = CORPUS[name]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return graph(f, *args)


@pytest.fixture(scope="module")
def boxes():
    """Graphs of the corpus, each made once."""
    held = {}

    def box(name):
        if name not in held:
            held[name] = made(name)
        return held[name]

    return box


def web(count, seed=0):
    """(sizes, edges) of a graph such as programs have: mostly the values just made, now and then an old one."""
    draw = Random(seed)
    edges = [
        (max(0, v - 1 - int(draw.expovariate(0.3))), v) for v in range(1, count) for _ in range(draw.choice((1, 1, 2)))
    ]
    return [(draw.uniform(50, 150), draw.uniform(40, 160)) for _ in range(count)], edges


def tangled(count):
    """A function of so many values, which reads old ones again."""

    def f(x):
        values = [x, jnp.sin(x)]
        while len(values) < count:
            k = len(values)
            values.append(values[-1] * values[(7 * k) % (k - 1)] if k % 2 else jnp.tanh(values[-2]))
        return values[-1] + values[-2]

    return f


def texts(svg):
    """The texts of an SVG."""
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


# ---- layout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("count", [0, 1, 12, 60, 200])
def test_boxes_are_apart_and_inside_and_edges_run_forward_through_no_box(count, down):
    sizes, edges = web(count)
    plan = layout(sizes, edges, [60.0] * len(edges), down=down)
    corners = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(plan.corners, sizes, strict=True)]
    for k, (a, b, c, d) in enumerate(corners):
        assert a >= MARGIN - 1 and b >= MARGIN - 1 and c <= plan.size[0] - MARGIN + 1 and d <= plan.size[1] - MARGIN + 1
        assert not any(a < r and p < c and b < s and q < d for p, q, r, s in corners[:k])
    axis = 1 if down else 0
    for (tail, head), route in zip(edges, plan.routes, strict=True):
        assert plan.layers[tail] < plan.layers[head]
        points = [on_curve(curve, t / 8) for curve in route for t in range(9)]
        along = [point[axis] for point in points]
        assert along == sorted(along)
        assert route[0][0][axis] == pytest.approx(corners[tail][axis + 2], abs=0.11)
        assert route[-1][3][axis] == pytest.approx(corners[head][axis], abs=0.11)
        for k, (a, b, c, d) in enumerate(corners):
            if k not in (tail, head):
                assert not any(a + 0.2 < x < c - 0.2 and b + 0.2 < y < d - 0.2 for x, y in points), (tail, head, k)


def test_a_chain_is_straight_and_a_layout_is_the_same_each_time():
    plan = layout([(60.0, 40.0 + 10 * k) for k in range(6)], [(k, k + 1) for k in range(5)])
    assert len({round(y + 20 + 5 * k, 1) for k, (_, y) in enumerate(plan.corners)}) == 1
    sizes, edges = web(80, seed=4)
    assert layout(sizes, edges) == layout(sizes, edges)


def test_arguments_stand_beside_their_first_consumer():
    # 0 → 2 → 3 → 4, and 1 is read by 4 alone
    assert layered(5, [(0, 2), (2, 3), (3, 4), (1, 4)]) == [0, 2, 1, 2, 3]


def test_edges_must_run_forward():
    with pytest.raises(ValueError, match="topological order"):
        layout([(1.0, 1.0)] * 2, [(1, 0)])


def lines(run, *modules):
    """How many lines of these modules run."""
    ran, files = 0, {module.__file__ for module in modules}

    def trace(frame, event, _):
        nonlocal ran
        ran += event == "line"
        return trace if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return ran


def test_the_work_of_a_layout_and_of_a_picture_grows_nearly_linearly():
    small, large = (lines(lambda n=n: layout(*web(n, seed=1)), layout_module) for n in (100, 800))
    # eight times the boxes: at most twelve times the lines, where a quadratic layout would need sixty-four
    assert large < 12 * small
    boxes = {count: graph(tangled(count), 0.3) for count in (50, 200)}
    drawn = (layout_module, drawing_module, groups_module, scenes_module)
    modules = (*drawn, pictures_module, steps_module, pages_module)
    small, large = (lines(box.html, *modules) for box in boxes.values())
    assert large < 6 * small


# ---- scenes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", SHOWN)
def test_every_scene_is_in_order_and_hides_no_gradient(boxes, name, fold):
    box = boxes(name)
    drawing = scene(box, fold)
    assert len({part.key for part in drawing.parts}) == len(drawing.parts)
    assert all(flow.tail < flow.head for flow in drawing.flows)
    drawn = {k for part in drawing.parts for k in part.members}
    assert {node.index for node in box.nodes if node.operation == "argument"} <= drawn
    for k, part in enumerate(drawing.parts):
        terms = drawing.terms(k)
        bar = part.node.cotangent
        if k in drawing.outputs or part.times > 1 or part.kind == "output" or bar is None or not terms:
            continue
        if part.kind == "group" and len(drawing.out_of(k)) != len(terms):
            continue
        if any(drawing.parts[flow.head].kind == "output" for flow in drawing.out_of(k)):
            continue
        total = sum(np.reshape(np.asarray(term, np.float64), np.shape(bar)) for term in terms)
        scale = max(1.0, np.max(np.abs(np.nan_to_num(total)), initial=0))
        np.testing.assert_allclose(total, bar, atol=PRINTED[4] * scale, err_msg=f"{name}: {part.name}")


def neuron(theta, x):
    with jax.named_scope("neuron"):
        z = theta[0] * x[0] + theta[1] * x[1] + theta[2]
        return 1 / (1 + jnp.exp(-z))


def test_sigmoid_of_claim_e4_is_one_node_or_its_six(boxes):
    _, args = CORPUS["e4"]
    box = graph(neuron, *args)
    whole, folded = scene(box), scene(box, ("neuron",))
    # the six operations of the slide: ×, +, negate, exp, +1, 1/x; the first two occur twice
    assert [part.symbol for part in whole.parts if part.kind == "step"] == [
        "×",
        "×",
        "+",
        "+",
        "−x",
        "eˣ",
        "+ 1",
        "1/x",
    ]
    steps_folded = [part for part in folded.parts if part.kind != "argument"]
    assert [part.name for part in steps_folded] == ["neuron"]
    assert not foldable(boxes("e4")) and foldable(box)
    for drawing in (whole, folded):
        for part in drawing.parts:
            if part.kind == "argument":
                assert float(part.node.cotangent) == pytest.approx(float(box[part.name].cotangent))
    # folded, the arrow into the neuron carries the whole local derivative: the output's cotangent is 1
    assert [flow.local for flow in folded.flows] == pytest.approx([float(flow.share) for flow in folded.flows])


def test_a_name_that_is_not_there_cannot_be_folded(boxes):
    with pytest.raises(ValueError, match="fold must name nested calls or named scopes, got 'nope'"):
        graph(neuron, *CORPUS["e4"][1]).svg(fold=("nope",))
    with pytest.raises(ValueError, match="There are: none"):
        boxes("e3").svg(fold=("nope",))


def test_a_group_of_two_outputs_shows_both_and_no_local_derivative():
    @jax.jit
    def pair(x):
        return jnp.sin(x) * 2, jnp.cos(x) * 3

    def f(x):
        a, b = pair(x)
        return a * b + a

    drawing = scene(graph(f, 1.0), True)
    assert [part.kind for part in drawing.parts] == ["argument", "group", "output", "step", "step"]
    assert [flow.local is None for flow in drawing.flows if flow.head < 3] == [True, True]
    assert float(drawing.flows[0].share) == pytest.approx(float(drawing.parts[0].node.cotangent))


def test_constants_indices_and_plumbing_are_no_boxes(boxes):
    symbols = [part.symbol for part in scene(boxes("c7")).parts if part.kind == "step"]
    assert symbols == ["+", "×", "− 1", "x²"]
    drawn = [part.node.operation for part in scene(boxes("mlp_tanh")).parts]
    assert not {"lt", "reshape", "squeeze", "constant", "stop_gradient"}.intersection(drawn)
    # a broadcast that adds up a gradient stays to be seen
    assert drawn.count("broadcast_in_dim") == 2
    # a mask that no argument reaches is one grey box
    (mask,) = (part for part in scene(boxes("attention")).parts if part.kind == "constant")
    assert mask.name == "mask"


def test_equal_layers_in_a_row_are_one_box():
    net = fnn.mlp(3, *[4] * 13, 3)
    box = graph(
        fnn.objective(net, fnn.squared_error),
        jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, np.float32), jax.eval_shape(net.init, jax.random.key(0))),
        np.ones((4, 3), np.float32),
        np.zeros((4, 3), np.float32),
    )
    folded = scene(box, True)
    (row,) = (part for part in folded.parts if part.times > 1 and part.kind == "group")
    assert row.name == "dense × 13" and row.symbol == "13 × 4 steps"
    assert "dense14" in [part.name for part in folded.parts]
    assert len(folded.parts) < 16 < len(scene(box).parts)
    assert "dense × 13" in texts(box.svg(fold=True))


def test_a_value_that_is_used_twice_by_one_step_has_two_arrows():
    drawing = scene(graph(lambda x: x * x, 3.0))
    assert [float(flow.share) for flow in drawing.flows] == [3.0, 3.0]


def test_the_other_outputs_of_a_step_are_no_contributions_to_it(boxes):
    # the scan of `recurrent` has two outputs; what flows into the second is not part of the first one's cotangent
    drawing = scene(boxes("recurrent"))
    (k,) = (k for k, part in enumerate(drawing.parts) if part.name == "scan1")
    assert [drawing.parts[flow.head].name for flow in drawing.out_of(k)] == ["scan2", "power"]
    assert [drawing.parts[flow.head].name for flow in drawing.readers(k)] == ["power"]


# ---- numbers and maps -----------------------------------------------------------------------------------------------


#: How the signs of a formula are typed.
TYPED = {"×": "*", "−": "-", "√": "sqrt", "²": "**2", "³": "**3", "ᵀ": ".T", "^": "**", "ln(": "log("}
#: {primitive: its parameters}, for those whose formula depends on them.
WITH = {
    "integer_pow": [{"y": n} for n in (2, 3, -1, -2)],
    "dot_general": [{"dimension_numbers": (((i,), (j,)), ((), ()))} for i in (0, 1) for j in (0, 1)],
    "transpose": [{"permutation": (1, 0)}],
}


def formulas():
    """(primitive, its parameters, the formula for its first input, and so on), for those without words."""
    for name, primitive in TABLE.items():
        for params in WITH.get(name, [{}]) if primitive.back else ():
            texts = [primitive.formula(k, params, [(3, 3)] * 2) for k in range(len(primitive.back))]
            if {*re.findall("[a-z]{2,}", " ".join(texts))} <= {"sign", "ln", "cos", "sin", "cosh", "sinh"}:
                yield name, params, texts


def test_a_formula_in_a_caption_is_the_rule(small_functions):
    a, b, g = (jnp.asarray(random(name).uniform(0.2, 0.8, (3, 3))) for name in ("a", "b", "g"))
    told = [*formulas()]
    assert len({name for name, *_ in told}) >= 30
    for name, params, texts in told:
        count = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in signature(TABLE[name].rule).parameters.values()) - 2
        inputs = (a, b)[: max(count, 1)]
        y = jnp.tanh(a) if name == "tanh" else a * b
        handed = TABLE[name].pull(g, y, *inputs, **params)
        for text, right in zip(texts, handed, strict=False):
            for sign, typed in TYPED.items():
                text = text.replace(sign, typed)
            scope = vars(jnp) | {"g": g, "y": y, "a": a, "b": b}
            exec(f"value = {text.format(g='g', y='y', a='a', b='b')}", scope)
            np.testing.assert_allclose(scope["value"], right, rtol=LEAF, err_msg=f"{name}: {text}")
            assert not np.allclose(2 * scope["value"], right), name


def convolved(x, k):
    y = lax.conv_general_dilated(x[None, None], k[None, None], (1,), "SAME", rhs_dilation=(2,))
    m = lax.reduce_window(y, -jnp.inf, lax.max, (1, 1, 2), (1, 1, 2), "VALID")
    return jnp.sum(m**2)


def windows_of(box):
    """{step: the lines of its windows} in the details of the page."""
    drawing = scene(box)
    parts = [pages_module._part(box, drawing, k) for k in range(len(drawing.parts))]
    told = {part["head"].split(" = ")[0]: dict(part["rows"]).get("windows") for part in parts}
    return {name: text.splitlines() for name, text in told.items() if text}


def test_a_convolution_and_a_pool_say_which_window_each_output_saw():
    x, k = np.array([0, -1, 2, -3, 4, -5], np.float32), np.array([1, -1, 2], np.float32)
    box = graph(convolved, x, k)
    told = windows_of(box)
    assert told["y"] == [
        "to x\u0304 at every place of a window goes y\u0304 times the weight of k there",
        "y[0] saw x[0 2]", "y[1] saw x[1 3]", "y[2] saw x[0 2 4]", "y[3] saw x[1 3 5]", "y[4] saw x[2 4]",
        "y[5] saw x[3 5]",
    ]  # fmt: skip
    # each output is the sum over what it saw, and the gradient of the pool is where it took its number
    y = box["y"].value.ravel()
    assert y[2] == x[[0, 2, 4]] @ k and told["m"][0].startswith("m[0] saw y[0:2], took y[")
    taken = [int(re.search(r"took y\[(\d+)", line)[1]) for line in told["m"]]
    assert np.flatnonzero(box.cotangent("y")).tolist() == sorted(taken)
    # in the picture a dot for each of them, and the frame around the window of the middle output
    drawn = {part.name: part.window.drawing for part in scene(box).parts if part.window}
    assert drawn.keys() == {"y", "m"}
    assert [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn["m"])] == [10 * (k + 0.5) for k in sorted(taken)]
    assert '<rect class="window" x="20" y="0" width="20" height="10"/>' in drawn["m"]
    assert '<rect class="window" x="10" y="0" width="50" height="10"/>' in drawn["y"] and "taken" not in drawn["y"]
    assert all(each in box.svg() for each in drawn.values()) and "dots: entries taken" in box.svg()


def test_windows_in_two_axes_of_strides_padding_and_gaps():
    def f(image, kernel):
        y = lax.conv_general_dilated(image, kernel, (2, 3), "VALID")
        s = lax.reduce_window(image, 0.0, lax.add, (1, 1, 4, 2), (1, 1, 2, 2), ((0, 0), (0, 0), (1, 1), (0, 0)))
        t = lax.conv_general_dilated(image[..., :2, :1], kernel, (1, 1), ((1, 1), (1, 1)), lhs_dilation=(2, 2))
        return jnp.sum(y) + jnp.sum(s) + jnp.sum(t)

    image, kernel = np.arange(24, dtype=np.float32).reshape(1, 1, 6, 4), np.ones((1, 1, 2, 2), np.float32)
    told = windows_of(graph(f, image, kernel))
    assert told["y"][1:] == ["y[0] saw image[0:2, 0:2]", "y[1] saw image[2:4, 0:2]", "y[2] saw image[4:6, 0:2]"]
    assert told["s"][:2] == ["s[0, 0] saw image[0:3, 0:2]", "s[0, 1] saw image[0:3, 2:4]"] and len(told["s"]) == 6
    assert told["t"][1:4] == ["t[0, 0] saw part[0]", "t[0, 1] saw part[0]", "t[1, 0] saw part[0]"]
    assert sum(part.window is not None for part in scene(graph(f, image, kernel)).parts) == 3
    # too many to list are not
    assert windows_of(graph(f, np.ones((1, 1, 12, 12), np.float32), kernel)).keys() == {"t"}


def test_a_step_on_arrays_says_its_rule():
    def f(x, w):
        z = x @ w
        a = -z * z
        return jnp.sum(jnp.where(a > 0, a, 0.1 * a) + jnp.max(z))

    with jax.numpy_dtype_promotion("standard"):
        box = graph(f, np.ones((2, 3), np.float32), np.arange(6, dtype=np.float32).reshape(3, 2))
    captions = "\n".join(step.caption for step in steps(scene(box)).steps)
    for told in (
        "z = x @ w, so x\u0304 = z_bar @ wᵀ (2 × 3), w\u0304 = xᵀ @ z_bar (3 × 2).".replace("z_bar", "z\u0304"),
        "negative = −z, so z\u0304 += −negative_bar (2 × 2); z\u0304 is the sum of 3.",
        "so z\u0304 += largest_bar where z is largest, shared at ties, 0 elsewhere (2 × 2)",
        "largest_bar = the sum of added_bar; largest_bar = 4.",
        "product_bar = choice_bar where greater is false, 0 elsewhere (2 × 2)",
        "z = x @ w (2 × 2).",
    ):
        assert told in captions, captions


def test_numbers_are_short():
    pairs = {
        0.19661193: "0.1966",
        -4.0: "−4",
        1234567.0: "1.235·10⁶",
        -1.2e-7: "−1.2·10⁻⁷",
        -1e-5: "−10⁻⁵",
        0.0: "0",
        float("inf"): "∞",
    }
    assert {value: number(value) for value in pairs} == pairs
    assert [number(z) for z in (1 + 2j, -0.5 - 3j)] == ["1 + 2i", "−0.5 − 3i"]
    assert (
        number(np.int32(1234567)) == "1234567" and number(np.bool_(False)) == "false" and number(float("nan")) == "NaN"
    )


def test_maps_have_at_most_sixteen_cells_a_side_and_say_that_they_average():
    small, large = heat_map(np.eye(CELLS)), heat_map(np.ones((50, 64)))
    assert small and large and not small.averaged and large.averaged == "mean of 4 × 4"
    assert max(large.width, large.height) <= 64.0
    assert "nan" not in heat_map(np.array([np.nan, -np.inf, 1.0])).drawing
    assert heat_map(np.zeros((0, 3))) is None
    # an image among examples and channels of one is drawn as an image
    image = heat_map(np.ones((1, 4, 6, 1)))
    assert image.width / image.height == 6 / 4
    assert heat_map(np.zeros(4)).scale == "all 0"


def test_a_small_map_shows_its_numbers_where_they_have_room():
    small = heat_map(np.array([[1.0, -2.5, 0.25], [0.0, np.nan, -np.inf]]))
    assert re.findall(r">([^<>]+)</text>", small.drawing) == ["1", "−2.5", "0.25", "0", "NaN", "−∞"] and not small.scale
    assert small.drawing.count('class="cell off"') == small.drawing.count('class="bad"') == 2
    # a number keeps its contrast: no deeper shade than this
    assert set(re.findall(r'class="([pn]\d)', small.drawing)) == {"p1", f"n{DEEPEST}"}
    assert re.findall(r">([^<>]+)</text>", heat_map(np.array([7, -3])).drawing) == ["7", "−3"]
    for shape in ((4,), (1, 4), (3, 3), (4, 1)):
        assert "<text" not in heat_map(np.ones(shape)).drawing
    # no room, and truths
    assert "<text" not in heat_map(np.array([-1.2345e-10, 1.0])).drawing
    assert "<text" not in heat_map(np.array([True, False])).drawing


# ---- pictures -------------------------------------------------------------------------------------------------------

LECTURES = {
    "a10": "1 3 11 121 124 22 44 66",
    "c7": "1 2 4 3 12 11 121 88 66 22",
    "d3": "1.2 −0.7 −1.008 0.5 1.016 0.125 1.141 4.137",
    "e3": "−2 5 −4 3 −12",
    "e4": "2 −3 −1 −2 6 4 1 0.3679 1.368 0.7311 0.1966 0.3932 −0.5898 −0.5344",
    "e5": "3 −1 6 5 1.667 0.8333 0.5 1.833",
}


@pytest.mark.parametrize("name", sorted(LECTURES))
def test_every_number_of_the_lectures_stands_in_the_picture(boxes, name):
    words = set(" ".join(texts(boxes(name).svg())).split())
    assert set(LECTURES[name].split()) <= words
    for node in boxes(name).nodes:
        if node.operation != "constant":
            assert number(float(node.value)) in words and number(float(node.cotangent)) in words
            assert all(number(float(share.bar)) in words for share in node.shares)


def test_branches_are_summed_in_sight(boxes):
    assert "∂ 1 + 0.8333 = 1.833" in texts(boxes("e5").svg())
    assert "∂ 4 + 22 = 26" in texts(graph(lambda x: x * 22 + x * 4, 1.0).svg())


@pytest.mark.parametrize("name", SHOWN)
def test_pictures_pages_and_texts_of_the_corpus_are_whole_and_repeat_byte_for_byte(boxes, name):
    box = boxes(name)
    again = made(name) if name in ("e3", "e5") else box
    for shown in (lambda b: b.svg(), lambda b: b.svg(fold=True, dark=True), lambda b: b.html(), str):
        assert shown(box) == shown(again)
    for fold in (False, True):
        picture = box.svg(fold=fold)
        assert (
            picture.startswith("<svg")
            and "nan" not in picture
            and "var(--" not in picture
            and "http" not in picture[40:]
        )
        assert len(re.findall(r'class="part', picture)) == len(scene(box, fold).parts)
    assert max(map(len, str(box).splitlines())) <= 100


@pytest.mark.parametrize("count", [12, 60, 200])
def test_graphs_of_many_nodes_are_drawn(count):
    box = graph(tangled(count), 0.3)
    picture = box.svg()
    assert len(scene(box).parts) >= 0.9 * count // 2
    down = (
        max(layout_module.layered(len(scene(box).parts), [(e.tail, e.head) for e in scene(box).flows])) >= SIDE_BY_SIDE
    )
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', picture).groups())
    assert (height > width) == down


def test_what_a_user_names_is_never_markup():
    evil = "</script><script>alert(1)</script>&\"'"

    def f(x):
        with jax.named_scope("<b>scope</b>"):
            return fnn.glassbox.name(jnp.sin(x), evil) * 2

    f.__name__ = evil
    box = graph(f, 1.0)
    object.__setattr__(box.nodes[0], "name", evil)
    for shown in (box.svg(), box.svg(fold=True), box.html(), box._repr_html_()):
        assert "<script>alert" not in shown and "<b>" not in shown
    page = box.html()
    assert page.count("<script") == 2 and page.count("</script>") == 2


def test_a_page_forbids_every_request(boxes):
    page = boxes("e4").html()
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page) and "@import" not in page and "url(" not in page


def test_walks_compute_forward_then_hand_back(boxes):
    drawing = scene(boxes("e3"))
    f = drawing.parts[-1].name
    captions = [step.caption for step in steps(drawing).steps]
    assert captions[1:] == [
        "Arguments: x = −2, y = 5, z = −4.",
        "Forward 1 of 2: q = x + y = 3.",
        f"Forward 2 of 2: {f} = q × z = −12.",
        f"Backward: the derivative of {f} with respect to itself is 1.",
        f"Backward 1 of 2: {f} passes 1 · 3 = 3 back to z, 1 · (−4) = −4 back to q; z\u0304 = 3, q\u0304 = −4.",
        "Backward 2 of 2: q passes −4 · 1 = −4 back to x, −4 · 1 = −4 back to y; x\u0304 = −4, y\u0304 = −4.",
    ]


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("fold", [False, True])
def test_every_walk_knows_every_value_and_completes_every_cotangent(boxes, name, fold):
    drawing = scene(boxes(name), fold)
    walk = steps(drawing)
    for k, part in enumerate(drawing.parts):
        assert walk.values[k] >= 1
        assert (walk.bars[k] > 0) == (part.node.cotangent is not None), part.name
    for e, flow in enumerate(drawing.flows):
        # a value flows when it is known, a contribution when the cotangent of its consumer is complete
        assert walk.values[flow.tail] <= walk.values[flow.head]
        assert (walk.shares[e] > 0) == flow.active
        if flow.active:
            assert walk.bars[flow.head] < walk.shares[e] <= walk.bars[flow.tail]


# ---- text -----------------------------------------------------------------------------------------------------------


def test_text_has_a_line_per_node_and_fits_its_width(boxes):
    from fnn.glassbox.picture import as_text

    def f(a, b):
        added = a + b
        largest = jnp.maximum(a, b)
        return added / 3 * largest

    lines = str(graph(f, 3.0, 3.0)).splitlines()
    assert lines[1].split() == ["a", "3", "∂", "2"]
    assert lines[2].split() == ["∂", "1", "from", "largest", "+", "1", "from", "added"]
    assert any(" = div(added, 3)" in line for line in lines)
    for width in (40, 72, 120):
        assert max(map(len, as_text(boxes("attention"), width).splitlines())) <= width
