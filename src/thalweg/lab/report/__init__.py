"""What a person reads of a model or a table: pages that open from disk, and the model card."""

from thalweg.lab.report.card import render_card
from thalweg.lab.report.page import render_drift, render_profile, render_report

__all__ = ["render_card", "render_drift", "render_profile", "render_report"]
