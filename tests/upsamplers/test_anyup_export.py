import pytest
import torch

from omniup import InputError
from omniup.upsamplers.anyup.export import FixedSizes, export_onnx
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image

SIZES = [((32, 48), (4, 6), None), ((33, 20), (5, 3), (18, 27)), ((8, 8), (1, 8), (16, 9)), ((64, 40), (4, 3), None)]


@pytest.fixture(scope="module")
def network():
    return random_anyup()


@pytest.mark.parametrize(("image_size", "grid", "size"), SIZES)
def test_fixed_sizes_change_nothing(network, image_size, grid, size):
    image = smooth_image(image_size, batch=2, dtype=torch.float32)
    features = random_signal(grid, channels=7, batch=2, dtype=torch.float32)
    fixed = FixedSizes(network, image_size, grid, size)
    torch.testing.assert_close(fixed(image, features), network(image, features, size), rtol=0, atol=1e-5)


EXTENDED = [{"pyramid": (0.05, 0.3)}, {"implicit": True}, {"pyramid": (0.05, 0.3), "implicit": True}]


@pytest.mark.parametrize(
    "variant", [{"window_ratio": 0.3}, {"window_ratio": 1}, {"feature_path": False}, *EXTENDED], ids=str
)
def test_fixed_sizes_have_the_network_s_settings(variant):
    network, (image_size, grid, size) = random_anyup(**variant), SIZES[1]
    image, features = smooth_image(image_size, dtype=torch.float32), random_signal(grid, channels=7).float()
    fixed = FixedSizes(network, image_size, grid, size)
    torch.testing.assert_close(fixed(image, features), network(image, features, size), rtol=0, atol=1e-5)


def test_it_shares_the_weights_and_adds_none(network):
    fixed = FixedSizes(network, (32, 48), (4, 6))
    assert {id(parameter) for parameter in fixed.parameters()} == {id(parameter) for parameter in network.parameters()}
    assert len(fixed.state_dict()) == 73


def test_a_result_smaller_than_the_grid_is_refused(network):
    with pytest.raises(InputError, match=r"^signal is 4 × 6, larger than"):
        FixedSizes(network, (32, 48), (4, 6), (3, 48))


@pytest.mark.parametrize(("image_size", "grid", "size"), SIZES[:2])
def test_onnxruntime_computes_the_same(network, tmp_path, image_size, grid, size):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "anyup.onnx"
    assert export_onnx(network, path, image_size, 7, grid, size) < 1e-4
    image, features = smooth_image(image_size, dtype=torch.float32), random_signal(grid, channels=7).float()
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (out,) = session.run(["upsampled"], {"image": image.numpy(), "features": features.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), network(image, features, size), rtol=0, atol=1e-4)


def test_onnxruntime_computes_the_same_with_extensions(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    (image_size, grid, size), path = SIZES[1], tmp_path / "anyup.onnx"
    assert export_onnx(random_anyup(**EXTENDED[2]), path, image_size, 7, grid, size) < 1e-4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_compiles(network):
    torch._dynamo.reset()
    image, features = smooth_image((32, 48), dtype=torch.float32), random_signal((4, 6), channels=7).float()
    fixed = FixedSizes(network, (32, 48), (4, 6))
    with torch.no_grad():
        out = torch.compile(fixed, backend="aot_eager", fullgraph=True)(image, features)
    torch.testing.assert_close(out, network(image, features), rtol=0, atol=1e-5)
