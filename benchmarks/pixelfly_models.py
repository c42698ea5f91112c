"""The small networks of the Pixelfly studies, and their layers in the forms that are compared.

Mixer-tiny and ViT-tiny on 32 x 32 pictures, a small GPT on a stream of tokens. Each names its matrices by what they do, so
that a study can make the MLPs, the attention or both sparse: the embedding, the norms and the head always stay dense.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.block_sparse import BlockButterfly, PixelflyLinear, flat_butterfly, rivals
from nasc.block_sparse.budget import MatrixType, choose_form
from nasc.block_sparse.pattern import BlockPattern, grid_shape
from nasc.errors import UsageError


class FeedForward(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Over the last axis."""
        return self.down(functional.gelu(self.up(x)))


class MixerBlock(nn.Module):
    """Mixing over tokens, then over channels."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm_tokens, self.norm_channels = nn.LayerNorm(width), nn.LayerNorm(width)
        self.token_mlp = FeedForward(tokens, 2 * tokens)
        self.channel_mlp = FeedForward(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        x = x + self.token_mlp(self.norm_tokens(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mlp(self.norm_channels(x))


class Attention(nn.Module):
    """Multi-head attention with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.scores: nn.Module | None = None  # block-sparse scores in the place of dense ones

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.scores is not None:
            y = self.scores(q, k, v)
        else:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward part, norms first."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.mlp = FeedForward(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        x = x + self.attention(self.norm_attention(x))
        return x + self.mlp(self.norm_mlp(x))


class PatchClassifier(nn.Module):
    """Patches, blocks, mean, head."""

    def __init__(self, blocks: list[nn.Module], width: int, patch: int, side: int, classes: int, channels: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2, width))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures to scores."""
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(1))


class LanguageModel(nn.Module):
    """Tokens in, scores of the next token out: a GPT of any size."""

    def __init__(self, vocabulary: int, width: int, depth: int, length: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, length, width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, width // 32, causal=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, length) to scores (batch, length, vocabulary)."""
        x = self.embed(tokens) + self.position[:, : tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def build_model(
    name: str,
    width: int,
    depth: int,
    *,
    classes: int = 10,
    patch: int = 4,
    side: int = 32,
    channels: int = 3,
    vocabulary: int = 0,
    length: int = 0,
) -> nn.Module:
    """A dense network by name: ``mixer``, ``vit`` or ``gpt``."""
    if name == "gpt":
        return LanguageModel(vocabulary, width, depth, length)
    tokens = (side // patch) ** 2
    block: Callable[[], nn.Module] = {
        "mixer": lambda: MixerBlock(tokens, width),
        "vit": lambda: TransformerBlock(width, max(1, width // 32)),
    }[name]
    return PatchClassifier([block() for _ in range(depth)], width, patch, side, classes, channels)


def matrices(model: nn.Module, where: str = "all") -> list[str]:
    """Paths of the matrices that may be sparse: ``mlp``, ``attention`` or ``all``."""
    paths = [path for path, module in model.named_modules() if isinstance(module, nn.Linear) and path != "head"]
    kinds = {"mlp": ("up", "down"), "attention": ("qkv", "out"), "all": ("up", "down", "qkv", "out")}[where]
    return [path for path in paths if path.rpartition(".")[2] in kinds]


def make_sparse(model: nn.Module, form: dict[str, Any], seed: int, where: str = "all") -> nn.Module:
    """Replace the matrices of a model in place by a form, e.g. ``{"kind": "pixelfly", "density": 0.2, "block": 8}``."""
    if form["kind"] in ("dense", "rigl"):  # RigL masks the dense model while it trains
        return model
    for index, path in enumerate(matrices(model, where)):
        parent, _, name = path.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(owner, name, sparse_layer(getattr(owner, name), form, 1000 * seed + index))
    return model


def sparse_layer(dense: nn.Linear, form: dict[str, Any], seed: int) -> nn.Module:
    """A linear layer in another form of at most the same number of weights; dense where the form does not fit."""
    out, columns = dense.weight.shape
    kind, density, block = form["kind"], form["density"], form.get("block", 8)
    matrix = MatrixType("", out, columns)
    if kind in ("pixelfly", "flat", "low rank"):
        share = {"pixelfly": form.get("share", 0.25), "flat": 0.0, "low rank": 1.0}[kind]
        chosen = choose_form(matrix, density * matrix.weights, block=block, low_rank_share=share)
        if chosen.dense:
            return dense
        return PixelflyLinear(
            chosen.pattern(matrix),
            chosen.rank,
            in_features=columns,
            out_features=out,
            mix=form.get("mix", "scalar"),
            variance_matched=form.get("matched", False),
        )
    if kind == "butterfly product":
        return BlockButterfly(columns, out, largest_product_block(matrix, density))
    weights = round(density * matrix.weights)
    if kind == "random element":
        return rivals.MaskedLinear(rivals.random_elements(out, columns, weights, seed))
    if kind == "magnitude":
        return rivals.MaskedLinear(rivals.magnitude_elements(dense.weight, weights))
    return PixelflyLinear(BlockPattern(block_mask(kind, matrix, weights, block, seed), block, out, columns))


def largest_product_block(matrix: MatrixType, density: float) -> int:
    """The largest block whose butterfly product has at most the weights; 1 where even that has more."""
    best = 1
    for block in (1, 2, 4, 8, 16, 32):
        n = 2 ** math.ceil(math.log2(max(2, *grid_shape(matrix.out_features, matrix.in_features, block))))
        if 2 * n * math.log2(n) * block**2 <= density * matrix.weights:
            best = block
    return best


def block_mask(kind: str, matrix: MatrixType, weights: int, block: int, seed: int) -> Tensor:
    """A rival's pattern; ``a+b`` is the union of two, each with half of the blocks, filled up at random."""
    rows, columns = grid_shape(matrix.out_features, matrix.in_features, block)
    count = max(max(rows, columns), round(weights / block**2))
    if "+" in kind:
        halves = [block_mask(one, matrix, weights // 2, block, seed + i) for i, one in enumerate(kind.split("+"))]
        noise = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed ^ 0xB10C))
        return rivals.union_with(halves[0] | halves[1], noise, count)
    if kind == "random block":
        return rivals.random_blocks(rows, columns, count, seed)
    if kind == "local":
        return rivals.local_window(rows, columns, count)
    if kind == "butterfly":
        chosen = choose_form(matrix, weights, block=block, low_rank_share=0.0)
        return flat_butterfly(matrix.out_features, matrix.in_features, block, max(1, chosen.stride)).mask
    if kind == "big bird":
        return big_bird_or_less(rows, columns, count, seed)
    if kind in ("strided", "fixed"):
        return nearest_stride(rows, columns, count, fixed=kind == "fixed")
    raise ValueError(kind)


def big_bird_or_less(rows: int, columns: int, count: int, seed: int) -> Tensor:
    """BigBird with a global line and a window of three, or what of these fits the number of blocks."""
    for globals_, window in ((1, 1), (1, 0), (0, 1), (0, 0)):
        try:
            return rivals.big_bird(rows, columns, count, seed, globals_=globals_, window=window)
        except UsageError:
            continue
    return rivals.random_blocks(rows, columns, count, seed)


def nearest_stride(rows: int, columns: int, count: int, *, fixed: bool) -> Tensor:
    """The Sparse Transformer's pattern, of the stride whose number of blocks is nearest, cut or filled up to it."""
    options = [rivals.sparse_transformer(rows, columns, stride, fixed=fixed) for stride in range(1, max(rows, columns))]
    best = min(options, key=lambda mask: abs(int(mask.sum()) - count))
    noise = torch.rand(rows, columns, generator=torch.Generator().manual_seed(0x57A1))
    return rivals.union_with(best, noise, count)


def weight_count(model: nn.Module) -> int:
    """Weights in use, zeros of masks and padding not counted."""
    total = 0
    for module in model.modules():
        if isinstance(module, PixelflyLinear | BlockButterfly):
            total += module.weights
        elif isinstance(module, rivals.MaskedLinear):
            total += int(module.elements.sum())  # type: ignore[operator]
        elif type(module) in (nn.Linear, nn.Conv2d, nn.Embedding):
            total += int(module.weight.count_nonzero())  # type: ignore[union-attr, operator]
    masked = [m for m in model.modules() if isinstance(m, rivals.MaskedLinear)]

    return total - sum(int(m.linear.weight.count_nonzero()) for m in masked)
