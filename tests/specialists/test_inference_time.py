"""How long the inference takes is measured by three methods, which all come close to the optimum."""

import pytest

from distillation.core.store import Store
from distillation.specialists import inference_time
from distillation.specialists.inference_time import InferenceTime


def test_of_many_classes_gradient_descent_is_timed_on_some_images(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_time, "AT_ONCE", 25 * 12)
    found = InferenceTime(images=30, classes=12, specialists=4, size=4).run(store)["metrics"]
    assert [row["images_timed"] for row in found["methods"]] == [30, 25, 20]


def test_inference_time_measures_three_methods(store: Store) -> None:
    found = InferenceTime(images=30, classes=12, specialists=4, size=4).run(store)["metrics"]
    assert [row["method"].split(",")[0] for row in found["methods"]] == [
        "Newton's method",
        "gradient descent",
        "gradient descent",
    ]
    for row in found["methods"]:
        assert row["seconds"] > 0
        assert -1e-12 <= row["excess"] <= 1e-6
        assert row["excess"] <= row["largest_excess"]
    assert [row["images_timed"] for row in found["methods"]] == [30, 30, 20]
    assert 0 < found["active_mean"] < 4
