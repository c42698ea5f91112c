"""Training small networks with block patterns, from scratch with the dense model's recipe (the sheet's rows 3, 6 to 19).

    python benchmarks/pixelfly_training.py --size small --only '"study": "forms"'
    python benchmarks/pixelfly_training.py --report

Studies, each a value of ``study``:

- ``forms``      Mixer-tiny and ViT-tiny on CIFAR-10 and a GPT on WikiText-2: dense, Pixelfly and its rivals at one density
- ``search``     pairs of patterns at one budget (Appendix K)
- ``share``      the share of low rank at three densities (Section 5.3 i)
- ``blocks``     block sizes 1 to 32, flat butterfly and random (Table 7)
- ``allocation`` attention alone, MLP alone, both (Section 5.3 iii)
- ``alpha``      scalar, sigmoid, fixed and gated mixes; what alpha becomes
- ``init``       the authors' initialisation against the variance-matched one
- ``transfer``   train on five classes, fine-tune on the other five (Appendix L.4)
- ``long``       pixel sequences of length 1024 with block-sparse attention scores (Long Range Arena's image task)

Quality is test accuracy, or validation perplexity for the GPT. ``step_s`` is the median training step on a machine that may
be shared: compare it within a study, and see pixelfly_speed.py for times that were measured alone.
"""

from typing import Any

from study import DATA, Cell, load_rows, mean_and_spread, parse_arguments, run_study

NAME = "pixelfly_training"
PLAIN = {"kind": "dense"}
RIVALS = (
    "flat",
    "low rank",
    "random block",
    "random element",
    "magnitude",
    "big bird",
    "strided",
    "fixed",
    "local",
    "butterfly product",
)
PAIRS = ("butterfly+local", "butterfly+random block", "local+random block", "strided+local", "big bird+butterfly")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"train_size": 64, "steps": 3, "batch": 16, "width": 32, "depth": 1, "block": 4, "length": 16, "long": 4},
    "small": {
        "train_size": 4000,
        "steps": 250,
        "batch": 64,
        "width": 128,
        "depth": 3,
        "block": 8,
        "length": 64,
        "long": 1,
    },
    "full": {
        "train_size": None,
        "steps": 39_000,
        "batch": 512,
        "width": 512,
        "depth": 8,
        "block": 32,
        "length": 256,
        "long": 1,
    },
}
DENSITY = 0.2


def cells(size: str, seeds: int) -> list[Cell]:
    """All studies; seeds outermost, the comparison of forms first."""
    setting = SETTINGS[size]
    shared = {key: setting[key] for key in ("train_size", "steps", "batch", "width", "depth")}
    block = setting["block"]
    pixelfly = {"kind": "pixelfly", "density": DENSITY, "block": block}
    listed: list[Cell] = []

    def add(seed: int, study: str, model: str, form: dict[str, Any], **more: Any) -> None:
        listed.append({"study": study, "model": model, "form": form, "where": "all", "seed": seed} | shared | more)

    for seed in range(seeds):
        for model in ("mixer", "vit", "gpt"):
            extra = {"length": setting["length"]} if model == "gpt" else {}
            for form in (PLAIN, pixelfly):
                add(seed, "forms", model, form, **extra)
        for kind in RIVALS:
            add(seed, "forms", "mixer", pixelfly | {"kind": kind})
        add(seed, "forms", "mixer", {"kind": "rigl", "density": DENSITY})
        for kind in PAIRS:
            add(seed, "search", "mixer", pixelfly | {"kind": kind})
        for density in (0.05, 0.1, 0.2):
            for share in (0.0, 0.125, 0.25, 1 / 3, 0.5, 1.0):
                add(
                    seed, "share", "mixer", pixelfly | {"density": density, "share": share, "block": max(1, block // 2)}
                )
        for side in (1, 2, 4, 8, 16, 32):
            for kind in ("flat", "random block"):
                add(seed, "blocks", "mixer", pixelfly | {"kind": kind, "block": side})
        for where in ("attention", "mlp"):
            add(seed, "allocation", "vit", pixelfly, where=where)
        for mix in ("scalar", "sigmoid", "fixed", "gated"):
            add(seed, "alpha", "mixer", pixelfly | {"mix": mix})
        for matched in (False, True):
            add(seed, "init", "mixer", pixelfly | {"matched": matched})
        for form in (PLAIN, pixelfly):
            add(seed, "transfer", "mixer", form)
        for scores in ("dense", "butterfly", "local", "big bird"):
            add(seed, "long", "vit", PLAIN, scores=scores, width=64, depth=2, batch=8, patch=setting["long"])
    return listed


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train one network; its quality, losses and times."""
    import torch
    from pixelfly_models import build_model, make_sparse, weight_count

    torch.manual_seed(cell["seed"])
    task = load_task(cell)
    model = make_sparse(
        build_model(cell["model"], cell["width"], cell["depth"], **task.shape),
        cell["form"],
        cell["seed"],
        cell["where"],
    )
    method = rigl(model, task, cell) if cell["form"]["kind"] == "rigl" else None
    if cell["study"] == "long":
        set_scores(model, cell["scores"])
    figures = train(model, task, cell, method)
    if cell["study"] == "transfer":
        second = load_task(cell | {"classes": [5, 10]})
        figures |= {f"tuned_{key}": value for key, value in train(model, second, cell).items()}
    return figures | {"weights": weight_count(model), "alphas": alphas(model)}


class Task:
    """Batches of one data set, and the quality of a model on what was held out."""

    def __init__(self, shape: dict[str, Any], train: tuple[Any, Any], held: tuple[Any, Any], text: bool) -> None:
        self.shape, self.train, self.held, self.text = shape, train, held, text

    def batch(self, size: int, generator: Any) -> tuple[Any, Any]:
        """Random samples: pictures and labels, or windows and their next tokens."""
        import torch

        picked = torch.randint(len(self.train[0]), (size,), generator=generator)
        return self.train[0][picked], self.train[1][picked]

    def quality(self, model: Any) -> float:
        """Accuracy, or perplexity of text."""
        import torch
        from torch.nn import functional

        model.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for x, y in zip(self.held[0].split(100), self.held[1].split(100), strict=True):
                scores = model(x)
                if self.text:
                    total += float(functional.cross_entropy(scores.flatten(0, 1), y.flatten(), reduction="sum"))
                else:
                    total += float((scores.argmax(1) == y).sum())
                count += y.numel()
        model.train()
        return float(torch.tensor(total / count).exp()) if self.text else total / count


def load_task(cell: Cell) -> Task:
    """CIFAR-10 (five classes of it for ``transfer``), its pixels in a row for ``long``, or WikiText-2."""
    if cell["model"] == "gpt":
        return load_text(cell)
    from accuracy import data_spec

    from nasc.datasets import load_dataset

    data = load_dataset(data_spec("cifar10"), train_size=cell["train_size"], seed=cell["seed"])
    held = 2000 if cell["steps"] > 10 else 200
    parts = [(data.train_x, data.train_y), (data.test_x[:held], data.test_y[:held])]
    shape: dict[str, Any] = {"classes": 10, "patch": cell.get("patch", 4)}
    if cell["study"] == "transfer":
        low, high = cell.get("classes", [0, 5])
        parts = [(x[(y >= low) & (y < high)], y[(y >= low) & (y < high)] - low) for x, y in parts]
        shape["classes"] = 5
    if cell["study"] == "long":
        parts = [(x.mean(1, keepdim=True), y) for x, y in parts]
        parts[1] = (parts[1][0][:500], parts[1][1][:500])
        shape["channels"] = 1
    return Task(shape, parts[0], parts[1], text=False)


def load_text(cell: Cell) -> Task:
    """Windows of WikiText-2 over the 2000 commonest of its tokens, the others as one."""
    import torch

    from nasc.datasets.wikitext2 import load_streams

    train, valid, _ = load_streams(DATA / "wikitext2")
    length, vocabulary = cell["length"], 2000
    common = torch.bincount(train).topk(min(vocabulary - 1, len(train.unique()))).indices
    number = torch.zeros(int(max(train.max(), valid.max())) + 1, dtype=torch.long)
    number[common] = torch.arange(1, len(common) + 1)

    def windows(stream: Any, count: int) -> tuple[Any, Any]:
        cut = number[stream][: count * length + 1]
        rows = (len(cut) - 1) // length * length
        return cut[:rows].view(-1, length), cut[1 : rows + 1].view(-1, length)

    shape = {"vocabulary": vocabulary, "length": length}
    return Task(shape, windows(train, 10**9), windows(valid, 400), text=True)


def train(model: Any, task: Task, cell: Cell, method: Any = None) -> dict[str, Any]:
    """AdamW with a warm-up and a cosine, the same for every form."""
    import statistics

    import torch
    from torch.nn import functional

    from nasc.measurement import Stopwatch

    steps, generator = cell["steps"], torch.Generator().manual_seed(cell["seed"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, total_steps=steps, pct_start=min(0.3, 20 / steps + 0.05)
    )
    times: list[float] = []
    losses: list[float] = []
    for _ in range(steps):
        x, y = task.batch(cell["batch"], generator)
        watch = Stopwatch()
        scores = model(x)
        loss = (
            functional.cross_entropy(scores.flatten(0, 1), y.flatten())
            if task.text
            else functional.cross_entropy(scores, y)
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if method is not None:
            method.step()
        schedule.step()
        times.append(watch.seconds)
        losses.append(float(loss.detach()))
    early = losses[: max(1, steps // 4)]
    return {
        "quality": task.quality(model),
        "step_s": statistics.median(times),
        "fastest_step_s": min(times),
        "loss": statistics.fmean(losses[-max(1, steps // 10) :]),
        "early_loss": statistics.fmean(early),
    }


def rigl(model: Any, task: Task, cell: Cell) -> Any:
    """RigL's masks over the single weights of a dense model, at the sparsity that leaves the density."""
    from nasc.graph import trace
    from nasc.methods import Price, build

    network = trace(model, (task.train[0][:1],))
    price = Price(network, "params")
    return build("rigl", network, price, price.dense, cell["steps"], sparsity=1 - cell["form"]["density"])


def set_scores(model: Any, kind: str) -> None:
    """Attention over a block pattern in the place of dense attention, 64 positions a block where there are 1024."""
    from pixelfly_models import Attention, block_mask

    from nasc.block_sparse import BlockPattern, BlockSparseAttention, attention_pattern
    from nasc.block_sparse.budget import MatrixType

    length = model.position.shape[1]
    block = max(4, length // 16)
    if kind == "dense":
        return
    pattern = attention_pattern(length, block, 4, global_blocks=1)
    if kind != "butterfly":
        mask = block_mask(kind, MatrixType("", length, length), pattern.nnz, block, 0)
        pattern = BlockPattern(mask, block, length, length)
    for module in model.modules():
        if isinstance(module, Attention):
            module.scores = BlockSparseAttention(pattern)


def alphas(model: Any) -> list[float]:
    """Learned alpha of every layer that has one."""
    from nasc.block_sparse import PixelflyLinear

    shares = [
        module.share() for module in model.modules() if isinstance(module, PixelflyLinear) and module.alpha is not None
    ]
    return [round(float(share.detach()), 4) for share in shares]


def report(size: str) -> None:
    """A table a study: mean and spread over seeds."""
    rows = [row for row in load_rows(NAME, size) if "error" not in row]
    for study in dict.fromkeys(row["cell"]["study"] for row in rows):
        print(f"\n{study}\n{'model':6} {'form':60} {'weights':>9} {'quality':22} {'early loss':20} step ms")
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows:
            cell = row["cell"]
            if cell["study"] == study:
                details = {**cell["form"], "where": cell["where"], "scores": cell.get("scores")}
                label = " ".join(
                    f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
                    for key, value in details.items()
                    if value not in (None, "all")
                )
                groups.setdefault((cell["model"], label), []).append(row)
        for (model, label), group in groups.items():
            quality = mean_and_spread([row["quality"] for row in group])
            early = mean_and_spread([row["early_loss"] for row in group])
            step = 1e3 * min(row["step_s"] for row in group)
            extra = f"  alpha {mean_and_spread([a for r in group for a in r['alphas']])}" if group[0]["alphas"] else ""
            tuned = (
                f"  tuned {mean_and_spread([r['tuned_quality'] for r in group])}" if "tuned_quality" in group[0] else ""
            )
            print(f"{model:6} {label:60} {group[0]['weights']:9} {quality:22} {early:20} {step:7.1f}{tuned}{extra}")


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        run_study(NAME, cells(parsed.size, parsed.seeds), run_cell, parsed)
    report(parsed.size)
