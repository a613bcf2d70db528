"""The report pipeline."""

from labelrepair.pipelines.report.pipeline import create_pipeline

__all__ = ["create_pipeline"]
