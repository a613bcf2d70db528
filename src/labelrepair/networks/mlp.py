"""Fully connected networks, for images and vectors alike."""

import dataclasses
import itertools
import math

from torch import nn

from labelrepair.config import require


@dataclasses.dataclass(frozen=True)
class MlpOptions:
    """Widths of the hidden layers (each >= 1) and the dropout after each, in [0, 1)."""

    hidden: tuple[int, ...] = (256,)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(all(n > 0 for n in self.hidden), f"hidden: must be positive, found {self.hidden}")
        require(0.0 <= self.dropout < 1.0, f"dropout: must lie in [0, 1), found {self.dropout}")


def mlp(in_shape: tuple[int, ...], num_classes: int, options: MlpOptions) -> nn.Module:
    """Return flatten -> (dense, ReLU, dropout) per hidden layer -> dense.

    The defaults are the MLP of JoCoR's appendix (Wei et al. 2020; 203 530 parameters on MNIST);
    ``hidden=(128, 128), dropout=0.5`` is that of Patrini et al. 2017 (118 282). Deviation:
    PyTorch's default initialisation for both (the latter's code uses He-normal weights).
    """
    layers: list[nn.Module] = [nn.Flatten()]
    widths = (math.prod(in_shape), *options.hidden)
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        if options.dropout > 0.0:
            layers.append(nn.Dropout(options.dropout))
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))
