"""The features that a network hands to its last dense layer, of any architecture."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from labelrepair import torch_files
from labelrepair.errors import ConfigError, DataError
from labelrepair.networks.classifier import Classifier
from labelrepair.networks.features import Features, chunk_rows, in_order

ROWS = 2048  # rows per forward pass


def last_linear(network: nn.Module) -> nn.Linear:
    """Return the network's last dense layer, by order of registration.

    Raises:
        ConfigError: it has none.
    """
    found = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not found:
        raise ConfigError(f"network: {type(network).__name__} has no dense layer to read from")
    return found[-1]


@contextlib.contextmanager
def captured(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what enters the last dense layer, ``(B, d)`` with its gradient, one per pass."""
    seen: list[Tensor] = []
    layer = last_linear(network)
    handle = layer.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


def penultimate(
    network: nn.Module, normalizer: nn.Module, features: Features, rows: Tensor | None = None
) -> Tensor:
    """Return float32 ``(N, d)`` penultimate features in eval mode, without gradient.

    Args:
        network: left in the mode in which it was.
        normalizer: turns stored features into its input.
        features: ``(N, ...)`` as stored.
        rows: int64 ``(M,)``, only these.
    """
    mode = network.training
    network.eval()
    with torch.no_grad(), captured(network) as seen:
        for part in in_order(features, min(ROWS, chunk_rows(features)), rows):
            network(normalizer(part))
    network.train(mode)
    return torch.cat(seen).float()


def model_features(file: str | Path, features: Features) -> Tensor:
    """Return the penultimate features of a model file that a training wrote.

    Args:
        file: written by ``torch.save`` of :meth:`Classifier.state`; read with ``weights_only``.
        features: ``(N, ...)`` as stored.

    Returns:
        Float32 ``(N, d)``, those of several networks side by side.

    Raises:
        DataError: no such file, or not a model of ours.
    """
    try:
        model = Classifier.from_state(torch_files.load(file))
    # A damaged file, or one that holds code, fails in many ways.
    except Exception as error:
        raise DataError(f"{file}: not a model file of labelrepair ({error})") from error
    parts = [penultimate(network, model.normalizer, features) for network in model.networks]
    return torch.cat(parts, dim=1)
