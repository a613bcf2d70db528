"""What is handed over, and the comparison of two handed-over models; knows no registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import md5
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from labelrepair.config import from_dict, positive, require
from labelrepair.data.input_format import InputFormat
from labelrepair.data.rows import take
from labelrepair.data.tokens import OUT_OF_VOCABULARY, PADDING, RESERVED
from labelrepair.errors import DataError, shown
from labelrepair.gate import GateSpec, Judged, decide, most_frequent
from labelrepair.label_table import (
    CONTENT_HASH,
    GIVEN_LABEL,
    OF_TEXT,
    SAMPLE_ID,
    SPLIT,
    TRUE_LABEL,
    Split,
    data_hash,
    origin,
)
from labelrepair.networks import available
from labelrepair.networks.classifier import Classifier
from labelrepair.serving import Predictor, encode
from labelrepair.training import Network
from labelrepair.workflow import held_out_rows, noise_from_dict, repairable

Array = NDArray[Any]
Bools = NDArray[np.bool_]
EXAMPLES = 4  # rows of the input example; 1 would freeze the batch size
CARD_METRICS = (
    "labels.rows",
    "counts.keep",
    "counts.relabel",
    "counts.drop",
    "counts.review",
    "labels.given_accuracy",
    "labels.repaired_accuracy",
    "relabel.precision",
    "detect.precision",
    "detect.recall",
)


@dataclass(frozen=True)
class HandoffSpec:
    """Attributes: name: of the registered model; gate: the rule; lock_timeout: seconds to wait."""

    name: str
    gate: GateSpec = GateSpec()
    lock_timeout: float = 300.0

    def __post_init__(self) -> None:
        """Check the name and the range."""
        # As MLflow makes addresses (models:/NAME@champion) and names of folders of it.
        fits = self.name.isprintable() and len(self.name.encode()) <= 200
        allowed = fits and self.name.strip(". ") and not set(self.name) & set("/:\\?#@'\"")
        rule = "1 to 200 printable bytes of UTF-8 without / : \\ ? # @ and quotes, more than dots"
        require(bool(allowed), f"name: must be {rule}, found '{shown(self.name)}'")
        positive(lock_timeout=self.lock_timeout)


@dataclass(frozen=True, eq=False)
class Contender:
    """A model in the comparison.

    Attributes:
        predictor: the model with its input format and class names.
        trained_on: uint64 (n,), content hashes of the rows that it learned from.
        version: in the registry, if it is there already.
    """

    predictor: Predictor
    trained_on: NDArray[np.uint64]
    version: str | None = None


@dataclass(frozen=True, eq=False)
class Package:
    """A trained model with everything that goes to the registry.

    Attributes:
        contender: the model as it will be served.
        model: the module that is logged.
        digest: of model, input format, class names and label table; 32 hex digits.
        labels_md5: of the label table, see :func:`data_hash`.
        example: a few rows of stored features.
        held_out: bool (M,) rows of the label table that training held out.
    """

    contender: Contender
    model: Classifier
    digest: str
    labels_md5: str
    example: Array
    held_out: Bools


@dataclass(frozen=True, eq=False)
class Evidence:
    """The rows to judge on: label table, its features, the noise estimate and trusted labels.

    ``injected`` says that noise was injected for a study, which leaves the test split's labels
    true.
    """

    table: pd.DataFrame
    features: Array
    noise: Mapping[str, Any]
    curated: pd.DataFrame
    injected: bool


def package(
    state: Mapping[str, Any],
    input_format: Mapping[str, Any],
    table: pd.DataFrame,
    features: Array,
    report: Mapping[str, Any],
    network: Network | None = None,
) -> Package:
    """Bundle a trained model.

    Args:
        state: as :attr:`TrainedParts.model`.
        input_format: as ingestion wrote it.
        table: the label table that the model was trained on.
        features: rows as in ``table``.
        report: the training report.
        network: the one that the run's own parameters name; by import path the state may name
            no other. None = it may name none.

    Raises:
        DataError: the label table has changed since the training, or the state names a network by
            an import path that is not the parameters'.
    """
    labels = data_hash(table)
    if report.get("data_hash") != labels:
        raise DataError(
            f"label table {labels}: the model was trained on {report.get('data_hash')}; run the "
            "training pipeline again before handing over"
        )
    own = {"spec": state["spec"], "weights": state["weights"]}
    _check_network(own["spec"], network)
    model = Classifier.from_state(own, trusted=True)
    form, names = from_dict(InputFormat, input_format, "input_format"), state["class_names"]
    fraction = report["settings"]["training"]["validation_fraction"]
    held_out = held_out_rows(table, fraction, report["seed"])
    seen = row_hashes(table)[repairable(table) & ~held_out]
    return Package(
        contender=Contender(Predictor(model, form, names), np.unique(seen)),
        model=model,
        digest=_digest(state, form, labels),
        labels_md5=labels,
        example=np.array(features[:EXAMPLES]),
        held_out=held_out,
    )


def _check_network(spec: Mapping[str, Any], network: Network | None) -> None:
    """Refuse a spec whose import path is not that of the parameters: building it would call it."""
    if spec["name"] in available():
        return
    found = spec["name"], _chosen(spec["options"])
    if network is None or found != (network.name, _chosen(network.options)):
        raise DataError(
            f"model: built by '{spec['name']}' with {spec['options']}, the parameters of this run "
            f"name {network}; hand over with the parameters of the training"
        )


def _chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network's options without what the data decide."""
    return {name: value for name, value in options.items() if name != "vocabulary_size"}


def check_measured(report: Mapping[str, Any], made_from: Mapping[str, Any]) -> None:
    """Refuse metrics of another training, of the same label table or of another one.

    Args:
        report: the training report.
        made_from: what the evaluation noted of the training that it measured, see :func:`origin`.

    Raises:
        DataError: they differ.
    """
    found, wanted = dict(made_from), origin(report)
    if found != wanted:
        raise DataError(
            f"metrics: measured on another training, {found}, than the one handed over, {wanted}; "
            "run before: kedro run --pipelines refinement,repair,evaluation"
        )


def facts_of(
    bundle: Package,
    evidence: Evidence,
    report: Mapping[str, Any],
    metrics: Mapping[str, Any],
    level: float,
) -> dict[str, Any]:
    """Return what tags and model card say beside the decision; plain values.

    Args:
        bundle: the model.
        evidence: what it is judged by.
        report: the training report.
        metrics: of the evaluation, name -> number or None.
        level: of the test accuracy's interval.
    """
    form = bundle.contender.predictor.input_format
    splits = evidence.table[SPLIT]
    held_out, test = int(bundle.held_out.sum()), int((splits == Split.TEST).sum())
    shape = "x".join(map(str, form.shape))
    return {
        "preset": report["preset"],
        "method": report["method"],
        "chosen_by": report.get("chosen_by", ""),
        "source": report["settings"]["source"],
        "networks": report["networks"],
        "parameters": report["parameters"],
        "epochs": report["epochs"],
        "metrics": {name: value for name, value in metrics.items() if name in CARD_METRICS},
        # Of the weights that were kept: those of the last epoch may be others.
        "test_accuracy": _test_accuracy(report.get("test_accuracy_of_model"), test, level),
        "noise_method": evidence.noise["method"],
        "class_names": bundle.contender.predictor.class_names,
        "input": f"{form.kind}, {shape}{', resized to it' if form.resize else ''}",
        "rows": {"train": len(splits) - held_out - test, "validation": held_out, "test": test},
    }


def _test_accuracy(value: float | None, rows: int, level: float) -> dict[str, float] | None:
    """Return the accuracy by the test split's given labels, with Wilson's interval."""
    if value is None or not rows:
        return None
    from scipy.stats import binomtest  # noqa: PLC0415

    interval = binomtest(round(value * rows), rows).proportion_ci(level, method="wilson")
    return {"value": value, "low": float(interval.low), "high": float(interval.high)}


def row_hashes(table: pd.DataFrame) -> NDArray[np.uint64]:
    """Return the content hashes as uint64 (M,)."""
    digits = table[CONTENT_HASH].str.removeprefix(OF_TEXT)
    return np.array([int(value, 16) for value in digits], dtype=np.uint64)


def judge(
    challenger: Package, champion: Contender | None, evidence: Evidence, spec: GateSpec
) -> dict[str, Any]:
    """Compare on rows that neither model was trained on; see :func:`labelrepair.gate.decide`.

    A row counts as trained on if its content was, whatever its split is called now: so a row that
    has moved from training to validation since the champion was trained is left out, and so is a
    duplicate.

    Returns:
        The decision, and which rows it rests on.
    """
    hashes = row_hashes(evidence.table)
    seen = np.isin(hashes, challenger.contender.trained_on)
    if champion is not None:
        seen |= np.isin(hashes, champion.trained_on)
    source, rows = _choose_rows(challenger, evidence, seen, spec)
    wanted = _held_out(challenger, evidence, source)
    facts = {"rows_from": source, "left_out_as_trained_on": int((wanted & seen).sum())}
    if len(rows) < spec.min_rows:
        reason = (
            f"{len(rows)} {source} rows that neither model was trained on, expected at least "
            f"{spec.min_rows} (min_rows); hold out more (ingestion.split.test_fraction), or lower "
            "handoff.gate.min_rows"
        )
        return {"passed": False, "reasons": [reason], "rows": len(rows), **facts}
    try:
        judged = _judged(challenger, champion, evidence, rows, source)
        audited = _audited(challenger, champion, evidence, ~seen, spec)
    except DataError as error:
        reason = f"the champion cannot be compared: {error}"
        return {"passed": False, "reasons": [reason], "rows": len(rows), **facts}
    facts["labels"] = "given, corrected by T" if judged.noise_interval else "true"
    facts["compared_with"] = "champion" if champion else "the most frequent class"
    return decide(judged, audited, spec, first=champion is None) | facts


def _held_out(challenger: Package, evidence: Evidence, source: str) -> Bools:
    if source == Split.TEST:
        return (evidence.table[SPLIT] == Split.TEST).to_numpy()
    return challenger.held_out


def _choose_rows(
    challenger: Package, evidence: Evidence, seen: Bools, spec: GateSpec
) -> tuple[str, NDArray[np.int64]]:
    """Return where the rows come from, and their positions."""
    sources = [Split.VALIDATION, Split.TEST] if spec.rows == "auto" else [Split(spec.rows)]
    for source in sources:
        rows = np.flatnonzero(_held_out(challenger, evidence, source) & ~seen)
        if len(rows) >= spec.min_rows:
            break
    return str(source), rows


def _judged(
    challenger: Package,
    champion: Contender | None,
    evidence: Evidence,
    rows: NDArray[np.int64],
    source: str,
) -> Judged:
    noise = noise_from_dict(evidence.noise)
    labels = evidence.table[GIVEN_LABEL].to_numpy()[rows]
    clean = evidence.injected and source == Split.TEST
    transition = np.eye(len(noise.transition)) if clean else noise.transition
    ours, theirs = _predictions(challenger, champion, take(evidence.features, rows))
    if theirs is None:
        theirs = np.full(len(rows), most_frequent(labels, transition))
    return Judged(ours, theirs, labels, transition, None if clean else noise.interval)


def _audited(
    challenger: Package,
    champion: Contender | None,
    evidence: Evidence,
    unseen: Bools,
    spec: GateSpec,
) -> Judged | None:
    """Return the trusted rows that neither was trained on, if there are enough."""
    truth = evidence.curated.set_index(SAMPLE_ID)[TRUE_LABEL]
    labels = truth.reindex(evidence.table[SAMPLE_ID]).fillna(-1).to_numpy(dtype=np.int64)
    rows = np.flatnonzero((labels >= 0) & unseen)
    if champion is None or len(rows) < spec.min_audited:
        return None
    ours, theirs = _predictions(challenger, champion, take(evidence.features, rows))
    assert theirs is not None
    classes = len(challenger.contender.predictor.class_names)
    return Judged(ours, theirs, labels[rows], np.eye(classes))


def _predictions(
    challenger: Package, champion: Contender | None, features: Array
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    ours = challenger.contender.predictor
    predicted = ours.probabilities(features).argmax(1)
    if champion is None:
        return predicted, None
    theirs = champion.predictor
    if theirs.class_names != ours.class_names:
        raise DataError(f"it knows other classes: {theirs.class_names}, not {ours.class_names}")
    known = translate(features, ours.input_format, theirs.input_format)
    return predicted, theirs.probabilities(known).argmax(1)


def translate(features: Array, source: InputFormat, target: InputFormat) -> Array:
    """Return stored features as a model of another input format would have stored them.

    Text goes word by word: a word that ``source`` does not know stays unknown.

    Raises:
        DataError: other kind or size, or a vocabulary is missing.
    """
    if source == target:
        return features
    if source.kind != target.kind:
        raise DataError(f"it takes {target.kind} input, not {source.kind}")
    if source.columns and target.columns:
        return encode(pd.DataFrame(features, columns=list(source.columns)), target)
    if source.kind != "text":
        return encode(list(features), target)
    if source.vocabulary is None or target.vocabulary is None:
        raise DataError("the token ids have no vocabulary by which to translate them")
    ids = {word: token for token, word in enumerate(target.vocabulary)}
    known = [ids.get(word, OUT_OF_VOCABULARY) for word in source.vocabulary]
    known[: len(RESERVED)] = range(len(RESERVED))
    tokens = np.array(known, dtype=np.int32)[np.asarray(features)]
    length = target.shape[0]
    padded = np.pad(tokens, ((0, 0), (length, 0)), constant_values=PADDING)
    return np.ascontiguousarray(padded[:, -length:])


def _digest(state: Mapping[str, Any], form: InputFormat, labels: str) -> str:
    """Return 32 hex digits of model, input format, class names and label table."""
    digest = md5(usedforsecurity=False)
    for part in (state["spec"], form.written(), list(state["class_names"]), labels):
        digest.update(repr(part).encode())
    for name, tensor in state["weights"].items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
