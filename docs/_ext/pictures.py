"""The pictures of the written pages, drawn anew by `python docs/_ext/pictures.py [name …]` into `docs/pictures/`.

Promises: each is drawn from numbers computed here, in a minute for all; the same numbers give the same file.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments import figures
from experiments.figures import BLUE, GREEN, ORANGE, RED

FOLDER = Path(__file__).parents[1] / "pictures"
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
GREY = "0.55"
DRAWN: dict[str, Callable[[], Any]] = {}


def picture(draw: Callable[[], Any]) -> Callable[[], Any]:
    DRAWN[draw.__name__] = draw
    return draw


def main(names: list[str]) -> None:
    for name in names or DRAWN:
        made = DRAWN[name]()
        file = FOLDER / f"{name}.svg"
        if isinstance(made, str):
            file.write_text(made, encoding="utf-8")
        else:
            made.savefig(file, metadata={"Date": None})
            # matplotlib ends lines with spaces
            file.write_text("\n".join(map(str.rstrip, file.read_text("utf-8").splitlines())) + "\n", encoding="utf-8")
        print(file)


def _corners(axes: Any, points: np.ndarray, labels: np.ndarray) -> None:
    axes.grid(False)
    for value, marker, color in ((0, "o", BLUE), (1, "s", ORANGE)):
        chosen = points[labels == value]
        axes.scatter(*chosen.T, s=150, marker=marker, color=color, edgecolor="black", zorder=3)


def _digits() -> tuple[Any, Any, np.ndarray, np.ndarray]:
    x, y = fnn.data.digits()
    train, new = fnn.data.stratified_split(y, [1437, 360], seed=0)
    return x, y, train, new


# ---- the course -----------------------------------------------------------------------------------------------------


@picture
def story_unit() -> Any:
    figure, ((left, right),) = figures.blank(9, 4.2, columns=2)
    edge = np.linspace(-0.6, 1.6, 2)
    _corners(left, CORNERS, np.array([0, 0, 0, 1]))
    left.plot(edge, 1.4 - edge, color="black", lw=1.5)
    left.set_title("and: a line is enough")
    _corners(right, CORNERS, np.array([0, 1, 1, 0]))
    for offset in (0.5, 1.5):
        right.plot(edge, offset - edge, color=GREY, lw=1.2, ls="--")
    right.plot(edge, edge + 0.5, color=GREY, lw=1.2, ls="--")
    right.set_title("either, but not both: each line gets one wrong")
    for axes in (left, right):
        axes.set(xlim=(-0.4, 1.4), ylim=(-0.4, 1.4), xticks=[0, 1], yticks=[0, 1], xlabel="$x_1$", ylabel="$x_2$")
        axes.set_aspect("equal")
    return figure


@picture
def story_logistic() -> Any:
    images, digits = fnn.data.digits()
    chosen = (digits == 3) | (digits == 8)
    x, y = jnp.asarray(images[chosen]), jnp.asarray(digits[chosen] == 8, jnp.float32)

    def step(params: Any, _: None) -> tuple[Any, None]:
        w, b = params
        p = fnn.sigmoid(x @ w + b)
        return (w - (p - y) @ x / len(y), b - jnp.mean(p - y)), None

    (w, _), _ = jax.lax.scan(step, (jnp.zeros(64), jnp.zeros(())), length=200)
    figure, (axes,) = figures.blank(9, 3.2, columns=3)
    for spot, image, title in ((axes[0], x[y == 0][0], "a three"), (axes[2], x[y == 1][0], "an eight")):
        spot.imshow(np.reshape(image, (8, 8)), cmap="gray_r")
        spot.set_title(title)
    limit = float(jnp.abs(w).max())
    shown = axes[1].imshow(np.reshape(w, (8, 8)), cmap="PuOr", vmin=-limit, vmax=limit)
    axes[1].set_title("the weights")
    figure.colorbar(shown, ax=axes[1], shrink=0.8, ticks=[-limit, 0, limit], format="%.1f")
    for spot in axes:
        spot.axis("off")
    return figure


@picture
def story_hidden() -> Any:
    labels = np.array([0, 1, 1, 0])
    sums = CORNERS.sum(axis=1)
    hidden = np.stack([np.maximum(0, sums), np.maximum(0, sums - 1)], axis=1)
    figure, ((left, right),) = figures.blank(9, 4.2, columns=2)
    _corners(left, CORNERS, labels)
    left.set(title="the inputs", xlabel="$x_1$", ylabel="$x_2$", xlim=(-0.4, 1.4), ylim=(-0.4, 1.4))
    _corners(right, hidden, labels)
    edge = np.array([0.0, 3.0])
    right.plot(edge, (edge - 0.5) / 2, color="black", lw=1.5)
    right.set(title="behind the hidden layer", xlabel="$h_1$", ylabel="$h_2$", xlim=(-0.4, 2.4), ylim=(-0.4, 1.4))
    right.annotate("two corners", (1, 0), (1.25, -0.25), fontsize=10)
    return figure


@picture
def story_classes() -> Any:
    scores = np.array([-3.44, 1.16, -0.81, 3.91])
    exponentials = np.exp(scores)
    figure, (axes,) = figures.blank(10, 3, columns=3)
    parts = ((scores, "scores"), (exponentials, "exponentials"), (exponentials / exponentials.sum(), "probabilities"))
    for spot, (values, title) in zip(axes, parts, strict=True):
        bars = spot.bar(range(1, 5), values, color=[BLUE, ORANGE, GREEN, RED])
        spot.bar_label(bars, fmt="%.2f", fontsize=10, padding=2)
        spot.axhline(0, color="black", lw=0.8)
        spot.margins(y=0.15)
        spot.set(title=title, xlabel="class", xticks=range(1, 5))
        spot.grid(False)
    return figure


@picture
def story_descent() -> Any:
    x, y, train, _ = _digits()
    net = fnn.mlp(64, 32, 10, activation=fnn.tanh)
    figure, ((axes,),) = figures.blank(7, 3.6)
    for rate, color, style in ((0.003, BLUE, "-"), (0.3, GREEN, "--"), (30.0, RED, ":")):
        _, history = fnn.fit(
            fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(0)), (x[train], y[train]),
            optimizer=fnn.optimizers.sgd, learning_rate=rate, epochs=10, batch_size=32, key=jax.random.key(1),
        )  # fmt: skip
        axes.plot(range(1, 11), history.metrics["loss"], color=color, ls=style, marker="o", label=f"rate {rate:g}")
    axes.set(yscale="log", xlabel="epoch", ylabel="loss")
    axes.legend()
    return figure


@picture
def story_depth() -> Any:
    x, y = fnn.data.digits()
    figure, ((axes,),) = figures.blank(7, 3.6)
    kinds = (("sigmoid", "glorot_uniform", RED), ("tanh", "glorot_uniform", BLUE), ("relu", "he_normal", GREEN))
    for activation, init, color in kinds:
        net = fnn.mlp(64, *[32] * 10, 10, activation=activation, weight_init=init)
        by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)
        inside = by_hand.intermediates(net.init(jax.random.key(0)), x[:200], y[:200])
        sizes = [float(jnp.linalg.norm(bar)) for name, (_, bar) in inside.items() if name.endswith(".z")][:-1]
        axes.plot(range(1, 11), sizes, color=color, marker="o", label=activation)
    axes.set(yscale="log", xlabel="hidden layer", ylabel="size of the gradient", xticks=range(1, 11))
    axes.legend()
    return figure


# ---- how to ---------------------------------------------------------------------------------------------------------


@picture
def checking() -> Any:
    @jax.custom_vjp
    def squash(z: Any) -> Any:
        return jnp.tanh(z)

    squash.defvjp(lambda z: (jnp.tanh(z), z), lambda z, a_bar: (a_bar * (1 - z * z),))
    W, x = jnp.array([[0.5, -1.0], [0.25, 0.75]]), jnp.array([[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7]])
    return fnn.check(lambda W, x: jnp.mean(squash(x @ W) ** 2), W, x).draw()


@picture
def checkpoints() -> Any:
    x, y = fnn.data.digits()
    net, optimizer = fnn.mlp(64, 16, 10, activation="tanh"), fnn.optimizers.adam(3e-3)

    def train(folder: str, killed_at: int = 0) -> Any:
        def on_epoch(number: int, metrics: Any) -> None:
            if number == killed_at:
                raise KeyboardInterrupt

        try:
            return fnn.fit(
                fnn.backprop(net, "softmax_cross_entropy"), net.init(jax.random.key(0)), (x, y), optimizer=optimizer,
                epochs=6, batch_size=32, key=jax.random.key(1), on_epoch=on_epoch, checkpoints=fnn.Checkpoints(folder),
            )[1].step_loss.ravel()  # fmt: skip
        except KeyboardInterrupt:
            return None

    with tempfile.TemporaryDirectory() as alone, tempfile.TemporaryDirectory() as folder:
        whole = train(alone)
        train(folder, killed_at=3)
        resumed = train(folder)
    cut = len(whole) // 2
    figure, ((axes,),) = figures.blank(7.5, 3.4)
    axes.plot(whole, color=GREY, lw=3, label="a run that was left alone")
    axes.plot(range(cut), resumed[:cut], color=BLUE, lw=1, label="a run until it was killed")
    axes.plot(range(cut, len(whole)), resumed[cut:], color=RED, lw=1, label="the same, taken up again")
    axes.axvline(cut, color="black", lw=1, ls=":")
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend(loc="lower left")
    return figure


@picture
def per_example() -> Any:
    x, y = fnn.data.digits()
    net = fnn.mlp(64, 32, 10, activation="tanh")
    by_hand = fnn.backprop(net, "softmax_cross_entropy")
    state, _ = fnn.fit(
        by_hand, net.init(jax.random.key(0)), (x, y), optimizer=fnn.optimizers.adam(3e-3), epochs=5, batch_size=32,
        key=jax.random.key(1),
    )  # fmt: skip
    parts = jax.tree.leaves(by_hand.example_norms(state.params, x, y))
    norms = np.sqrt(sum(np.asarray(part) ** 2 for part in parts))
    figure = figures.blank(9, 3.4)[0]
    figure.clear()
    grid = figure.add_gridspec(2, 6)
    axes = figure.add_subplot(grid[:, :3])
    axes.hist(norms / norms.mean(), bins=60, color=BLUE)
    axes.set(yscale="log", xlabel="length of the gradient of an example / mean", ylabel="examples")
    for k, row in enumerate(np.argsort(norms)[::-1][:6]):
        spot = figure.add_subplot(grid[k // 3, 3 + k % 3])
        spot.imshow(np.reshape(x[row], (8, 8)), cmap="gray_r")
        spot.set_title(f"a {y[row]}", fontsize=10)
        spot.axis("off")
    return figure


@picture
def estimators() -> Any:
    import warnings

    from sklearn.neural_network import MLPClassifier as Theirs

    from fnn.estimators import MLPClassifier

    x, y = fnn.data.digits()
    options: Any = {"hidden_layer_sizes": (32,), "max_iter": 30, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (each(**options).fit(x.astype("float64"), y) for each in (MLPClassifier, Theirs))
    figure, ((axes,),) = figures.blank(7, 3.4)
    axes.plot(range(1, 31), theirs.loss_curve_, color=ORANGE, lw=5, alpha=0.6, label="scikit-learn")
    axes.plot(range(1, 31), ours.loss_curve_, color=BLUE, lw=1.5, label="fnn.estimators")
    axes.set(xlabel="iteration", ylabel="loss", yscale="log")
    axes.legend()
    return figure


@picture
def layers() -> Any:
    def scaled(x: Any, gain: Any) -> Any:
        r = fnn.glassbox.name(jnp.sqrt(jnp.mean(x * x) + 1e-6), "r")
        u = fnn.glassbox.name(x / r, "u")
        return jnp.sum(fnn.glassbox.name(gain * u, "y"))

    return fnn.graph(scaled, jnp.array([1.0, -2.0, 0.5]), jnp.array([1.0, 1.5, -1.0])).svg()


@picture
def small_nets() -> Any:
    from experiments import small_nets
    from experiments.results import FILE, read

    return small_nets.draw(read(Path(small_nets.__file__).parent / "measured" / "small_nets" / FILE))["small_nets.svg"]


@picture
def experiments() -> Any:
    points, labels = fnn.data.xor()
    figure, ((axes,),) = figures.blank(6, 3)
    for units, color in ((1, ORANGE), (4, BLUE)):
        net = fnn.mlp(2, units, 2, activation=fnn.tanh)
        trained = fnn.sweep(
            fnn.backprop(net, fnn.softmax_cross_entropy), (points, labels), 
            over=fnn.grid(seed=range(10), learning_rate=[0.1]), optimizer=fnn.optimizers.adam, epochs=500, batch_size=4,
        )  # fmt: skip
        scores = [net.apply(params, points) for params in trained.params]
        right = [int(np.sum(np.argmax(each, axis=1) == labels)) for each in scores]
        axes.plot(
            range(1, 11), sorted(right), "o-", color=color, label=f"{units} hidden unit{'s' if units > 1 else ''}"
        )
    axes.set(xlabel="net", ylabel="points right", ylim=(0, 4.3), title="XOR")
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main(sys.argv[1:])
