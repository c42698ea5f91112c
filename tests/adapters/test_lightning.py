"""The callback in Lightning's own Trainer."""

import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

if find_spec("lightning") is None:
    pytest.skip("lightning is not installed (pip install 'nasc[lightning]')", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nasc.adapters.lightning import Compress  # first: it knows how torchvision is imported here

    from lightning.pytorch import LightningModule, Trainer  # isort: skip

from nasc.errors import ModelError

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # Lightning's advice on workers and devices
]


class Lit(LightningModule):  # type: ignore[misc]
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def train(net: nn.Module, data: Any, callback: Compress, tmp_path: Path, **settings: Any) -> Lit:
    loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
    module = Lit(net)
    trainer = Trainer(
        max_epochs=4, accelerator="cpu", callbacks=[callback], logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path, **settings,
    )  # fmt: skip
    trainer.fit(module, loader)
    return module


@pytest.fixture(autouse=True)
def one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    "settings", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed", "gradient_clip_val": 1.0}], ids=str
)
def test_one_added_line_ends_with_a_small_module_in_the_place_of_the_large_one(
    net: nn.Module, digits: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    callback = Compress("1.5kparam", out=tmp_path / "out")
    module = train(net, digits, callback, tmp_path, **settings)
    assert callback.small is not None
    assert module.net is callback.small
    assert parameters(module.net) <= 1500
    assert (tmp_path / "out" / "model").is_dir()


@pytest.mark.slow
def test_a_target_in_time_ends_with_a_measured_file(net: nn.Module, digits: Any, tmp_path: Path) -> None:
    callback = Compress("-40%", device="simulated", out=tmp_path / "out")
    train(net, digits, callback, tmp_path)
    assert (tmp_path / "out" / "model.tflite").is_file()
    assert callback.compression.measured_s is not None


def test_a_part_that_is_not_there_is_named(net: nn.Module, digits: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no part 'network'; it has: net"):
        train(net, digits, Compress("1kparam", module="network", out=tmp_path / "out"), tmp_path)


def test_its_state_goes_through_a_checkpoint(net: nn.Module, digits: Any, tmp_path: Path) -> None:
    callback = Compress("1.5kparam", out=tmp_path / "out")
    train(net, digits, callback, tmp_path)
    state = callback.state_dict()
    assert state["steps"] == 32
    fresh = Compress("1.5kparam", out=tmp_path / "out")
    fresh.load_state_dict(state)
    assert fresh.state_dict()["steps"] == 32
