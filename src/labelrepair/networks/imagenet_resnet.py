"""Torchvision's ResNet-18 and -50 as they are, for large images; ImageNet weights on request."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from labelrepair.errors import ConfigError
from labelrepair.networks._shapes import image_shape


@dataclass(frozen=True)
class ImagenetOptions:
    """Attributes: weights: name of torchvision's weights (downloaded once), None = random."""

    weights: str | None = None


def imagenet_resnet(
    in_shape: tuple[int, ...], num_classes: int, options: ImagenetOptions, *, name: str
) -> nn.Module:
    """Return torchvision's ``name`` with a fresh last layer.

    The networks for Clothing1M: ResNet-50 with ImageNet weights (Patrini et al. 2017, Tanaka et al.
    2018), ResNet-18 (Wei et al. 2020). RGB only.

    Raises:
        ConfigError: the images are not RGB, or torchvision knows no such weights.
    """
    # Importing torchvision takes a second that the other networks need not pay.
    import torchvision  # noqa: PLC0415

    channels, _, _ = image_shape(in_shape)
    if channels != 3:
        raise ConfigError(f"{name}_imagenet: needs RGB images, found {channels} channels")
    try:
        network: Any = torchvision.models.get_model(name, weights=options.weights)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"weights: torchvision knows no '{options.weights}' of {name}") from error
    network.fc = nn.Linear(network.fc.in_features, num_classes)
    made: nn.Module = network
    return made
