"""The training loop, its data, its state and its checkpoints. It knows no method by name."""

from labelrepair.training.batches import Batch, Holdout, TrainSet
from labelrepair.training.checkpoint import Checkpointer
from labelrepair.training.config import (
    Augment,
    Distributed,
    Network,
    Optimizer,
    Schedule,
    TrainingConfig,
    epochs_field,
    scale_epochs,
)
from labelrepair.training.device import choose_device
from labelrepair.training.loop import EXCLUSIVE, train
from labelrepair.training.replicas import train_replicas
from labelrepair.training.result import TrainResult
from labelrepair.training.state import Run, SampleState, Stage, Step

__all__ = [
    "EXCLUSIVE",
    "Augment",
    "Batch",
    "Checkpointer",
    "Distributed",
    "Holdout",
    "Network",
    "Optimizer",
    "Run",
    "SampleState",
    "Schedule",
    "Stage",
    "Step",
    "TrainResult",
    "TrainSet",
    "TrainingConfig",
    "choose_device",
    "epochs_field",
    "scale_epochs",
    "train",
    "train_replicas",
]
