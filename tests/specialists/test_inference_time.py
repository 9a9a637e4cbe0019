"""How long the inference takes is measured by three methods, which all come close to the optimum."""

from distillation.core.store import Store
from distillation.specialists.inference_time import InferenceTime


def test_inference_time_measures_three_methods(store: Store) -> None:
    found = InferenceTime(images=30, classes=12, specialists=4, size=4).run(store)["metrics"]
    assert [row["method"].split(",")[0] for row in found["methods"]] == [
        "expectation-maximisation",
        "gradient descent",
        "gradient descent",
    ]
    for row in found["methods"]:
        assert row["seconds"] > 0
        assert -1e-12 <= row["excess"] <= 1e-6
        assert row["excess"] <= row["largest_excess"]
    assert found["methods"][2]["images_timed"] == 20
    assert 0 < found["active_mean"] < 4
    assert 1 < found["iterations"] < 200
