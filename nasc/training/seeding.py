"""Random numbers that depend on where a run is, not on how it got there.

Every use has its own stream, derived from the run's seed, a purpose and a place (the step, the epoch). A run that
resumes at step k, or a second module trained from step k on, draws what an uninterrupted run would draw from there.
"""

import hashlib

import torch
from torch import Tensor


def derive_seed(seed: int, purpose: str, place: int) -> int:
    """A 63-bit seed of a stream.

    Args:
        seed: Of the run.
        purpose: What is drawn.
        place: The step or epoch.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_step(seed: int, step: int) -> None:
    """Seed torch's global generators for a step: augmentation, dropout, a method's own draws."""
    place = derive_seed(seed, "step", step)
    torch.default_generator.manual_seed(place)  # torch.manual_seed does more, and takes a hundredth of a small step
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(place)


def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """The order of the pictures in an epoch: int64 ``(count,)``."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(count, generator=generator)
