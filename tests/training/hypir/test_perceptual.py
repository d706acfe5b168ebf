import pytest
import torch

from omniup.errors import InputError
from omniup.files.weights import WeightsUnavailableError
from omniup.training.hypir import perceptual
from omniup.training.hypir.perceptual import distance, perceptual_distance

pytest.importorskip("torchmetrics")
pytest.importorskip("torchvision")


@pytest.fixture(scope="module")
def network():
    return perceptual_distance("random")


def test_it_is_a_distance_that_gradients_pass(network):
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    assert distance(network, image, image.detach()).item() == 0
    found = distance(network, image, 1 - image.detach())
    found.backward()
    assert found > 0 and image.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in network.parameters())


def test_weights_come_from_a_file_of_torchvision_s(network, tmp_path):
    state = {f"features.{name.partition('.')[2]}": t for name, t in network.net.state_dict().items()}
    torch.save(state | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    again = perceptual_distance(str(tmp_path / "vgg.pth"), seed=1)
    one, other = torch.rand(2, 1, 3, 32, 32)
    assert torch.equal(again(one, other), network(one, other))
    del state["features.28.weight"]
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(InputError, match=r"has no fitting features.28.weight; accepted: torchvision's VGG16"):
        perceptual._load(again, str(tmp_path / "vgg.pth"))


def test_missing_weights_are_named_with_their_place(network, monkeypatch):
    def fail(url):
        raise WeightsUnavailableError(f"{url}: no network")

    monkeypatch.setattr(perceptual, "fetch", fail)
    with pytest.raises(
        InputError, match=r"losses.lpips is published, .*which may also lie at .*vgg16-397923af.pth; random"
    ) as refused:
        perceptual._load(network, "published")
    assert "\n" not in str(refused.value)
