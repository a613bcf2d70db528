"""Fully connected networks, for images and vectors alike."""

import dataclasses
import itertools
import math

from torch import nn

from labelrepair.config import one_of, require
from labelrepair.networks._shapes import check_weights

INITS = ("pytorch", "he_normal")


@dataclasses.dataclass(frozen=True)
class MlpOptions:
    """What the network is made of.

    Attributes:
        hidden: widths of the hidden layers, each >= 1.
        dropout: after each hidden layer, in [0, 1).
        init: of every layer: PyTorch's, or ``he_normal`` weights (standard deviation
            ``sqrt(2 / fan_in)``) and biases of 0.
    """

    hidden: tuple[int, ...] = (256,)
    dropout: float = 0.0
    init: str = "pytorch"

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(all(n > 0 for n in self.hidden), f"hidden: must be positive, found {self.hidden}")
        require(0.0 <= self.dropout < 1.0, f"dropout: must lie in [0, 1), found {self.dropout}")
        one_of(INITS, init=self.init)


def mlp(in_shape: tuple[int, ...], num_classes: int, options: MlpOptions) -> nn.Module:
    """Return flatten -> (dense, ReLU, dropout) per hidden layer -> dense.

    The defaults are the MLP of JoCoR's appendix (Wei et al. 2020; 203 530 parameters on MNIST);
    ``hidden=(128, 128), init="he_normal"`` is that of Patrini et al. 2017 (118 282), with
    ``dropout`` 0.5 by their text and 0.2 in their code. Deviation: by the text, the last layer's
    weights are uniform in [-0.05, 0.05]; here they are He-normal, as in the code.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    widths = (math.prod(in_shape), *options.hidden)
    check_weights(sum(a * b for a, b in itertools.pairwise((*widths, num_classes))))
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        if options.dropout > 0.0:
            layers.append(nn.Dropout(options.dropout))
    network = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))
    if options.init == "he_normal":
        for layer in network:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    return network
