"""The handoff pipeline."""

from labelrepair.pipelines.handoff.pipeline import create_pipeline

__all__ = ["create_pipeline"]
