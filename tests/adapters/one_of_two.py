"""One of two processes that train a model together: rank, port and folder on the command line."""

import os
import sys
from pathlib import Path

import torch
from torch import nn

from nasc.adapters._compression import Compression
from nasc.cost import cost
from nasc.graph import trace

STEPS = 16


def main(rank: int, port: str, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )
    x, y = (tensor[rank::2] for tensor in torch.load(folder / "data.pt", weights_only=True))
    compression = Compression("60kMAC", out=folder / "out")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    compression.start(net, net, (x[:1],), STEPS, optimizer)
    parallel = nn.parallel.DistributedDataParallel(net)
    for step in range(STEPS):
        optimizer.zero_grad()
        rows = slice(32 * (step % 4), 32 * (step % 4 + 1))
        nn.functional.cross_entropy(parallel(x[rows]), y[rows]).backward()
        compression.before_step()
        optimizer.step()
        compression.after_step()
    small = compression.finish()
    network = trace(small, (x[:1],))
    macs = float(cost(network, network.dense_sizes, "macs"))
    torch.save([macs, *(p.detach() for p in small.parameters())], folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
