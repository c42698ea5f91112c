"""Statistics over live entries: norms, means and softmaxes of the untouched module, exact while dims are masked.

A mask on weights cannot tell a layer norm that half of its channels are gone: it would still count them. Inside
:func:`live_reductions` every call of the module that reduces over a masked dim counts the entries alone whose mask is not
zero, as it will in the sliced model. The module itself is not changed: calls are seen on their way into PyTorch
(:class:`torch.overrides.TorchFunctionMode`) and matched, in order, with those of the traced program. Where nothing is
masked, calls pass through untouched, so masks of one change no bit.

With relaxed masks the statistics are those of the support: an entry counts fully until its mask is zero, and its value
reaches the loss through its readers. So the masked model equals the materialised one at every moment, not only in the end.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows it by
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nasc.errors import ModelError
from nasc.graph.dims import Axis
from nasc.graph.network import Network, Reduction

Statistic = Callable[[Callable[..., Any], Tensor, Tensor, Sequence[Any], Mapping[str, Any]], Any]
"""From the function that was called, its input, the live entries (bool, broadcastable) and its other arguments."""


@contextmanager
def live_reductions(network: Network, vectors: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the module's reductions count live entries alone.

    Args:
        network: A traced network; its module is what is called inside, once.
        vectors: Mask of shape (dim.size,) by dim name; a dim that is not named is live throughout.

    Raises:
        ModelError: The module took another way than when it was traced, so that calls cannot be told apart.
    """
    reduced = {dim.name for one in network.reductions for axis in one.over for dim in axis.dims()} & network.live
    support = {name: vectors[name].detach() != 0 for name in reduced if name in vectors}
    support = {name: alive for name, alive in support.items() if not bool(alive.all())}
    if not support:
        yield
        return
    mode = _LiveReductions(network, support)
    with mode:
        yield
    mode.require_all()


class _LiveReductions(TorchFunctionMode):
    """Matches calls with the program's, in order, and computes those over masked dims from live entries."""

    def __init__(self, network: Network, support: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._expected: dict[str, list[Reduction]] = defaultdict(list)
        for one in network.reductions:
            self._expected[one.kind].append(one)
        self._seen: dict[str, int] = defaultdict(int)
        self._support = support

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        kind = KINDS.get(func)
        if kind is None or kind not in self._expected:
            return func(*args, **options)
        source, rest = (args[0], args[1:]) if args else (options.pop("input"), ())
        one = self._next(kind, source)
        alive = self._alive(one, source)
        if alive is None:
            return func(source, *rest, **options)
        return _STATISTICS[kind](func, source, alive, rest, options)

    def _next(self, kind: str, source: Tensor) -> Reduction:
        index = self._seen[kind]
        self._seen[kind] += 1
        if index >= len(self._expected[kind]) or self._expected[kind][index].rank != source.ndim:
            raise _another_way(kind, index)
        return self._expected[kind][index]

    def _alive(self, one: Reduction, source: Tensor) -> Tensor | None:
        """The live entries over the reduced axes, of the input's rank; None where all are."""
        if not any(dim.name in self._support for axis in one.over for dim in axis.dims()):
            return None
        alive = torch.ones((1,) * source.ndim, dtype=torch.bool, device=source.device)
        for place, axis in zip(one.places, one.over, strict=True):
            if any(dim.name in self._support for dim in axis.dims()):
                vector = axis.expand({name: value.to(torch.uint8) for name, value in self._support.items()}).bool()
                shape = [1] * source.ndim
                shape[place] = -1
                if vector.numel() != source.shape[place]:
                    raise _another_way(one.kind, self._seen[one.kind] - 1)
                alive = alive & vector.to(source.device).view(shape)
        return alive

    def require_all(self) -> None:
        """Every reduction of the program was met."""
        for kind, expected in self._expected.items():
            if self._seen[kind] != len(expected):
                raise _another_way(kind, self._seen[kind])


def _another_way(kind: str, index: int) -> ModelError:
    return ModelError(
        f"expected the calls the model made when it was traced; number {index + 1} of {kind} differs",
        "a model whose norms change from call to call can be compressed along dims without norms only",
    )


# --- statistics of live entries ---------------------------------------------------------------------------------------


def _zeroed(source: Tensor, alive: Tensor) -> Tensor:
    return torch.where(alive, source, source.new_zeros(()))


def _count(source: Tensor, alive: Tensor, dims: Sequence[int]) -> int:
    """Live entries that one statistic is taken over."""
    per = alive
    for dim in dims:
        if alive.shape[dim] == 1:
            per = per.expand(*(source.shape[dim] if place == dim else -1 for place in range(source.ndim)))
    return int(per.sum())


def _places(given: Any, rank: int) -> list[int]:
    if given is None or given == [] or given == ():
        return list(range(rank))
    return [int(dim) % rank for dim in ([given] if isinstance(given, int) else given)]


def _moments(source: Tensor, alive: Tensor, dims: Sequence[int]) -> tuple[Tensor, Tensor, int]:
    """Mean, sum of squared distances from it, and count, of live entries; dims kept."""
    count = max(_count(source, alive, dims), 1)
    mean = _zeroed(source, alive).sum(list(dims), keepdim=True) / count
    squares = _zeroed((source - mean).square(), alive).sum(list(dims), keepdim=True)
    return mean, squares, count


def _layer_norm(func: Any, source: Tensor, alive: Tensor, rest: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    shape, weight, bias, eps = _bound(("normalized_shape", "weight", "bias", "eps"), (None, None, 1e-5), rest, options)
    dims = list(range(source.ndim - len(shape), source.ndim))
    mean, squares, count = _moments(source, alive, dims)
    return _affine((source - mean) * torch.rsqrt(squares / count + eps), weight, bias)


def _rms_norm(func: Any, source: Tensor, alive: Tensor, rest: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    shape, weight, eps = _bound(("normalized_shape", "weight", "eps"), (None, None), rest, options)
    dims = list(range(source.ndim - len(shape), source.ndim))
    mean_square = _zeroed(source.square(), alive).sum(list(dims), keepdim=True) / max(_count(source, alive, dims), 1)
    eps = torch.finfo(source.dtype).eps if eps is None else eps
    return _affine(source * torch.rsqrt(mean_square + eps), weight, None)


def _group_norm(func: Any, source: Tensor, alive: Tensor, rest: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    groups, weight, bias, eps = _bound(("num_groups", "weight", "bias", "eps"), (None, None, 1e-5), rest, options)
    batch, channels, *positions = source.shape
    per_group = (groups, channels // groups)
    grouped = source.reshape(batch, *per_group, -1)
    live = alive.reshape(1, *per_group, 1)
    counts = live.sum(2, keepdim=True).clamp_min(1) * grouped.shape[-1]
    mean = _zeroed(grouped, live).sum((2, 3), keepdim=True) / counts
    variance = _zeroed((grouped - mean).square(), live).sum((2, 3), keepdim=True) / counts
    normed = ((grouped - mean) * torch.rsqrt(variance + eps)).reshape(source.shape)
    shape = (1, channels, *(1 for _ in positions))
    return _affine(normed, *(None if one is None else one.view(shape) for one in (weight, bias)))


def _affine(normed: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    normed = normed if weight is None else normed * weight
    return normed if bias is None else normed + bias


def _bound(names: Sequence[str], defaults: Sequence[Any], rest: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
    """Arguments in order, the first of them required."""
    values = dict(zip(names, (None, *defaults), strict=True)) | dict(zip(names, rest, strict=False)) | dict(options)
    return [values[name] for name in names]


def _mean(func: Any, source: Tensor, alive: Tensor, rest: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    dims = _places(rest[0] if rest else options.get("dim"), source.ndim)
    total: Tensor = torch.sum(_zeroed(source, alive), *_with_dim(rest, dims), **_without_dim(options, rest, dims))
    return total / max(_count(source, alive, dims), 1)


def _with_dim(rest: Sequence[Any], dims: list[int]) -> tuple[Any, ...]:
    return (dims, *rest[1:]) if rest else ()


def _without_dim(options: Mapping[str, Any], rest: Sequence[Any], dims: list[int]) -> dict[str, Any]:
    return {**options, **({} if rest else {"dim": dims})}


def _variance(func: Any, source: Tensor, alive: Tensor, rest: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """``var``, ``std`` and both with the mean; Bessel's correction as the call asks for."""
    name = getattr(func, "__name__", "")
    given = list(rest)
    unbiased = given.pop(0) if given and isinstance(given[0], bool) else None
    dims = _places(given[0] if given else options.get("dim"), source.ndim)
    flags = [one for one in given[1:] if isinstance(one, bool)]
    unbiased = flags[0] if flags and unbiased is None else options.get("unbiased", unbiased)
    correction = options.get("correction", 1 if unbiased is None else int(unbiased))
    keepdim = bool(options.get("keepdim", flags[1] if len(flags) > 1 else False))
    mean, squares, count = _moments(source, alive, dims)
    spread = squares / max(count - int(1 if correction is None else correction), 1)
    spread = spread.sqrt() if name.startswith("std") else spread
    results = [one if keepdim else one.squeeze(tuple(dims)) for one in (spread, mean)]
    return tuple(results) if name.endswith("_mean") else results[0]


def _filled(value: float) -> Statistic:
    """The function itself, on entries that do not count as it sees them."""

    def compute(func: Any, source: Tensor, alive: Tensor, rest: Sequence[Any], options: Mapping[str, Any]) -> Any:
        return func(source.masked_fill(~alive, value), *rest, **options)

    return compute


def _softmax(func: Any, source: Tensor, alive: Tensor, rest: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    """Softmax or its logarithm; what does not count is zero in either, since minus infinity times a zero mask is none."""
    result: Tensor = func(source.masked_fill(~alive, -torch.inf), *rest, **options)
    return result.masked_fill(~alive, 0.0)


_STATISTICS: Mapping[str, Statistic] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "mean": _mean,
    "variance": _variance,
    "sum": _filled(0.0),
    "norm": _filled(0.0),
    "softmax": _softmax,
    "amax": _filled(-torch.inf),
    "amin": _filled(torch.inf),
    "logsumexp": _filled(-torch.inf),
}

_CALLED: Mapping[str, tuple[Any, ...]] = {
    "layer_norm": (F.layer_norm, torch.layer_norm),
    "rms_norm": (F.rms_norm, torch.rms_norm),
    "group_norm": (F.group_norm, torch.group_norm),
    "mean": (torch.mean, Tensor.mean),
    "variance": tuple(
        getattr(home, name)
        for name in ("var", "std", "var_mean", "std_mean")
        for home in (torch, Tensor)
        if hasattr(home, name)
    ),
    "sum": (torch.sum, Tensor.sum),
    "norm": (torch.norm, Tensor.norm, torch.linalg.vector_norm, torch.linalg.norm, F.normalize),
    "softmax": (F.softmax, torch.softmax, Tensor.softmax, F.log_softmax, torch.log_softmax, Tensor.log_softmax),
    "amax": (torch.amax, Tensor.amax),
    "amin": (torch.amin, Tensor.amin),
    "logsumexp": (torch.logsumexp, Tensor.logsumexp),
}

KINDS: Mapping[Any, str] = {function: kind for kind, functions in _CALLED.items() for function in functions}
"""Kind of reduction by the function a module calls."""


# --- what a module calls ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Called:
    """One reduction a module called: its kind and the shape of its input."""

    kind: str
    shape: tuple[int, ...]


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Called] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        source = args[0] if args else options.get("input")
        if func in KINDS and isinstance(source, Tensor):
            self.calls.append(Called(KINDS[func], tuple(source.shape)))
        return func(*args, **options)


def record_reductions(model: nn.Module, inputs: tuple[Any, ...]) -> list[Called]:
    """Every reduction a module calls by itself, in order, for one input; those inside other functions are not seen."""
    recorder = _Recorder()
    with torch.no_grad(), recorder:
        model(*inputs)
    return recorder.calls


def over_axes(axes: Sequence[Axis], places: Sequence[int]) -> tuple[Axis, ...]:
    """The axes at some places."""
    return tuple(axes[place] for place in places)
