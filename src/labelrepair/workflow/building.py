"""Networks that fit the features."""

from collections.abc import Callable
from typing import Any

from torch import nn

from labelrepair.networks.classifier import build_from_spec, classifier_spec
from labelrepair.networks.features import CHUNK_ROWS, Features, in_order, is_tokens
from labelrepair.training import Holdout, Network


def network_builder(
    network: Network,
    features: Features,
    num_classes: int,
    count: int = 1,
    test: Holdout | None = None,
) -> tuple[Callable[[], nn.Module], dict[str, Any]]:
    """Return a builder of fresh networks for these features, and the spec that it builds from.

    Text networks take their vocabulary size from the tokens unless the options set it; those of
    the test split count, as a rare word may stand only there.
    """
    options = dict(network.options)
    if is_tokens(features):
        tokens = [features] if test is None else [features, test.features]
        parts = (part for some in tokens for part in in_order(some, CHUNK_ROWS))
        largest = max(int(part.max()) for part in parts if part.numel())
        options.setdefault("vocabulary_size", largest + 1)
    spec = classifier_spec(network.name, options, tuple(features.shape[1:]), num_classes, count)
    return lambda: build_from_spec(spec), spec
