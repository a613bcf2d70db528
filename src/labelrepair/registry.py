"""The MLflow model registry: versions, aliases and the record of every decision about them.

Aliases, never stages: ``challenger`` is the version handed over last, ``champion`` the one in use.
"""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

from labelrepair.config import to_dict
from labelrepair.errors import ConfigError, DataError, StoreError, shown
from labelrepair.handoff import Contender, Evidence, HandoffSpec, Package, judge
from labelrepair.locks import Lock
from labelrepair.model_card import render

logger = logging.getLogger(__name__)
CHAMPION, CHALLENGER = "champion", "challenger"
TAG = "labelrepair."
DIGEST, GRAPH, GATE, PARENT, KEY = (
    TAG + name for name in ("digest", "graph_sha256", "gate", "parent_version", "gate_key")
)
PASSED, FAILED, NONE = "passed", "failed: ", "none"
ATTEMPTS = 5  # to move an alias that others move at the same time
LONGEST = 5000  # characters of a description that every database behind MLflow takes
RECORD, CARD = "record.json", "model_card.md"


def hand_over(
    package: Package, evidence: Evidence, facts: Mapping[str, Any], spec: HandoffSpec
) -> tuple[dict[str, Any], str]:
    """Register the model if it is new, judge it, and move ``champion`` if the rule holds.

    A champion stays one. A version that has passed and is champion no more is not judged again:
    another took over, or a person took it down. Any other is judged again if rule, evidence or
    champion are others than the last time, if the champion could not be judged then, or if the
    record is lost. Else only ``challenger`` comes back to it. A handoff that was cut off goes on
    where it stopped.

    Args:
        package: the model.
        evidence: what it is judged by.
        facts: for tags and card: preset, method, source, metrics, class_names, rows.
        spec: name, rule, patience.

    Returns:
        The record of the decision (plain values; ``champion`` is the present one), and the model
        card (Markdown).

    Raises:
        StoreError: another handoff of this model holds the lock for too long.
    """
    registry = Registry(spec.name)
    case = _Case(package, evidence, facts, spec)
    with registry.lock(spec.lock_timeout):
        version = registry.find(package.digest)
        if version is None:
            version = registry.register(package, _tags(package, evidence, facts))
        registry.set_alias(CHALLENGER, version)
        return _judge_and_move(registry, version, case)


@dataclass(frozen=True, eq=False)
class _Case:
    """A model, and what it is judged by."""

    package: Package
    evidence: Evidence
    facts: Mapping[str, Any]
    spec: HandoffSpec


def _judge_and_move(registry: "Registry", version: Any, case: _Case) -> tuple[dict[str, Any], str]:
    for _ in range(ATTEMPTS):
        champion = registry.champion()
        settled = _settled(registry, version, champion, case)
        if settled is not None:
            record, card = settled
            break
        verdict = _verdict(registry, champion, case)
        parent = _number(champion)
        now = _number(version) if verdict["passed"] else parent
        # What could not be judged is judged again at the next handoff.
        key = _decision_key(case, champion) if verdict.pop("judged", True) else NONE
        record = _record(version, case, verdict, parent_version=parent, champion=now, gate_key=key)
        card = registry.write(version, record, case.facts)
        if not verdict["passed"]:
            break
        # Judged against a champion that is none any more: judge again.
        if _number(registry.champion()) == parent:
            registry.set_alias(CHAMPION, version)
            break
    else:
        raise StoreError(
            f"{case.spec.name}: the champion changed {ATTEMPTS} times while version "
            f"{version.version} was judged; run the handoff again"
        )
    # The key last, because it says that nothing is left to do.
    tags = {GATE: _outcome(record), PARENT: record["parent_version"] or NONE}
    registry.tag(version, {**tags, KEY: record["gate_key"]})
    before = "judged before, nothing changes; the decision was: " if settled is not None else ""
    logger.info("%s%s", before, said(record))
    return record, card


def _settled(
    registry: "Registry", version: Any, champion: Any, case: _Case
) -> tuple[dict[str, Any], str] | None:
    """Return record and card of a decision that holds, or None; see :func:`hand_over`."""
    gate, now = version.tags.get(GATE), _number(champion)
    # By the tag, not the record: it is written once the alias has moved, and a person can delete it
    # to have the version judged again.
    stays = gate == PASSED or _number(version) == now
    if gate is None and not stays:
        return None
    try:
        record, card = registry.stored(version)
    except DataError as error:
        if gate is not None:
            logger.warning("%s; %s", error, "its tags count" if stays else "it is judged again")
        return _by_tags(registry, version, now, case) if stays else None
    if not stays:
        key = _decision_key(case, champion)
        # Else a handoff was cut off: under another rule, or before it had moved the alias.
        holds = version.tags.get(KEY) == key == record["gate_key"] and not record["gate"]["passed"]
        return (record, card) if holds else None
    if record["champion"] == now:
        return record, card
    # The version's own files keep the champion of then.
    record["champion"] = now
    return record, render(record, case.facts)


def _by_tags(
    registry: "Registry", version: Any, champion: str | None, case: _Case
) -> tuple[dict[str, Any], str]:
    """Write and return the record of a version that has none: made champion by hand, or lost."""
    outcome = version.tags.get(GATE, PASSED)
    verdict = {
        "passed": outcome == PASSED,
        "reasons": [] if outcome == PASSED else [outcome.removeprefix(FAILED)],
        "rows": 0,
        "compared_with": "nothing",
    }
    parent, key = version.tags.get(PARENT, NONE), version.tags.get(KEY, NONE)
    parent = None if parent == NONE else parent
    record = _record(version, case, verdict, parent_version=parent, champion=champion, gate_key=key)
    return record, registry.write(version, record, case.facts)


def _verdict(registry: "Registry", champion: Any, case: _Case) -> dict[str, Any]:
    if champion is None:
        return judge(case.package, None, case.evidence, case.spec.gate)
    if champion.tags.get(DIGEST) == case.package.digest:
        # See Registry.find: the new version differs from the champion by its tag alone.
        return {"passed": True, "reasons": [], "rows": 0, "compared_with": "the same model"}
    with tempfile.TemporaryDirectory() as folder:
        try:
            contender = registry.contender(champion, folder)
        except DataError as error:
            return {"passed": False, "judged": False, "reasons": [str(error)], "rows": 0}
        return judge(case.package, contender, case.evidence, case.spec.gate)


class Registry:
    """The versions of one registered model."""

    def __init__(self, name: str) -> None:
        """Connect to the registry of the tracking store that is set."""
        import mlflow  # noqa: PLC0415

        self.name, self.address = name, mlflow.get_registry_uri()
        self.client = mlflow.MlflowClient()

    def lock(self, timeout: float) -> Lock:
        """Let one handoff of this model at a time through, of all on this machine.

        Other machines are met by the check before the alias moves, see :func:`hand_over`.
        """
        return Lock(_lock_file(self.address, self.name), f"handoff of {self.name}", timeout)

    def find(self, digest: str) -> Any:
        """Return the version of this content, or None.

        A version from before there was the tag of its graph counts only if it has passed and is
        champion no more. Another is, or may become, a champion that nothing can be judged against:
        its content is registered anew, with the tag.
        """
        found = self.client.search_model_versions(f"name='{self.name}'", max_results=1000)
        same = [version for version in found if version.tags.get(DIGEST) == digest]
        usable = [version for version in same if GRAPH in version.tags]
        if not usable:
            champion = _number(self.champion())
            passed = [version for version in same if version.tags.get(GATE) == PASSED]
            usable = [version for version in passed if _number(version) != champion]
        return min(usable, key=lambda version: int(version.version), default=None)

    def register(self, package: Package, tags: dict[str, str]) -> Any:
        """Log the model to the active run, or one of its own, and make a version of it."""
        import mlflow  # noqa: PLC0415
        from mlflow.models import Model  # noqa: PLC0415

        from labelrepair import model_flavor  # noqa: PLC0415

        sums: dict[str, str] = {}
        with _some_run():
            logged = Model.log(
                artifact_path=None,
                name="model",
                flavor=model_flavor,
                flavor_name="pytorch",
                package=package,
                sums=sums,
                validate_serving_input=False,
            )
        tags = {**tags, **{TAG + name: value for name, value in sums.items()}}
        made = mlflow.register_model(logged.model_uri, self.name, tags=tags)
        return self.client.get_model_version(self.name, made.version)

    def champion(self) -> Any:
        """Return the champion's version, or None."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            return self.client.get_model_version_by_alias(self.name, CHAMPION)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def set_alias(self, alias: str, version: Any) -> None:
        """Point an alias at a version."""
        self.client.set_registered_model_alias(self.name, alias, version.version)

    def tag(self, version: Any, tags: Mapping[str, str]) -> None:
        """Set tags of a version, in the given order."""
        for name, value in tags.items():
            self.client.set_model_version_tag(self.name, version.version, name, value)

    def contender(self, version: Any, folder: str) -> Contender:
        """Return a version's model, downloaded to ``folder``.

        Raises:
            DataError: it was not handed over by labelrepair, or before there was the tag of its
                graph, its graph has changed since, or its files cannot be read.
        """
        import mlflow  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        from labelrepair import model_flavor  # noqa: PLC0415

        champion = f"the champion, version {version.version} of {self.name},"
        if DIGEST not in version.tags:
            raise DataError(
                f"{champion} was not handed over by labelrepair (it has no tag {DIGEST}) and "
                "cannot be judged; move `champion` by hand, or delete the alias"
            )
        if GRAPH not in version.tags:
            raise DataError(
                f"{champion} was handed over by an earlier labelrepair and cannot be judged (it "
                f"has no tag {GRAPH}); make sure that its {model_flavor.GRAPH_FILE} is the one "
                "handed over, set the tag to the SHA-256 of that file and run the handoff again, "
                "or move `champion` by hand"
            )
        address = f"models:/{self.name}/{version.version}"
        try:
            path = mlflow.artifacts.download_artifacts(address, dst_path=folder)
            return model_flavor.load_contender(path, version.tags[GRAPH], str(version.version))
        except DataError:
            raise
        except (
            OSError, ValueError, LookupError, TypeError, ConfigError, MlflowException
        ) as error:  # fmt: skip
            found = str(error).replace(f"{folder}/", "")  # the folder is gone when this is read
            raise DataError(
                f"{champion} cannot be judged: its files cannot be read "
                f"({type(error).__name__}: {shown(found, 300)}); bring them back and run the "
                "handoff again, or move `champion` by hand, or delete the alias"
            ) from error

    def write(self, version: Any, record: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        """Keep record and card with the version: as artifacts of its run, the card as its text.

        Where somebody has purged that run, the version goes on without a record.

        Returns:
            The card (Markdown).
        """
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        place, card = _place(version), render(record, facts)
        text = json.dumps(record, indent=1)
        try:
            self.client.log_text(version.run_id, text, f"{place}/{RECORD}")
            self.client.log_text(version.run_id, card, f"{place}/{CARD}")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            logger.warning("%s: record and card are kept in the project only (%s)", place, error)
        self.client.update_model_version(self.name, version.version, description=card[:LONGEST])
        return card

    def stored(self, version: Any) -> tuple[dict[str, Any], str]:
        """Return what :meth:`write` has kept: record and card.

        Raises:
            DataError: it is gone or damaged; the message names the file.
        """
        import mlflow  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        place = f"runs:/{version.run_id}/{_place(version)}"
        try:
            record = json.loads(mlflow.artifacts.load_text(f"{place}/{RECORD}"))
            card = mlflow.artifacts.load_text(f"{place}/{CARD}")
        except (MlflowException, OSError, ValueError) as error:
            raise DataError(
                f"{place}/{RECORD}: no record of the handoff ({type(error).__name__}: "
                f"{shown(error, 300)})"
            ) from error
        if not isinstance(record, dict) or not {"champion", "gate", "gate_key"} <= record.keys():
            raise DataError(f"{place}/{RECORD}: no record of the handoff, found {shown(record)}")
        return record, card


@contextmanager
def _some_run() -> Iterator[None]:
    """Use the active run; without one, open one."""
    import mlflow  # noqa: PLC0415

    if mlflow.active_run() is not None:
        yield
    else:
        with mlflow.start_run(run_name="handoff"):
            yield


def _lock_file(address: str, name: str) -> Path:
    """Return a file beside a database file, else in the folder for temporary files."""
    marked = md5(f"{address} {name}".encode(), usedforsecurity=False).hexdigest()[:12]
    if address.startswith("sqlite:///"):
        database = Path(address.removeprefix("sqlite:///")).absolute()
        return database.with_name(f"{database.name}.handoff-{marked}.lock")
    return Path(tempfile.gettempdir()) / f"labelrepair-handoff-{marked}.lock"


def _decision_key(case: _Case, champion: Any) -> str:
    """Return a digest of rule, noise estimate, trusted labels and champion, 32 hex digits.

    The rows are in the model's digest.
    """
    gate, evidence = to_dict(case.spec.gate), case.evidence
    other = champion and [_number(champion), champion.tags.get(DIGEST), champion.tags.get(GRAPH)]
    content = json.dumps([gate, dict(evidence.noise), evidence.injected, other])
    trusted = evidence.curated.to_csv(index=False)
    return md5((content + trusted).encode(), usedforsecurity=False).hexdigest()


def _tags(package: Package, evidence: Evidence, facts: Mapping[str, Any]) -> dict[str, str]:
    low, high = evidence.noise["interval"]
    tags = {
        "digest": package.digest,
        "labels_md5": package.labels_md5,
        "git_revision": facts.get("git_revision") or "none",
        "training_run_id": facts.get("training_run_id") or "none",
        "method": facts["method"],
        "preset": facts["preset"],
        "noise_rate": f"{evidence.noise['noise_rate']:.6f}",
        "noise_rate_ci": f"{low:.6f}..{high:.6f}",
    }
    return {TAG + name: str(value) for name, value in tags.items()}


def _record(
    version: Any, case: _Case, verdict: dict[str, Any], **decided: str | None
) -> dict[str, Any]:
    noise = case.evidence.noise
    return {
        "name": case.spec.name,
        "version": str(version.version),
        "digest": case.package.digest,
        "labels_md5": case.package.labels_md5,
        "training_run_id": case.facts.get("training_run_id") or None,
        "preset": case.facts["preset"],
        "method": case.facts["method"],
        "noise_rate": noise["noise_rate"],
        "noise_interval": list(noise["interval"]),
        "rule": to_dict(case.spec.gate),
        "gate": verdict,
        **decided,
    }


def said(record: Mapping[str, Any]) -> str:
    """Return the decision in one line: version, alias, lead or reasons."""
    gate = record["gate"]
    text = f"{record['name']}, version {record['version']}: "
    is_champion = record["champion"] == record["version"]
    if not gate["passed"]:
        place = "champion, set by hand, though" if is_champion else "stays challenger, as"
        return f"{text}{place} {'; '.join(gate['reasons'])}"
    if not is_champion:
        now = f"version {record['champion']}" if record["champion"] else "no version"
        return f"{text}was champion, now {now} is; it is not judged again, move `champion` by hand"
    lead = gate.get("overall") or {}
    if lead.get("value") is None:
        return f"{text}champion"
    value, low, high = (100 * lead[name] for name in ("value", "low", "high"))
    return (
        f"{text}champion, {value:+.1f} points of accuracy against {gate['compared_with']} "
        f"({low:+.1f} to {high:+.1f}) on {gate['rows']:,} {gate['rows_from']} rows"
    )


def _outcome(record: Mapping[str, Any]) -> str:
    gate = record["gate"]
    return PASSED if gate["passed"] else f"{FAILED}{'; '.join(gate['reasons'])}"[:LONGEST]


def _number(version: Any) -> str | None:
    return None if version is None else str(version.version)


def _place(version: Any) -> str:
    return f"handoff/{version.name}/{version.version}"
