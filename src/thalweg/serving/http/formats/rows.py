"""Answers as rows of plain data, for every format that writes row by row."""

from __future__ import annotations

from typing import Any

from thalweg.serving.http.question import Answer

Row = dict[str, Any]


def told_rows(answer: Answer) -> list[Row]:
    """Give what is answered to each row that was sent [N], in order.

    A row without an answer has ``error`` alone; ``warnings``, ``contributions`` and ``baseline``
    (with ``explains``, the column of the answer that they add up to) are there where there are
    some.
    """
    question = answer.question
    rows: list[Row] = answer.rows()
    if answer.contributions is not None:
        _explain(rows, answer)
    if question.places is not None:
        answered = rows
        rows = [{} for _ in range(question.rows)]
        for place, row in zip(question.places.tolist(), answered, strict=True):
            rows[place] = row
    for place, told in question.warnings.items():
        rows[place]["warnings"] = list(told)
    for place, why in answer.errors.items():
        rows[place] = {"error": why}
    return rows


def _explain(rows: list[Row], answer: Answer) -> None:
    """Add to rows [M] what each column adds to its answer."""
    found = answer.contributions
    if found is None:
        return
    baselines, values = found.baseline.tolist(), found.values.tolist()
    for row, baseline, cells, of in zip(rows, baselines, values, found.of, strict=True):
        row["contributions"] = dict(zip(found.columns, cells, strict=True))
        row["baseline"] = baseline
        row["explains"] = of
