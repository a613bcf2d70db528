"""Seeds derived by name, so that nothing about the random state has to be saved for a resume."""

import hashlib

import torch

from labelrepair.config import whole


def derive_seed(seed: int, *parts: object) -> int:
    """Return a seed for one stream of one epoch of one stage.

    Args:
        seed: the run's seed.
        parts: what the stream is for, e.g. ``("train", 12, "order")``. Order matters.

    Returns:
        An integer in [0, 2**63), the same on every machine and Python version.

    Raises:
        ConfigError: ``seed`` is no whole number of at least 0: any other text would do, silently.
    """
    whole(0, seed=seed)
    text = "/".join([str(seed), *map(str, parts)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(device: torch.device | str, seed: int, *parts: object) -> torch.Generator:
    """Return a generator on ``device`` seeded with :func:`derive_seed`."""
    made = torch.Generator(device=device)
    made.manual_seed(derive_seed(seed, *parts))
    return made
