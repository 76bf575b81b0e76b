"""Statistics of an endless stream by windows of event time and by key."""

from thalweg.stats.windows.spec import WindowSpec
from thalweg.stats.windows.summaries import WindowSummaries, WindowSummary
from thalweg.stats.windows.watermark import Watermark
from thalweg.stats.windows.windows import Windows

__all__ = [
    "Watermark",
    "WindowSpec",
    "WindowSummaries",
    "WindowSummary",
    "Windows",
]
