"""A Kedro project's label datasets, as ``kedro labels`` reads and writes them."""

import getpass
import hashlib
import io
import json
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks.specs import DataCatalogSpecs, KedroContextSpecs
from kedro.framework.project import settings
from kedro.io import DatasetError
from PIL import Image
from pluggy import PluginManager

from labelrepair import decisions, label_diff, ledger
from labelrepair.data.tokens import spelled
from labelrepair.data.unpacked import check_parquet
from labelrepair.errors import DataError, LabelRepairError, shown
from labelrepair.label_table import (
    CONTENT_HASH,
    GIVEN_LABEL,
    INGESTED_COLUMNS,
    SAMPLE_ID,
    SPLIT,
    LabelSource,
    content_hashes,
    data_hash,
)
from labelrepair.ledger import METHOD, SOURCE
from labelrepair.plain_csv import check_file
from labelrepair.sealed import check_ingested

WORKSPACE = "workspace"
"""The revision that is not committed: what lies in the project now."""
TABLES = f"'{WORKSPACE}', a table file"
"""What commands that compare labels take beside revisions."""
RUN_FIRST = "the pipelines have not run since; run them"


@dataclass(frozen=True)
class LabelProject:
    """Where the label datasets are.

    Attributes:
        root: the Kedro project.
        package: its package.
        env: Kedro environment, None: the project's default.
        namespace: prefix of the datasets' names, for projects that mount the pipelines in one.
        params: runtime parameters, e.g. ``workspace``.
    """

    root: Path
    package: str
    env: str | None = None
    namespace: str | None = None
    params: tuple[tuple[str, str], ...] = ()

    @cached_property
    def _catalog(self) -> Any:
        # Without the project's hooks: reading a label must not open an MLflow run.
        manager = PluginManager("kedro")
        manager.add_hookspecs(DataCatalogSpecs)
        manager.add_hookspecs(KedroContextSpecs)
        loader = settings.CONFIG_LOADER_CLASS(
            conf_source=str(self.root / settings.CONF_SOURCE),
            env=self.env,
            runtime_params=dict(self.params),
            **settings.CONFIG_LOADER_ARGS,
        )
        return KedroContext(self.root, loader, self.env, self.package, manager).catalog

    def _dataset(self, name: str) -> Any:
        full = f"{self.namespace}.{name}" if self.namespace else name
        try:
            dataset = self._catalog.get(full)
        except MissingConfigException as error:
            raise DataError(f"catalog: {error}") from None
        if dataset is None:
            raise DataError(
                f"catalog: no dataset '{full}'; if the pipelines are mounted in a namespace, "
                "name it: kedro labels --namespace NAME ..."
            )
        return dataset

    def load(self, name: str) -> Any:
        """Return a dataset's content.

        Raises:
            DataError: it is not in the catalog, has not been written yet, or cannot be read.
            StoreError: it is a link that leads nowhere.
        """
        dataset = self._dataset(name)
        if not dataset.exists():
            raise DataError(f"{self.path(name)}: no such file; run the pipelines first")
        try:
            return dataset.load()
        except DatasetError as error:  # Kedro's cover, with which ours would not be one line
            ours = isinstance(error.__cause__, LabelRepairError)
            raise error.__cause__ if ours else error from None  # type: ignore[misc]

    def save(self, name: str, data: Any) -> None:
        """Write a dataset; the file only, nothing goes to MLflow."""
        dataset = self._dataset(name)
        if hasattr(dataset, "_logging_activated"):
            dataset._logging_activated = False
        dataset.save(data)

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held by a command from reading labels to writing them; a pipeline run waits for it."""
        lock: AbstractContextManager[Any] = getattr(
            self._dataset("label_ledger"), "lock", nullcontext()
        )
        return lock

    def path(self, name: str) -> Path:
        """Return a dataset's file, relative to the project where it lies in it."""
        path = Path(str(self._dataset(name)._filepath))
        return path.relative_to(self.root) if path.is_relative_to(self.root) else path

    @cached_property
    def class_names(self) -> list[str]:
        """The class names, in class order."""
        return [str(name) for name in self.load("class_names")]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The repaired table as it lies in the project.

        Raises:
            DataError: it was made from another label table than the one there is now, to which the
                class names and the features belong: its class numbers may be those of others.
        """
        table: pd.DataFrame = self.load("repaired_table")  # with its attributes, which a copy lacks
        ingested = self.load("label_table")
        _refuse_another(ingested, table, str(self.path("label_table")))
        check_ingested(ingested, class_names=self.class_names)
        return table

    @cached_property
    def decided(self) -> pd.DataFrame:
        """What people have decided so far, with the lines of their file."""
        where = str(self.path("human_decisions"))
        decided = decisions.from_file(self.load("human_decisions"), self.class_names, where)
        lines = [f"line {row + 2}" for row in range(len(decided))]
        return decided.assign(**{decisions.PLACE: pd.array(lines, dtype="str")})

    def book(self) -> tuple[pd.DataFrame, list[str]]:
        """Return the label ledger in the numbers of the class names, and the names.

        Classes that were there once and are no more follow after the class names.
        """
        return ledger.in_classes(self.load("label_ledger"), self.class_names)

    def merge_ledger(self, revision: str) -> tuple[int, pd.DataFrame, bool]:
        """Append the events of another clone's ledger, and those that lead to the labels here.

        Everything is checked before anything is written.

        Args:
            revision: a git or DVC revision, or a Parquet file.

        Returns:
            How many events of the other ledger were appended, and what :meth:`put` returns.

        Raises:
            DataError: there is none, it is damaged, or it is of other data; or a decision in the
                file no longer fits.
        """
        file = Path(revision)
        if file.is_file():
            raw, where = read_parquet(file, revision), revision
        else:
            content, where = self._content_at("label_ledger", revision, "a Parquet file")
            raw = read_parquet(io.BytesIO(content), where)
        other = ledger.typed(raw, where)
        ledger.check_events(other, where)
        book, table = self.load("label_ledger"), self.table
        about = other[SAMPLE_ID].isin(table[SAMPLE_ID]) & ~ledger.of_other_content(other, table)
        shared = about.any() or len(ledger.union(book, other)) < len(book) + len(other)
        if len(other) and not shared:
            raise DataError(
                f"{where}: none of its {len(other)} events is in {self.path('label_ledger')} or "
                f"about a sample of {self.path('label_table')} with the content that it has there, "
                f"the first is about '{shown(other[SAMPLE_ID].iloc[0])}'; expected the ledger of "
                "another clone of this project"
            )
        self.after(decisions.empty())
        # Rows that no person has decided about go back to what the last run here made of them.
        runs = book[(book[SOURCE] != LabelSource.HUMAN) & (book[METHOD] != ledger.REGIVEN)]
        count = int(self._dataset("label_ledger").merge(other))
        return count, *self.put(decisions.empty(), *runs[METHOD].tail(1))

    def code(self, name: str) -> int:
        """Return a class's number.

        Raises:
            DataError: there is no such class.
        """
        decisions.refuse(
            pd.DataFrame({"class": [name], SAMPLE_ID: ""}),
            pd.Series([name not in self.class_names]),
            "class",
            "is unknown",
            "--class",
            self.class_names,
        )
        return self.class_names.index(name)

    def table_at(self, revision: str) -> pd.DataFrame:
        """Return the repaired table of the workspace, of a table file, or of a git or DVC revision.

        Its labels are class numbers of now. Those of a revision are translated by name; those of a
        file, which holds no names, are taken for such.

        Raises:
            DataError: there is none, it holds no labels, or labels of classes that are gone.
        """
        if revision == WORKSPACE:
            return self.table
        file = Path(revision)
        if file.is_file():
            found = _table_in(file) if file.suffix == ".csv" else read_parquet(file, revision)
            return label_diff.read(found, self.class_names, self.class_names, revision)
        content, where = self._content_at("repaired_table", revision, TABLES)
        found = read_parquet(io.BytesIO(content), where)
        return label_diff.read(found, self._names_at(revision, found), self.class_names, where)

    def _content_at(self, name: str, revision: str, otherwise: str) -> tuple[bytes, str]:
        """Return a dataset's file at a revision, and what it is called in messages.

        ``otherwise``: what the command takes beside revisions, for the message where there is none.
        """
        path = self.path(name)
        if path.is_absolute():
            raise DataError(f"{path}: lies outside the project, which alone has revisions")
        return content_at(self.root, path, revision, otherwise), f"{path} at '{revision}'"

    def _names_at(self, revision: str, found: pd.DataFrame) -> list[str]:
        """Return the class names of a revision's table.

        A revision without them is of the classes of now if its given labels are those of now.
        """
        try:
            content, _ = self._content_at("class_names", revision, TABLES)
            return [str(name) for name in json.loads(content)]
        except ValueError as error:
            if data_hash(found) == data_hash(self.load("label_table")):
                return self.class_names
            raise DataError(
                f"'{revision}': its class numbers cannot be read without its class names: {error}"
            ) from None

    def after(self, new: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return all decisions with new ones among them, and the repaired table that they make.

        Raises:
            DataError: a decision in the file no longer fits; the message names its line.
        """
        decided, where = decisions.merge(self.decided, new), str(self.path("human_decisions"))
        return decided, decisions.apply(self.table, decided, len(self.class_names), where)

    def put(self, new: pd.DataFrame, method: str = "repair") -> tuple[pd.DataFrame, bool]:
        """Put new decisions in force: in their file, the repaired table, the ledger and the text.

        The decisions' file is written first: whatever comes between, the next run of the repair
        pipeline arrives at the same state from it.

        Args:
            new: decisions.
            method: what decided about the rows that no person has decided about.

        Returns:
            The patch that was made, and whether the decisions' file says something else now, as it
            may where no label changes.
        """
        names = self.class_names
        decided, repaired = self.after(new)
        proposed = ledger.propose(repaired, method, decided, class_names=names)
        lines = decisions.to_file(decided, names)
        anew = not lines.equals(decisions.to_file(self.decided, names))
        self.save("human_decisions", lines)
        self.save("repaired_table", repaired)
        self.save("label_ledger", proposed)
        self.save("label_changes", label_diff.label_changes(repaired, names))
        return label_diff.diff(self.table, repaired), anew

    def write_images(self, samples: Sequence[str], folder: Path) -> dict[str, str]:
        """Write the samples' images from the feature store as PNG; return file names by sample.

        Raises:
            DataError: the features are no images, or not those of these samples: then nothing is
                written.
        """
        features = self.load("features")
        if features.dtype != np.uint8 or features.ndim != 4:
            found = f"{features.dtype} {features.shape}"
            raise DataError(f"{self.path('features')}: no images (uint8 N, ch, H, W), but {found}")
        rows = self._feature_rows(samples, len(features))
        hashes = self.table[CONTENT_HASH].to_numpy()[rows]
        for sample, row, expected in zip(samples, rows, hashes, strict=True):
            if (found := content_hashes(np.asarray(features[row])[None])[0]) != expected:
                raise DataError(
                    f"{self.path('features')}: row {row} is not sample '{sample}' (content hash "
                    f"{found}, expected {expected}): people would judge another image; {RUN_FIRST}"
                )
        folder.mkdir(parents=True, exist_ok=True)
        names = {}
        for sample, row in zip(samples, rows, strict=True):
            names[sample] = _file_name(sample)
            pixels = np.moveaxis(np.asarray(features[row]), 0, -1)
            Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
                folder / names[sample]
            )
        return names

    def texts(self, samples: Sequence[str]) -> dict[str, str]:
        """Return the words of the samples that are in the vocabulary; nothing if they are no texts.

        Raises:
            DataError: vocabulary or features are not those of these samples.
        """
        try:
            written = self._dataset("input_format").exists()
        except DataError:
            written = False  # a host's own ingestion may write none
        form = self.load("input_format") if written else {}
        vocabulary = form.get("vocabulary")
        if not vocabulary:
            return {}
        from labelrepair.workflow import check_alignment  # noqa: PLC0415 - seconds, of texts only

        table, features = self.load("label_table"), self.load("features")
        check_ingested(table, input_format=form)
        rows = self._feature_rows(samples, len(features))
        check_alignment(table, features)  # of all rows, as no hash of a text is that of its tokens
        return {
            sample: spelled(np.asarray(features[row]).tolist(), vocabulary)
            for sample, row in zip(samples, rows, strict=True)
        }

    def _feature_rows(self, samples: Sequence[str], count: int) -> Any:
        """Return where the samples of the repaired table lie among ``count`` features."""
        if len(self.table) != count:
            where = self.path("features")
            raise DataError(f"{where}: {count} samples for {len(self.table)} rows; {RUN_FIRST}")
        return pd.Index(self.table[SAMPLE_ID]).get_indexer(pd.Index(samples))


def _refuse_another(ingested: pd.DataFrame, table: pd.DataFrame, where: str) -> None:
    """Refuse a repaired table that was made from another label table than ``ingested``."""
    if data_hash(ingested) == data_hash(table):
        return
    both = ingested[list(INGESTED_COLUMNS)].merge(
        table[list(INGESTED_COLUMNS)], "outer", on=SAMPLE_ID, suffixes=("", "_then"), indicator=True
    )
    differs = {
        "is no longer in it": both["_merge"] == "right_only",
        "is not in the repaired table": both["_merge"] == "left_only",
        "has other content now": both[CONTENT_HASH] != both[f"{CONTENT_HASH}_then"],
        "has another given label now": both[GIVEN_LABEL] != both[f"{GIVEN_LABEL}_then"],
        "is of another split now": both[SPLIT] != both[f"{SPLIT}_then"],
    }
    for found, rows in differs.items():
        if rows.any():
            sample = both.loc[rows, SAMPLE_ID].iloc[0]
            raise DataError(
                f"{where}: sample '{sample}' {found} ({int(rows.sum())} such rows); {RUN_FIRST}"
            )
    raise DataError(f"{where}: other rows than the repaired table; {RUN_FIRST}")


def _file_name(sample: str) -> str:
    """Return a file name for a sample's image, another one for every sample.

    Without '%', which servers take for an escape: the name stands in addresses as it is.
    """
    name = quote(sample, safe="")
    if name == sample:
        return f"{name}.png"
    digest = hashlib.sha256(sample.encode()).hexdigest()[:8]
    return f"{name.replace('%', '_')}-{digest}.png"


def read_parquet(source: Path | io.BytesIO, where: str) -> pd.DataFrame:
    """Return a Parquet file's table.

    Raises:
        DataError: no such file, no regular one, not Parquet, or it unpacks to absurdly much.
    """
    if isinstance(source, Path):
        check_file(source)
    try:
        check_parquet(source, where)
        return pd.read_parquet(source)
    except DataError:
        raise
    except (ValueError, OSError) as error:
        raise DataError(f"{where}: not a Parquet file ({error})") from None


def _table_in(file: Path) -> pd.DataFrame:
    """Return a table of a CSV, with its ids as they are: "NA" and "None" are no missing ones.

    Raises:
        DataError: no such CSV, or no ids in it.
    """
    text = decisions.read_csv(file)
    if SAMPLE_ID not in text:
        raise DataError(f"{file}: missing column {SAMPLE_ID}; found {', '.join(text.columns)}")
    return pd.read_csv(file).assign(**{SAMPLE_ID: text[SAMPLE_ID]})


def content_at(root: Path, path: Path, revision: str, otherwise: str) -> bytes:
    """Return a file of the project at a revision: from git, else from DVC (its cache or remote).

    Args:
        root: the Kedro project.
        path: of the file, relative to it.
        revision: a git revision or a DVC experiment.
        otherwise: what else is taken where one is expected, for the message.

    Raises:
        DataError: the revision or the file in it cannot be had.
    """
    command = ["git", "-C", str(root), "show", f"{revision}:./{path.as_posix()}"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode == 0:
        return done.stdout
    try:
        import dvc.api  # noqa: PLC0415
    except ImportError:
        raise DataError(f"{path} at '{revision}': {done.stderr.decode().strip()}") from None
    try:
        content: bytes = dvc.api.read(path.as_posix(), repo=str(root), rev=revision, mode="rb")
    except Exception as error:
        # DVC raises a dozen unrelated types, some of them git's own.
        raise DataError(
            f"{path} at '{revision}': not to be had from git or DVC ({error}); "
            f"expected {otherwise}, a git revision or a DVC experiment"
        ) from None
    return content


def reviewer(root: Path) -> str:
    """Return who works here: git's user.name, else the account."""
    command = ["git", "-C", str(root), "config", "user.name"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or getpass.getuser()
