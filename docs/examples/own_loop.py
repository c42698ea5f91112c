"""A hand-written training loop that ends with a model of half the latency: handwritten digits, any CPU.

Run ``nasc profile --device cpu --model docs/examples/own_loop.py:Net --input-shape 1x8x8`` once before.
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import nasc


class Net(nn.Module):
    """Any module will do."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(64)
        self.second = nn.Conv2d(64, 64, 3, padding=1)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores of pictures."""
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x))
        return self.head(x.mean((2, 3)))


def main(device: str = "cpu", epochs: int = 12, out: Path = Path("runs/own-loop")) -> float:
    """Train and compress; returns the small model's accuracy."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    test = torch.arange(len(labels)) % 5 == 0
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images[~test], labels[~test]), batch_size=64, shuffle=True
    )
    model, example_inputs, criterion = Net(), (images[:1],), nn.CrossEntropyLoss()

    table = nasc.load_table(device)
    net = nasc.trace(model, example_inputs)  # dims and kernels; never changes the model
    search = nasc.Surrogate(net, table=table, target="-50%", total_steps=len(loader) * epochs)
    optimizer = torch.optim.AdamW(search.model.parameters(), lr=3e-3)

    search.model.train()
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(search.model(x), y) + search.penalty()
            loss.backward()
            optimizer.step()
            search.step()  # projects the masks, steers lambda to the target

    small = search.materialise()  # a plain nn.Module, no nasc inside
    out.mkdir(parents=True, exist_ok=True)
    nasc.save_model(small, out / "model")
    nasc.export(small, example_inputs, out / "model.tflite")

    small.eval()
    with torch.no_grad():
        return (small(images[test]).argmax(1) == labels[test]).float().mean().item()


if __name__ == "__main__":
    print(f"accuracy of the small model: {main():.3f}")
