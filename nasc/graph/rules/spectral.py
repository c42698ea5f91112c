"""Fourier transforms and complex numbers: every frequency reads every entry, so transformed axes keep their size."""

from nasc.graph.rules._base import POSITION, Call, rule
from nasc.graph.unify import Axes, freeze, number, size

MIXED = "a Fourier transform mixes its entries"
_ONE_AXIS = "fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft"
_SEVERAL = "fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn fft_rfftn fft_irfftn"


@rule(*_ONE_AXIS.split(), *_SEVERAL.split(), "_fft_c2c", "_fft_r2c", "_fft_c2r")
def transform(call: Call) -> Axes:
    """Transformed axes are frozen; those that change their length are numbers."""
    axes = call.axes("self")
    given = call.arguments.get("dim")
    places = list(range(len(axes))) if given is None else [given] if isinstance(given, int) else list(given)
    for place in places:
        freeze(axes[place], MIXED)
    return [
        axis if size(axis) == length else number(length, POSITION)
        for axis, length in zip(axes, call.shape, strict=True)
    ]


@rule("fft_fftshift", "fft_ifftshift")
def shift(call: Call) -> Axes:
    """Entries change places."""
    axes = call.axes("self")
    call.freeze(axes, MIXED)
    return axes


@rule("view_as_complex")
def as_complex(call: Call) -> Axes:
    """The last axis holds real and imaginary part."""
    axes = call.axes("self")
    freeze(axes[-1], "holds real and imaginary part")
    return axes[:-1]


@rule("view_as_real")
def as_real(call: Call) -> Axes:
    """Real and imaginary part become an axis."""
    return [*call.axes("self"), number(2, "holds real and imaginary part")]
