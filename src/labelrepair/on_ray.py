"""Training and repair on a Ray cluster; needs the extra ``ray``.

:func:`fit` runs under Ray Train what torchrun's processes run; :func:`repair` runs under Ray Data
what :func:`labelrepair.workflow.repair_rows` runs. Both give what one process gives: training up to
the order in which floats are added, repair bit for bit.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
import torch
from numpy.typing import NDArray

from labelrepair.errors import DataError, LabelRepairError, shown
from labelrepair.estimation import NoiseEstimate
from labelrepair.networks.classifier import Classifier
from labelrepair.policy import CALM, Policy, settle, signs_of, worded
from labelrepair.scoring import ScoringSpec, calibration_rows, fit_temperature, score
from labelrepair.shared_fit import answered
from labelrepair.training import Checkpointer, Holdout, TrainResult, TrainSet
from labelrepair.training.launch import Content
from labelrepair.training.ranks import LostRank, Ranks
from labelrepair.transition import check_transition
from labelrepair.workflow import Preset, fit_rank, job

Columns = dict[str, NDArray[Any]]
ROW, GIVEN_LABEL, PROBS, SELECTED = "row", "given_label", "probs", "selected"
RESTLESS = (ROW, "sign", GIVEN_LABEL, "suggested_label", "label_quality")
PIECE_ROWS = 1 << 20  # whose hashes are taken at once
SCORES = ["label_quality", "is_label_issue", "suggested_label", "confidence"]


def fit(
    preset: Preset,
    data: TrainSet,
    noise: NoiseEstimate | None,
    *,
    seed: int,
    storage: str | Path,
    workers: int = 2,
    gpus: bool = False,
    test: Holdout | None = None,
    checkpoint: Checkpointer | None = None,
    retries: int = 0,
) -> tuple[Classifier, TrainResult]:
    """Train a preset's method on the workers of a cluster; see :func:`labelrepair.workflow.fit`.

    Args:
        preset: the recipe; its ``training.distributed`` is not looked at.
        data: as in one process; it travels through Ray's object store, of which each worker reads
            its own rows.
        noise: the estimate.
        seed: decides what it decides in one process.
        storage: folder that all nodes see, for Ray Train's own files.
        workers: number of processes.
        gpus: one GPU for each.
        test: only looked at.
        checkpoint: in a folder that all nodes see, if there are several.
        retries: how often a training that lost a worker is started again, from its checkpoint.

    Raises:
        LabelRepairError: a worker failed, or was lost more than ``retries`` times.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415 (slow)
    from ray.train.torch import TorchTrainer  # noqa: PLC0415

    content = job(preset, data, noise, seed=seed, test=test, checkpoint=checkpoint, progress=False)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"content": ray.put(_arrays(content))},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
        run_config=RunConfig(
            storage_path=str(storage), failure_config=FailureConfig(max_failures=retries)
        ),
    )
    try:
        answer = trainer.fit().return_value
    except ray.train.TrainingFailedError as error:
        raise _explained(error, checkpoint is not None) from error
    return answered(_tensors(answer))


def repair(
    rows: "ray.data.Dataset",
    noise: NoiseEstimate,
    *,
    scoring: ScoringSpec | None = None,
    policy: Policy | None = None,
) -> "ray.data.Dataset":
    """Score and repair a table that lies in shards.

    Only rows with a sign of a wrong label pass through this process (about 30 bytes each); the
    others stay where they are.

    Args:
        rows: columns ``row`` (int, position in the table: 0..N-1), ``given_label`` (int), ``probs``
            (``(C,)`` each) and, if the method selects, ``selected`` (bool).
        noise: T and the noise rate.
        scoring: see :class:`ScoringSpec`.
        policy: see :class:`Policy`.

    Returns:
        ``row`` and ``given_label`` with the columns of
        :func:`labelrepair.workflow.repair_rows`, in the order of the shards.

    Raises:
        DataError: a column is missing, or ``row`` does not count the rows.
    """
    scoring, policy = scoring or ScoringSpec(), policy or Policy()
    missing = {ROW, GIVEN_LABEL, PROBS} - set(rows.schema().names)
    if missing:
        raise DataError(f"table on Ray: missing column {', '.join(sorted(missing))}")
    temperature = _temperature(rows, noise, scoring)
    # Computed once; a few dozen bytes a row, which Ray spills to disk where memory is short.
    scored = rows.map_batches(
        _score,
        batch_format="numpy",
        fn_kwargs={"noise": noise, "scoring": scoring, "temperature": temperature},
    ).materialize()
    decided = ray.put(_decide(scored, policy, len(noise.transition)))
    return scored.map_batches(_write, batch_format="pandas", fn_kwargs={"decided": decided})


# -- training --------------------------------------------------------------------------------------


def _worker(config: dict[str, Any]) -> Content | None:
    """Be one rank; Ray Train has made the process group."""
    ranks = Ranks.joined() or Ranks(0, 1)
    answer = fit_rank(_tensors(ray.get(config["content"])), ranks)
    return _arrays(answer) if ranks.rank == 0 else None


def _explained(error: Exception, checkpoint: bool) -> LabelRepairError:
    """Return the error of ours that a worker raised, or one that says which worker was lost."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    for failure in failures.values():
        own = getattr(failure, "_base_exc", failure)
        if isinstance(own, LabelRepairError) and not isinstance(own, LostRank):
            return own
    lost = [r for r, f in failures.items() if not isinstance(getattr(f, "_base_exc", f), LostRank)]
    where = f"rank {lost[0]} failed: " if lost else ""
    again = "; start the run again to go on from its checkpoint" if checkpoint else ""
    return LabelRepairError(f"training on Ray: {where}{shown(error, 600)}{again}")


def _arrays(value: Any) -> Any:
    """Return tensors as arrays, which Ray's object store shares without a copy."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, dict):
        return {key: _arrays(item) for key, item in value.items()}
    return [_arrays(item) for item in value] if isinstance(value, list) else value


def _tensors(value: Any) -> Any:
    """Return the inverse of :func:`_arrays`."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value if value.flags.writeable else value.copy())
    if isinstance(value, dict):
        return {key: _tensors(item) for key, item in value.items()}
    return [_tensors(item) for item in value] if isinstance(value, list) else value


# -- repair ----------------------------------------------------------------------------------------


def _temperature(
    rows: "ray.data.Dataset", noise: NoiseEstimate, scoring: ScoringSpec
) -> float | None:
    """Return the temperature that one process would find, from the same rows."""
    count = rows.count()
    if not scoring.calibrate or count == 0:
        return None
    wanted = calibration_rows(count, scoring)
    found = _together(rows.map_batches(_pick, batch_format="numpy", fn_kwargs={"rows": wanted}))
    order = np.argsort(found[ROW], kind="stable")
    if not np.array_equal(found[ROW][order], wanted):
        raise _not_counted(count)
    probs = np.stack(list(found[PROBS]))[order].astype(np.float64)
    matrix = check_transition(noise.transition, probs.shape[1])
    given = found[GIVEN_LABEL][order].astype(np.int64)
    return fit_temperature(probs, given, matrix, noise.noise_rate)


def _pick(batch: Columns, rows: NDArray[np.int64]) -> Columns:
    kept = np.isin(batch[ROW], rows)
    return {name: batch[name][kept] for name in (ROW, GIVEN_LABEL, PROBS)}


def _score(
    batch: Columns, noise: NoiseEstimate, scoring: ScoringSpec, temperature: float | None
) -> Columns:
    given = batch[GIVEN_LABEL].astype(np.int64)
    probs = np.ascontiguousarray(np.stack(list(batch[PROBS])))
    found = score(probs, given, noise.transition, spec=scoring, temperature=temperature or 1.0)
    columns = {name: found[name].to_numpy() for name in SCORES}
    if SELECTED in batch:
        columns[SELECTED] = batch[SELECTED].astype(bool)
    return {ROW: batch[ROW].astype(np.int64), GIVEN_LABEL: given, **columns}


def _decide(scored: "ray.data.Dataset", policy: Policy, classes: int) -> Columns:
    """Return row, action and reason of every row with a sign, in the order of the table."""
    kwargs = {"policy": policy, "classes": classes}
    counts = _together(scored.map_batches(_calm, batch_format="pandas", fn_kwargs=kwargs))
    calm = np.stack(list(counts["calm"])).sum(0) if counts else np.zeros(classes, np.int64)
    if counts:
        _check_each_once(int(counts["rows"].sum()), int(counts["trace"].sum(dtype=np.uint64)))
    restless = scored.map_batches(_restless, batch_format="pandas", fn_kwargs={"policy": policy})
    found = _together(restless)
    if not found:
        empty = np.empty(0, np.int64)
        return {ROW: empty, "action": empty.astype(np.int8), "reason": empty.astype(np.int8)}
    order = np.argsort(found[ROW], kind="stable")
    row, sign, given, suggested, quality = (found[name][order] for name in RESTLESS)
    actions, reasons = settle(sign, given, suggested, quality, policy, calm)
    return {ROW: row, "action": actions, "reason": reasons}


def _calm(batch: pd.DataFrame, policy: Policy, classes: int) -> pd.DataFrame:
    calm = batch.loc[signs_of(batch, policy) == CALM, GIVEN_LABEL].to_numpy()
    counts = np.bincount(calm, minlength=classes)
    trace = _trace(batch[ROW].to_numpy())
    return pd.DataFrame({"calm": [counts], "rows": [len(batch)], "trace": [trace]})


def _trace(rows: NDArray[np.int64]) -> np.uint64:
    """Return the sum of the rows' hashes (SplitMix64), the same in any order."""
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.uint64((mixed ^ (mixed >> np.uint64(31))).sum(dtype=np.uint64))


def _check_each_once(count: int, trace: int) -> None:
    """Check by their hashes that the rows are 0..count-1: a repeated one has no decision."""
    starts = range(0, count, PIECE_ROWS)
    parts = [_trace(np.arange(at, min(at + PIECE_ROWS, count))) for at in starts]
    if int(np.sum(parts, dtype=np.uint64)) != trace:
        raise _not_counted(count)


def _not_counted(count: int) -> DataError:
    return DataError(f"table on Ray: column '{ROW}' must hold 0..{count - 1}, each once")


def _restless(batch: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    signs = signs_of(batch, policy)
    kept = signs != CALM
    found: pd.DataFrame = batch.loc[kept].assign(sign=signs[kept])[list(RESTLESS)]
    return found


def _write(batch: pd.DataFrame, decided: Any) -> pd.DataFrame:
    known: Columns = ray.get(decided) if isinstance(decided, ray.ObjectRef) else decided
    actions = np.zeros(len(batch), np.int8)
    reasons = np.zeros(len(batch), np.int8)
    rows = batch[ROW].to_numpy()
    places = np.searchsorted(known[ROW], rows)
    inside = places < len(known[ROW])
    hit = np.flatnonzero(inside)[known[ROW][places[inside]] == rows[inside]]
    actions[hit], reasons[hit] = known["action"][places[hit]], known["reason"][places[hit]]
    given, suggested = batch[GIVEN_LABEL].to_numpy(), batch["suggested_label"].to_numpy()
    found = worded(actions, reasons, given, suggested)
    both: pd.DataFrame = pd.concat([batch.reset_index(drop=True), found], axis=1)
    return both


def _together(rows: "ray.data.Dataset") -> Columns:
    """Return a small data set as columns; empty without a row."""
    parts = [part for part in rows.iter_batches(batch_format="numpy", batch_size=None)]
    parts = [part for part in parts if part and len(next(iter(part.values())))]
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
