"""From a run's tables and numbers to what the page shows: plain values and drawings."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from labelrepair import __version__
from labelrepair.label_table import (
    ACTION,
    CONFIDENCE,
    OPEN_SET,
    SAMPLE_ID,
    SPLIT,
    TRUE_LABEL,
    Action,
    Split,
    data_hash,
    extend,
    repaired_hash,
)
from labelrepair.report.charts import Chart, Line, bars, histogram, line_chart, line_of
from labelrepair.report.estimates import Quantity, of_people, quantities
from labelrepair.report.flows import RIGHT, WRONG, alluvial, flows_of, truth_flows
from labelrepair.report.galleries import galleries
from labelrepair.report.harm import warnings
from labelrepair.report.matrix import matrix_of
from labelrepair.report.samples import Viewer
from labelrepair.report.spec import ReportSpec, Sources

logger = logging.getLogger(__name__)
WIDE, NARROW = 860.0, 380.0  # of the flow diagram, in pixels
ACTION_TEXTS = {
    Action.KEEP: ("keep", "kept as given"),
    Action.RELABEL: ("relabel", "changed"),
    Action.DROP: ("drop", "dropped"),
    Action.REVIEW: ("review", "for people to decide"),
}
CONFIDENCE_BINS, HIGHEST_START = 20, 0.9  # of the histogram of confidence


def build_context(sources: Sources, spec: ReportSpec) -> dict[str, Any]:
    """Return the template's variables.

    Raises:
        DataError: a true label belongs to an unknown sample.
    """
    rows = _decided_rows(sources.table, sources.true_labels)
    low, high = sources.noise["interval"]
    found = quantities(rows, sources.noise["noise_rate"], (low, high), sources.level)
    view = Viewer(sources.features, sources.vocabulary, spec, sources.columns)
    flows = flows_of(rows, len(sources.class_names), spec.flow_classes)
    people = _people(rows)
    known = int(rows[TRUE_LABEL].notna().sum())
    of_no_class = int((rows[TRUE_LABEL] == OPEN_SET).sum())
    digest = data_hash(sources.table)
    ab = _differences(sources.ab, repaired_hash(sources.table))
    return {
        "title": spec.title,
        "level": sources.level,
        "rows": len(rows),
        "rows_with_truth": known,
        "kept_share": float(rows[ACTION].isin([Action.KEEP, Action.RELABEL]).mean()),
        "noise": {"rate": sources.noise["noise_rate"], "low": low, "high": high},
        "estimator": sources.noise["method"],
        "actions": _actions(rows),
        "quantities": found,
        "people": people,
        "certainty": _certainty(found, known, len(rows), people),
        "warnings": warnings(found, rows, sources, ab),
        "classes": _classes(sources.frames["class_health"], sources.class_names),
        "matrix": matrix_of(sources.noise, sources.class_names, len(rows)),
        "flow_wide": alluvial(flows, sources.class_names, WIDE),
        "flow_narrow": alluvial(flows, sources.class_names, NARROW),
        "flow_rows": _flow_rows(rows, sources.class_names),
        "rows_of_no_class": of_no_class,
        "truth_flows": _truth_flows(rows, sources.class_names, spec.flow_classes)
        if known > of_no_class
        else [],
        "merged_classes": max(0, len(sources.class_names) - spec.flow_classes),
        "evidence": _evidence(rows, sources),
        "training_charts": _training_charts(sources.frames["training_curves"], sources.metrics),
        "training": dict(sources.training),
        "galleries": galleries(rows, sources.class_names, view, spec.gallery_size),
        "ab": ab,
        "policy": dict(sources.policy),
        "facts": {**sources.facts, "data_hash": digest},
        "links": spec.links,
        "version": __version__,
    }


def _decided_rows(table: pd.DataFrame, true_labels: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with an action, their truth, and ``position``: their row in the table.

    A row of the open set keeps its -2: that it belongs to no class is known.
    """
    known = (true_labels[TRUE_LABEL] >= 0) | (true_labels[TRUE_LABEL] == OPEN_SET)
    truth = true_labels[known]
    unknown = pd.array([pd.NA] * len(table), dtype="Int64")
    whole = table.assign(**{TRUE_LABEL: unknown})
    if len(truth):
        whole = extend(table, truth[[SAMPLE_ID, TRUE_LABEL]]).astype({TRUE_LABEL: "Int64"})
    whole["position"] = np.arange(len(whole))
    decided = (whole[SPLIT] != Split.TEST) & whole[ACTION].notna()
    return whole[decided].reset_index(drop=True)


def _actions(rows: pd.DataFrame) -> list[dict[str, Any]]:
    counts = rows[ACTION].value_counts()
    return [
        {
            "key": key,
            "text": text,
            "count": int(counts.get(str(action), 0)),
            "share": float(counts.get(str(action), 0)) / max(len(rows), 1),
        }
        for action, (key, text) in ACTION_TEXTS.items()
    ]


def _people(rows: pd.DataFrame) -> dict[str, int]:
    """Return how many rows people decided about, how many they changed, and the model's changes."""
    human, changed = of_people(rows), (rows[ACTION] == Action.RELABEL).to_numpy(dtype=bool)
    return {
        "decided": int(human.sum()),
        "changed": int((human & changed).sum()),
        "left": int((~human & changed).sum()),
    }


def _certainty(
    found: Mapping[str, Quantity], known: int, rows: int, people: Mapping[str, int]
) -> str:
    """Say in a few sentences how sure the headline is."""
    if known == rows:
        return (
            "The true labels of all rows are known in this run, so right and wrong are measured, "
            "not estimated."
        )
    if known:
        return (
            f"True labels are known for {known:,} of {rows:,} rows; what is called measured "
            "holds for those."
        )
    relabel, tail, whose = found["relabel"].estimated, "", "changed labels"
    if people["decided"]:
        some = "1 row" if people["decided"] == 1 else f"{people['decided']:,} rows"
        tail = f" People decided about {some}, which {_are(people['decided'])} not estimated."
        whose = "labels that the model changed"
    if relabel is not None:
        tail += (
            f" Of 100 {whose}, about {_hundred(relabel.value)} should be right "
            f"({_hundred(relabel.low)} to {_hundred(relabel.high)}). Have people check some of the "
            "changes."
        )
    elif people["changed"]:
        tail += " All changes are theirs, so the model tells nothing about how many are right."
    return (
        "True labels are not known, so nothing here is measured: all shares of right labels are "
        "estimates from the model's calibrated probabilities, and a model can be wrong in ways "
        f"that it cannot see.{tail}"
    )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _hundred(share: float) -> str:
    return f"{100 * share:.0f}"


def _classes(frame: pd.DataFrame, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return class health, the class with the largest share of doubtful rows first."""
    listed = []
    for row in frame.to_dict("records"):
        given = int(row["given_count"])
        out, dropped, review = (int(row[n]) for n in ("relabelled_out", "dropped", "review"))
        listed.append(
            {
                "name": str(class_names[int(row["class"])]),
                "given": given,
                "expected": float(row["estimated_true_count"]),
                "wrong": None if pd.isna(row["mean_quality"]) else 1 - float(row["mean_quality"]),
                "out": out,
                "in": int(row["relabelled_in"]),
                "dropped": dropped,
                "review": review,
                "after": given - out - dropped - review + int(row["relabelled_in"]),
                "before_right": _number(row.get("given_accuracy")),
                "after_right": _number(row.get("repaired_accuracy")),
            }
        )
    return sorted(listed, key=lambda item: -(item["wrong"] or 0.0))


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _flow_rows(
    rows: pd.DataFrame, class_names: Sequence[str], most: int = 15
) -> list[dict[str, Any]]:
    """Return the largest changes: given -> repaired, with their number of rows."""
    changes = [
        flow
        for flow in flows_of(rows, len(class_names), len(class_names))
        if flow.action == Action.RELABEL
    ]
    largest = sorted(changes, key=lambda flow: -flow.count)[:most]
    return [
        {"given": class_names[f.source], "repaired": class_names[f.target], "count": f.count}
        for f in largest
    ]


def _truth_flows(
    rows: pd.DataFrame, class_names: Sequence[str], limit: int
) -> list[dict[str, Any]]:
    """Return the confusions before and after the repair: from the true label to the other."""
    before, after = truth_flows(rows, len(class_names), limit)
    return [
        {
            "title": title,
            "svg": alluvial(flows, class_names, NARROW, ("true label", head)),
            "legend": _truth_legend({str(flow.action) for flow in flows}),
        }
        for title, flows, head in (
            ("Before: true to given labels", before, "given label"),
            ("After: true to repaired labels", after, "repaired label"),
        )
    ]


def _truth_legend(styles: set[str]) -> list[tuple[str, str]]:
    """Return what the colours mean; wrong and dropped rows have the same."""
    wrong = "wrong, or dropped" if Action.DROP in styles else "wrong"
    review = [("for people to decide", str(Action.REVIEW))] if Action.REVIEW in styles else []
    return [("right", RIGHT), (wrong, WRONG), *review]


def _evidence(rows: pd.DataFrame, sources: Sources) -> list[dict[str, Any]]:
    """Return the charts about label quality and confidence, with what each one tells."""
    quality, human = sources.frames["quality_histogram"], of_people(rows)
    edges = np.append(quality["low"].to_numpy(np.float64), float(quality["high"].iloc[-1]))
    styles = {
        "wrong": ("given label wrong", "wrong"),
        "right": ("given label right", "accent"),
        "unknown": ("truth unknown", "muted"),
    }
    parts = [
        (name, style, quality[column].to_numpy(np.float64))
        for column, (name, style) in styles.items()
        if column in quality
    ]
    charts = [
        _panel(
            "Label quality",
            "How probable it is that the given label is right. Good: two heaps, at 0 and at 1.",
            histogram("Histogram of label quality", edges, parts, "label quality"),
        ),
        _panel(
            "Confidence",
            "How sure the model is of the label it suggests. Changes on the left deserve a look."
            + (" Rows that people decided about are left out." if human.any() else ""),
            _confidence(rows[~human]),
        ),
    ]
    if "precision_recall" in sources.frames and len(sources.frames["precision_recall"]):
        charts.append(_precision_recall(sources))
    if "recovery" in sources.frames and len(sources.frames["recovery"]):
        charts.append(_recovery(sources.frames["recovery"]))
    return charts


def _panel(title: str, text: str, chart: Chart) -> dict[str, Any]:
    return {"title": title, "text": text, "chart": chart}


def _confidence(rows: pd.DataFrame) -> Chart:
    values = rows[CONFIDENCE].to_numpy(np.float64)
    # Where the model is sure of everything, bins between its least confidence and 1 have no width.
    low = min(np.floor(10 * values.min()) / 10, HIGHEST_START) if len(values) else 0
    edges = np.linspace(low, 1, CONFIDENCE_BINS + 1)
    actions = rows[ACTION].to_numpy()
    parts = [
        (text, key, np.histogram(values[actions == action], edges)[0].astype(np.float64))
        for action, (key, text) in ACTION_TEXTS.items()
        if (actions == action).any()
    ]
    return histogram(
        "Histogram of confidence by action", edges, parts, "confidence in the suggested label"
    )


def _precision_recall(sources: Sources) -> dict[str, Any]:
    frame, metrics = sources.frames["precision_recall"], sources.metrics
    recall, precision = metrics.get("detect.recall"), metrics.get("detect.precision")
    point = None if recall is None or precision is None else (recall, precision)
    chance = float(frame["precision"].iloc[-1])
    curve = Line("ranked by label quality", frame["recall"].tolist(), frame["precision"].tolist())
    flat = Line("by chance", [0.0, 1.0], [chance, chance], "muted")
    chart = line_chart(
        "Precision over recall of finding wrong labels",
        [curve, flat],
        ("recall: wrong labels found", "precision: wrong among those listed"),
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.03),
        point=point,
    )
    text = "Going down the list from the most suspect label. The dot is what was flagged."
    return _panel("Precision and recall", text, chart)


def _recovery(frame: pd.DataFrame) -> dict[str, Any]:
    shares = [None if pd.isna(value) else float(value) for value in frame["accuracy"]]
    sizes = frame["count"].astype(int).tolist()
    labels = ("confidence", "")
    names = frame["bin"].astype(str).tolist()
    chart = bars("Share of right suggestions by confidence", names, shares, sizes, labels)
    text = "Suggested labels that are right. A higher confidence should mean a higher bar."
    return _panel("Are confident suggestions right?", text, chart)


def _training_charts(curves: pd.DataFrame, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return loss, accuracies and label precision by epoch, each where it was measured."""
    panels = (
        (
            "Label precision",
            "Precision: right labels among the rows learned from. Recall: right labels used.",
            (
                ("selection_precision", "precision", "accent"),
                ("selection_recall", "recall", "second"),
            ),
            True,
        ),
        (
            "Accuracy",
            "Training should follow the test curve, not climb past it: that is learning by heart.",
            (
                ("test_accuracy", "test split", "accent"),
                ("noisy_val_accuracy", "validation, given labels", "second"),
                ("train_accuracy_given", "training, given labels", "wrong"),
            ),
            True,
        ),
        ("Training loss", "", (("loss", "loss", "accent"),), False),
        (
            "Rows learned from",
            "Share of the rows that the method used in each epoch.",
            (("used_share", "used", "accent"),),
            True,
        ),
    )
    charts = []
    share = metrics.get("labels.given_accuracy")
    marks = _stages(curves)
    for title, text, columns, percent in panels:
        lines = [line for c, n, s in columns if (line := line_of(curves, "epoch", c, n, s))]
        if not lines:
            continue
        if title == "Label precision" and share is not None:
            epochs = curves["epoch"].tolist()
            lines.append(Line("all rows", epochs, [share] * len(epochs), "muted"))
        unit = "" if percent else "loss"
        chart = line_chart(
            f"{title} by epoch", lines, ("epoch", unit), percent=percent, marks=marks
        )
        charts.append(_panel(title, text, chart))
    return charts


def _stages(curves: pd.DataFrame) -> list[tuple[float, str]]:
    """Return where each stage begins, if there is more than one."""
    stage = curves["stage"].astype(str)
    starts = curves[stage != stage.shift()]
    return [] if len(starts) < 2 else list(zip(starts["epoch"], starts["stage"], strict=True))


def _differences(evidence: Mapping[str, Any], digest: str) -> list[dict[str, Any]]:
    """Return the A/B evidence, unless it is of another repair."""
    made_from = evidence.get("labels_hash", digest)
    if made_from != digest:
        logger.warning(
            "A/B evidence left out: it is of repaired labels %s, not %s; run ab", made_from, digest
        )
        return []
    return [_difference(row) for row in evidence.get("rows", ())]


def _difference(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one line of the A/B evidence with what it says in words."""
    mean, low, high = (float(row[name]) for name in ("mean_difference", "low", "high"))
    verdict = "better" if low > 0 else "worse" if high < 0 else "no clear difference"
    seeds = row.get("seeds", "")
    count = len(seeds) if isinstance(seeds, list | tuple) else seeds
    return {
        "name": row["name"],
        "mean": mean,
        "low": low,
        "high": high,
        "seeds": count,
        "verdict": verdict,
    }
