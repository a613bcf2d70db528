"""The estimation pipeline."""

from labelrepair.pipelines.estimation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
