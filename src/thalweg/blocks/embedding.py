"""Embeddings of all columns of a kind at once: one tensor operation, not one module per column.

They know fields of numbers, codes and parts, and nothing of tables. Each embedding takes its
fields by name, gives float32 [N, tokens, width], and says how many tokens: one for each column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thalweg.blocks.rotations import MOST_ROWS, Rotations

BEYOND: Final = 0.1
"""How far a value beyond the outermost edges may push its component, in widths of that bin."""

START: Final = 0.25
"""The bound of an embedding's first weights: that of a width of 16. It does not follow the width,
which may hold the slices of many small networks."""

VIEW_BINS: Final = 128
"""The bins of a rotated view, which no summary has seen."""

BEND: Final = 3.0
"""The bound that `smooth_clip` approaches, in units of the spread."""


@final
class ColumnLinear(nn.Module):
    """A linear map for each column: [N, columns, inputs] to [N, columns, width].

    Parameters
    ----------
    columns, inputs, width
        The sizes.
    bias
        Whether to add a bias [columns, width]. Default True.
    """

    def __init__(self, columns: int, inputs: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(_uniform(columns, inputs, width, bound=inputs**-0.5))
        self.bias = nn.Parameter(_uniform(columns, width, bound=inputs**-0.5)) if bias else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, columns, inputs] to [N, columns, width]."""
        outputs = torch.einsum("nci,ciw->ncw", inputs, self.weight)
        return outputs if self.bias is None else outputs + self.bias


@final
class PiecewiseLinear(nn.Module):
    """Write each value as how far it has come through each bin of its column.

    The piecewise-linear encoding of Gorishniy et al. (2022), "On Embeddings for Numerical
    Features in Tabular Deep Learning". Columns with fewer bins are padded: padding is always 0.
    The outermost components run on past their bin by `BEYOND` and then stop, so that a wild
    value (or a narrow last bin) cannot blow up the network.

    Parameters
    ----------
    columns
        How many columns.
    bins
        The most bins of a column.
    saved
        Whether the edges are saved with the weights; not where they follow from a schema.
    """

    lower: Tensor
    slope: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, columns: int, bins: int, *, saved: bool = False) -> None:
        super().__init__()
        self.bins = bins
        for name in ("lower", "slope", "least", "most"):
            self.register_buffer(name, torch.zeros(columns, bins), persistent=saved)

    @classmethod
    def of(cls, edges: Sequence[Sequence[float]]) -> Self:
        """Build one for columns with known edges; see `set_edges`."""
        encoding = cls(len(edges), max(len(column) - 1 for column in edges))
        encoding.set_edges(edges)
        return encoding

    def set_edges(self, edges: Sequence[Sequence[float]]) -> None:
        """Take for each column its bins' edges: two or more, strictly increasing."""
        for buffer in (self.lower, self.slope, self.least):
            buffer.zero_()
        self.most.fill_(1)
        for row, column in enumerate(edges):
            bins = len(column) - 1
            edge = torch.tensor(column, dtype=torch.float32)
            self.lower[row, :bins] = edge[:-1]
            self.slope[row, :bins] = 1 / (edge[1:] - edge[:-1])
            self.least[row, 0] = -BEYOND
            self.most[row, bins - 1] = 1 + BEYOND

    def forward(self, values: Tensor) -> Tensor:
        """Encode [N, columns] as [N, columns, bins]."""
        through = (values.unsqueeze(-1) - self.lower) * self.slope
        return torch.minimum(torch.maximum(through, self.least), self.most)


@final
class NumberEmbedding(nn.Module):
    """Embed scaled numbers: a linear map plus a linear map of their piecewise encoding.

    The second map starts at zero, so that training begins from a plain linear embedding
    (Gorishniy et al. 2024, TabM). So do the vectors that flags add.

    Parameters
    ----------
    edges
        For each column its bins' edges in scaled units.
    spikes
        For each column how many values are also known exactly.
    width
        The size of each embedding.
    flags
        The names of the fields of 0 or 1 [N, columns] beside ``values``.
    pairs
        How many pairs of columns are rotated; each view of a pair is one more token.
    """

    def __init__(
        self,
        edges: Sequence[Sequence[float]],
        spikes: Sequence[int],
        width: int,
        flags: Sequence[str] = ("missing",),
        pairs: int = 0,
    ) -> None:
        super().__init__()
        pairs = min(pairs, len(edges) * (len(edges) - 1) // 2)
        self.rotated = RotatedEmbedding(pairs, width) if pairs else None
        self.tokens = len(edges) + (self.rotated.tokens if self.rotated else 0)
        self.names = tuple(flags)
        self.straight = ColumnLinear(len(edges), 1, width)
        self.piecewise = PiecewiseLinear.of(edges)
        self.bent = ColumnLinear(len(edges), self.piecewise.bins, width, bias=False)
        self.spikes = CodeEmbedding([n + 1 for n in spikes], width) if any(spikes) else None
        self.waves = Waves(len(edges), width)
        self.flags = ColumnLinear(len(edges), len(self.names), width, bias=False)
        for linear in (self.bent, self.flags):
            nn.init.zeros_(linear.weight)
        for weight in self.straight.parameters():
            nn.init.uniform_(weight, -START, START)

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Embed ``values`` [N, columns], float32, and the flags."""
        if torch.compiler.is_exporting():
            return self._joined(fields)
        values = fields["values"]
        flags = torch.stack([fields[name] for name in self.names], dim=-1).to(values.dtype)
        # The bins carry the tails, so the straight part may be bounded: heavy tails stay safe.
        bounded = smooth_clip(values)
        tokens: Tensor = self.straight(bounded.unsqueeze(-1)) + self.waves(bounded)
        tokens = tokens + self.bent(self.piecewise(values)) + self.flags(flags)
        return self._more(tokens, fields)

    def _joined(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Embed as one product of each column: a graph runs few large nodes quicker than many."""
        values = fields["values"].T
        flags = torch.stack([fields[name].T for name in self.names], dim=-1).to(values.dtype)
        bounded = smooth_clip(values).unsqueeze(-1)
        curve, bins = self.waves, self.piecewise
        waves = torch.cos(bounded * curve.frequency[:, None] + curve.phase[:, None])
        through = (values.unsqueeze(-1) - bins.lower[:, None]) * bins.slope[:, None]
        pieces = torch.minimum(torch.maximum(through, bins.least[:, None]), bins.most[:, None])
        linears = (self.straight, curve.linear, self.bent, self.flags)
        weight = torch.cat([linear.weight for linear in linears], dim=1)
        joined = torch.cat([bounded, waves, pieces, flags], dim=-1) @ weight
        bias = self.straight.bias
        if bias is None:
            raise AssertionError
        return self._more(joined.transpose(0, 1) + bias, fields)

    def _more(self, tokens: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
        """Add what known values say, and views of pairs behind the columns' tokens."""
        if self.spikes is not None:
            tokens = tokens + self.spikes({"codes": fields["spike"]})
        if self.rotated is None:
            return tokens
        return torch.cat([tokens, self.rotated(fields["values"])], dim=1)

    def prepare(self, fields: Mapping[str, NDArray[Any]], target: NDArray[np.float64]) -> None:
        """Choose the pairs that are rotated; see `thalweg.kinds.base.Prepares`."""
        if self.rotated is not None:
            self.rotated.prepare(fields["values"], target)


@final
class Waves(nn.Module):
    """Embed values by slow cosines, a smooth counterpart of bins.

    The periodic encoding of Gorishniy et al. (2022), with frequencies that are drawn once and
    stay.

    Parameters
    ----------
    columns, width
        The sizes.
    waves
        How many cosines a column has.
    spread
        The standard deviation of their frequencies, in cycles for each unit of the values.
    """

    frequency: Tensor
    phase: Tensor

    def __init__(self, columns: int, width: int, waves: int = 16, spread: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.randn(columns, waves) * spread * 2 * math.pi)
        self.register_buffer("phase", (torch.rand(columns, waves) * 2 - 1) * math.pi)
        self.linear = ColumnLinear(columns, waves, width, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        """Embed bounded values [N, columns]."""
        embedded: Tensor = self.linear(
            torch.cos(values.unsqueeze(-1) * self.frequency + self.phase)
        )
        return embedded


@final
class RotatedEmbedding(nn.Module):
    """Embed views of pairs of columns, like columns: [N, columns] to [N, tokens, width].

    Parameters
    ----------
    pairs
        How many pairs; see `Rotations`.
    width
        The size of each embedding.
    """

    def __init__(self, pairs: int, width: int) -> None:
        super().__init__()
        self.rotations = Rotations(pairs)
        self.tokens = self.rotations.views
        self.straight = ColumnLinear(self.tokens, 1, width)
        self.piecewise = PiecewiseLinear(self.tokens, VIEW_BINS, saved=True)
        self.bent = ColumnLinear(self.tokens, VIEW_BINS, width, bias=False)
        nn.init.zeros_(self.bent.weight)
        for weight in self.straight.parameters():
            nn.init.uniform_(weight, -START, START)

    def prepare(self, values: NDArray[np.float32], target: NDArray[np.float64]) -> None:
        """Choose the pairs, and the bins of their views by quantiles."""
        self.rotations.choose(values, target)
        views = self.rotations(torch.from_numpy(values[:: max(1, len(values) // MOST_ROWS)]))
        shares = torch.linspace(0, 1, VIEW_BINS + 1, dtype=torch.float64)
        columns = torch.quantile(views.double(), shares, dim=0).T
        self.piecewise.set_edges([_increasing(column.tolist()) for column in columns])

    def forward(self, values: Tensor) -> Tensor:
        """Embed the views of float32 [N, columns]."""
        views = self.rotations(values)
        straight: Tensor = self.straight(smooth_clip(views).unsqueeze(-1))
        bent: Tensor = self.bent(self.piecewise(views))
        return straight + bent


@final
class CodeEmbedding(nn.Module):
    """Embed small whole numbers: one table for all columns.

    Parameters
    ----------
    sizes
        For each column how many codes it has; codes are 0 to size - 1.
    width
        The size of each embedding.
    neutral
        How many leading codes of each column start at zero, the mean of all others: those of
        missing and unseen values, which training may never show. Default 1.
    """

    offsets: Tensor

    def __init__(self, sizes: Sequence[int], width: int, *, neutral: int = 1) -> None:
        super().__init__()
        self.tokens = len(sizes)
        size = torch.tensor(sizes, dtype=torch.int64)
        starts = size.cumsum(0) - size
        self.register_buffer("offsets", starts, persistent=False)
        table = _uniform(sum(sizes), width, bound=START)
        for code in range(neutral):
            table[starts + code] = 0
        self.table = nn.Parameter(table)

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Embed ``codes`` [N, columns], of any integer type."""
        return nn.functional.embedding(fields["codes"].to(torch.int64) + self.offsets, self.table)


@final
class PartsEmbedding(nn.Module):
    """Embed a few numbers a cell by a linear map for each column, with a vector for missing.

    Parameters
    ----------
    columns, parts, width
        The sizes.
    """

    def __init__(self, columns: int, parts: int, width: int) -> None:
        super().__init__()
        self.tokens = columns
        self.linear = ColumnLinear(columns, parts, width)
        self.missing = nn.Parameter(torch.zeros(columns, width))

    def forward(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Embed ``parts`` [N, columns, parts], float32, and ``missing`` [N, columns], 0 or 1."""
        parts = fields["parts"]
        embedded: Tensor = self.linear(parts)
        return embedded + fields["missing"].to(parts.dtype).unsqueeze(-1) * self.missing


def smooth_clip(values: Tensor, bound: float = BEND) -> Tensor:
    """Bend large values towards plus or minus ``bound`` (Holzmüller et al. 2024, RealMLP).

    Examples
    --------
    >>> smooth_clip(torch.tensor([0.0, 0.3, 1000.0])).tolist()
    [0.0, 0.298..., 2.999...]
    """
    return values / torch.sqrt(1 + (values / bound) ** 2)


def _increasing(edges: Sequence[float], gap: float = 1e-4) -> list[float]:
    """Leave out edges that are no wider apart than a gap; two stay at least."""
    kept = [edges[0]]
    for edge in edges[1:]:
        if edge - kept[-1] > gap * (1 + abs(edge)):
            kept.append(edge)
    return kept if len(kept) > 1 else [kept[0] - 0.5, kept[0] + 0.5]


def _uniform(*shape: int, bound: float) -> Tensor:
    """Draw weights from U(-bound, bound)."""
    return torch.empty(*shape).uniform_(-bound, bound)
