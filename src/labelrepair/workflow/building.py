"""Networks that fit the features."""

from collections.abc import Callable
from typing import Any

from torch import nn

from labelrepair.config import require
from labelrepair.networks import takes_tokens
from labelrepair.networks.classifier import build_from_spec, classifier_spec
from labelrepair.networks.features import CHUNK_ROWS, Features, in_order, is_tokens
from labelrepair.training import Holdout, Network


def network_builder(
    network: Network,
    features: Features,
    num_classes: int,
    count: int = 1,
    test: Holdout | None = None,
    vocabulary_size: int = 0,
) -> tuple[Callable[[], nn.Module], dict[str, Any]]:
    """Return a builder of fresh networks for these features, and the spec that it builds from.

    Text networks take their vocabulary size from the tokens unless the options set it; those of
    the test split count, as a rare word may stand only there. So do the ids below
    ``vocabulary_size``: a word that stands only where long texts were cut off has one, too.

    Raises:
        ConfigError: a network of texts, and the features are no tokens.
    """
    require(
        is_tokens(features) or not takes_tokens(network.name),
        f"network: '{network.name}' takes token ids, found features {features.dtype}",
    )
    options = dict(network.options)
    if is_tokens(features):
        seen = 0 if test is None else token_count(test.features)
        options.setdefault("vocabulary_size", max(vocabulary_size, token_count(features), seen))
    spec = classifier_spec(network.name, options, tuple(features.shape[1:]), num_classes, count)
    return lambda: build_from_spec(spec), spec


def token_count(features: Features) -> int:
    """Return 1 + the largest token of the rows ``(N, ...)``; 0 where none is a token."""
    if not is_tokens(features):
        return 0
    parts = (part for part in in_order(features, CHUNK_ROWS) if part.numel())
    return max((int(part.max()) + 1 for part in parts), default=0)
