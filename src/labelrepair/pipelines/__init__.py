"""Kedro pipelines: thin nodes over the core. Each sub-package exports ``create_pipeline``."""
