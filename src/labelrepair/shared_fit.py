"""A training as content that other processes can read, and its result as what they answer.

Tensors and plain values only: the same on processes that we start, that torchrun has started, and
on Ray's workers.
"""

import dataclasses
import json
from typing import Any

from torch import Tensor

from labelrepair.networks.classifier import Classifier
from labelrepair.networks.features import Features
from labelrepair.training import Checkpointer, Holdout, TrainResult, TrainSet
from labelrepair.training.launch import Content
from labelrepair.training.streamed import address, at_address

_RESULT = ("probs", "selected", "history", "used", "shared", "test_accuracy", "joint_test_accuracy")


def packed(
    plain: dict[str, Any],
    data: TrainSet,
    test: Holdout | None,
    checkpoint: Checkpointer | None,
) -> Content:
    """Return the content for a rank; ``plain`` must fit into JSON."""
    content = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    content["features"] = _address(data.features)
    if test is not None:
        content |= {"test_features": _address(test.features), "test_labels": test.labels}
    address = checkpoint and checkpoint.address()
    return content | {"plain": json.dumps({**plain, "checkpoint": address})}


def unpacked(
    content: Content,
) -> tuple[dict[str, Any], TrainSet, Holdout | None, Checkpointer | None]:
    """Return the arguments of :func:`packed`; tensors may be mapped files."""
    fields = {field.name: content[field.name] for field in dataclasses.fields(TrainSet)}
    data = TrainSet(**{**fields, "features": _features(content["features"])})
    test = None
    if "test_features" in content:
        test = Holdout(_features(content["test_features"]), content["test_labels"])
    plain = json.loads(content["plain"])
    address = plain.pop("checkpoint")
    return plain, data, test, address and Checkpointer.at(address)


def _address(features: Features) -> Any:
    """Return a tensor, or where another process finds the rows of a stream."""
    return features if isinstance(features, Tensor) else address(features)


def _features(content: Any) -> Features:
    return content if isinstance(content, Tensor) else at_address(content)


def answer(model: Classifier, result: TrainResult) -> Content:
    """Return a finished training as tensors and plain values."""
    return {"model": model.state(), **{name: getattr(result, name) for name in _RESULT}}


def answered(content: Content) -> tuple[Classifier, TrainResult]:
    """Return the model and the result of :func:`answer`."""
    model = Classifier.from_state(content["model"], trusted=True)  # it comes from our own process
    parts = {name: content[name] for name in _RESULT}
    return model, TrainResult(networks=model.networks, normalizer=model.normalizer, **parts)
