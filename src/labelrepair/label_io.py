"""Kedro datasets of the label ledger and of people's decisions; without a file they are empty."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from labelrepair import decisions, ledger
from labelrepair.atomic import whole_file
from labelrepair.errors import DataError, StoreError
from labelrepair.locks import Lock
from labelrepair.tracking import active_run_id


class LedgerDataset(AbstractDataset[pd.DataFrame, pd.DataFrame]):
    """The label ledger in one Parquet file. Saving appends; what is in the file stays.

    Save takes the states to arrive at (:func:`labelrepair.ledger.propose`), load returns the
    events. Nothing changed: the same bytes. Of writers at once, in any processes of the machine,
    none loses an event.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Name the file; DVC must keep it between runs (``persist``)."""
        self._filepath = Path(filepath)
        self.metadata = metadata

    @cached_property
    def lock(self) -> Lock:
        """Held while labels are decided and written: decisions, repaired table, ledger, text."""
        return Lock(self._filepath.with_name(f".{self._filepath.name}.lock"), "labels")

    def load(self) -> pd.DataFrame:
        """Return the events; none where there is no file yet.

        Raises:
            DataError: no Parquet file, or a damaged ledger; see
                :func:`labelrepair.ledger.check_events`.
        """
        if not self._filepath.exists():
            return ledger.empty()
        try:
            raw = pd.read_parquet(self._filepath)
        except (ValueError, OSError) as error:
            raise DataError(f"{self._filepath}: not a Parquet file ({error})") from None
        events = ledger.typed(raw, str(self._filepath))
        ledger.check_events(events, str(self._filepath))
        return events

    def save(self, data: pd.DataFrame) -> None:
        """Append an event for every sample whose state changes."""
        now = ledger.utc_now()
        run_id = active_run_id() or f"run-{now}"
        with self.lock:  # from reading to writing
            events = ledger.append(self.load(), data, data, run_id=run_id, now=now)
            with whole_file(self._filepath) as stream:
                events.to_parquet(stream, index=False)

    def merge(self, other: pd.DataFrame) -> int:
        """Append what only another ledger has (:func:`labelrepair.ledger.union`); return how much.

        Raises:
            DataError: as of :meth:`load`.
        """
        with self.lock:
            known = self.load()
            events = ledger.union(known, other)
            if events is not known:
                ledger.check_events(events, str(self._filepath))
                with whole_file(self._filepath) as stream:
                    events.to_parquet(stream, index=False)
        return len(events) - len(known)

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class KnownLedgerDataset(AbstractDataset[NoReturn, pd.DataFrame]):
    """The ledger as it is before a run; there may be none yet.

    The argument is ``filename``, as of :class:`labelrepair.io.OptionalJSONDataset`: a stage of DVC
    cannot read what it writes.
    """

    def __init__(self, *, filename: str, metadata: dict[str, Any] | None = None) -> None:
        """Name the file of the :class:`LedgerDataset`."""
        self._filename = filename
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """Return the events so far."""
        return LedgerDataset(filepath=self._filename).load()

    def save(self, data: NoReturn) -> NoReturn:  # noqa: ARG002
        """Refuse: events are appended to ``label_ledger``."""
        raise DatasetError(f"{self._filename}: only read here")

    def _exists(self) -> bool:
        return True  # empty counts as there

    def _describe(self) -> dict[str, Any]:
        return {"filename": self._filename}


class DecisionsDataset(AbstractDataset[pd.DataFrame, pd.DataFrame]):
    """What people decided, in one CSV of text. Without the file nobody has decided anything.

    The file may be a link, to one that projects share: it is written where it lies.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Name the file; it belongs in git."""
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """Return the lines as text; see :func:`labelrepair.decisions.from_file`.

        Raises:
            DataError: no CSV.
            StoreError: a link that leads nowhere.
        """
        place = self._place()
        return decisions.read_csv(self._filepath) if place.exists() else decisions.empty()

    def save(self, data: pd.DataFrame) -> None:
        """Write the whole file."""
        with whole_file(self._place()) as stream:
            decisions.write_csv(data, stream)

    def _place(self) -> Path:
        """Return the file behind links; one into DVC's cache, which must stay, is itself replaced.

        Raises:
            StoreError: there is none: what people decided must not count as nothing.
        """
        if os.path.lexists(self._filepath) and not self._filepath.exists():
            raise StoreError(
                f"{self._filepath}: is a link to {self._filepath.readlink()}, where nothing is; "
                "bring that file back (is its folder mounted?), or remove the link"
            )
        target = self._filepath.resolve()
        return self._filepath if target.parts[-4:-2] == ("files", "md5") else target

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
