"""Digests of what a run wrote, noted in its last file: later steps refuse a mixture of runs.

Reports hold them as an entry, label tables in ``attrs``, which Parquet keeps.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from labelrepair.errors import DataError
from labelrepair.label_table import SEALED, joined


def seal(**parts: Any) -> dict[str, dict[str, str]]:
    """Return the entry of a report that seals what was written with it.

    Args:
        **parts: by catalog entry; arrays, tensors, frames of whole numbers and
            texts, plain values, or mappings of them.
    """
    return {SEALED: {name: digest(part) for name, part in parts.items()}}


def check_seal(
    report: Mapping[Any, Any], again: str, beside: str = "its report", **parts: Any
) -> None:
    """Refuse parts that are not those that a report was written with.

    Args:
        report: what :func:`seal` was added to; an entry that it does not name (a file of an earlier
            version) is not checked.
        again: the pipelines that make them anew.
        beside: what messages call the report.
        **parts: as in :func:`seal`.

    Raises:
        DataError: one differs.
    """
    sealed = report.get(SEALED) or {}
    for name, part in parts.items():
        if name in sealed and sealed[name] != (found := digest(part)):
            raise DataError(
                f"{name}: not what the same run wrote beside {beside} (found {found}, noted "
                f"{sealed[name]}): the files of two runs are mixed, or one has been changed; run "
                f"again: kedro run --pipelines {again}"
            )


def check_ingested(table: pd.DataFrame, **parts: Any) -> None:
    """Refuse what another ingestion wrote than the one that the label table is of.

    An ingestion that was stopped has written some of its files and not the others. Features are
    compared by :func:`labelrepair.workflow.check_alignment`.

    Args:
        table: label table, perhaps repaired. One that notes nothing passes: a host's own, one that
            was kept in another format than Parquet, or of an earlier version.
        **parts: by catalog entry: true_labels, class_names, input_format; of features, the hashes.

    Raises:
        DataError: naming the file that does not fit, and what to run.
    """
    check_seal(table.attrs, "ingestion", "the label table", **parts)


def digest(part: Any) -> str:
    """Return 16 hex characters of a part's content: dtypes, shapes and bytes, or JSON."""
    made = hashlib.blake2b(digest_size=8)
    _add(made, part)
    return made.hexdigest()


def _add(made: Any, part: Any) -> None:
    if isinstance(part, Tensor):
        part = part.detach().cpu().numpy()
    if isinstance(part, np.ndarray):
        made.update(f"{part.dtype.str}{part.shape}".encode())
        made.update(np.ascontiguousarray(part).data)
    elif isinstance(part, pd.DataFrame):
        for name, column in part.items():
            made.update(json.dumps(name).encode())
            if pd.api.types.is_integer_dtype(column):
                _add(made, column.to_numpy("<i8"))
                continue
            _add(made, column.str.len().to_numpy("<i8"))
            made.update(joined(column))
    elif isinstance(part, Mapping):
        for name in sorted(part):
            made.update(json.dumps(name).encode())
            _add(made, part[name])
    else:
        made.update(json.dumps(part, sort_keys=True).encode())
