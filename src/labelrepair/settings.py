"""Kedro project settings: configuration loading and hooks; no logic."""

from kedro.config import OmegaConfigLoader

from labelrepair.choices import choose
from labelrepair.hooks import ParameterHook, ProvenanceHook, RunnerHook, StoreHook, SummaryHook

HOOKS = (RunnerHook(), StoreHook(), ParameterHook(), ProvenanceHook(), SummaryHook())
CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "custom_resolvers": {"choose": choose},
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}
