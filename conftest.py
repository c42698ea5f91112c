"""Modules that only a machine with a GPU's packages can import are not searched for examples."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["nasc/block_sparse/triton_kernels.py"]
