"""A small net, and handwritten digits as a plain data set."""

import pytest
import torch
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture(scope="session")
def digits() -> torch.utils.data.TensorDataset:
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.tensor(found.images[:256], dtype=torch.float32).unsqueeze(1) / 16
    return torch.utils.data.TensorDataset(images, torch.tensor(found.target[:256]))
