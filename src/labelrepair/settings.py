"""Kedro project settings: configuration loading and hooks; no logic."""

from labelrepair.choices import ChoiceLoader, choose
from labelrepair.hooks import (
    CollectorHook,
    DatasetHook,
    ErrorHook,
    InterruptHook,
    LabelLockHook,
    ParameterHook,
    ProvenanceHook,
    RankHook,
    RunLockHook,
    RunnerHook,
    StoreHook,
    SummaryHook,
    WarningHook,
)
from labelrepair.stages.hooks import HiddenSettingsHook, OneStoreHook
from labelrepair.stages.workspace import in_home

_run_lock, _label_lock = RunLockHook(), LabelLockHook()
HOOKS = (
    _run_lock,  # first: after those that may refuse the run, Kedro calls it
    RunnerHook(),
    StoreHook(),
    OneStoreHook(),
    ParameterHook(),
    DatasetHook(),
    ProvenanceHook(),
    SummaryHook(),
    _label_lock,
    InterruptHook(_run_lock, _label_lock),
    CollectorHook(),
    WarningHook(),
    HiddenSettingsHook(),
    # Last: of those that want to be first, Kedro calls these first.
    RankHook(),
    ErrorHook(),  # before all that may refuse the run
)
CONFIG_LOADER_CLASS = ChoiceLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "custom_resolvers": {"choose": choose, "home": in_home},
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}
