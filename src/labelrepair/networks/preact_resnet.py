"""Pre-activation residual networks of Joint Optimization and of loss correction."""

import dataclasses
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from labelrepair.networks._shapes import image_shape


@dataclasses.dataclass(frozen=True)
class PreActOptions:
    """Whether the first unit of stage 1 has a 1x1 convolution as shortcut, as the code has it."""

    stage1_projection: bool = True


@dataclasses.dataclass(frozen=True)
class HeResNetOptions:
    """Whether convolutions carry a bias, as the authors' code has it."""

    conv_bias: bool = True


def preact_resnet32(
    in_shape: tuple[int, ...], num_classes: int, options: PreActOptions
) -> nn.Module:
    """Return the PreAct ResNet-32 of Joint Optimization (Tanaka et al. 2018; NLNL table 4).

    Widths 32/64/128, five units a stage, 1 861 162 parameters for RGB and 10 classes (1 860 138
    without the stage-1 projection, which the appendix does not show). Initialisation and
    batch-norm constants are Chainer's.
    """
    channels, _, _ = image_shape(in_shape)
    network = _PreActResNet(
        channels, num_classes, depth=5, widths=(32, 64, 128), plain_first=False,
        stage1_projection=options.stage1_projection, conv_bias=False, bn=(2e-5, 0.1),
    )  # fmt: skip
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    # Chainer's default for dense layers: std sqrt(1 / fan_in), no bias.
    nn.init.kaiming_normal_(network.dense.weight, nonlinearity="linear")
    nn.init.zeros_(network.dense.bias)
    return network


def he_resnet(
    in_shape: tuple[int, ...], num_classes: int, options: HeResNetOptions, *, depth: int
) -> nn.Module:
    """Return a ResNet of loss correction (Patrini et al. 2017): ``depth`` units a stage.

    Widths 16/32/64, 6 * depth + 2 layers: depth 2, 5, 7 make ResNet-14 (175 626 parameters for RGB
    and 10 classes), -32 (467 946) and -44 (668 676 for 100 classes). He-normal weights and Keras'
    batch-norm constants, as in the authors' code.
    """
    channels, _, _ = image_shape(in_shape)
    network = _PreActResNet(
        channels, num_classes, depth=depth, widths=(16, 32, 64), plain_first=True,
        stage1_projection=False, conv_bias=options.conv_bias, bn=(1e-3, 0.01),
    )  # fmt: skip
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


class _Unit(nn.Module):
    """BN-ReLU-conv-BN-ReLU-conv, plus the identity or a 1x1 convolution."""

    def __init__(
        self, fan_in: int, fan_out: int, stride: int, *, projection: bool, plain: bool,
        from_raw: bool, conv_bias: bool, bn: tuple[float, float],
    ) -> None:  # fmt: skip
        super().__init__()
        self.from_raw = from_raw
        self.bn1 = None if plain else nn.BatchNorm2d(fan_in, *bn)
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=conv_bias)
        self.bn2 = nn.BatchNorm2d(fan_out, *bn)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=conv_bias)
        self.shortcut = (
            nn.Conv2d(fan_in, fan_out, 1, stride, bias=conv_bias) if projection else None
        )

    def forward(self, x: Tensor) -> Tensor:
        active = x if self.bn1 is None else functional.relu(self.bn1(x))
        out = self.conv2(functional.relu(self.bn2(self.conv1(active))))
        if self.shortcut is not None:
            x = self.shortcut(x if self.from_raw else active)
        return cast(Tensor, out + x)


class _PreActResNet(nn.Module):
    """Three stages of ``depth`` units, global average pool, dense.

    ``plain_first`` is loss correction's layout: BN-ReLU after the first convolution instead of in
    the first unit, and shortcuts taken from the raw input; Joint Optimization takes them from the
    pre-activated one.
    """

    def __init__(
        self, channels: int, num_classes: int, *, depth: int, widths: tuple[int, int, int],
        plain_first: bool, stage1_projection: bool, conv_bias: bool, bn: tuple[float, float],
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=conv_bias)
        stem_norm = (nn.BatchNorm2d(widths[0], *bn), nn.ReLU()) if plain_first else ()
        units: list[nn.Module] = []
        fan_in = widths[0]
        for stage, width in enumerate(widths):
            for i in range(depth):
                first = stage == 0 and i == 0
                projection = stage1_projection if first else i == 0 and stage > 0
                units.append(
                    _Unit(
                        fan_in, width, stride=2 if i == 0 and stage > 0 else 1,
                        projection=projection, plain=first and plain_first,
                        from_raw=plain_first, conv_bias=conv_bias, bn=bn,
                    )
                )  # fmt: skip
                fan_in = width
        self.body = nn.Sequential(*stem_norm, *units, nn.BatchNorm2d(fan_in, *bn), nn.ReLU())
        self.dense = nn.Linear(fan_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.body(self.conv(x)).mean(dim=(2, 3))
        return cast(Tensor, self.dense(pooled))
