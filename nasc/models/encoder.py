"""``encoder-tiny``: a small transformer encoder for sequences of tokens, in the manner of BERT (arXiv 1810.04805).

Departures: the norm comes before each half of a block (it trains without a long warm-up), the class is read from the mean
over all positions, and padding is a word like any other, so that the network needs no mask at run time.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.models.blocks import scale_width

VOCABULARY = 16_384
_WIDTH, _HEADS, _HIDDEN, _BLOCKS = 128, 4, 512, 4


class Attention(nn.Module):
    """Self-attention with a projection each for queries, keys, values and output."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, tokens, width)`` to the same."""
        batch, tokens, _ = x.shape
        query, key, value = (
            layer(x).reshape(batch, tokens, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        return out


class Block(nn.Module):
    """Attention and a feed-forward network, each beside the residual stream."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, tokens, width)`` to the same."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        out: Tensor = x + self.dropout(self.down(functional.gelu(self.up(self.hidden_norm(x)))))
        return out


class EncoderTiny(nn.Module):
    """Four blocks of width 128 with four heads.

    Args:
        num_classes: The number of classes.
        length: Tokens a row.
        width: Width multiplier.
        multiple: Every width is a multiple of this.
        vocabulary: Tokens are below this.
    """

    def __init__(
        self, num_classes: int, length: int, width: float = 1.0, multiple: int = 4, vocabulary: int = VOCABULARY
    ) -> None:
        super().__init__()
        channels = scale_width(_WIDTH, width, max(multiple, _HEADS))
        self.words = nn.Embedding(vocabulary, channels)
        self.places = nn.Parameter(torch.zeros(1, length, channels))
        hidden = scale_width(_HIDDEN, width, multiple)
        self.blocks = nn.Sequential(*(Block(channels, _HEADS, hidden) for _ in range(_BLOCKS)))
        self.norm = nn.LayerNorm(channels)
        self.classifier = nn.Linear(channels, num_classes)
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.places, std=0.02)

    def encode(self, tokens: Tensor) -> Tensor:
        """States ``(batch, tokens, channels)`` of tokens ``(batch, tokens)``, int64."""
        out: Tensor = self.norm(self.blocks(self.words(tokens) + self.places))
        return out

    def forward(self, tokens: Tensor) -> Tensor:
        """Class scores ``(batch, classes)`` of tokens ``(batch, tokens)``, int64."""
        out: Tensor = self.classifier(self.encode(tokens).mean(1))
        return out
