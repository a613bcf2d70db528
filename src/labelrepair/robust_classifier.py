"""A classifier with scikit-learn's conventions that learns past wrong labels and repairs them."""

import numbers
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_array, check_random_state, check_X_y
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from labelrepair.api import RepairResult, as_features, plain_array, repair
from labelrepair.errors import ConfigError, DataError, shown
from labelrepair.label_table import check_class_names
from labelrepair.training import choose_device

Array = NDArray[Any]
CHUNK_ROWS = 4096
TILE = 16  # products of a multiple of so many rows give a row the same bits in any company
MAX_SEED = 2**31 - 1
# What of ``repair`` is set by a parameter of the classifier, or by the data, not by ``options``.
_ELSEWHERE = {
    "method": "method",
    "network": "network",
    "device": "device",
    "transition": "transition",
    "policy": "policy",
    "probe": "probe",
    "refinement": "refinement",
    "seed": "random_state",
    "progress": "verbose",
    "features": "X",
    "given_labels": "y",
    "num_classes": "y",
    "sample_ids": "the index of X",
}


class RobustClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Train on labels of which some are wrong; predict, and say which labels to repair.

    Fits into pipelines, ``cross_val_score``, ``GridSearchCV`` and ``clone``. Options that depend on
    the method are one dictionary, ``options``; the common ones have parameters of their own.

    Args:
        method: one of :func:`labelrepair.methods.available`.
        network: name, import path or ``{"name": ..., "options": {...}}``; None = a fitting one.
        epochs: passes over the data; None = the method's own number. Methods that train in stages
            take ``budget`` instead.
        lr: learning rate; None = the method's own.
        batch_size: rows per step; None = the method's own.
        budget: factor on every number of epochs; 0.1 = a tenth of the paper's.
        options: options of the method, and other settings of
            :class:`labelrepair.training.TrainingConfig`, by name.
        transition: a known ``(C, C)`` transition matrix, classes in sorted order; None = estimated.
        policy: thresholds and budgets, see :class:`labelrepair.policy.Policy`.
        probe: changes to the probe behind the estimate, see
            :class:`labelrepair.training.probe.ProbeSpec`.
        refinement: the second look, see :class:`labelrepair.refinement.RefinementSpec`.
        tokens: rows of X are token ids of texts, not numbers.
        device: ``auto`` (CUDA, then CPU) or a torch device name.
        random_state: an int decides everything; None = another result each time.
        verbose: show progress.

    Attributes:
        classes_: ``(C,)`` the labels found in y, sorted.
        n_features_in_: values per sample.
        noise_rate_: estimated share of wrong labels.
        transition_: float64 ``(C, C)``, ``T[i, j] = P(given = classes_[j] | true = classes_[i])``.
        noise_estimate_: the whole :class:`labelrepair.estimation.NoiseEstimate`, with interval.
        label_issues_: frame with a row per sample and cleanlab's columns ``is_label_issue``,
            ``label_quality``, ``given_label``, ``predicted_label``; then ``confidence`` of the
            prediction, ``action`` of the policy and ``repaired_label``.
        repaired_labels_: series of the labels to use from now on; missing where a row should be
            dropped or reviewed.
        out_of_sample_probs_: float32 ``(N, C)`` for tools that want cross-validated probabilities
            of the given labels, as cleanlab's ``pred_probs``.
        train_probs_: float32 ``(N, C)``, the probabilities that the training rows are judged by:
            the robust model's and those of the second look.
        history_: frame with a row per epoch.
        model_: the torch module, from raw features to probabilities.

    Example:
        >>> from labelrepair import RobustClassifier
        >>> model = RobustClassifier("jocor", random_state=0).fit(X, noisy_y)  # doctest: +SKIP
        >>> model.label_issues_.sort_values("label_quality").head()  # doctest: +SKIP
    """

    def __init__(
        self,
        method: str = "jocor",
        *,
        network: str | Mapping[str, Any] | None = None,
        epochs: int | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
        budget: float | None = None,
        options: Mapping[str, Any] | None = None,
        transition: ArrayLike | None = None,
        policy: Mapping[str, Any] | None = None,
        probe: Mapping[str, Any] | None = None,
        refinement: Mapping[str, Any] | None = None,
        tokens: bool = False,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        """Only remember the parameters; :meth:`fit` checks them."""
        self.method = method
        self.network = network
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.budget = budget
        self.options = options
        self.transition = transition
        self.policy = policy
        self.probe = probe
        self.refinement = refinement
        self.tokens = tokens
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Estimate the noise, train, and score every given label.

        Args:
            X: N samples: numbers ``(N, D)`` (array or frame), images uint8 or float ``(N, H, W)``,
                ``(N, H, W, ch)`` or ``(N, ch, H, W)``; with ``tokens=True`` token ids ``(N, L)``.
            y: ``(N,)`` given labels, text or whole numbers, perhaps wrong.

        Returns:
            The fitted classifier itself. After an error or Ctrl-C it is what it was before.

        Raises:
            ConfigError: an unknown method or option (with the nearest valid one), or ``options``
                that are no mapping by name, or name what has a parameter of its own.
            DataError: features or labels that cannot be learned from, e.g. a blank label.
        """
        before = vars(self).copy()
        try:
            return self._fit(X, y)
        except BaseException:
            # Or the names of these labels would stand beside the network of the fit before.
            self.__dict__ = before
            raise

    def _fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        array, given = self._training_arrays(X, y)
        self.classes_, codes = np.unique(given, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y: 1 class found ({self.classes_[0]!s}), at least 2 are needed")
        check_class_names([str(name) for name in self.classes_], "y")
        result = repair(
            array,
            codes,
            method=self.method,
            network=self.network,
            seed=self._seed(),
            device=self.device,
            num_classes=len(self.classes_),
            transition=self.transition,
            policy=self.policy,
            probe=self.probe,
            refinement=self.refinement,
            progress=self.verbose,
            **self._options(),
        )
        index = X.index if isinstance(X, pd.DataFrame) else pd.RangeIndex(len(array))
        self._keep(result, index)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return ``(N, C)`` probabilities of the true class, columns as :attr:`classes_`."""
        check_is_fitted(self)
        features = torch.from_numpy(self._arrays(X))
        model, device = self.model_.eval(), choose_device(self.device)
        model.to(device)
        with torch.no_grad():
            rows = torch.split(_filled_up(features), CHUNK_ROWS)
            parts = [model(part.to(device)).cpu() for part in rows]
        model.cpu()
        values = torch.cat(parts)[: len(features)].numpy().astype(np.float64)
        probs: NDArray[np.float64] = values / values.sum(axis=1, keepdims=True)
        return probs

    def predict(self, X: ArrayLike) -> Array:
        """Return the ``(N,)`` most probable true classes."""
        best = self.predict_proba(X).argmax(axis=1)
        chosen: Array = self.classes_[best]
        return chosen

    def __sklearn_tags__(self) -> Tags:
        """Say that images are welcome too."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _training_arrays(self, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Check X and y together; remember what a sample looks like."""
        X, y = plain_array(X, "X"), _of_one_kind(plain_array(y, "y"))
        if _dimensions(X) > 2:
            array, given = check_X_y(X, y, dtype=None, allow_nd=True)
        else:
            array, given = validate_data(self, X, y, dtype=self._number)
            array = self._whole(array)
        check_classification_targets(given)
        features = as_features(array)
        self._sample_shape, self._stored_as = features.shape[1:], features.dtype
        self.n_features_in_ = int(np.prod(self._sample_shape))
        return features, given

    def _arrays(self, X: ArrayLike) -> Array:
        """Check X against what :meth:`fit` saw; return it as it is stored."""
        X = plain_array(X, "X")
        if len(self._sample_shape) == 1:
            array = self._whole(validate_data(self, X, reset=False, dtype=self._number))
        else:
            array = check_array(X, dtype=None, allow_nd=True)
        features = as_features(array)
        if features.shape[1:] != self._sample_shape or features.dtype != self._stored_as:
            raise DataError(
                f"X: fitted on {self._stored_as} samples of shape {self._sample_shape} (channels "
                f"first), found {features.dtype} of shape {features.shape[1:]}"
            )
        words = self.model_.spec["options"].get("vocabulary_size")
        if words is not None and (features >= words).any():
            row = int(np.argmax((features >= words).any(axis=1)))
            raise DataError(
                f"X: row {row} holds token {features[row].max()}, known are 0..{words - 1}; set "
                "the network's vocabulary_size before fitting"
            )
        return features

    @property
    def _number(self) -> Any:
        return "numeric" if self.tokens else np.float32

    def _whole(self, array: Array) -> Array:
        """Return tokens as int64, and all else as it is; refuse what is between two tokens."""
        if not self.tokens:
            return array
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int64)
        between = np.argwhere(whole != array)
        if len(between):
            row, column = between[0]
            found = array[row, column]
            raise DataError(f"X: row {row} holds {found}, expected whole numbers (tokens=True)")
        return whole

    def _seed(self) -> int:
        """Return the seed itself, so that it means the same as that of ``repair``."""
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        try:
            return int(check_random_state(self.random_state).randint(MAX_SEED))
        except ValueError as error:
            raise ConfigError(f"random_state: {error}") from None

    def _options(self) -> dict[str, Any]:
        """Return the options that are set."""
        options = {} if self.options is None else self.options
        if not isinstance(options, Mapping):
            found = shown(repr(options))
            raise ConfigError(f"options: expected a mapping of names to values, found {found}")
        for name in options:
            if not isinstance(name, str):
                raise ConfigError(f"options: expected text as names, found {shown(repr(name))}")
            if name in _ELSEWHERE:
                raise ConfigError(
                    f"options.{name}: no option of a method; set by {_ELSEWHERE[name]}"
                )
        named = {name: getattr(self, name) for name in ("epochs", "lr", "batch_size", "budget")}
        chosen = {name: value for name, value in named.items() if value is not None}
        return chosen | dict(options)

    def _keep(self, result: RepairResult, index: "pd.Index[Any]") -> None:
        """Set the fitted attributes, labels in the user's own words."""
        self.model_, self.history_ = result.model, result.history
        self.noise_estimate_, self.transition_ = result.noise, result.transition_matrix
        self.noise_rate_ = result.noise.noise_rate
        self.train_probs_, self.out_of_sample_probs_ = result.probs, result.probe_probs
        table = result.table.set_index(index)
        codes = table["repaired_label"]
        repaired = pd.Series(self.classes_[codes.fillna(0).to_numpy(np.int64)], index=index)
        # The kinds whose values may be missing.
        kinds: dict[str, Any] = {"i": "Int64", "u": "UInt64", "b": "boolean"}
        repaired = repaired.astype(kinds.get(repaired.dtype.kind, repaired.dtype))
        self.repaired_labels_ = repaired.mask(codes.isna())
        self.label_issues_ = pd.DataFrame(
            {
                "is_label_issue": table["is_label_issue"],
                "label_quality": table["label_quality"],
                "given_label": self.classes_[table["given_label"]],
                "predicted_label": self.classes_[table["suggested_label"]],
                "confidence": table["confidence"],
                "action": table["action"],
                "repaired_label": self.repaired_labels_,
            }
        )


def _filled_up(features: torch.Tensor) -> torch.Tensor:
    """Return vectors or tokens with rows of zeros at the end; images, whose rows cost, as is."""
    rows = -len(features) % TILE if features.dim() == 2 else 0
    return torch.cat([features, features.new_zeros(rows, *features.shape[1:])])


def _dimensions(X: Any) -> int:
    return int(X.ndim) if hasattr(X, "ndim") else np.asarray(X).ndim


def _of_one_kind(y: Any) -> Any:
    """Return labels that NumPy takes as they are.

    It makes floats of pandas' nullable integers, which merges large ones, and texts of a list of
    texts and numbers, which merges "1" and 1.

    Raises:
        DataError: a label is missing, or texts and others are mixed, naming the first rows.
    """
    _check_no_blank(y)
    kind = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    if isinstance(kind, np.dtype) and kind.kind in "iub":
        return y.to_numpy(kind)
    plain = getattr(getattr(y, "dtype", np.dtype(object)), "kind", "O") == "O"
    labels = list(y) if plain and isinstance(y, (list, tuple, pd.Series, np.ndarray)) else []
    texts = np.array([isinstance(label, str) for label in labels], bool)
    if texts.any() and not texts.all():
        text, other = int(texts.argmax()), int(texts.argmin())
        raise DataError(
            f"y: row {text} is the text {shown(labels[text])} and row {other} is "
            f"{shown(repr(labels[other]))}, expected labels of one kind"
        )
    return y


def _check_no_blank(y: Any) -> None:
    """Refuse None and NA, which scikit-learn compares with the other labels, and NaN.

    Raises:
        DataError: a label is missing, naming the first row.
    """
    labels = np.asarray(y)
    if labels.dtype.kind in "Of" and labels.ndim > 0:
        blank = pd.isna(labels).reshape(len(labels), -1).any(1)
        if blank.any():
            row = int(blank.argmax())
            raise DataError(f"y: row {row} is blank, expected a label for every row")
