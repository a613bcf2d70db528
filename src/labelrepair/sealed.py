"""Digests of what a run wrote, noted in its last file: later steps refuse a mixture of runs."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from labelrepair.errors import DataError

SEALED = "sealed"


def seal(**parts: Any) -> dict[str, dict[str, str]]:
    """Return the entry of a report that seals what was written with it.

    Args:
        **parts: by catalog entry; arrays, tensors, plain values, or mappings of them.
    """
    return {SEALED: {name: digest(part) for name, part in parts.items()}}


def check_seal(report: Mapping[str, Any], again: str, **parts: Any) -> None:
    """Refuse parts that are not those that a report was written with.

    Args:
        report: what :func:`seal` was added to; an entry that it does not name (a file of an earlier
            version) is not checked.
        again: the pipelines that make them anew.
        **parts: as in :func:`seal`.

    Raises:
        DataError: one differs.
    """
    sealed = report.get(SEALED) or {}
    for name, part in parts.items():
        if name in sealed and sealed[name] != (found := digest(part)):
            raise DataError(
                f"{name}: not what the same run wrote beside its report (found {found}, noted "
                f"{sealed[name]}): the files of two runs are mixed, or one has been changed; run "
                f"again: kedro run --pipelines {again}"
            )


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
    elif isinstance(part, Mapping):
        for name in sorted(part):
            made.update(json.dumps(name).encode())
            _add(made, part[name])
    else:
        made.update(json.dumps(part, sort_keys=True).encode())
