"""The ab pipeline."""

from labelrepair.pipelines.ab.pipeline import create_pipeline

__all__ = ["create_pipeline"]
