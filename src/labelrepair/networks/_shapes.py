"""What the architectures share: checks of the input's shape, and options for those without any."""

import dataclasses

from labelrepair.config import require

MOST_WEIGHTS = 2**30  # 4 GiB, and three times as much again while Adam trains them


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of an architecture that has none."""


def image_shape(in_shape: tuple[int, ...], smallest: int = 1) -> tuple[int, int, int]:
    """Return ``in_shape`` as (channels, height, width), each side at least ``smallest`` pixels.

    Raises:
        ConfigError: if it is not such a shape.
    """
    require(
        len(in_shape) == 3 and min(in_shape[1:]) >= smallest,
        f"in_shape: this network takes images (channels, height, width) of at least "
        f"{smallest}x{smallest} pixels, found {in_shape}",
    )
    channels, height, width = in_shape
    return channels, height, width


def check_weights(count: int) -> None:
    """Refuse a network of more weights than any machine would train: a number is mistyped.

    Raises:
        ConfigError: ``count`` is above :data:`MOST_WEIGHTS`.
    """
    require(
        count <= MOST_WEIGHTS,
        f"network: {count:,} weights by its options, expected at most {MOST_WEIGHTS:,}",
    )


def token_length(in_shape: tuple[int, ...]) -> int:
    """Return L of ``in_shape`` (L,).

    Raises:
        ConfigError: if it has more than one axis.
    """
    require(
        len(in_shape) == 1, f"in_shape: this network takes token ids (length,), found {in_shape}"
    )
    return in_shape[0]
