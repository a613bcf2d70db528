"""What a reader must not overlook: signs that the repair does harm, with and without the truth."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from labelrepair.estimation.accuracy import disagrees_unaccountably, may_guess, promised_kappa
from labelrepair.label_table import GIVEN_LABEL, IS_LABEL_ISSUE, SUGGESTED_LABEL
from labelrepair.policy import of_lost_classes
from labelrepair.refinement import METHOD
from labelrepair.report.estimates import Quantity
from labelrepair.report.spec import Sources


def warnings(
    found: Mapping[str, Quantity], rows: pd.DataFrame, sources: Sources, ab: list[dict[str, Any]]
) -> list[str]:
    """Return sentences, the gravest first.

    Args:
        found: see :func:`labelrepair.report.estimates.quantities`.
        rows: decided rows.
        sources: of the report.
        ab: lines of the retraining's evidence.
    """
    measured = _measured(found)
    weak = (
        _guessing(sources)
        + _unaccounted(sources)
        + _too_weak(found, sources)
        + _too_many(rows, sources)
    )
    unmeasured = [] if found["given"].measured else weak
    told = _reviewed(found, sources) + _retrained(ab)
    return measured + unmeasured + _lost(rows, sources) + told


def _measured(found: Mapping[str, Quantity]) -> list[str]:
    """Say where the known truth contradicts the repair."""
    given, repaired, relabel = (found[key] for key in ("given", "repaired", "relabel"))
    said = []
    if given.measured and repaired.measured and repaired.measured.value < given.measured.value:
        said.append(
            "Measured against the known truth, the repaired labels are less often right than the "
            "given ones: do not use this repair as it is."
        )
    elif relabel.measured and relabel.measured.value < 0.5:
        said.append("Measured against the known truth, most changed labels are wrong.")
    outside = [q.name for q in found.values() if q.contradicted]
    if outside:
        names = ", ".join(f"'{name}'" for name in outside)
        said.append(f"Estimates that the measurement contradicts: {names}.")
    return said


def _guessing(sources: Sources) -> list[str]:
    """Say when what judges the labels knows next to nothing, or next to nothing is right."""
    kappa = sources.noise.get("kappa")  # None in files of earlier versions
    if not may_guess(kappa, sources.noise["method"]):
        return []
    return [
        "The networks that judge the labels agree with them hardly more than by chance (Cohen's "
        f"kappa {kappa:.2f}): either most labels are wrong, or these networks cannot tell the "
        "classes apart. In the latter case the noise rate is estimated far too high, and the "
        "changes do harm. Have people check some (kedro labels audit draw), or try a stronger "
        "network, longer training or better features first."
    ]


def _unaccounted(sources: Sources) -> list[str]:
    """Say when the noise rate does not account for how little networks and labels agree."""
    noise = sources.noise
    matrix, prior = np.array(noise["transition"]), np.array(noise["class_prior"])
    if not disagrees_unaccountably(noise.get("kappa"), matrix, prior, noise["method"]):
        return []
    return [
        f"The networks that judge the labels agree with them far less (Cohen's kappa "
        f"{noise['kappa']:.2f}) than {_percent(noise['noise_rate'])} wrong labels account for "
        f"({promised_kappa(matrix, prior):.2f}): either they cannot tell the classes apart, or "
        "many samples belong to no class, which no noise rate counts. Look at the samples of "
        "lowest label quality; a larger policy.review_budget sends more of them to people."
    ]


def _too_weak(found: Mapping[str, Quantity], sources: Sources) -> list[str]:
    """Say when the model itself seems to be right less often than the given labels.

    By its agreement on rows that it has not seen, see :func:`_right`. That is about the model, and
    about its changes only where no second look made them.
    """
    agreement, place = sources.training.get("test_accuracy_of_model"), "the test split"
    if agreement is None:
        curves = sources.frames["training_curves"]
        if "noisy_val_accuracy" not in curves or curves["noisy_val_accuracy"].isna().all():
            return []
        held_out = curves["noisy_val_accuracy"].dropna()
        agreement, place = float(held_out.iloc[-1]), "the validation split"
    low, high = (1 - share for share in reversed(sources.noise["interval"]))
    classes = len(sources.noise["class_prior"])
    if low <= (0.5 if classes == 2 else 0) or _right(agreement, low, classes) >= low:
        return []
    least, most = (_right(agreement, share, classes) for share in (high, low))
    judged = " Its changes may do harm; train a better model first."
    if _looked_again(sources):
        judged = " Do not hand this model over." + _second_look(found)
    return [
        f"On {place} the model agrees with {_percent(agreement)} of the given labels. If "
        f"{_percent(low)} to {_percent(high)} of them are right, as estimated, the model is right "
        f"in about {_percent(least)} to {_percent(most)}: less often than the given labels.{judged}"
    ]


def _right(agreement: float, given: float, classes: int) -> float:
    """Return in which share of rows, in [0, 1], a model is right that agrees so often with labels.

    A model that is right in a share m of the rows agrees with given labels of which a share g is
    right in m * g of them, and where both are wrong by the same name. Of two classes that is always
    so: (1 - m) * (1 - g). Of more it is rare; without it the model looks better, never worse.
    """
    both = 1 - given if classes == 2 else 0.0
    return min(max((agreement - both) / (given - both), 0.0), 1.0)


def _looked_again(sources: Sources) -> bool:
    """Return whether a second look is known to have been made.

    It leaves a T from people as it is, so that nothing tells of it then.
    """
    return bool(sources.noise["method"] == METHOD)


def _second_look(found: Mapping[str, Quantity]) -> str:
    """Judge the changes of a second look by its own probabilities, which are all there is."""
    given, repaired, relabel = (found[key].estimated for key in ("given", "repaired", "relabel"))
    if relabel is None:
        return ""
    said = " The changes are those of the second look, whose networks judge rows they have not seen"
    if given and repaired and repaired.value < given.value:
        return (
            f"{said}; but by its probabilities, too, the repaired labels are less often right than "
            "the given ones. Its changes may do harm; train a better model first."
        )
    return (
        f"{said}: by its probabilities {_percent(relabel.low)} to {_percent(relabel.high)} of the "
        "changed labels are right. Have people check some (kedro labels audit draw)."
    )


def _too_many(rows: pd.DataFrame, sources: Sources) -> list[str]:
    """Say when more labels are flagged than are wrong by the estimate of the noise."""
    flagged = float(rows[IS_LABEL_ISSUE].astype(bool).mean()) if len(rows) else 0.0
    high = sources.noise["interval"][1]
    if flagged <= high:
        return []
    return [
        f"{_percent(flagged)} of the labels are flagged, but at most {_percent(high)} are wrong by "
        "the estimate of the noise: some right labels must be among them."
    ]


def _lost(rows: pd.DataFrame, sources: Sources) -> list[str]:
    """Say when the trained network has lost a class, and when the repair has."""
    said = []
    trained = sources.training.get("lost_classes", ())
    if trained:
        said.append(
            f"The trained network hardly ever predicts {_named(trained)}, though such rows are "
            "expected: do not hand this model over. The second look, unless it is switched off, "
            "only begins with it."
        )
    given = rows[GIVEN_LABEL].to_numpy(np.int64)
    gone = of_lost_classes(given, rows[SUGGESTED_LABEL].to_numpy(np.int64))
    if gone.any():
        names = [sources.class_names[label] for label in np.unique(given[gone])]
        said.append(
            f"The repair calls hardly any row {_named(names)}, so what it says of the {gone.sum()} "
            "rows given that label is no evidence: look at them. They were relabelled or dropped "
            "only if policy.class_floor is 0."
        )
    return said


def _named(classes: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in classes)


def _reviewed(found: Mapping[str, Quantity], sources: Sources) -> list[str]:
    """Say when people have found fewer changed labels right than the model expects."""
    expected, policy = found["relabel"].estimated, sources.policy
    if expected is None or not policy.get("audited") or policy["high"] >= expected.low:
        return []
    return [
        f"People found {_percent(policy['precision'])} of the changed labels that they checked "
        f"right ({_percent(policy['low'])} to {_percent(policy['high'])}), the model expects at "
        f"least {_percent(expected.low)}: it is too sure of itself."
    ]


def _retrained(ab: list[dict[str, Any]]) -> list[str]:
    """Say when a network learns worse from the repaired labels."""
    worse = [row["name"] for row in ab if row["high"] < 0]
    if not worse:
        return []
    return [f"A network retrained on the repaired labels is worse: {', '.join(worse)}."]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
