"""Torchvision's ResNet-18 and -34 with the stem for small images."""

from torch import nn

from labelrepair.networks._shapes import NoOptions, image_shape


def cifar_resnet(
    in_shape: tuple[int, ...],
    num_classes: int,
    options: NoOptions,  # noqa: ARG001
    *,
    name: str,
) -> nn.Module:
    """Return torchvision's ``name`` ("resnet18", "resnet34") with a 3x3 stride-1 stem, no max-pool.

    The network of generalized cross entropy (Zhang & Sabuncu 2018) and NLNL (Kim et al. 2019):
    11 173 962 and 21 282 122 parameters for RGB and 10 classes. Any channels, any size.
    """
    # Importing torchvision takes a second that the other networks need not pay.
    import torchvision  # noqa: PLC0415

    channels, _, _ = image_shape(in_shape)
    network: nn.Module = getattr(torchvision.models, name)(weights=None, num_classes=num_classes)
    network.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network
