"""Mergeable one-pass statistics of columns: the profile, the fit, the reference and the drift."""

from thalweg.stats.counts import ValueCounts
from thalweg.stats.distinct import DistinctSample
from thalweg.stats.histogram import AdaptiveHistogram
from thalweg.stats.numbers import NumberSummary
from thalweg.stats.summary import ColumnSummary
from thalweg.stats.sums import ExactSum
from thalweg.stats.table import TableSummary

__all__ = [
    "AdaptiveHistogram",
    "ColumnSummary",
    "DistinctSample",
    "ExactSum",
    "NumberSummary",
    "TableSummary",
    "ValueCounts",
]
