"""The report of one run: a self-contained HTML page."""

from labelrepair.report.context import build_context
from labelrepair.report.drawings import drawings
from labelrepair.report.render import render, render_context
from labelrepair.report.spec import ReportSpec, Sources

__all__ = ["ReportSpec", "Sources", "build_context", "drawings", "render", "render_context"]
