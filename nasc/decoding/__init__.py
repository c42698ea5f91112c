"""Decoding with early exits: confidence exits, self-speculative and plain speculative decoding (sortednet.md 2.6)."""

from nasc.decoding.decoder import ExitDecoder, Session, shortened
from nasc.decoding.strategies import (
    Decoded,
    Sampling,
    decode_early_exit,
    decode_full,
    decode_self_speculative,
    decode_speculative,
)

__all__ = [
    "Decoded",
    "ExitDecoder",
    "Sampling",
    "Session",
    "decode_early_exit",
    "decode_full",
    "decode_self_speculative",
    "decode_speculative",
    "shortened",
]
