"""Networks: the papers' architectures by name, and any other by import path."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from labelrepair.config import from_dict, require
from labelrepair.errors import ConfigError, nearest
from labelrepair.networks._imported import build_imported
from labelrepair.networks._shapes import NoOptions
from labelrepair.networks.cifar_resnet import cifar_resnet
from labelrepair.networks.cnn import cnn7, lenet, lenet5
from labelrepair.networks.imagenet_resnet import ImagenetOptions, imagenet_resnet
from labelrepair.networks.mlp import MlpOptions, mlp
from labelrepair.networks.preact_resnet import (
    HeResNetOptions,
    PreActOptions,
    he_resnet,
    preact_resnet32,
)
from labelrepair.networks.text import (
    EmbeddingLstmOptions,
    EmbeddingOptions,
    embedding,
    embedding_lstm,
)

__all__ = ["available", "build", "check_name", "takes_tokens"]

# Each architecture: a factory (in_shape, num_classes, options) and the dataclass of its options.
_ARCHITECTURES: dict[str, tuple[Callable[..., nn.Module], type[Any]]] = {
    "cnn7": (cnn7, NoOptions),
    "embedding": (embedding, EmbeddingOptions),
    "embedding_lstm": (embedding_lstm, EmbeddingLstmOptions),
    "lenet": (lenet, NoOptions),
    "lenet5": (lenet5, NoOptions),
    "mlp": (mlp, MlpOptions),
    "preact_resnet32": (preact_resnet32, PreActOptions),
    "resnet14": (functools.partial(he_resnet, depth=2), HeResNetOptions),
    "resnet32": (functools.partial(he_resnet, depth=5), HeResNetOptions),
    "resnet44": (functools.partial(he_resnet, depth=7), HeResNetOptions),
    "resnet18_imagenet": (functools.partial(imagenet_resnet, name="resnet18"), ImagenetOptions),
    "resnet50_imagenet": (functools.partial(imagenet_resnet, name="resnet50"), ImagenetOptions),
    "resnet18": (functools.partial(cifar_resnet, name="resnet18"), NoOptions),
    "resnet34": (functools.partial(cifar_resnet, name="resnet34"), NoOptions),
}
_OF_ANY = "batch_norm_head"  # an option of :func:`build`, whatever it builds


def available() -> tuple[str, ...]:
    """Return the names of the architectures that come with the package, sorted."""
    return tuple(sorted(_ARCHITECTURES))


def check_name(name: str, options: Mapping[str, Any]) -> None:
    """Refuse what :func:`build` would refuse whatever the data: before a run, not in its middle.

    What an import path names is not imported here.

    Raises:
        ConfigError: an unknown name, or an option that the architecture does not take.
    """
    if ":" in name or "." in name:
        return
    if name not in _ARCHITECTURES:
        raise ConfigError(
            f"network: unknown name '{name}'; {nearest(name, available())}, or an import path "
            f"'package.module:Class'"
        )
    own = {key: value for key, value in options.items() if key != _OF_ANY}
    _options(_ARCHITECTURES[name][1], own, name)


def takes_tokens(name: str) -> bool:
    """Return whether the named architecture is one of those that read token ids."""
    return name in _ARCHITECTURES and "vocabulary_size" in {
        field.name for field in dataclasses.fields(_ARCHITECTURES[name][1])
    }


def build(
    name: str,
    in_shape: tuple[int, ...],
    num_classes: int,
    *,
    batch_norm_head: bool = False,
    **options: Any,
) -> nn.Module:
    """Build a network with fresh weights, drawn from torch's global generator.

    Args:
        name: one of :func:`available`, or the import path of any class or function that returns an
            ``nn.Module``: "package.module:Class" or "package.module.Class".
        in_shape: shape of one sample: (channels, height, width) float images, (D,) float vectors,
            or (L,) int64 token ids for the text networks.
        num_classes: C >= 2.
        batch_norm_head: append a batch normalisation over the C outputs, with Keras' constants (eps
            1e-3, momentum 0.01), which the unhinged and sigmoid losses need to stay bounded
            (Patrini et al. 2017, section 5.2).
        **options: the architecture's own options; see its options dataclass.

    Returns:
        A module that maps ``(B, *in_shape)`` to logits ``(B, C)``.

    Raises:
        ConfigError: for an unknown name or option, a value out of range, a shape that the network
            cannot take, or a path that cannot be imported.
    """
    in_shape = tuple(in_shape)
    require(num_classes >= 2, f"num_classes: must be at least 2, found {num_classes}")
    require(
        len(in_shape) > 0 and min(in_shape) > 0,
        f"in_shape: expected positive sizes, found {in_shape}",
    )
    check_name(name, options)
    if name in _ARCHITECTURES:
        factory, options_class = _ARCHITECTURES[name]
        network = factory(in_shape, num_classes, _options(options_class, options, name))
    else:
        network = build_imported(name, in_shape, num_classes, options)
    if batch_norm_head:
        if name in _ARCHITECTURES:
            _hold_bias(network)
        network = nn.Sequential(network, nn.BatchNorm1d(num_classes, eps=1e-3, momentum=0.01))
    return network


class _HeldBias(nn.Linear):
    """A layer before a batch normalisation, which takes any bias away again.

    The gradient of its bias is 0 but for rounding. AdaGrad and Adam, which divide by its size, made
    steps of that rounding, and the running mean lagged behind them: predictions differed by 1e-2
    between one process and two.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, self.weight, self.bias.detach() + 0.0 * self.bias)


def _hold_bias(network: nn.Module) -> None:
    """Keep the bias of the output layer as it is."""
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    last.__class__ = _HeldBias


def _options(options_class: type[Any], options: dict[str, Any], name: str) -> Any:
    if options and options_class is NoOptions:
        raise ConfigError(f"network {name}.{min(options)}: unknown option; it takes no options")
    return from_dict(options_class, options, where=f"network {name}")
