"""Published quantities that are not a test accuracy: NLNL's filter, recovery by confidence."""

from collections.abc import Callable

import pandas as pd

Lines = list[str]
KEYS = ("noise", "noise_rate", "method")
FILTER = {
    "estimated_noise_rate": "filtered_share",
    "noise_filter_recall": "filter_recall",
    "noise_filter_precision": "filter_precision",
}
# Our bins by the names of the published table.
BINS = {
    "[0.99,1]": "0.99-1",
    "[0.95,0.99)": "0.95-0.99",
    "[0.9,0.95)": "0.9-0.95",
    "[0,0.9)": "0-0.9",
    "all": "0-1",
}


def filter_rows(cells: pd.DataFrame, published: pd.DataFrame) -> Lines:
    """Return the filter of wrong labels (Kim et al. 2019, table 1) as a table in Markdown.

    Args:
        cells: from :func:`labelrepair.benchmark.run_grid`.
        published: rows of the published table in question.
    """
    lines = [
        "| noise | rate | method | labels wrong | filtered out, published "
        "| recall, published | precision, published |",
        "|---|---|---|---|---|---|---|",
    ]
    for (noise, rate, method), runs in cells.groupby(list(KEYS), sort=False):
        texts = []
        for metric, measured in FILTER.items():
            ours = 100 * runs[measured].astype(float).mean()
            theirs = _published(published, metric, float(str(rate)), str(method))
            texts.append(f"{ours:.2f}, {theirs}" if theirs else f"{ours:.2f}")
        wrong = 100 * runs["actual_noise_rate"].mean()
        lines.append(f"| {noise} | {rate:g} | {method} | {wrong:.2f} | {' | '.join(texts)} |")
    return lines


def recovery_rows(cells: pd.DataFrame, published: pd.DataFrame) -> Lines:
    """Return recovery accuracy by confidence (Tanaka et al. 2018, tables 12 and 13) in Markdown.

    Args:
        cells: from :func:`labelrepair.benchmark.run_grid`; counts are summed over the seeds.
        published: rows of the published table in question.
    """
    lines = [
        "| noise | rate | method | confidence | labels (%), published | recovery, published |",
        "|---|---|---|---|---|---|",
    ]
    for (noise, rate, method), runs in cells.groupby(list(KEYS), sort=False):
        bins = pd.DataFrame([row for found in runs["recovery_by_confidence"] for row in found])
        bins["hits"] = bins["count"] * bins["accuracy"].astype(float).fillna(0.0)
        summed = bins.groupby("bin", sort=False)[["count", "hits"]].sum()
        theirs = _by_bin(published)
        for name, row in summed.iterrows():
            share = f"{100 * row['count'] / summed['count'].max():.1f}"
            accuracy = f"{100 * row['hits'] / row['count']:.1f}" if row["count"] else "none"
            count, recovered = theirs.get(BINS[str(name)], ("", ""))
            lines.append(
                f"| {noise} | {rate:g} | {method} | {name} | {_beside(share, count)} "
                f"| {_beside(accuracy, recovered)} |"
            )
    return lines


QUANTITIES: dict[str, Callable[[pd.DataFrame, pd.DataFrame], Lines]] = {
    "filter": filter_rows,
    "recovery_by_confidence": recovery_rows,
}


def _published(published: pd.DataFrame, metric: str, rate: float, method: str) -> str:
    found = published[
        (published["metric"] == metric)
        & (published["noise_rate"] == rate)
        & (published["method"] == method)
    ]
    return "" if found.empty else f"{found['mean'].iloc[0]:.2f}"


def _by_bin(published: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return, by bin, the published share of the labels and recovery accuracy, in percent."""
    prefix = "label_confidence_range="
    rows = published[published["protocol"].astype(str).str.startswith(prefix)]
    bins = rows.assign(bin=rows["protocol"].str.removeprefix(prefix))
    table = bins.pivot_table(index="bin", columns="metric", values="mean")
    if table.empty:
        return {}
    shares = 100 * table["label_count"] / table["label_count"].max()
    accuracy = table["recovery_accuracy"]
    return {
        name: (f"{shares[name]:.1f}", f"{accuracy[name]:.1f}") for name in map(str, table.index)
    }


def _beside(ours: str, theirs: str) -> str:
    return f"{ours}, {theirs}" if theirs else ours
