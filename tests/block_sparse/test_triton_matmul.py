"""Against masked dense in float64. On a machine without CUDA only the refusals run; the rest says so and is skipped."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from nasc.block_sparse import flat_butterfly
from nasc.block_sparse.matmul import Plan, assemble, make_plan
from nasc.block_sparse.pattern import BlockPattern
from nasc.block_sparse.triton_matmul import triton_linear
from nasc.errors import DeviceError

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the Triton kernels were not run")

RANDOM = torch.rand(7, 5, generator=torch.Generator().manual_seed(0)) < 0.4


def on(device, plan):
    values = {name: getattr(plan, name) for name in Plan.__dataclass_fields__}
    return Plan(**{k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in values.items()})


@needs_cuda
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
@pytest.mark.parametrize("batch", [1, 37, 300])
@pytest.mark.parametrize("kind", ["butterfly", "uneven"])
def test_the_product_and_both_gradients_equal_the_masked_dense_ones(dtype, tolerance, batch, kind):
    torch.manual_seed(0)
    b = 32
    pattern = flat_butterfly(256, 128, b, 4) if kind == "butterfly" else BlockPattern(RANDOM, b, 7 * b, 5 * b)
    plan = on("cuda", make_plan(pattern))
    x = torch.randn(batch, pattern.in_features, device="cuda").to(dtype).requires_grad_()
    blocks = torch.randn(pattern.blocks, b, b, device="cuda").to(dtype).requires_grad_()
    upstream = torch.randn(batch, pattern.out_features, device="cuda").to(dtype)
    y = triton_linear(x, blocks, plan, tuple(pattern.mask.shape))
    ours = (y, *torch.autograd.grad(y, (x, blocks), upstream))
    exact_x, exact_blocks = (t.detach().double().requires_grad_() for t in (x, blocks))
    reference = exact_x @ assemble(exact_blocks, plan, pattern).T
    theirs = (reference, *torch.autograd.grad(reference, (exact_x, exact_blocks), upstream.double()))
    for mine, exact in zip(ours, theirs, strict=True):
        assert (mine.double() - exact).abs().max() <= tolerance * exact.abs().max()


@needs_cuda
def test_tf32_is_used_only_where_torch_allows_it():
    pattern = flat_butterfly(128, 128, 32, 2)
    plan = on("cuda", make_plan(pattern))
    x, blocks = torch.randn(64, 128, device="cuda"), torch.randn(pattern.blocks, 32, 32, device="cuda")
    before = torch.backends.cuda.matmul.allow_tf32
    results = []
    for allowed in (False, True):
        torch.backends.cuda.matmul.allow_tf32 = allowed
        results.append(triton_linear(x, blocks, plan, (4, 4)))
    torch.backends.cuda.matmul.allow_tf32 = before
    torch.testing.assert_close(results[0], results[1], atol=0.1, rtol=1e-2)


def test_other_devices_are_refused():
    pattern = flat_butterfly(32, 32, 16, 2)
    with pytest.raises(DeviceError, match="expected CUDA tensors; got cpu"):
        triton_linear(torch.zeros(1, 32), torch.zeros(pattern.blocks, 16, 16), make_plan(pattern), (2, 2))


INTERPRETED = """
import torch
from nasc.block_sparse import flat_butterfly
from nasc.block_sparse.matmul import assemble, make_plan
from nasc.block_sparse.pattern import BlockPattern
from nasc.block_sparse.triton_matmul import _product, _weight_gradient
torch.manual_seed(0)
for pattern in (flat_butterfly(64, 32, 16, 2), BlockPattern(torch.rand(5, 4) < 0.4, 16, 80, 64)):
    for batch in (1, 37):
        plan, (p, q) = make_plan(pattern), pattern.mask.shape
        x = torch.randn(batch, pattern.in_features, requires_grad=True)
        blocks = torch.randn(pattern.blocks, 16, 16, requires_grad=True)
        upstream = torch.randn(batch, pattern.out_features)
        y = x @ assemble(blocks, plan, pattern).T
        dx, dblocks = torch.autograd.grad(y, (x, blocks), upstream)
        with torch.no_grad():
            torch.testing.assert_close(_product(x, blocks, plan.row, plan.column, p, transposed=False), y)
            torch.testing.assert_close(_product(upstream, blocks, plan.column, plan.row, q, transposed=True), dx)
            torch.testing.assert_close(_weight_gradient(x, upstream, blocks, plan.row, plan.column), dblocks)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_kernels_are_right_in_tritons_interpreter() -> None:
    result = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
