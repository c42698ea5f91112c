"""The module that is trained: the user's own, run at the prefixes of a member, on views of its weights.

The whole member runs the user's untouched module, so a pool of the whole network alone trains bit for bit like plain
training. Batch norms (sheet 2.3): ``shared`` slices one set of statistics, which is the paper's claim; ``own`` gives every
member its own norm parameters and statistics (switchable batch norm of slimmable networks); ``line`` interpolates between
two sets of norm parameters by the member's width (LCS lines).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.graph.running import PrefixState, Program, Skip
from nasc.graph.state import full_state
from nasc.methods.sorted_networks.pool import Member, Pool

Norms = Literal["shared", "own", "line"]


class PrefixModel(nn.Module):
    """The user's module at the sizes of one member; which one can change between any two batches.

    Args:
        pool: The members.
        norms: See above; ``"shared"`` by default.
        program: The compiled program, made anew where not given.
    """

    def __init__(self, pool: Pool, norms: Norms = "shared", program: Program | None = None) -> None:
        super().__init__()
        if norms not in ("shared", "own", "line"):
            raise UsageError(f"unknown norms {norms!r}", "known: shared, own, line")
        if norms != "shared" and any(member.exit for member in pool.members):
            raise UsageError(f"norms {norms!r} are for pools of widths; got one with depths", "use norms shared")
        network = pool.network
        self.inner = network.model
        self.members = pool.members
        self.member = pool.largest
        self.norms = norms
        self.skips: frozenset[Skip] = frozenset()
        self._parts = (network, program or Program(network), PrefixState(network))  # no modules: not registered
        self._norm_names = _norm_tensors(network.model)
        self.own = nn.ModuleDict()
        if norms == "own":
            self._give_own(pool)
        if norms == "line":
            self._other_end()

    @property
    def network(self) -> Network:
        """The traced network."""
        return self._parts[0]

    @property
    def program(self) -> Program:
        """Its program."""
        return self._parts[1]

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """What the present member returns."""
        if self.member.whole and self.norms == "shared" and not self.skips:
            return self.inner(*inputs, **keywords)
        return self.run(self.member, *inputs)

    def run(self, member: Member, *inputs: Any) -> Any:
        """What a member returns, whichever is present."""
        state, special = full_state(self.inner), self._special(member)
        cut = self._parts[2].cut

        def weights(name: str, sizes: Mapping[str, int]) -> Tensor:
            return special[name] if name in special else cut(name, state[name], sizes)

        detour = member.exit.detour if member.exit else None
        return self.program.run(weights, member.sizes, inputs, training=self.training, detour=detour, skips=self.skips)

    def touched(self, member: Member) -> dict[str, Tensor]:
        """Which entries of every shared parameter a member reads: flat indices by dotted name."""
        found = {}
        detour = member.exit.detour if member.exit else None
        learned = dict(self.inner.named_parameters())
        for name, sizes in self.program.reads(member.sizes, detour):
            if name in learned:
                places = torch.arange(learned[name].numel()).view(learned[name].shape)
                found[name] = self._parts[2].cut(name, places, sizes).flatten()
        return found

    @contextmanager
    def as_member(self, member: Member) -> Iterator["PrefixModel"]:
        """This module as another member for a while."""
        before, self.member = self.member, member
        try:
            yield self
        finally:
            self.member = before

    # -- norms ------------------------------------------------------------------------------------

    def _give_own(self, pool: Pool) -> None:
        """Norm parameters and statistics for every member, starting from slices of the shared ones."""
        cut, state = self._parts[2].cut, full_state(self.inner)
        learned = dict(self.inner.named_parameters())
        for member in pool.members:
            holder = nn.Module()
            for name in self._norm_names:
                value = cut(name, state[name].detach(), member.sizes).clone()
                if name in learned:
                    holder.register_parameter(_flat(name), nn.Parameter(value))
                else:
                    holder.register_buffer(_flat(name), value)
            self.own[str(member.index)] = holder

    def _other_end(self) -> None:
        """The second end of the line: a copy of every norm parameter."""
        holder = nn.Module()
        learned = dict(self.inner.named_parameters())
        for name in self._norm_names:
            if name in learned:
                holder.register_parameter(_flat(name), nn.Parameter(learned[name].detach().clone()))
        self.own["end"] = holder

    def _special(self, member: Member) -> dict[str, Tensor]:
        """The norm tensors that a member has for itself, at its sizes."""
        if self.norms == "own":
            held = full_state(self.own[str(member.index)])
            return {name: held[_flat(name)] for name in self._norm_names}
        if self.norms == "line":
            return self.line(line_place(member), member.sizes)
        return {}

    def line(self, place: float, sizes: Mapping[str, int] | None = None) -> dict[str, Tensor]:
        """The norm parameters at a place of the line, ``(1 - place) w0 + place w1`` (LCS; 0 and 1 are the ends)."""
        ends, learned, cut = full_state(self.own["end"]), dict(self.inner.named_parameters()), self._parts[2].cut
        return {
            name: cut(name, torch.lerp(learned[name], ends[_flat(name)], place), sizes or {})
            for name in self._norm_names
            if name in learned
        }

    def line_cosine(self) -> Tensor:
        """``cos^2(w0, w1)`` of the two ends over all norm parameters: one for equal, zero for orthogonal ends."""
        ends, learned = full_state(self.own["end"]), dict(self.inner.named_parameters())
        pairs = [(learned[name].flatten(), ends[_flat(name)].flatten()) for name in self._norm_names if name in learned]
        first, second = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        squares: Tensor = (first * second).sum() ** 2 / (first.square().sum() * second.square().sum())
        return squares

    @torch.no_grad()
    def settle_norms(self, member: Member) -> None:
        """Write a member's norm tensors into the user's module, where slicing finds them."""
        state = full_state(self.inner)
        for name, value in self._special(member).items():
            _prefix(state[name], value.shape).copy_(value)


def line_place(member: Member) -> float:
    """Where on the line a member lies: 0 for the narrowest width, 1 for the widest (LCS: width = 0.25 + 0.75 a)."""
    return min(1.0, max(0.0, (member.values.get("width", 1.0) - 0.25) / 0.75))


def _norm_tensors(model: nn.Module) -> tuple[str, ...]:
    """Weight, bias and running statistics of every norm, by dotted name."""
    kinds = (_NormBase, nn.LayerNorm, nn.GroupNorm)
    state = full_state(model)
    names = []
    for path, module in model.named_modules():
        if isinstance(module, kinds):
            own = [*module._parameters, *module._buffers]
            names += [f"{path}.{name}" if path else name for name in own if name != "num_batches_tracked"]
    return tuple(name for name in names if name in state)


def _prefix(tensor: Tensor, shape: torch.Size) -> Tensor:
    for place, length in enumerate(shape):
        tensor = tensor.narrow(place, 0, length)
    return tensor


def _flat(name: str) -> str:
    return name.replace(".", "/")
