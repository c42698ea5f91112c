"""The callback in transformers' own Trainer."""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

for _package in ("transformers", "accelerate"):
    if find_spec(_package) is None:
        pytest.skip(f"{_package} is not installed; the Trainer needs it", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nasc.adapters.hugging_face import Compress  # first: it knows how torchvision is imported here

    import transformers  # isort: skip

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Sentences(torch.utils.data.Dataset[dict[str, Any]]):
    """Ten tokens, and whether the first is below the half of the vocabulary."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(0, 64, (128, 10), generator=generator)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.tokens[index]
        return {"input_ids": row, "attention_mask": torch.ones_like(row), "labels": int(row[0] < 32)}


def make_trainer(callback: Compress, tmp_path: Path, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(
        vocab_size=64, max_position_embeddings=16, n_layers=2, n_heads=4, dim=32, hidden_dim=64, num_labels=2
    )
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "trainer"), max_steps=24, per_device_train_batch_size=16, learning_rate=1e-3,
        report_to=[], save_strategy="no", use_cpu=True, logging_steps=8, disable_tqdm=True, **settings,
    )  # fmt: skip
    return transformers.Trainer(
        model=transformers.DistilBertForSequenceClassification(config),
        args=arguments,
        train_dataset=Sentences(),
        callbacks=[callback],
    )


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 2, "bf16": True}], ids=str)
def test_one_added_line_ends_with_a_small_model(tmp_path: Path, settings: dict[str, Any]) -> None:
    callback = Compress("15kparam", out=tmp_path / "out")
    trainer = make_trainer(callback, tmp_path, **settings)
    dense = sum(p.numel() for p in trainer.model.parameters())
    trainer.train()
    assert callback.small is not None
    assert sum(p.numel() for p in callback.small.parameters()) <= 15_000 < dense
    tokens = Sentences().tokens[:3]
    assert callback.small(tokens, torch.ones_like(tokens)).shape == (3, 2)
    assert any("nasc/price" in entry for entry in trainer.state.log_history)
    assert "forward" not in vars(trainer.model)
