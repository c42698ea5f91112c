"""Forms a layer can take beside the dense float matrix: two factors, factors plus a sparse matrix, few bits.

Everything here is plain torch: a rewritten module can be traced, trained, sliced and exported like the user's own.
"""

from nasc.blocks.low_rank import (
    LowRankPlusSparse,
    break_even_rank,
    factorise,
    factorise_plus_sparse,
    is_factorisable,
    merge,
)
from nasc.blocks.quantisation import (
    BITS,
    bits_of_gates,
    gated_weight,
    gates_of_bits,
    grid_step,
    quantise,
    quantise_living,
    relative_error,
    straight_through,
    surrogate_bits,
    weight_codes,
)
from nasc.blocks.quantised_model import GridModel
from nasc.blocks.rewriting import called_once, replace_modules

__all__ = [
    "BITS",
    "GridModel",
    "LowRankPlusSparse",
    "bits_of_gates",
    "break_even_rank",
    "called_once",
    "factorise",
    "factorise_plus_sparse",
    "gated_weight",
    "gates_of_bits",
    "grid_step",
    "is_factorisable",
    "merge",
    "quantise",
    "quantise_living",
    "relative_error",
    "replace_modules",
    "straight_through",
    "surrogate_bits",
    "weight_codes",
]
