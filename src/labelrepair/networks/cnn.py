"""Plain convolutional networks: JoCoR's 7-layer CNN, the LeNet of NLNL, and the classic one."""

import itertools

from torch import nn

from labelrepair.networks._shapes import NoOptions, image_shape


def cnn7(in_shape: tuple[int, ...], num_classes: int, options: NoOptions) -> nn.Module:  # noqa: ARG001
    """Return the 7-layer CNN of JoCoR's appendix (Wei et al. 2020), PyTorch's initialisation.

    Six conv3x3-BN-ReLU of 64, 64, 128, 128, 196 and 16 channels, a 2x2 max-pool after each pair,
    dense. 518 150 parameters for 32x32 RGB and 10 classes; other sizes (at least 8x8) change the
    dense layer only. Deviation: the appendix prints 196 for the sixth layer, which contradicts the
    256 inputs of its own dense layer; the authors' code has 16.
    """
    channels, height, width = image_shape(in_shape, smallest=8)
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(
        itertools.pairwise((channels, 64, 64, 128, 128, 196, 16))
    ):
        layers += [*_conv(fan_in, fan_out)]
        if i % 2 == 1:
            layers.append(nn.MaxPool2d(2))
    features = 16 * (height // 8) * (width // 8)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, num_classes))


def lenet(in_shape: tuple[int, ...], num_classes: int, options: NoOptions) -> nn.Module:  # noqa: ARG001
    """Return the LeNet of NLNL (Kim et al. 2019, table 5), which it takes from D2L.

    conv3x3 32-BN-ReLU-pool, conv3x3 64-BN-ReLU-pool, dense 128-BN-ReLU, dense. 422 090 parameters
    for 28x28 grey and 10 classes; images of at least 4x4 pixels.
    """
    channels, height, width = image_shape(in_shape, smallest=4)
    return nn.Sequential(
        *_conv(channels, 32),
        nn.MaxPool2d(2),
        *_conv(32, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, num_classes),
    )


def lenet5(in_shape: tuple[int, ...], num_classes: int, options: NoOptions) -> nn.Module:  # noqa: ARG001
    """Return the classic LeNet-5 (LeCun et al. 1998) with ReLU and max-pooling.

    conv5x5 6 (padded by 2)-pool, conv5x5 16-pool, dense 120, 84 and C. 61 706 parameters for 28x28
    grey and 10 classes; images of at least 12x12 pixels.
    """
    channels, height, width = image_shape(in_shape, smallest=12)
    features = 16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(features, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, num_classes),
    )


def _conv(fan_in: int, fan_out: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.BatchNorm2d(fan_out), nn.ReLU()
