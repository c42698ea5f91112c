"""What the adapters share, in a plain loop: accumulation, several processes, compiled models, every method."""

import copy
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nasc.adapters._compression import Compression, adopt, lead_through, learned_tensors
from nasc.cost import cost
from nasc.errors import NascError, TrainingError
from nasc.graph import trace
from nasc.methods import METHODS, build, price_for_target

STEPS = 16


def fit(
    net: nn.Module, data: torch.utils.data.TensorDataset, compression: Compression, *, micro: int = 1,
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
) -> None:  # fmt: skip
    x, y = data.tensors
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    compression.start(net, net, (x[:1],), STEPS, optimizer)
    called = wrap(net)
    called.train()
    for step in range(STEPS):
        optimizer.zero_grad()
        rows = slice(32 * (step % 8), 32 * (step % 8 + 1))
        for part_x, part_y in zip(x[rows].chunk(micro), y[rows].chunk(micro), strict=True):
            (nn.functional.cross_entropy(called(part_x), part_y) / micro).backward()
        compression.before_step()
        optimizer.step()
        compression.after_step()


def macs(module: nn.Module) -> float:
    network = trace(module, (torch.zeros(1, 1, 8, 8),))
    return float(cost(network, network.dense_sizes, "macs"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_meets_a_target_in_a_foreign_loop(
    method: str, net: nn.Module, digits: Any, tmp_path: Path
) -> None:
    dense = macs(net)
    compression = Compression("100kMAC", method=method, out=tmp_path)
    try:
        fit(net, digits, compression)
        small = compression.finish()
    except NascError as error:
        compression.release()
        pytest.skip(f"{method} does not take such a target: {error.message}")
    assert compression.method is not None
    assert macs(small) < dense or compression.method.select().masks  # dropped weights leave the widths as they are
    assert "forward" not in vars(net)
    assert (tmp_path / "model").is_dir()
    assert small(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("method", ["surrogate", "l1"])
def test_accumulating_over_micro_batches_changes_nothing(method: str, digits: Any, tmp_path: Path) -> None:
    ends = []
    for micro in (1, 4):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
        )
        compression = Compression("60kMAC", method=method, out=tmp_path)
        fit(net.double(), _double(digits), compression, micro=micro)
        assert compression.method is not None
        ends.append((compression.method.select().sizes, net[0].weight.detach().clone()))
        compression.release()
    assert ends[0][0] == ends[1][0]
    torch.testing.assert_close(ends[0][1], ends[1][1], rtol=1e-4, atol=1e-6)


def _double(data: torch.utils.data.TensorDataset) -> torch.utils.data.TensorDataset:
    x, y = data.tensors
    return torch.utils.data.TensorDataset(x.double(), y)


def test_in_bfloat16_the_loss_is_mixed_and_the_masks_stay_in_full_precision(
    net: nn.Module, digits: Any, tmp_path: Path
) -> None:
    class Mixed(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.inner(x).float()

    compression = Compression("100kMAC", out=tmp_path)
    fit(net, digits, compression, wrap=Mixed)
    assert compression.method is not None
    assert {leaf.dtype for leaf in learned_tensors(compression.method)} == {torch.float32}
    assert macs(compression.finish()) <= 100e3


@pytest.mark.slow
def test_compiled_models_of_every_kind_compute_what_plain_ones_do(net: nn.Module, digits: Any) -> None:
    x, y = digits.tensors[0][:8], digits.tensors[1][:8]
    compiled = set()
    for method in METHODS:
        network = trace(copy.deepcopy(net), (x[:1],))  # some methods rewrite weights as soon as they are built
        price, limit = price_for_target(network, "100kMAC")
        try:
            model = build(
                method, network, price, limit, STEPS
            ).model.eval()  # batch statistics would move between calls
        except NascError:
            continue  # it takes no such target, or no such network
        kind = type(model)
        if kind in compiled:  # many methods train the same masked model
            continue
        compiled.add(kind)
        parameters = list(model.parameters())
        results = []
        for called in (model, torch.compile(model, backend="aot_eager")):
            torch.manual_seed(0)
            loss = nn.functional.cross_entropy(called(x), y)
            results.append((loss, *torch.autograd.grad(loss, parameters, allow_unused=True)))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, msg=lambda text, method=method: f"{method}: {text}")
    assert len(compiled) > 1


def test_a_method_that_rewrites_the_model_has_its_parameters_trained_by_the_loops_own_optimiser(net: nn.Module) -> None:
    rewritten = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    new = adopt(net, nn.ModuleList([net, rewritten]), optimizer)
    assert [id(p) for p in new] == [id(p) for p in rewritten.parameters()]
    before = rewritten.weight.detach().clone()
    rewritten(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule.step()
    assert not torch.equal(rewritten.weight, before)
    assert adopt(net, net, optimizer) == []


def test_a_module_led_through_another_is_itself_again_afterwards(net: nn.Module) -> None:
    class Doubled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * net(x)

    net.eval()
    x = torch.randn(2, 1, 8, 8)
    own = net(x)
    undo = lead_through(net, Doubled())
    torch.testing.assert_close(net(x), 2 * own)
    undo()
    torch.testing.assert_close(net(x), own)


def test_a_callback_that_was_never_started_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected training to have started"):
        Compression("100kMAC", out=tmp_path).finish()


def test_a_state_taken_before_a_stop_goes_on_where_it_was(net: nn.Module, digits: Any, tmp_path: Path) -> None:
    first = Compression("100kMAC", out=tmp_path)
    fit(net, digits, first)
    first.release()
    again = Compression("100kMAC", out=tmp_path)
    again.load_state_dict(first.state_dict())
    again.start(net, net, (digits.tensors[0][:1],), STEPS, None)
    assert first.method is not None
    assert again.method is not None
    assert again.method.select().sizes == first.method.select().sizes
    again.release()


@pytest.mark.slow
def test_two_processes_end_with_the_same_small_model(digits: Any, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    x, y = digits.tensors
    torch.save([x, y], tmp_path / "data.pt")
    script = str(Path(__file__).with_name("one_of_two.py"))
    ranks = [subprocess.Popen([sys.executable, script, str(rank), str(port), str(tmp_path)]) for rank in (0, 1)]
    assert [rank.wait(timeout=200) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first[0] == second[0] <= 60e3
    for one, other in zip(first[1:], second[1:], strict=True):
        torch.testing.assert_close(one, other)
