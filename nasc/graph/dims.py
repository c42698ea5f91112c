"""Named dims and the axes they make up.

A tensor axis is a *product* of terms, outermost first (``heads x head_dim`` after a reshape, ``channels x positions`` after
a flatten). A term is a :class:`Dim`, or a :class:`Sum` of axes (a concatenation). Tied axes share their dims, so one
number per dim gives the size of every axis, one mask per dim gives the mask of every axis, and one list of kept indices
per dim gives the kept indices of every axis. Sizes may be ints or tensors; the expression is the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Sizes = Mapping[str, int | float | Tensor]


@dataclass(frozen=True)
class Dim:
    """One size that several tensor axes share.

    Args:
        name: Unique in its network, from the tensor that defines it, e.g. ``"layer1.0.conv1"``.
        size: Size in the dense model.
        frozen: Why it may not change, in words; None where it may.
        reduced: Why zeroing entries differs from removing them (a norm, softmax or mean runs over it, or two activations
            are contracted over it); None where a zero mask at the readers equals removal.
        least: Smallest size it may get; a search space raises it.
    """

    name: str
    size: int
    frozen: str | None = None
    reduced: str | None = None
    least: int = 1

    @property
    def maskable(self) -> bool:
        """Masks at the readers of this dim are exactly equal to removing its entries."""
        return self.frozen is None and self.reduced is None and self.size > 1


@dataclass(frozen=True)
class Sum:
    """Axes laid end to end, as a concatenation does."""

    parts: "tuple[Axis, ...]"


@dataclass(frozen=True)
class Axis:
    """A product of terms, outermost first. The empty product is an axis of size 1."""

    terms: tuple[Dim | Sum, ...] = ()

    def dims(self) -> Iterator[Dim]:
        """Every dim of the axis, in order, repeats included."""
        for term in self.terms:
            if isinstance(term, Dim):
                yield term
            else:
                for part in term.parts:
                    yield from part.dims()

    def size(self, sizes: Sizes | None = None) -> int | float | Tensor:
        """Number of entries: an int for int sizes, a differentiable tensor for tensor sizes.

        Args:
            sizes: Size by dim name; a dim that is not named keeps its dense size.
        """
        result: int | float | Tensor = 1
        for term in self.terms:
            if isinstance(term, Dim):
                value: int | float | Tensor = term.size if sizes is None else sizes.get(term.name, term.size)
            else:
                value = sum((part.size(sizes) for part in term.parts), start=0)
            result = result * value
        return result

    def expand(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """The vector over this axis made of a vector per dim: outer product over terms, concatenation over sums.

        Args:
            vectors: A mask of shape (dim.size,) by dim name; a dim that is not named counts as ones.

        Returns:
            Shape (axis size,), differentiable in the vectors.
        """
        like = next(iter(vectors.values())) if vectors else torch.ones(())
        result = like.new_ones(1)
        for term in self.terms:
            if isinstance(term, Dim):
                vector = vectors[term.name] if term.name in vectors else like.new_ones(term.size)
            else:
                vector = torch.cat([part.expand(vectors) for part in term.parts])
            result = vector if result.numel() == 1 and len(self.terms) == 1 else torch.outer(result, vector).reshape(-1)
        return result

    def kept(self, kept: Mapping[str, Tensor]) -> Tensor:
        """The kept indices of this axis, given the kept indices of its dims.

        Args:
            kept: Sorted indices by dim name; a dim that is not named is kept whole.

        Returns:
            Sorted indices into the dense axis, dtype int64.
        """
        result = torch.zeros(1, dtype=torch.long)
        for term in self.terms:
            if isinstance(term, Dim):
                size, indices = term.size, kept.get(term.name, torch.arange(term.size))
            else:
                pieces, offset = [], 0
                for part in term.parts:
                    pieces.append(part.kept(kept) + offset)
                    offset += int(part.size())
                size, indices = offset, torch.cat(pieces)
            result = (result[:, None] * size + indices[None, :]).reshape(-1)
        return result

    def __str__(self) -> str:
        def show(term: Dim | Sum) -> str:
            if isinstance(term, Dim):
                return f"{term.name}={term.size}"
            return "(" + " + ".join(str(part) for part in term.parts) + ")"

        return " x ".join(show(term) for term in self.terms) or "1"
