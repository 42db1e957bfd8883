"""Fourier transforms. Source: claim A15, a transform is a product with a matrix, here a symmetric one.

Lengths are those of the real signal; the cotangents follow the convention of `fnn.glassbox.rules.complexes`.
"""

import math

import jax.numpy as jnp
from jax import lax

from fnn.glassbox.spelling import latex as tex
from fnn.glassbox.spelling import python as py
from fnn.glassbox.table import Primitive, Symbol, enter


def fft(y_bar, y, x, *, fft_type, fft_lengths):
    kind, lengths = lax.FftType(fft_type).name, tuple(fft_lengths)
    if kind in ("FFT", "IFFT"):
        # y = F x with a symmetric F
        return (lax.fft(y_bar, fft_type, lengths),)
    if kind == "RFFT":
        # y = the first half of F x for a real x, the other half being its mirror: Re Fᵀ y_bar, with zeros for that half
        missing = [(0, 0)] * (y_bar.ndim - 1) + [(0, lengths[-1] - y_bar.shape[-1])]
        return (jnp.real(lax.fft(jnp.pad(y_bar, missing), lax.FftType.FFT, lengths)),)
    # y = the real signal whose first half is x: all but the first and the middle entry stand for two
    count = x.shape[-1]
    twice = jnp.full((count,), 2, y_bar.dtype).at[0].set(1)
    twice = twice.at[count - 1].set(1) if lengths[-1] % 2 == 0 and count > 1 else twice
    back = lax.fft(y_bar, lax.FftType.RFFT, lengths)
    return (jnp.conj(back) * (twice / math.prod(lengths)).astype(x.dtype),)


# ---- the table -------------------------------------------------------------------------------------------------------


def _text(g, p, y):
    return f"lax.fft({g[0].text}, lax.FftType.{lax.FftType(p['fft_type']).name}, {tuple(p['fft_lengths'])})"


def _cost(params, inputs, outputs):
    # five operations for each entry and each halving, by the usual count
    entries = max(math.prod(each.shape) for each in (inputs[0], outputs[0]))
    return round(5 * entries * math.log2(max(math.prod(params["fft_lengths"]), 2)))


enter(
    Primitive(
        "fft", fft, py.call(_text), tex.function(r"\mathcal{F}"), "spectrum", symbol=Symbol(label="F"), cost=_cost
    )
)
