from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from omniup.encoders import Projection
from omniup.evaluation import reconstruction_metrics
from omniup.files import image_tensor
from omniup.reconstruction import SSIM_WINDOW, panels, reconstruct, working_image
from omniup.upsamplers import Bicubic, Bilinear, JointBilateral, PyramidBilateral, UpsampleAnything
from support.kernels import equal, smooth_image

WAYS = ("bilinear", "bicubic", "fixed", "fitted", "pyramid")


@pytest.fixture(scope="module")
def image():
    return working_image(smooth_image((48, 64), dtype=torch.float32), 8, None)


class Stages:
    def __init__(self):
        self.begun, self.ended = [], []

    @contextmanager
    def __call__(self, name):
        self.begun.append(name)
        yield
        self.ended.append(name)


def job(image, method=None, **options):
    method = method or UpsampleAnything(iterations=3)
    return reconstruct(image, method, stride=8, encode=Projection(5, 8), stage=Stages(), **options)


@pytest.fixture(scope="module")
def made(image):
    return job(image)


def test_all_ways_upsample_the_same_cells(image, made):
    assert made.image is image
    assert made.cells.equal(torch.nn.functional.interpolate(image, (6, 8), mode="bilinear"))
    expected = {
        "bilinear": Bilinear().prepare(image, (6, 8)).render(made.cells),
        "bicubic": Bicubic().prepare(image, (6, 8)).render(made.cells),
        "fixed": JointBilateral().prepare(image, (6, 8)).render(made.cells),
        "fitted": made.kernels.render(made.cells),
        "pyramid": PyramidBilateral().prepare(image, (6, 8)).render(made.cells, "values"),
    }
    assert made.images.keys() == expected.keys() == made.metrics.keys()
    for way in WAYS:
        torch.testing.assert_close(made.images[way], expected[way])
        assert made.metrics[way] == reconstruction_metrics(made.images[way], image)


def test_features_are_upsampled_with_the_same_kernels(image, made):
    features = Projection(5, 8)(image, (6, 8)).features
    assert made.encoding.features.equal(features)
    torch.testing.assert_close(made.features["bilinear"], Bilinear().prepare(image, (6, 8)).render(features))
    torch.testing.assert_close(made.features["fixed"], made.fixed.render(features))
    torch.testing.assert_close(made.features["fitted"], made.kernels.render(features))
    pyramid = PyramidBilateral().prepare(image, (6, 8)).render(features, "features")
    torch.testing.assert_close(made.features["pyramid"], pyramid)
    assert made.features.keys() == set(WAYS) - {"bicubic"}
    assert made.concentration.equal(made.kernels.confidence())


def test_the_fit_is_the_method_s(image, made):
    kernels = UpsampleAnything(iterations=3).fit(image, (6, 8))
    assert equal(made.kernels, kernels)
    assert made.kernels.history.losses == kernels.history.losses


def test_the_gain_is_over_the_fixed_kernels(made):
    assert made.gain == made.metrics["fitted"]["psnr_recon"] - made.metrics["fixed"]["psnr_recon"]
    assert made.gain > 0


def test_the_baseline_can_be_chosen(image):
    other = JointBilateral(5, 5, 0.0, 0.3, 1)
    assert equal(job(image, baseline=other).fixed, other.prepare(image, (6, 8)))


def test_without_iterations_the_kernels_are_the_fixed_ones(image):
    made = job(image, UpsampleAnything(iterations=0))
    torch.testing.assert_close(made.images["fitted"], made.images["fixed"], atol=1e-5, rtol=1e-4)
    assert made.gain == pytest.approx(0, abs=1e-3)


def test_the_paper_s_preset_mixes_a_bicubic_image(image):
    made = job(image, UpsampleAnything.preset("paper", iterations=1))
    assert made.cells.equal(torch.nn.functional.interpolate(image, (6, 8), mode="bicubic"))


def test_stages_are_told_in_their_order(image):
    stages, steps = Stages(), []
    method = UpsampleAnything(iterations=4)
    reconstruct(image, method, stride=8, encode=Projection(), stage=stages, progress=steps.append)
    assert stages.begun == stages.ended
    assert stages.begun == ["encode", "fit", "render image", "render features", "concentration", "metrics"]
    assert [step.iteration for step in steps] == [1, 2, 3, 4]


def test_what_progress_raises_ends_the_job(image):
    stages = Stages()

    def stop(step):
        if step.iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct(image, UpsampleAnything(iterations=9), stride=8, encode=Projection(), stage=stages, progress=stop)
    assert stages.begun == ["encode", "fit"]
    assert stages.ended == ["encode"]


def test_memory_does_not_change_the_result(image, made):
    scarce = job(image, memory=300_000)
    for way in WAYS:
        torch.testing.assert_close(scarce.images[way], made.images[way], atol=1e-5, rtol=1e-4)


def test_every_panel_is_of_the_reconstruction(made):
    found = panels(made)
    errors = {f"error_{way}" for way in WAYS}
    features = {f"features_{way}" for way in ("low_resolution", "bilinear", "fixed", "fitted", "pyramid")}
    parameters = {"sigma_x", "sigma_y", "theta", "sigma_r"}
    assert found.keys() == {"original", "low_resolution", "concentration", *WAYS} | errors | features | parameters
    assert len({found[name].limits for name in errors}) == 1
    assert found["sigma_x"].limits == found["sigma_y"].limits


def test_a_fit_that_hardly_moves_the_widths_does_not_look_like_a_large_one(image):
    found = panels(job(image, UpsampleAnything(iterations=1, lr=1e-4)))
    for name in ("sigma_x", "sigma_r"):
        low, high = found[name].limits
        assert high - low == pytest.approx(0.05 * (low + high) / 2)
        assert low < found[name].image.min() and found[name].image.max() < high


# ---- the size that is worked at

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))
strides = st.integers(1, 40)


def blank(size):
    return torch.zeros(1).expand(1, 1, *size)


@given(size=sizes, stride=strides, longest=st.none() | st.integers(1, 1200))
def test_sizes_to_work_at(size, stride, longest):
    height, width = working_image(blank(size), stride, longest).shape[2:]
    assert height % stride == width % stride == 0
    assert min(height, width) >= SSIM_WINDOW
    scale = (longest or min(512, max(size))) / max(size)
    for side, wanted in ((height, scale * size[0]), (width, scale * size[1])):
        assert abs(side - wanted) <= stride / 2 + 0.5 or side < SSIM_WINDOW + stride


@given(size=sizes, stride=strides, longest=st.none() | st.integers(1, 1200))
def test_squares_to_work_at(size, stride, longest):
    height, width = working_image(blank(size), stride, longest, square=True).shape[2:]
    assert height == width
    assert height % stride == 0
    assert height >= SSIM_WINDOW
    wanted = longest or min(512, max(size))
    assert abs(height - wanted) <= stride / 2 or height < SSIM_WINDOW + stride


@pytest.mark.parametrize("stride", [8, 14, 16, 32])
@pytest.mark.parametrize("size", [224, 256, 384])
def test_the_specification_s_sizes(size, stride):
    nearest = stride * round(size / stride + 1e-9)
    assert working_image(blank((400, 600)), stride, size, square=True).shape[2:] == (nearest, nearest)


def test_an_image_of_the_right_size_is_left_as_it_is():
    image = torch.randint(256, (1, 3, 32, 48), generator=torch.Generator().manual_seed(0)) / 255
    assert working_image(image, 16, 48).equal(image)
    assert working_image(image[..., :32], 16, 32, square=True).equal(image[..., :32])


@pytest.mark.parametrize("square", [False, True])
def test_the_image_to_work_on_is_what_a_png_holds(square):
    noise = torch.rand(1, 3, 100, 150, generator=torch.Generator().manual_seed(0))
    image = working_image(noise, 16, None, square=square)
    pixels = (255 * image).byte()[0].permute(1, 2, 0).numpy()
    assert image_tensor(Image.fromarray(pixels)).equal(image)
    white = torch.ones(1, 3, 97, 130)
    assert working_image(white, 16, 64, square=square).equal(torch.ones(1, 3, 64 if square else 48, 64))


def test_a_square_shows_the_whole_image():
    image = torch.zeros(1, 3, 40, 120)
    image[..., :60] = 1
    square = working_image(image, 8, 80, square=True)
    assert square.shape == (1, 3, 80, 80)
    assert square[..., :38].min() == 1
    assert square[..., 42:].max() == 0
