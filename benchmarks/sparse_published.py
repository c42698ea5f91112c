"""Published figures of sparse training, quoted with their sources; nothing here was measured by nasc.

python benchmarks/sparse_published.py
python benchmarks/sparse_published.py --sparsity 0.9
"""

import argparse
import json
from pathlib import Path
from typing import Any

QUOTES = Path(__file__).resolve().parent / "published_sparse.json"


def load_quotes() -> list[dict[str, Any]]:
    """Every quoted figure: method, network, data, sparsity (share), length, accuracy (share), source, note."""
    quotes: list[dict[str, Any]] = json.loads(QUOTES.read_text())
    return quotes


def table(sparsity: float | None = None) -> str:
    """The quotes as text, strongest first within network, data and sparsity."""
    chosen = [quote for quote in load_quotes() if sparsity is None or abs(quote["sparsity"] - sparsity) < 1e-9]
    lines = [f"{'network':12} {'data':10} {'sparsity':>8} {'method':28} {'accuracy':>8}  {'length':20} source"]
    for quote in sorted(chosen, key=lambda q: (q["network"], q["data"], q["sparsity"], -q["accuracy"])):
        source = f"{quote['source']} ({quote['note']})" if quote["note"] else quote["source"]
        lines.append(
            f"{quote['network']:12} {quote['data']:10} {quote['sparsity']:8.1%} {quote['method']:28} "
            f"{quote['accuracy']:8.2%}  {quote['length']:20} {source}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsity", type=float, help="only this one, as a share")
    print(table(parser.parse_args().sparsity))
