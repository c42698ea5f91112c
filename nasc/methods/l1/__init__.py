"""Plain l1 on masks: a rival, and the paper's eq. 3."""

from nasc.methods.l1.method import PlainL1

__all__ = ["PlainL1"]
