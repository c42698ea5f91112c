"""LiteRT (.tflite) files, written directly from kernels."""

from nasc.exporters.litert.probes import write_kernel

__all__ = ["write_kernel"]
