"""What a run achieved, as text for a terminal."""

from collections.abc import Mapping

Metric = float | int | None

# Label, text, metrics that fill it. A line without its metrics is left out; a later line of the
# same label replaces the earlier one, so that more is said where the truth is known.
SUMMARY_LINES = (
    ("rows", "{}", "labels.rows"),
    ("rows", "{} (without the held-out test split)", "labels.rows", "test.accuracy_last"),
    ("given labels correct", "{}", "labels.given_accuracy"),
    ("repaired labels correct", "{}", "labels.repaired_accuracy"),
    ("suggested labels correct", "{} (all rows)", "recovery.accuracy"),
    (
        "noise rate, estimated",
        "{} (interval {} to {})",
        "noise.rate_estimated",
        "noise.rate_low",
        "noise.rate_high",
    ),
    ("noise rate, actual", "{}", "noise.rate_actual"),
    ("flagged as wrong", "{}", "counts.issues"),
    (
        "flagged as wrong",
        "{} (precision {}, recall {})",
        "counts.issues",
        "detect.precision",
        "detect.recall",
    ),
    ("kept as given", "{}", "counts.keep"),
    ("relabelled", "{}", "counts.relabel"),
    ("relabelled", "{} (new label right: {})", "counts.relabel", "relabel.precision"),
    ("dropped", "{}", "counts.drop"),
    ("dropped", "{} (given label wrong: {})", "counts.drop", "drop.precision"),
    ("to review", "{}", "counts.review"),
    (
        "samples of no class",
        "{} (dropped or to review: {})",
        "open_set.rows",
        "open_set.removed",
    ),
)
# The labels of a user's own test split are as noisy as the others.
TEST_LINES = (
    ("test accuracy, last epoch", "{}", "test.accuracy_last"),
    ("test accuracy, last 10 epochs", "{} (mean)", "test.accuracy_last10"),
)


def summary(evaluation_metrics: Mapping[str, Metric], context: Mapping[str, str]) -> str:
    """Return the result as text for a terminal: a headline, then two aligned columns.

    Args:
        evaluation_metrics: ``Evaluation.metrics``, also after a round trip through JSON.
        context: further lines, label -> text, such as where the table was written.
    """
    found = {name: _shown(value) for name, value in evaluation_metrics.items()}
    kept = f"({found['labels.kept_share']} of rows kept)"
    lines = {"true labels": f"known for {found.get('labels.rows_with_truth')} rows"}
    if "labels.given_accuracy" in found:
        given, repaired = found["labels.given_accuracy"], found["labels.repaired_accuracy"]
        headline = f"given labels {given} correct -> repaired labels {repaired} correct {kept}"
    else:
        rate = found["noise.rate_estimated"]
        changed = f"{found['counts.relabel']} relabelled, {found['counts.drop']} dropped"
        headline = f"an estimated {rate} of the given labels are wrong -> {changed} {kept}"
        lines["true labels"] = "unknown, so nothing is said about how many labels are right"
    measure = "" if evaluation_metrics.get("test.labels_right") == 1.0 else ", by given labels"
    tested = [(label, text + measure, *names) for label, text, *names in TEST_LINES]
    for label, text, *names in (*SUMMARY_LINES, *tested):
        if all(name in found for name in names):
            lines[label] = text.format(*(found[name] for name in names))
    if evaluation_metrics.get("counts.review"):
        lines["to review"] += " (to ask people: kedro labels export)"
    lines |= context
    width = max(map(len, lines))
    return "\n".join(
        [headline, "", *(f"{label:<{width}}  {text}" for label, text in lines.items())]
    )


def _shown(value: Metric) -> str:
    """Return a count with separators, or a share in percent."""
    if value is None:
        return "n/a"
    return f"{value:,}" if isinstance(value, int) else f"{100 * value:.1f} %"
