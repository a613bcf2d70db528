"""The repair pipeline."""

from labelrepair.pipelines.repair.pipeline import create_pipeline

__all__ = ["create_pipeline"]
