"""Decoding with exits: self-speculation against the whole model, tokens a second (Table 4; the method's sheet, rows 18, 19).

A small LLaMA-shaped model over bytes is trained on WikiText-2: with one exit drawn each step (stochastic), with the sum over
all exits (steps divided by their number, so that the forward cost is alike), and plainly. Then prompts of unseen text are
continued: whole model, every fixed exit, confidence exits, self-speculation, and a separately trained draft model. Greedy
texts are compared token for token. Ways are timed in turns, so that a busy machine slows all alike.

    python benchmarks/sorted_decoding.py --size small
    python benchmarks/sorted_decoding.py --size small --report
"""

import time
from typing import TYPE_CHECKING, Any

from study import DATA, Cell, load_rows, mean_and_spread, parse_arguments, run_study

if TYPE_CHECKING:
    from torch import Tensor

NAME = "sorted_decoding"
LAYERS = 8
EXITS = (1, 2, 4, 8)
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"steps": 60, "hidden": 32, "length": 48, "batch": 8, "prompts": 2, "new": 24},
    "small": {"steps": 1600, "hidden": 96, "length": 96, "batch": 16, "prompts": 6, "new": 96},
    "full": {"steps": 60_000, "hidden": 512, "length": 512, "batch": 64, "prompts": 100, "new": 256},
}


def cells(size: str, seeds: int) -> list[Cell]:
    return [
        {"seed": seed, "training": t, **SETTINGS[size]}
        for seed in range(seeds)
        for t in ("stochastic", "summation", "plain")
    ]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one model, then decode in every way."""
    import torch

    from nasc.decoding import ExitDecoder

    train_ids, test_ids = load_bytes()
    torch.manual_seed(cell["seed"])
    model = build(cell["hidden"], LAYERS, cell["length"] + cell["new"] + 16)
    losses = fit(model, train_ids, cell, cell["training"])
    drafter = build(cell["hidden"] // 2, 2, cell["length"] + cell["new"] + 16)
    fit(drafter, train_ids, {**cell, "steps": cell["steps"] // 4}, "plain")
    model.eval(), drafter.eval()
    decoder = ExitDecoder(model, EXITS)
    small = ExitDecoder(drafter, (2,))
    starts = range(0, cell["prompts"] * 1000, 1000)
    prompts = [test_ids[start : start + cell["length"]].tolist() for start in starts]
    return {
        "train_loss": losses[-1],
        "exit_loss": {str(exit_): held_out(model, test_ids, cell, exit_) for exit_ in EXITS},
        "ways": decode_all(decoder, small, prompts, cell["new"]),
    }


def load_bytes() -> "tuple[Tensor, Tensor]":
    """WikiText-2 as bytes, int64: training and test text."""
    import numpy as np
    import torch

    found = []
    for split in ("train", "test"):
        files = sorted((DATA / "wikitext2").rglob(f"*{split}*"))
        text = b"".join(read(path) for path in files if path.is_file())
        found.append(torch.from_numpy(np.frombuffer(text, dtype=np.uint8).astype("int64")))
    return found[0], found[1]


def read(path: Any) -> bytes:
    import gzip

    return gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()


def build(hidden: int, layers: int, positions: int) -> Any:
    """A LLaMA-shaped model over bytes with random weights."""
    from nasc.models.torchvision import import_torchvision

    import_torchvision()  # transformers imports it when it is installed; this import knows how to
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=256,
        max_position_embeddings=max(positions, 128),
        tie_word_embeddings=True,
    )
    return transformers.LlamaForCausalLM(config)


def fit(model: Any, ids: "Tensor", cell: Cell, training: str) -> list[float]:
    """Train by next-byte prediction; the mean loss of every 50 steps."""
    import random

    import torch

    from nasc.decoding import shortened

    steps = cell["steps"] // len(EXITS) if training == "summation" else cell["steps"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    generator = torch.Generator().manual_seed(cell["seed"])
    source, losses, running = random.Random(cell["seed"]), [], 0.0
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 100) * (1 - step / steps)
        starts = torch.randint(0, len(ids) - cell["length"] - 1, (cell["batch"],), generator=generator)
        batch = torch.stack([ids[start : start + cell["length"] + 1] for start in starts.tolist()])
        chosen = {"plain": (LAYERS,), "stochastic": (source.choice(EXITS),), "summation": EXITS}[training]
        optimizer.zero_grad()
        for depth in chosen:
            with shortened(model, min(depth, len(model.model.layers))):
                loss = next_byte_loss(model, batch)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running += float(loss)
        if step % 50 == 49:
            losses.append(running / 50)
            running = 0.0
    return losses or [running / max(steps, 1)]


def next_byte_loss(model: Any, batch: "Tensor") -> "Tensor":
    """Cross entropy in nats a byte; ``batch`` is int64 (batch, length + 1)."""
    from torch.nn.functional import cross_entropy

    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def held_out(model: Any, ids: "Tensor", cell: Cell, exit_: int) -> float:
    """Loss of one exit on text it has not seen, nats a byte."""
    import torch

    from nasc.decoding import shortened

    length = cell["length"] + 1
    batch = ids[: 64 * length].view(64, length)
    with torch.no_grad(), shortened(model, exit_):
        return float(next_byte_loss(model, batch))


def decode_all(decoder: Any, small: Any, prompts: list[list[int]], count: int) -> dict[str, Any]:
    """Every way on every prompt, in turns; seconds a token, acceptance, and whether the text is the whole model's."""
    from functools import partial

    from nasc.decoding import decode_early_exit, decode_full, decode_self_speculative, decode_speculative

    ways: dict[str, Any] = {"whole": partial(decode_full, decoder)}
    ways |= {f"exit {exit_}": partial(decode_full, decoder, exit_=exit_) for exit_ in EXITS[:-1]}
    ways |= {f"confidence {tau}": partial(decode_early_exit, decoder, threshold=tau) for tau in (0.6, 0.9)}
    for exit_, draft in ((1, 3), (1, 5), (2, 3), (2, 5)):
        ways[f"self-speculative {draft} at {exit_}"] = partial(
            decode_self_speculative, decoder, draft=draft, threshold=0.0, draft_exits=(exit_,)
        )
    ways["self-speculative 4, 0.6"] = partial(decode_self_speculative, decoder, draft=4, threshold=0.6)
    ways["draft model"] = partial(decode_speculative, decoder, small, draft=4)
    found: dict[str, dict[str, Any]] = {
        name: {"seconds": [], "same": 0, "tokens": 0, "layers": 0, "drafted": 0, "accepted": 0, "exits": {}}
        for name in ways
    }
    for prompt in prompts:
        wanted = None
        for name, way in ways.items():
            began = time.perf_counter()
            text = way(prompt=prompt, count=count)
            figures = found[name]
            figures["seconds"].append(time.perf_counter() - began)
            wanted = wanted or text.tokens
            figures["same"] += text.tokens == wanted
            figures["tokens"] += len(text.tokens)
            figures["layers"] += text.layers
            figures["drafted"] += text.drafted
            figures["accepted"] += text.accepted
            for exit_, number in text.exits.items():
                figures["exits"][str(exit_)] = figures["exits"].get(str(exit_), 0) + number
    return found


def report(size: str) -> None:
    """Speed-up over the whole model, identical texts, acceptance, exits."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    for training in ("stochastic", "summation", "plain"):
        mine = [row for row in rows if row["cell"]["training"] == training]
        if not mine:
            continue
        losses = {
            exit_: round(sum(r["exit_loss"][exit_] for r in mine) / len(mine), 3) for exit_ in mine[0]["exit_loss"]
        }
        print(f"\n{training}: nats a byte {losses}")
        for name in mine[0]["ways"]:
            speed = [sum(r["ways"]["whole"]["seconds"]) / sum(r["ways"][name]["seconds"]) for r in mine]
            drafted = sum(r["ways"][name]["drafted"] for r in mine)
            accepted = sum(r["ways"][name]["accepted"] for r in mine) / drafted if drafted else float("nan")
            same = sum(r["ways"][name]["same"] for r in mine), sum(len(r["ways"][name]["seconds"]) for r in mine)
            print(
                f"  {name:24} speed-up {mean_and_spread(speed):20} accepted {accepted:.2f}  identical {same[0]}/{same[1]}"
            )


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
