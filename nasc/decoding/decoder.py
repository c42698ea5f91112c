"""A decoder that can stop after any of its exits, and go on from there later without computing anything twice.

Works on any transformers decoder that is a stack: an embedding, a list of layers, final norms, an output embedding. What the
model hands to its layers (rotary tables, masks) is recorded once from the model itself, so no architecture is named here;
that the stack computes what the model computes is checked when it is made.

The cache rule: a position that left at exit b has keys and values for the layers up to b only. It waits there, with its
hidden state, in the queue of the next segment; whenever a later position enters a segment, all that wait go first. So no
position ever attends to a missing one, and verification costs nothing but the missing layers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from nasc.errors import ModelError, UsageError

TOLERANCE = 1e-3
"""Largest difference, relative to the largest score, between the stack and the model itself."""


class ExitDecoder:
    """A transformers decoder as segments between exits.

    Args:
        model: A causal language model of transformers; it is not changed.
        exits: Ascending numbers of layers; the last is all of them. All depths by default.

    Raises:
        UsageError: An exit is not a depth of the model.
        ModelError: The model is no plain stack.
    """

    def __init__(self, model: nn.Module, exits: Sequence[int] | None = None) -> None:
        self.model = model
        self.owner, self.name = _find_layers(model)
        self.layers: list[nn.Module] = list(getattr(self.owner, self.name))
        count = len(self.layers)
        self.exits = tuple(exits or range(1, count + 1))
        if list(self.exits) != sorted(set(self.exits)) or self.exits[0] < 1 or self.exits[-1] != count:
            raise UsageError(f"expected ascending exits from 1 to {count}, the last {count}; got {self.exits}")
        base: Any = model
        self.embedding: nn.Module = base.get_input_embeddings()
        self.head: nn.Module = base.get_output_embeddings()
        self.tail = self._tail()
        self._check()

    def begin(self, length: int) -> "Session":
        """A new session for at most so many positions.

        Raises:
            ModelError: The model cannot see as many.
        """
        return Session(self, length)

    @torch.no_grad()
    def scores(self, hidden: Tensor) -> Tensor:
        """Scores ``(positions, vocabulary)`` of hidden states ``(1, positions, width)`` at any exit."""
        for module in self.tail:
            hidden = module(hidden)
        result: Tensor = self.head(hidden)[0].float()
        return result

    def _tail(self) -> list[nn.Module]:
        """What the stack's owner calls after its layers: the final norm."""
        called: list[nn.Module] = []
        hooks = [
            child.register_forward_pre_hook(lambda module, _: called.append(module)) for child in self.owner.children()
        ]
        with self._recording() as recorders:
            hooks.append(recorders[-1].register_forward_pre_hook(lambda module, _: called.append(module)))
            try:
                self._call(torch.zeros(1, 2, dtype=torch.int64))
            finally:
                for hook in hooks:
                    hook.remove()
            return called[called.index(recorders[-1]) + 1 :]

    @contextmanager
    def _recording(self) -> Iterator[list["_Recorder"]]:
        """Layers that hand their input on and note how they were called."""
        recorders = [_Recorder(layer) for layer in self.layers]
        with _swapped(self.owner, self.name, recorders):
            yield recorders

    def _call(self, ids: Tensor) -> Any:
        with torch.no_grad():
            return self.model(input_ids=ids.to(_device(self.model)), past_key_values=_new_cache(), use_cache=True)

    def record(self, length: int) -> "_Surroundings":
        """What the model gives its layers for positions 0..length-1."""
        ids = torch.zeros(1, length, dtype=torch.int64, device=_device(self.model))
        with self._recording() as recorders:
            try:
                self._call(ids)
            except (IndexError, RuntimeError) as failure:
                raise ModelError(f"the model cannot see {length} positions: {failure}") from failure
        hidden = recorders[0].hidden
        assert hidden is not None
        with torch.no_grad():
            offset = hidden - self.embedding(ids)
        plain = not bool(offset.any())
        return _Surroundings(length, None if plain else offset, [recorder.keywords for recorder in recorders])

    @torch.no_grad()
    def _check(self) -> None:
        vocabulary = self.head(torch.zeros(1, 1, self._width())).shape[-1]
        ids = (torch.arange(7) * 7919 % vocabulary)[None].to(_device(self.model))
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        try:
            expected = self._call(ids).logits[0].float()
            session = self.begin(7)
            session.push(ids[0, :4].tolist())
            first = self.scores(session.run_to(self.exits[-1]))
            session.leave()
            session.push(ids[0, 4:].tolist())
            got = torch.cat([first, self.scores(session.run_to(self.exits[-1]))])
        finally:
            for module, training in modes.items():
                module.training = training
        difference = float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        if not difference <= TOLERANCE:
            raise ModelError(
                f"expected a decoder that is a stack of layers; as one, {type(self.model).__name__} differs from itself by "
                f"{difference:.1e}",
                "use a decoder without state outside its layers' keys and values",
            )

    def _width(self) -> int:
        weight = self.head.weight
        assert isinstance(weight, Tensor)
        return int(weight.shape[1])


@contextmanager
def shortened(model: nn.Module, depth: int) -> Iterator[nn.Module]:
    """The model with its first layers alone, for a while: how a member of a family of depths is trained.

    Args:
        model: A transformers decoder.
        depth: Layers to keep.
    """
    owner, name = _find_layers(model)
    layers = list(getattr(owner, name))
    if not 1 <= depth <= len(layers):
        raise UsageError(f"expected a depth from 1 to {len(layers)}, got {depth}")
    with _swapped(owner, name, layers[:depth]):
        yield model


class Session:
    """One text that grows: its caches, and what waits between the segments.

    Args:
        decoder: The decoder.
        length: Most positions there will be.
    """

    def __init__(self, decoder: ExitDecoder, length: int) -> None:
        self.decoder = decoder
        self.around = decoder.record(length)
        self.cache = _new_cache()
        self.length = 0
        self.layers_run = 0
        self.passes = 0
        self._bounds = list(zip((0, *decoder.exits), decoder.exits, strict=False))
        self._queues: list[tuple[int, Tensor | None]] = [(0, None) for _ in range(len(decoder.exits) + 1)]

    @torch.no_grad()
    def push(self, tokens: Sequence[int]) -> None:
        """Put tokens at the next positions; nothing is run yet."""
        if self.length + len(tokens) > self.around.length:
            raise ModelError(
                f"expected at most {self.around.length} positions, got {self.length + len(tokens)}",
                "begin a longer session",
            )
        ids = torch.tensor([list(tokens)], device=_device(self.decoder.model))
        hidden = self.decoder.embedding(ids)
        if self.around.offset is not None:
            hidden = hidden + self.around.offset[:, self.length : self.length + len(tokens)]
        self._enqueue(0, self.length, hidden)
        self.length += len(tokens)

    @torch.no_grad()
    def run_to(self, exit_: int) -> Tensor:
        """Run every waiting position up to an exit.

        Returns:
            Hidden states, shape (1, positions, width), of those that got there just now.
        """
        hidden: Tensor | None = None
        for segment, (low, high) in enumerate(self._bounds):
            if high > exit_:
                break
            start, waiting = self._queues[segment]
            self._queues[segment] = (self.length, None)
            if waiting is None:
                continue
            for layer in range(low, high):
                waiting = self._run_layer(layer, start, waiting)
            self._enqueue(segment + 1, start, waiting)
        start, hidden = self._queues[self._place(exit_)]
        if hidden is None:
            raise UsageError(f"nothing waits at exit {exit_}", "push tokens first")
        return hidden

    def leave(self) -> None:
        """Forget the states that came through the last layer: they wait for nothing."""
        self._queues[-1] = (self.length, None)

    def roll_back(self, length: int) -> None:
        """Drop the positions from ``length`` on, with their keys and values in every layer."""
        for layer in self.cache.layers:
            surplus = int(layer.get_seq_length()) - length
            if surplus > 0:
                layer.crop(-surplus)  # by how much, not to what: the positive form is gone from transformers
        for segment, (start, waiting) in enumerate(self._queues):
            if waiting is None or start >= length:
                self._queues[segment] = (min(start, length), None)
            else:
                self._queues[segment] = (start, waiting[:, : length - start])
        self.length = min(self.length, length)

    def _enqueue(self, segment: int, start: int, hidden: Tensor) -> None:
        first, waiting = self._queues[segment]
        joined = hidden if waiting is None else torch.cat([waiting, hidden], 1)
        self._queues[segment] = (start if waiting is None else first, joined)

    def _run_layer(self, layer: int, start: int, hidden: Tensor) -> Tensor:
        keywords = self.around.at(layer, start, hidden, self.cache)
        result = self.decoder.layers[layer](hidden, **keywords)
        self.layers_run += hidden.shape[1]
        self.passes += 1
        out: Tensor = result[0] if isinstance(result, tuple) else result
        return out

    def _place(self, exit_: int) -> int:
        return self.decoder.exits.index(exit_) + 1


@dataclass
class _Surroundings:
    """What layers are given beside hidden states, for all positions.

    Args:
        length: Positions.
        offset: What is added to the token embeddings (learned positions), shape (1, length, width), or None.
        keywords: Keyword arguments of every layer.
    """

    length: int
    offset: Tensor | None
    keywords: list[dict[str, Any]]
    _place: tuple[int, int] = (0, 0)
    _known: dict[int, Any] = field(default_factory=dict)

    def at(self, layer: int, start: int, hidden: Tensor, cache: Any) -> dict[str, Any]:
        """The arguments of a layer for the positions from ``start`` on that ``hidden`` holds."""
        stop = start + hidden.shape[1]
        if self._place != (start, stop):  # layers share what they are given: it is cut once for all of them
            self._place, self._known = (start, stop), {}
        found = {name: self._known_cut(value, start, stop) for name, value in self.keywords[layer].items()}
        for name, value in self.keywords[layer].items():
            if _is_cache(value):
                found[name] = cache
        if found.get("attention_mask") is None and stop - start > 1:
            found["attention_mask"] = self._known.setdefault(0, _causal(start, stop, hidden))
        return found

    def _known_cut(self, value: Any, start: int, stop: int) -> Any:
        if id(value) not in self._known:
            self._known[id(value)] = self._cut(value, start, stop)
        return self._known[id(value)]

    def _cut(self, value: Any, start: int, stop: int) -> Any:
        if isinstance(value, tuple):
            return tuple(self._cut(item, start, stop) for item in value)
        if not isinstance(value, Tensor) or self.length not in value.shape:
            return value
        if value.ndim == 4:  # a mask: queries by keys
            return value[..., start:stop, :stop]
        place = 0 if value.ndim == 1 else 1
        return value.narrow(place, start, stop - start) if value.shape[place] == self.length else value


class _Recorder(nn.Module):
    """Stands in for a layer: notes what it is given and hands the hidden states on."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.names = list(signature(layer.forward).parameters)[1:]
        self.hidden: Tensor | None = None
        self.keywords: dict[str, Any] = {}
        self.attention_type = "full_attention"

    def forward(self, hidden: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        """The hidden states as they came."""
        given = dict(zip(self.names, arguments, strict=False))
        self.hidden, self.keywords = hidden, given | keywords
        return hidden


@contextmanager
def _swapped(owner: nn.Module, name: str, layers: Sequence[nn.Module]) -> Iterator[None]:
    before = owner._modules[name]
    owner._modules[name] = nn.ModuleList(layers)
    try:
        yield
    finally:
        owner._modules[name] = before


def _find_layers(model: nn.Module) -> tuple[nn.Module, str]:
    """The module that owns the decoder's layers, and under which name: the longest list of modules of one class."""
    found: tuple[int, nn.Module, str] | None = None
    for owner in model.modules():
        for name, child in owner.named_children():
            same = isinstance(child, nn.ModuleList) and len({type(layer) for layer in child}) == 1
            if same and (found is None or len(list(child.parameters())) > found[0]):
                found = len(list(child.parameters())), owner, name
    if found is None:
        raise ModelError(f"expected a decoder with a list of layers; {type(model).__name__} has none")
    return found[1], found[2]


def _causal(start: int, stop: int, hidden: Tensor) -> Tensor:
    """Additive mask ``(1, 1, stop - start, stop)``: position i sees 0..i."""
    mask = torch.full((stop - start, stop), float("-inf"), dtype=hidden.dtype, device=hidden.device)
    return mask.triu(start + 1)[None, None]


def _new_cache() -> Any:
    from transformers import DynamicCache

    return DynamicCache()


def _is_cache(value: Any) -> bool:
    return hasattr(value, "get_seq_length") and hasattr(value, "update")


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
