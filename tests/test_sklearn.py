"""The scikit-learn faces keep its contract: its own checks pass, with no exception."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from thalweg.sklearn import DeepClassifier, DeepRegressor

# The checks' tables have 10 to 300 rows: a small network learns them in a second.
SMALL = {"members": 2, "width": 32, "depth": 1, "embedding": 4, "batch_size": 32}
SMALL |= {"dropout": 0, "learning_rate": 0.01, "averaging": 0}


@parametrize_with_checks(
    [
        DeepClassifier(epochs=20, recipe=SMALL, random_state=0),
        DeepRegressor(epochs=40, recipe=SMALL, random_state=0),
    ]
)
def test_the_contract_of_scikit_learn(estimator, check) -> None:
    check(estimator)


def test_a_search_in_a_pipeline() -> None:
    features, target = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), DeepClassifier(recipe=SMALL, random_state=0))
    search = GridSearchCV(pipeline, {"deepclassifier__epochs": [1, 8]}, cv=2)
    search.fit(features, target)
    assert search.best_score_ > 0.9


def test_a_regressor_learns() -> None:
    features, target = load_diabetes(return_X_y=True)
    regressor = DeepRegressor(epochs=20, recipe=SMALL, random_state=0)
    assert cross_val_score(regressor, features, target, cv=2).mean() > 0.3


def test_a_frame_keeps_its_categories() -> None:
    pandas = pytest.importorskip("pandas")
    random = np.random.default_rng(0)
    town = random.choice(["Ulm", "Bonn", "Kiel"], 300)
    frame = pandas.DataFrame({"town": town, "size": random.normal(size=300)})
    classifier = DeepClassifier(epochs=20, recipe=SMALL, random_state=0).fit(frame, town == "Ulm")
    kinds = {column.name: column.kind for column in classifier.model_.schema.columns}
    assert kinds == {"town": "category", "size": "number"}
    assert classifier.score(frame, town == "Ulm") == 1.0
    shuffled = frame[["size", "town"]]
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        classifier.predict(shuffled)


@pytest.mark.parametrize("minutes", [0, float("nan")])
def test_minutes_that_cannot_be(minutes: float) -> None:
    features, target = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match="minutes is"):
        DeepRegressor(minutes=minutes).fit(features, target)


def test_all_rows_are_learned_from() -> None:
    features, target = load_diabetes(return_X_y=True)
    regressor = DeepRegressor(epochs=1, minutes=float("inf"), recipe=SMALL, random_state=0)
    rows = regressor.fit(features, target).model_.rows
    assert rows.train + rows.validation == len(target)
    assert rows.test == 0


def test_what_cannot_be_learned_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="one class"):
        DeepClassifier(recipe=SMALL).fit(np.arange(40.0).reshape(20, 2), ["one"] * 20)
    with pytest.raises(ValueError, match="Did you mean 'width'"):
        DeepRegressor(recipe={"widht": 3}).fit(np.arange(40.0).reshape(20, 2), np.arange(20.0))


def test_a_clone_is_not_fitted() -> None:
    features, target = load_diabetes(return_X_y=True)
    fitted = DeepRegressor(epochs=1, recipe=SMALL).fit(features, target)
    assert not hasattr(clone(fitted), "model_")
