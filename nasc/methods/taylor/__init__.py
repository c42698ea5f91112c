"""Global pruning by the first-order Taylor term of the loss."""

from nasc.methods.taylor.method import Taylor

__all__ = ["Taylor"]
