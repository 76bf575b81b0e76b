"""The model card: what a person should know of a model before using it (Mitchell et al. 2019)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from thalweg.data.schema import Schema
from thalweg.lab.report import page, standing, tables, wording
from thalweg.lab.report.standing import Contest
from thalweg.lab.report.wording import counted
from thalweg.models.record import Evaluation, Rows, Training

_SHOWN: Final = 200
_ACTIVE: Final = re.compile(r"([\\`*_{}\[\]<>#|~&!$])")


def render_card(
    *,
    name: str,
    schema: Schema,
    fingerprint: str,
    rows: Rows,
    training: Training,
    evaluation: Evaluation | None,
    warnings: Sequence[str] = (),
) -> str:
    """Write a model's card in Markdown.

    Parameters
    ----------
    name
        The model's name: the folder that users give to ``thalweg predict``.
    schema
        Its fitted columns.
    fingerprint
        Of the source: it changes when the source does (files: names, sizes, times of change).
    rows
        How many rows went where.
    training
        How it was trained.
    evaluation
        How well it does on rows that it never saw; None where it was not judged.
    warnings
        What a reader must know, beside the evaluation's own warnings.

    Returns
    -------
    str
        Markdown in which names from data are quoted: they can neither mark up nor break a table.
        Equal arguments give equal texts.
    """
    found = standing.contests(evaluation) if evaluation else []
    labelled = evaluation is not None and evaluation.labels
    told = list(dict.fromkeys([*warnings, *(evaluation.warnings if evaluation else ())]))
    parts = [
        _purpose(name, schema, rows, evaluation, found),
        *([_section("Warnings", _bullets(map(escaped, told)))] if told else []),
        _section("How well it does", _figures(evaluation, found, training)),
        *([_section("How each label fares", _labels(evaluation))] if labelled else []),
        *([_section("Where it is weak", _weak(evaluation))] if schema.target else []),
        _section("What it was trained on", _data(schema, fingerprint, rows)),
        _section("Limits", _limits(rows, evaluation, found)),
        _section("How to use it", _use(name, labelled=schema.target is not None)),
        _section("How it was trained", _training(training)),
    ]
    return "\n\n".join(parts) + "\n"


def quoted(text: str, longest: int = 80) -> str:
    r"""Write a name from data as code, which Markdown does not read, cut and fit for a table.

    Examples
    --------
    >>> print(quoted("a|b"), quoted("<img>"), quoted("x`y"))
    `a\|b` `<img>` ``x`y``
    """
    text = wording.cut(text, longest).replace("|", "\\|")
    if not text.strip():
        return f"`{text or ' '}`"
    ticks = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (ticks + 1)
    edge = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{edge}{text}{edge}{fence}"


def escaped(text: str, longest: int = 400) -> str:
    r"""Write a sentence that may hold names from data so that Markdown reads it as it stands.

    Examples
    --------
    >>> print(escaped("a_b <b>*c*"))
    a\_b \<b\>\*c\*
    """
    return _ACTIVE.sub(r"\\\1", wording.cut(text, longest))


def _purpose(
    name: str,
    schema: Schema,
    rows: Rows,
    evaluation: Evaluation | None,
    found: Sequence[Contest],
) -> str:
    task = f" ({page.TASKS[evaluation.task]})" if evaluation else ""
    columns = counted(len(schema.columns), "column")
    says = f"Says how odd a row is, by {columns}."
    if schema.target:
        says = f"Predicts {quoted(schema.target.name)}{task} from {columns} of a row."
    lines = [f"# {escaped(name, 120)}", says]
    if schema.target and evaluation and evaluation.classes:
        shown = wording.joined(quoted(one, 40) for one in evaluation.classes[:20])
        more = len(evaluation.classes) - 20
        what = "Labels" if evaluation.task == "multilabel" else "Classes"
        lines.append(f"{what}: {shown}{f' (and {more:,} more)' if more > 0 else ''}.")
    if evaluation and found:
        lines.append(escaped(standing.headline(evaluation, rows.train, found[0])))
    return "\n\n".join(lines)


def _figures(evaluation: Evaluation | None, found: Sequence[Contest], training: Training) -> str:
    if evaluation is None or not found:
        return "It was not judged yet: `thalweg evaluate` does it on labelled rows."
    contenders = found[0].contenders
    lines = [
        "| metric | " + " | ".join(escaped(one.label, 40) for one in contenders) + " |",
        "|---|" + "---:|" * len(contenders),
    ]
    for contest in found:
        cells = []
        for one in contest.contenders:
            text = f"**{one.text}**" if one.best else one.text
            cells.append(f"{text} ({one.bounds})" if one.bounds else text)
        lines.append(f"| {escaped(contest.metric.label, 40)} | " + " | ".join(cells) + " |")
    notes = [
        f"All figures are on {counted(evaluation.rows, 'row')} that no model saw while it was "
        "trained, with 95% intervals in brackets; the best of each row is bold. " + standing.OVERLAP
    ]
    decision = standing.decision(evaluation, training.settings)
    if decision:
        notes.append(escaped(decision))
    worse = standing.lost(found)
    if worse:
        names = wording.joined(escaped(contest.metric.label, 40) for contest in worse)
        notes.append(f"A baseline is better at {names}, by more than chance explains.")
    return "\n".join([*notes, "", *lines])


def _labels(evaluation: Evaluation | None) -> str:
    rows = tables.label_rows(evaluation) if evaluation else []
    lines = [
        "| label | rows | precision | recall | F1 | average precision | given from |",
        "|---|" + "---:|" * 6,
    ]
    lines += [
        f"| {quoted(one.name)} | {one.support} | {one.precision} | {one.recall} | {one.f1} "
        f"| {one.ranked} | {one.threshold} |"
        for one in rows
    ]
    return "\n".join(lines)


def _weak(evaluation: Evaluation | None) -> str:
    slices = tables.weaknesses(evaluation.slices) if evaluation else []
    if evaluation is None or not slices:
        return "No group of rows was found on which it does clearly worse than elsewhere."
    label = escaped(tables.metric_label(evaluation.metric), 40)
    lines = [f"| group | rows | {label} | mean loss | elsewhere |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {quoted(one.where)} | {one.rows} | {one.value or one.loss} | {one.loss} | {one.rest} |"
        for one in slices
    ]
    return "\n".join(lines)


def _data(schema: Schema, fingerprint: str, rows: Rows) -> str:
    counts = [
        f"rows: {wording.parts(rows)}",
        *([f"{counted(rows.dropped, 'row')} dropped by cleaning"] if rows.dropped else []),
        *([f"{counted(rows.rejected, 'row')} set aside as unreadable"] if rows.rejected else []),
        f"fingerprint of the source: {quoted(fingerprint, 140)}. It changes when the source does "
        "(files: names, sizes and times of change; tables in memory: content); it does not prove "
        "which rows a file held",
    ]
    lines = [_bullets(counts), "", "| column | kind | why |", "|---|---|---|"]
    lines += [
        f"| {quoted(one.name)} | {escaped(one.kind)} | {escaped(one.because, 160)} |"
        for one in schema.columns[:_SHOWN]
    ]
    if len(schema.columns) > _SHOWN:
        lines.append(f"| {len(schema.columns) - _SHOWN:,} more | | |")
    if schema.ignored:
        named = (f"{quoted(one.name)} ({escaped(one.because, 120)})" for one in schema.ignored)
        lines += ["", f"Not read: {wording.joined(list(named)[:_SHOWN])}."]
    return "\n".join(lines)


def _limits(rows: Rows, evaluation: Evaluation | None, found: Sequence[Contest]) -> str:
    limits = [
        "Its answers hold for rows like those it was trained on. Where the data has changed "
        "since, or comes from elsewhere, judge it again before trusting it.",
        "It finds what goes together in the data, not what causes what.",
        "It repeats what is unjust in the rows it learned from. Before it decides about people, "
        "look at the groups that it concerns.",
    ]
    if rows.train < 1000:
        limits.append(
            f"It learned from {counted(rows.train, 'row')} only: expect it to change with more."
        )
    if evaluation and evaluation.rows < 1000:
        limits.append(
            f"It was judged on {counted(evaluation.rows, 'row')} only: mind the intervals."
        )
    if found and found[0].verdict == "behind":
        limits.append(
            "A baseline is better at what matters most here; the network is not the "
            "model to choose unless you know why."
        )
    return _bullets(limits)


def _use(name: str, *, labelled: bool) -> str:
    # Indented code cannot be ended by anything in it.
    lines = page.commands(name, labelled=labelled)
    return "\n\n".join(f"{what}:\n\n    {line}" for what, line in lines.items())


def _training(training: Training) -> str:
    facts = [
        f"{counted(training.parameters, 'weight')}, {counted(len(training.epochs), 'epoch')} "
        f"(epoch {training.best_epoch + 1} kept; ended by {escaped(training.stopped)}), "
        f"{wording.duration(training.seconds)}, seed {training.seed}",
    ]
    settings = tables.settings_rows(training.settings)
    if settings:
        facts.append(
            "settings: " + ", ".join(quoted(f"{key} = {value}", 120) for key, value in settings)
        )
    versions = ", ".join(
        f"{escaped(key)} {escaped(value)}" for key, value in training.versions.items()
    )
    if versions:
        facts.append(f"versions: {versions}")
    return _bullets(facts)


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
