import pytest
import torch
from torch import nn

from nasc.block_sparse import PixelflyLinear, flat_butterfly


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler itself
def test_a_compiled_model_gives_the_same_outputs_and_gradients():
    torch.manual_seed(0)
    model = nn.Sequential(
        PixelflyLinear(flat_butterfly(32, 24, 8, 2), rank=8), nn.GELU(), PixelflyLinear(flat_butterfly(20, 32, 8, 2))
    )
    x = torch.randn(6, 24)
    expected = model(x)
    gradients = torch.autograd.grad(expected.square().sum(), list(model.parameters()))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    result = compiled(x)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(torch.autograd.grad(result.square().sum(), list(model.parameters())), gradients)
