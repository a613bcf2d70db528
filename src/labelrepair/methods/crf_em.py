"""Expectation maximisation with annealing: what is left of CNN-CRF for one label per sample.

Vahdat, "Toward robustness against label noise in training deep discriminative networks" (NeurIPS
2017) couples the image's features, the noisy and the clean label and hidden units in an undirected
model. Its E-step is kept here: the belief ``q`` about the true class balances the model's posterior
against an auxiliary one that knows labels only,
``q_i ~ (f_i T[i, y])^(1 / (1 + a)) (prior_i T[i, y])^(a / (1 + a))``, with ``a`` annealed to 0. The
M-step is one epoch of cross entropy against ``q``, and (``learn_transition``) T from the counts.

Deviations, and what the whole of it would take: hidden units, learned pairwise potentials and their
negative phase (persistent Markov chains, a Gibbs sampler) and a trusted subset with both labels for
the auxiliary model are left out. With one given label per sample and T at hand the coupling is T
itself, and at ``a = 0`` this is EM for the forward-corrected loss of Patrini et al.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from labelrepair.config import not_negative, require
from labelrepair.errors import ConfigError
from labelrepair.estimation import NoiseEstimate
from labelrepair.losses import kl_to_targets
from labelrepair.training import Batch, Run, Stage, Step, TrainingConfig, epochs_field
from labelrepair.training.state import Keep

TRAINING: Mapping[str, Any] = {"schedule": {"epochs": 100, "lr": 0.001, "decay_from": 50}}


@dataclass(frozen=True)
class Options:
    """Options.

    Attributes:
        alpha: a in the first epoch, the weight of the auxiliary belief.
        anneal: epochs over which a falls to 0, linearly.
        learn_transition: renew T from the beliefs after each epoch, once a is 0.
        keep: which weights leave the training, by noisy validation.
    """

    alpha: float = 1.0
    anneal: int = epochs_field(10)
    learn_transition: bool = False
    keep: Keep = "last"

    def __post_init__(self) -> None:
        """Check ranges."""
        not_negative(alpha=self.alpha)
        require(self.anneal >= 0, f"anneal: must be >= 0, found {self.anneal}")


def stages(options: Options, config: TrainingConfig, noise: NoiseEstimate | None) -> list[Stage]:
    """Return the single stage.

    Raises:
        ConfigError: no transition matrix is there.
    """
    if noise is None:
        raise ConfigError("transition: needed; run the estimation pipeline")
    given_noise = noise

    def begin(run: Run) -> None:
        like = run.samples.probs
        run.samples.shared["transition"] = torch.from_numpy(given_noise.transition.copy()).to(like)
        run.samples.shared["prior"] = torch.from_numpy(given_noise.class_prior.copy()).to(like)
        run.samples.targets = _belief(run, run.samples.shared["prior"].expand_as(like), 0.0)

    def expect(run: Run) -> None:
        """E-step with the predictions of the epoch that has just ended."""
        left = 1.0 - (run.epoch + 1) / options.anneal if options.anneal else 0.0
        weight = options.alpha * max(0.0, left)
        rows = run.data.train_rows
        targets = _belief(run, run.samples.probs, weight)
        _targets(run)[rows] = targets[rows]
        if options.learn_transition and weight == 0:
            # A product, as sums into shared places differ from run to run on a GPU.
            given = functional.one_hot(run.data.given_labels[rows], run.data.num_classes)
            counts = targets[rows].t() @ given.to(targets)
            run.samples.shared["transition"] = counts / counts.sum(1, keepdim=True).clamp_min(1e-12)

    def step(logits: Tensor, batch: Batch, run: Run) -> Step:
        return Step(kl_to_targets(logits[0], _targets(run)[batch.rows]).mean())

    return [
        Stage(
            "train",
            config.schedule,
            step,
            keep=options.keep,
            every_row=True,
            before_stage=begin,
            after_epoch=expect,
        )
    ]


def _belief(run: Run, probs: Tensor, alpha: float) -> Tensor:
    """Return q ``(N, C)`` for class probabilities of the features, see the module's formula."""
    transition = run.samples.shared["transition"].clamp_min(1e-30)
    log_t = transition.t()[run.data.given_labels].log()
    log_model = probs.clamp_min(1e-30).log() + log_t
    log_auxiliary = run.samples.shared["prior"].clamp_min(1e-30).log() + log_t
    return ((log_model + alpha * log_auxiliary) / (1 + alpha)).softmax(1)


def _targets(run: Run) -> Tensor:
    if run.samples.targets is None:
        raise RuntimeError("the stage has not begun")
    return run.samples.targets
