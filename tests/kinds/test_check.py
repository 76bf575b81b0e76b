from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from thalweg.kinds import KINDS, check
from thalweg.kinds.check import CHECKS, Check, check_kind
from thalweg.kinds.evidence import NonconformityError
from thalweg.kinds.number import Number, NumberState, RegressionHead


@pytest.mark.parametrize("promise", CHECKS, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_its_promises(kind: str, promise: Check) -> None:
    promise(KINDS[kind])


# Kinds that are right but for one thing. Each must be caught by the check that is about it.


class ScalesByBatch(Number):
    def encode(self, arrays, states):
        encoded = super().encode(arrays, states)
        fields = {
            name: (field - field.mean(axis=0)).astype(field.dtype)
            for name, field in encoded.fields.items()
        }
        return replace(encoded, fields=fields)


class LooksAtItsNeighbour(Number):
    def encode(self, arrays, states):
        return super().encode(arrays, [max(states, key=lambda state: state.scale)] * len(states))


class LeaksNaN(Number):
    def encode(self, arrays, states):
        encoded = super().encode(arrays, states)
        fields = dict(encoded.fields)
        if "missing" in fields:
            fields["values"] = np.where(fields["missing"], np.float32(np.nan), fields["values"])
        return replace(encoded, fields=fields)


class TripsOverText(Number):
    def encode(self, arrays, states):
        for array in arrays:
            if pa.types.is_string(array.type):
                array.cast(pa.float64())
        return super().encode(arrays, states)


class DividesByTheSpread(Number):
    def fit(self, summary, options, role):
        state = super().fit(summary, options, role)
        return state.model_copy(update={"scale": state.scale / min(1, len(state.edges) - 2)})


class MutatesInput(Number):
    def encode(self, arrays, states):
        encoded = super().encode(arrays, states)
        for array in arrays:
            buffer = array.buffers()[1]
            if buffer is not None:
                ctypes.memset(buffer.address, 1, buffer.size)
        return encoded


class SharesItsOutput(Number):
    def __init__(self) -> None:
        self.kept: dict[int, Any] = {}

    def encode(self, arrays, states):
        return self.kept.setdefault(id(arrays[0]), super().encode(arrays, states))


class FitsByOrder(Number):
    def __init__(self) -> None:
        self.fitted = 0

    def fit(self, summary, options, role):
        self.fitted += 1
        return super().fit(summary, options, role).model_copy(update={"fill": self.fitted})


class ChangesTheSummary(Number):
    def fit(self, summary, options, role):
        state = super().fit(summary, options, role)
        summary.update(pa.array([1.0]))
        return state


class ForgetfulState(NumberState):
    def __eq__(self, other: object) -> bool:
        return self.model_fields_set == getattr(other, "model_fields_set", None)

    __hash__ = None


class LosesItsState(Number):
    state_type = ForgetfulState

    def fit(self, summary, options, role):
        state = super().fit(summary, options, role)
        given = {name: getattr(state, name) for name in ForgetfulState.model_fields}
        return ForgetfulState.model_construct({"role"}, **given)


class RestoresTheMean(Number):
    def restore(self, encoded, column, state):
        return pa.array(np.full(len(encoded.dropped), state.mean))


class DoubtsItself(Number):
    def sniff(self, summary):
        return 0.01


class Hoards(Number):
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def encode(self, arrays, states):
        encoded = super().encode(arrays, states)
        self.kept.append(encoded)
        return encoded


class Loops(Number):
    def encode(self, arrays, states):
        for array in arrays:
            for cell in array:
                cell.as_py()
        return super().encode(arrays, states)


class KeepsMissingTargets(Number):
    def encode(self, arrays, states):
        encoded = super().encode(arrays, states)
        return replace(encoded, dropped=np.zeros_like(encoded.dropped))


class AcceptsNothing(Number):
    def fit(self, summary, options, role):
        state = super().fit(summary, options, "feature")
        return state.model_copy(update={"role": role})


class HasDeadWeights(Number):
    def encoder(self, states, width):
        import torch

        encoder = super().encoder(states, width)
        encoder.unused = torch.nn.Parameter(torch.ones(3))
        return encoder


class HeadThatNeverLearns(RegressionHead):
    def loss(self, outputs, target):
        return super().loss(outputs.detach(), target) + 0 * outputs.sum(-1)


class NeverLearns(Number):
    def head(self, state, options):
        return HeadThatNeverLearns()


class HeadThatStartsBadly(RegressionHead):
    def start(self):
        return super().start() + 1


class StartsBadly(Number):
    def head(self, state, options):
        return HeadThatStartsBadly()


class AnswersOnce(Number):
    def decode(self, outputs, state, threshold=None):
        return {"prediction": super().decode(outputs, state, threshold)["prediction"].slice(0, 1)}


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (ScalesByBatch, check.row_equals_batch),
        (LooksAtItsNeighbour, check.row_equals_batch),
        (LeaksNaN, check.odd_cells_are_safe),
        (TripsOverText, check.odd_cells_are_safe),
        (DividesByTheSpread, check.odd_columns_can_be_fitted),
        (MutatesInput, check.input_is_untouched),
        (SharesItsOutput, check.input_is_untouched),
        (FitsByOrder, check.merged_fits_equal_whole_fits),
        (FitsByOrder, check.fitting_is_pure),
        (ChangesTheSummary, check.fitting_is_pure),
        (LosesItsState, check.state_survives_json),
        (RestoresTheMean, check.restores_what_it_encodes),
        (DoubtsItself, check.sample_is_recognised),
        (Hoards, check.memory_is_flat),
        (Loops, check.encode_is_vectorised),
        (KeepsMissingTargets, check.targets_are_clean),
        (AcceptsNothing, check.targets_are_clean),
        (HasDeadWeights, check.gradients_reach_every_weight),
        (NeverLearns, check.the_loss_falls),
        (StartsBadly, check.the_start_is_the_best_constant),
        (AnswersOnce, check.outputs_become_columns),
    ],
    ids=lambda one: one.__name__,
)
def test_a_broken_kind_is_caught_by_the_check_about_it(
    broken: type[Number], promise: Check
) -> None:
    with pytest.raises((NonconformityError, pa.ArrowInvalid, ZeroDivisionError)):
        promise(broken())
    promise(Number())


def test_a_kind_that_loads_torch_is_caught(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy.py").write_text(
        "from thalweg.kinds.number import Number\n"
        "class Heavy(Number):\n"
        "    def encode(self, arrays, states):\n"
        "        import torch\n"
        "        return super().encode(arrays, states)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    import heavy

    with pytest.raises(NonconformityError, match="loads torch"):
        check.data_half_is_light(heavy.Heavy())


def test_the_whole_suite_stops_at_the_first_broken_promise() -> None:
    with pytest.raises(NonconformityError, match="kind number"):
        check_kind(DoubtsItself())
