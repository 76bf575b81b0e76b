"""Pages that open from disk, without a network and without scripts: a model's report, a profile."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from thalweg.data.schema import Schema
from thalweg.lab.report import drifted, mistakes, plots, profiles, standing, tables, wording
from thalweg.lab.report.oddness import oddness_plots
from thalweg.models.record import Evaluation, Rows, Training
from thalweg.stats import TableSummary
from thalweg.stats.drift.compare import ColumnDrift
from thalweg.stats.drift.reference import Reference

SHOWN: Final = 40
"""How many columns' cards are open at once; the others wait in groups of as many."""

TASKS: Final = {
    "regression": "regression",
    "binary": "classification, two classes",
    "multiclass": "classification",
    "multilabel": "several labels a row",
    "anomaly": "odd rows",
}


def render_report(
    *,
    name: str,
    schema: Schema,
    profile: TableSummary,
    rows: Rows,
    training: Training,
    evaluation: Evaluation,
    warnings: Sequence[str] = (),
) -> str:
    """Write a model's report.

    Parameters
    ----------
    name
        The model's name: the folder that users give to ``thalweg predict``.
    schema
        Its fitted columns.
    profile
        The statistics of the training rows.
    rows
        How many rows went where.
    training
        How it was trained.
    evaluation
        How well it does on rows that it never saw.
    warnings
        What a reader must know, beside the evaluation's own warnings: leakage and the like.

    Returns
    -------
    str
        One HTML file. Equal arguments give equal texts.
    """
    found = standing.contests(evaluation)
    wrong = mistakes.cases(evaluation)
    kinds = {column.name: column.kind for column in schema.columns}
    return rendered(
        "report.html.j2",
        name=name,
        target=schema.target.name if schema.target else "",
        task=TASKS[evaluation.task],
        schema=schema,
        kinds=kinds,
        rows=rows,
        training=training,
        evaluation=evaluation,
        contests=found,
        leading=found[0] if found else None,
        headline=standing.headline(evaluation, rows.train, found[0] if found else None),
        lost=standing.lost(found),
        overlap=standing.OVERLAP,
        decision=standing.decision(evaluation, training.settings),
        drawn=[
            (contest, tables.contest_lines(contest))
            for contest in found
            if contest.metric.name != wording.COVERAGE
        ],
        learning=plots.learning_plots(training, wording.held_out(rows)),
        reliability=None if evaluation.task == "regression" else plots.reliability_plot(evaluation),
        confusion=tables.confusion(evaluation),
        labels=tables.label_rows(evaluation),
        errors=plots.regression_plots(evaluation) if evaluation.task == "regression" else [],
        oddness=oddness_plots(evaluation.anomalies) if evaluation.anomalies else [],
        coverage=plots.coverage_sentence(evaluation),
        importances=tables.importance_lines(evaluation.importances),
        weaknesses=tables.weaknesses(evaluation.slices),
        mistakes=wrong,
        media=wrong.sources,
        settings=tables.settings_rows(training.settings),
        warnings=list(dict.fromkeys([*warnings, *evaluation.warnings])),
        commands=commands(name, labelled=schema.target is not None),
        **_columns(profile, schema),
    )


def render_profile(
    *,
    name: str,
    profile: TableSummary,
    schema: Schema | None = None,
    warnings: Sequence[str] = (),
) -> str:
    """Write what is in a table.

    Parameters
    ----------
    name
        The table's name.
    profile
        Its statistics.
    schema
        What each column would be read as, where that is known.
    warnings
        What a reader must know.

    Returns
    -------
    str
        One HTML file. Equal arguments give equal texts.
    """
    return rendered(
        "profile.html.j2",
        name=name,
        profile=profile,
        repeated=_repeated(profile),
        warnings=list(dict.fromkeys(warnings)),
        **_columns(profile, schema),
    )


def render_drift(
    *,
    before: str,
    after: str,
    reference: Reference,
    summary: TableSummary,
    drifts: Sequence[ColumnDrift],
) -> str:
    """Write how a table has changed.

    Parameters
    ----------
    before, after
        What both are called.
    reference
        The distributions before.
    summary
        The statistics after.
    drifts
        How far each column has moved, in the order of the page.

    Returns
    -------
    str
        One HTML file. Equal arguments give equal texts.
    """
    changed = [one for one in drifts if one.drifted]
    found = drifted.pairs(changed, reference, summary)
    return rendered(
        "drift.html.j2",
        before=before,
        after=after,
        rows_before=reference.rows,
        rows_after=summary.rows,
        drifts=[drifted.line(one) for one in drifts],
        changed=len(changed),
        shown=found[:SHOWN],
        folded=[found[at : at + SHOWN] for at in range(SHOWN, len(found), SHOWN)],
    )


def commands(name: str, *, labelled: bool = True) -> dict[str, str]:
    """Give the command lines with which a model is used, each with what it does.

    ``labelled`` says whether the model has a target.

    Examples
    --------
    >>> commands("my model")["Predict new rows"]
    "thalweg predict 'my model' new_rows.csv --to predictions.csv"
    """
    model = shlex.quote(wording.visible(name))
    return {
        "Predict new rows": f"thalweg predict {model} new_rows.csv --to predictions.csv",
        "Judge it again on other rows": f"thalweg evaluate {model} labelled_rows.csv"
        if labelled
        else f"thalweg evaluate {model} other_rows.csv --truth COLUMN",
        "See what it is": f"thalweg show {model}",
        "Write its settings down, to train it again": f"thalweg show {model} --settings",
    }


def _repeated(profile: TableSummary) -> str:
    """Say how many rows repeat an earlier one, where that is more than the estimate's error."""
    part = profile.duplicates() / max(1, profile.rows)
    return f"About {wording.share(part)} of the rows repeat an earlier one." if part > 0.05 else ""


def _columns(profile: TableSummary, schema: Schema | None) -> dict[str, Any]:
    """Sort the columns' cards: those that are read, in groups, and those that are not."""
    cards = profiles.cards(profile, schema)
    read = [card for card in cards if card.role != "ignored"]
    return {
        "shown": read[:SHOWN],
        "folded": [read[at : at + SHOWN] for at in range(SHOWN, len(read), SHOWN)],
        "ignored": [card for card in cards if card.role == "ignored"],
    }


def rendered(template: str, media: frozenset[str] = frozenset(), **context: Any) -> str:
    """Fill a template; the stylesheet goes in with its hash, and nothing else is allowed to act.

    Pictures and sounds that the page brings along may be shown, where there are some.
    """
    style = files("thalweg.lab.report").joinpath("templates", "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = "".join(
        [
            f"default-src 'none'; style-src 'sha256-{digest}'; ",
            "img-src data:; " if "image" in media else "",
            "media-src data:; " if "audio" in media else "",
            "base-uri 'none'; form-action 'none'",
        ]
    )
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            style=Markup(style),  # noqa: S704 - our own file
            policy=policy,
        )
    )


@cache
def _environment() -> Environment:
    """Set the templates up: everything is escaped unless said otherwise."""
    environment = Environment(
        loader=PackageLoader("thalweg.lab.report"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cut": wording.cut,
        "titled": wording.titled,
        "number": wording.number,
        "compact": wording.compact,
        "duration": wording.duration,
        "metric": tables.metric_label,
        "drawing": Markup,
    }
    environment.globals |= {
        "counted": wording.counted,
        "joined": wording.joined,
        "parts": wording.parts,
    }
    return environment


def _shown(value: object) -> object:
    """Show the control characters of texts from outside; the templates' own text stays."""
    return (
        wording.visible(value)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )
