"""What training leaves behind."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from labelrepair.networks.classifier import Normalizer


@dataclass
class TrainResult:
    """What training leaves behind; tensors on the CPU.

    Attributes:
        networks: the K trained networks, eval mode.
        normalizer: turns stored features into their input.
        probs: float32 ``(N, C)``, the method's class probabilities of every row (clean pass of the
            final networks, mean over K, unless the method says otherwise in its docstring).
        selected: bool ``(N,)``, rows whose given label the method ended up believing, or None.
        history: one dict per epoch.
        used: per epoch, uint8 ``(K, ceil(N / 8))`` packed bits of the rows learned from.
        shared: what the method's stages shared, e.g. ``transition``.
        test_accuracy: of the networks returned, mean over K; None without a test split.
        joint_test_accuracy: of their mean probabilities, which is how a
            :class:`~labelrepair.networks.classifier.Classifier` answers.
    """

    networks: nn.ModuleList
    normalizer: Normalizer
    probs: Tensor
    selected: Tensor | None
    history: list[dict[str, Any]]
    used: list[Tensor] = field(default_factory=list)
    shared: dict[str, Tensor] = field(default_factory=dict)
    test_accuracy: float | None = None
    joint_test_accuracy: float | None = None
