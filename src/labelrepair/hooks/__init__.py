"""Hooks: whether a run can work, where it comes from, and what it says at its end."""

from labelrepair.hooks.collector import CollectorHook
from labelrepair.hooks.dataset import DatasetHook
from labelrepair.hooks.errors import ErrorHook
from labelrepair.hooks.interrupted import InterruptHook
from labelrepair.hooks.label_lock import LabelLockHook
from labelrepair.hooks.parameters import ParameterHook
from labelrepair.hooks.provenance import ProvenanceHook
from labelrepair.hooks.ranks import RankHook
from labelrepair.hooks.run_lock import RunLockHook
from labelrepair.hooks.runner import RunnerHook
from labelrepair.hooks.store import StoreHook, check_store
from labelrepair.hooks.summary import SummaryHook
from labelrepair.hooks.warnings import WarningHook

__all__ = [
    "CollectorHook",
    "DatasetHook",
    "ErrorHook",
    "InterruptHook",
    "LabelLockHook",
    "ParameterHook",
    "ProvenanceHook",
    "RankHook",
    "RunLockHook",
    "RunnerHook",
    "StoreHook",
    "SummaryHook",
    "WarningHook",
    "check_store",
]
