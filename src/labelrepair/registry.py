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
ATTEMPTS = 5  # to move an alias that others move at the same time
LONGEST = 5000  # characters of a description that every database behind MLflow takes
RECORD, CARD = "record.json", "model_card.md"


def hand_over(
    package: Package, evidence: Evidence, facts: Mapping[str, Any], spec: HandoffSpec
) -> tuple[dict[str, Any], str]:
    """Register the model if it is new, judge it once, and move ``champion`` if the rule holds.

    What has been handed over and judged before, by the same rule and evidence, is not judged again;
    only ``challenger`` comes back to it. A handoff that was cut off goes on where it stopped.

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
    case = _Case(package, evidence, facts, spec, _decision_key(evidence, spec))
    with registry.lock(spec.lock_timeout):
        version = registry.find(package.digest)
        if version is None:
            version = registry.register(package, _tags(package, evidence, facts))
        registry.set_alias(CHALLENGER, version)
        if version.tags.get(f"{TAG}gate_key") == case.key:
            record, card = _known(registry, version, case)
            # Else a handoff under another rule was cut off after it had written its own record.
            if record.get("gate_key") == case.key:
                logger.info("judged before, nothing changes; the decision was: %s", said(record))
                return record, card
        return _judge_and_move(registry, version, case)


@dataclass(frozen=True, eq=False)
class _Case:
    """A model, what it is judged by, and the key of that judgement."""

    package: Package
    evidence: Evidence
    facts: Mapping[str, Any]
    spec: HandoffSpec
    key: str


def _judge_and_move(registry: "Registry", version: Any, case: _Case) -> tuple[dict[str, Any], str]:
    for _ in range(ATTEMPTS):
        champion = registry.champion()
        if champion is not None and str(champion.version) == str(version.version):
            record, card = _stays(registry, version, case)
            break
        verdict = _verdict(registry, champion, case)
        parent = _number(champion)
        record, card = _conclude(registry, version, case, verdict, parent)
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
    registry.tag(version, gate=_outcome(record), parent_version=_parent(record))
    # Last, because this tag says that nothing is left to do.
    registry.tag(version, gate_key=record["gate_key"])
    logger.info("%s", said(record))
    return record, card


def _verdict(registry: "Registry", champion: Any, case: _Case) -> dict[str, Any]:
    if champion is None:
        return judge(case.package, None, case.evidence, case.spec.gate)
    with tempfile.TemporaryDirectory() as folder:
        try:
            contender = registry.contender(champion, folder)
        except DataError as error:
            return {"passed": False, "reasons": [str(error)], "rows": 0}
        return judge(case.package, contender, case.evidence, case.spec.gate)


def _stays(registry: "Registry", version: Any, case: _Case) -> tuple[dict[str, Any], str]:
    """Return the record of a version that is the champion already; it is not judged again."""
    try:
        return _known(registry, version, case)
    except DataError:
        pass  # made champion by hand
    verdict = {"passed": True, "reasons": [], "rows": 0, "compared_with": "nothing"}
    return _conclude(registry, version, case, verdict, version.tags.get(f"{TAG}parent_version"))


def _known(registry: "Registry", version: Any, case: _Case) -> tuple[dict[str, Any], str]:
    """Return what was decided, with the champion of now: another may have taken over since.

    The version's own files keep the champion of then.

    Raises:
        DataError: nothing was written down.
    """
    record, card = registry.stored(version)
    champion = _number(registry.champion())
    if champion == record["champion"]:
        return record, card
    record["champion"] = champion
    return record, render(record, case.facts)


def _conclude(
    registry: "Registry", version: Any, case: _Case, verdict: dict[str, Any], parent: str | None
) -> tuple[dict[str, Any], str]:
    """Write down what was decided; return the record and the card."""
    record = _record(version, case, verdict, parent)
    card = render(record, case.facts)
    registry.write(version, record, card)
    return record, card


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
        """Return the version of this content, or None."""
        found = self.client.search_model_versions(f"name='{self.name}'", max_results=1000)
        same = [version for version in found if version.tags.get(f"{TAG}digest") == digest]
        return min(same, key=lambda version: int(version.version), default=None)

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

    def tag(self, version: Any, **tags: str) -> None:
        """Set tags of a version, in the given order."""
        for name, value in tags.items():
            self.client.set_model_version_tag(self.name, version.version, TAG + name, value)

    def contender(self, version: Any, folder: str) -> Contender:
        """Return a version's model, downloaded to ``folder``.

        Raises:
            DataError: it was not handed over by labelrepair, its graph has changed since, or its
                files cannot be read.
        """
        import mlflow  # noqa: PLC0415

        from labelrepair import model_flavor  # noqa: PLC0415

        if f"{TAG}graph_sha256" not in version.tags:
            raise DataError(
                f"the champion, version {version.version} of {self.name}, was not handed over by "
                f"labelrepair (it has no tag {TAG}graph_sha256) and cannot be judged"
            )
        address = f"models:/{self.name}/{version.version}"
        known = version.tags[f"{TAG}graph_sha256"]
        try:
            path = mlflow.artifacts.download_artifacts(address, dst_path=folder)
            return model_flavor.load_contender(path, known, str(version.version))
        except DataError:
            raise
        except (OSError, ValueError, LookupError, TypeError, ConfigError) as error:
            raise DataError(
                f"the champion, version {version.version} of {self.name}, cannot be judged: its "
                f"files cannot be read ({type(error).__name__}: {shown(error, 300)}); bring them "
                "back, or move or delete the alias"
            ) from error

    def write(self, version: Any, record: Mapping[str, Any], card: str) -> None:
        """Keep record and card with the version: as artifacts of its run, the card as its text."""
        place = _place(version)
        text = json.dumps(record, indent=1)
        self.client.log_text(version.run_id, text, f"{place}/{RECORD}")
        self.client.log_text(version.run_id, card, f"{place}/{CARD}")
        self.client.update_model_version(self.name, version.version, description=card[:LONGEST])

    def stored(self, version: Any) -> tuple[dict[str, Any], str]:
        """Return what :meth:`write` has kept.

        Raises:
            DataError: there is nothing.
        """
        import mlflow  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        place = f"runs:/{version.run_id}/{_place(version)}"
        try:
            text = mlflow.artifacts.load_text(f"{place}/{RECORD}")
            return json.loads(text), mlflow.artifacts.load_text(f"{place}/{CARD}")
        except (MlflowException, OSError) as error:
            raise DataError(f"{place}: no record of the handoff ({error})") from error


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


def _decision_key(evidence: Evidence, spec: HandoffSpec) -> str:
    """Return a digest of rule, noise estimate and trusted labels; the rows are in the model's."""
    content = json.dumps([to_dict(spec.gate), dict(evidence.noise), evidence.injected])
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
    version: Any, case: _Case, verdict: dict[str, Any], parent: str | None
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
        "parent_version": parent,
        "champion": str(version.version) if verdict["passed"] else parent,
        "rule": to_dict(case.spec.gate),
        "gate": verdict,
        "gate_key": case.key,
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
        return f"{text}was champion, now {now} is"
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
    return "passed" if gate["passed"] else f"failed: {'; '.join(gate['reasons'])}"[:LONGEST]


def _number(version: Any) -> str | None:
    return None if version is None else str(version.version)


def _parent(record: Mapping[str, Any]) -> str:
    return record["parent_version"] or "none"


def _place(version: Any) -> str:
    return f"handoff/{version.name}/{version.version}"
