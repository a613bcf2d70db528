"""The ingestion pipeline."""

from labelrepair.pipelines.ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
