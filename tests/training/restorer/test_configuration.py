import pytest

from omniup.errors import InputError
from omniup.training.restorer import Configuration

DATA = {"images": ["sample:coffee"]}


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"data": DATA}, "degradations"),
        ({"data": DATA, "degradations": {}}, "degradations"),
        ({"data": DATA | {"border": 15}, "degradations": {"none": {}}}, "border leaves 97 pixels of 112"),
        ({"data": DATA, "degradations": {"none": {"weight": 0}}}, "weight"),
        ({"data": DATA, "degradations": {"none": {}}, "batch": 3}, "group is 2 in batches of 3"),
        ({"data": DATA, "degradations": {"none": {}}, "scales": [0]}, "scales do not divide 96 pixels"),
        ({"data": DATA | {"border": 32}, "degradations": {"none": {}}, "scales": [1, 0, 1]}, "do not divide 80 pixels"),
        ({"data": DATA, "degradations": {"none": {}}, "scales": [1, 1, 1, 1, 1]}, "scales"),
        ({"data": DATA, "degradations": {"none": {}}, "network": {"weights": "none.safetensors"}}, "none.safetensors"),
        ({"data": DATA, "degradations": {"mild": {"settings": "none.yaml"}}}, "none.yaml"),
    ],
)
def test_refusals(fields, refusal):
    with pytest.raises((InputError, ValueError), match=refusal):
        Configuration(**fields)
