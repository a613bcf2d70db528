"""Kedro project settings: labelrepair's configuration loading and hooks."""

from labelrepair.settings import CONFIG_LOADER_ARGS, HOOKS

__all__ = ["CONFIG_LOADER_ARGS", "HOOKS"]
