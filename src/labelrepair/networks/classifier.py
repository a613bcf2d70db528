"""What is handed over: preprocessing and the trained networks in one module."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from labelrepair.config import require
from labelrepair.errors import DataError, LabelRepairError, shown
from labelrepair.networks import available, build
from labelrepair.networks.features import Features, chunk_rows, is_tokens, portions

PIECE_BYTES = 1 << 22  # of float64 rows summed at once: they fit a processor's cache
FLOAT = torch.finfo(torch.float32)
FAR = 1 / FLOAT.eps  # a mean so many spreads away from 0 is itself rounded by a spread


class Normalizer(nn.Module):
    """Turns stored features into network input; travels with the model, so users feed raw data.

    uint8 images become [0, 1] floats, minus a mean if one was fitted; tokens pass as int64.

    Attributes:
        far: some features lie more than :data:`FAR` spreads from 0. Known beforehand, as an
            exported graph has no branches.
    """

    shift: Tensor
    scale: Tensor
    far = False  # of modules that were pickled without it

    def __init__(self, shift: Tensor | None = None, scale: Tensor | None = None) -> None:
        """Keep ``(x - shift) * scale``; both broadcast against one batch of features."""
        super().__init__()
        self.register_buffer("shift", torch.zeros(1) if shift is None else shift)
        self.register_buffer("scale", torch.ones(1) if scale is None else scale)
        self.far = not bool(self._near().all())

    @classmethod
    def fit(cls, kind: str, features: Features, rows: Tensor) -> "Normalizer":
        """Fit on the training rows.

        Args:
            kind: ``none`` ([0, 1] only), ``pixel_mean`` (per-pixel mean), ``channel_mean``,
                ``standardize`` (zero mean and unit variance per feature; one that never changes
                becomes 0, one that spreads by less than 3e-39 keeps less), or ``auto``: the last
                for vectors of numbers, none for images and tokens.
            features: all rows, ``(N, ...)``.
            rows: the training rows, int64 ``(n,)``.
        """
        if kind == "auto":
            vectors = len(features.shape) == 2 and features.dtype.is_floating_point
            kind = "standardize" if vectors else "none"
        unit = 1.0 / 255.0 if features.dtype == torch.uint8 else 1.0
        if kind == "none" or is_tokens(features):
            return cls(scale=torch.tensor([unit]))
        shape = tuple(features.shape[1:])
        total = torch.zeros(shape, dtype=torch.float64, device=features.device)
        # Squares are taken about a row: of a feature that never changes they must be exactly 0.
        origin = torch.zeros_like(total)
        if kind == "standardize":
            origin = features[rows[:1]][0].to(total)
        squares = torch.zeros_like(total)
        piece = max(1, PIECE_BYTES // (8 * max(1, math.prod(shape))))
        for part in portions(features, torch.split(rows, chunk_rows(features))):
            for some in torch.split(part, piece):
                values = some.to(torch.float64).sub_(origin)
                total += values.sum(0)
                if kind == "standardize":
                    squares += values.square_().sum(0)
        mean = total / len(rows)
        variance = (squares / len(rows) - mean.square()).clamp_min(0)
        mean += origin
        if kind == "channel_mean" and mean.dim() > 1:  # vectors have no channels
            mean = mean.mean(dim=tuple(range(1, mean.dim())), keepdim=True)
        scale = torch.full_like(mean, unit)
        if kind == "standardize":
            spread = variance.sqrt().clamp_min(1 / FLOAT.max)
            scale = torch.where(variance > 0, 1.0 / spread, 1.0)
        return cls(mean.float(), scale.float())

    def forward(self, features: Tensor) -> Tensor:
        """Return network input, float32 ``(B, ...)`` (tokens: int64 ``(B, L)``)."""
        if features.dtype == torch.uint8 or features.is_floating_point():
            # One fused operation over the data instead of two.
            values = features.float()
            # The copy that the conversion made is written over: fresh memory costs as much as the
            # arithmetic. Rows of float32 are the caller's.
            own = features.dtype == torch.uint8 and not self.far
            found = torch.addcmul(
                -self.shift * self.scale, values, self.scale, out=values if own else None
            )
            if self.far:
                found = torch.where(self._near(), found, (values - self.shift) * self.scale)
            return found
        return features.long()

    def _near(self) -> Tensor:
        """Return for which features the rounding of ``shift * scale`` does no harm."""
        return (self.shift * self.scale).abs() <= FAR


class Classifier(nn.Module):
    """Maps raw features to class probabilities, the mean over the K networks.

    Attributes:
        spec: plain values from which :meth:`from_state` rebuilds the module.
    """

    def __init__(
        self, normalizer: Normalizer, networks: nn.ModuleList, spec: dict[str, Any]
    ) -> None:
        """Bundle trained parts; ``spec`` as :func:`classifier_spec` makes it."""
        super().__init__()
        self.normalizer, self.networks, self.spec = normalizer, networks, spec

    def forward(self, features: Tensor) -> Tensor:
        """Return float32 ``(B, C)`` probabilities for features as stored (uint8 images, ...)."""
        inputs = self.normalizer(features)
        probs = [network(inputs).float().softmax(-1) for network in self.networks]
        return torch.stack(probs).mean(0)

    def state(self) -> dict[str, Any]:
        """Return tensors and plain values only, to be read back with ``weights_only``."""
        return {"spec": self.spec, "weights": self.state_dict()}

    @classmethod
    def from_state(cls, state: dict[str, Any], *, trusted: bool = False) -> "Classifier":
        """Rebuild from :meth:`state`; eval mode.

        Args:
            state: what :meth:`state` returned.
            trusted: it may name a network by import path. Building that calls what is named there
                with arguments of the file's choice, so a stranger's file could run anything.

        Raises:
            DataError: the state is none of a model, its weights are not those of the network
                that it names, or it names an import path and is not trusted.
        """
        missing = {"spec", "weights"} - {*state}
        if missing:
            raise DataError(f"model: no {', '.join(sorted(missing))}, found {shown(list(state))}")
        spec, weights = state["spec"], state["weights"]
        # The file may be a stranger's: it may say or lack anything.
        try:
            if spec["name"] in available():
                _check_sizes(spec, weights)
            elif not trusted:
                raise DataError(
                    f"network '{spec['name']}': not one of labelrepair's; where you trust the "
                    "file, use Classifier.from_state(state, trusted=True)"
                )
            normalizer = Normalizer(weights["normalizer.shift"], weights["normalizer.scale"])
            networks = nn.ModuleList(build_from_spec(spec) for _ in range(spec["count"]))
            model = cls(normalizer, networks, spec)
            model.load_state_dict(weights)
        except LabelRepairError:
            raise
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise DataError(
                f"model: its weights do not fit the network that it names, {shown(spec)} "
                f"({type(error).__name__}: {shown(error, 300)})"
            ) from error
        return model.eval()


def _check_sizes(spec: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Raise ValueError or KeyError unless the weights are the spec's, before it takes memory."""
    count = len({key.split(".")[1] for key in weights if key.startswith("networks.")})
    if count != spec["count"]:
        raise ValueError(f"weights of {count} networks, expected {spec['count']}")
    with torch.device("meta"):
        wanted = build_from_spec(spec).state_dict()
    for key in (f"networks.{k}.{own}" for k in range(count) for own in wanted):
        found, expected = weights[key].shape, wanted[key.split(".", 2)[2]].shape
        if found != expected:
            raise ValueError(f"{key}: shape {tuple(found)}, expected {tuple(expected)}")


def classifier_spec(
    name: str, options: dict[str, Any], in_shape: tuple[int, ...], num_classes: int, count: int
) -> dict[str, Any]:
    """Return what :func:`build_from_spec` and :meth:`Classifier.from_state` need."""
    return {
        "name": name,
        "options": dict(options),
        "in_shape": list(in_shape),
        "num_classes": num_classes,
        "count": count,
    }


def build_from_spec(spec: dict[str, Any]) -> nn.Module:
    """Build one network with fresh weights."""
    options = spec["options"]
    taken = {"name", "in_shape", "num_classes"} & {*options}
    require(not taken, f"network.options.{min(taken, default='')}: not an option, but a setting")
    return build(spec["name"], tuple(spec["in_shape"]), spec["num_classes"], **options)
