"""River's tree of classes, but that categories stand in order of first sight, never by their hash.

Where two splits are equally good the first one wins, and River looks at categories in the order of
a set: of text that is another one in every process. This is the one module that needs River to be
imported.
"""

from __future__ import annotations

from typing import Any

from river.tree import HoeffdingTreeClassifier
from river.tree.nodes.htc_nodes import LeafNaiveBayesAdaptive
from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif


class Values(dict[Any, None]):
    """A set in order of first sight."""

    def add(self, value: Any) -> None:
        """Take a value in."""
        self[value] = None


class Nominal(NominalSplitterClassif):  # type: ignore[misc]  # River is not looked at
    """Counts classes by category."""

    def __init__(self) -> None:
        super().__init__()
        self._att_values = Values()


class Leaf(LeafNaiveBayesAdaptive):  # type: ignore[misc]  # River is not looked at
    """A leaf with such counts."""

    @staticmethod
    def new_nominal_splitter() -> Nominal:
        """Begin to count a column of categories."""
        return Nominal()


class Classifier(HoeffdingTreeClassifier):  # type: ignore[misc]  # River is not looked at
    """A tree with such leaves."""

    def _new_leaf(self, initial_stats: Any = None, parent: Any = None) -> Leaf:
        depth = 0 if parent is None else parent.depth + 1
        return Leaf({} if initial_stats is None else initial_stats, depth, self.splitter)
