import numpy as np
import pytest
import timm
import torch
from torch.nn import functional as F

import omniup
from omniup.encoders import CallerEncoder, TimmBackbone, as_encoder, encode_image
from omniup.errors import InputError
from omniup.files import sample_image
from support.transformers_models import save_model, small_model


def averages(image):
    """A network of the caller's: colours of patches of 8 pixels."""
    return F.avg_pool2d(image, 8)


@pytest.fixture(scope="module")
def backbone():
    return TimmBackbone("test_vit", pretrained=False)


def test_a_path_a_picture_an_array_and_a_tensor_give_the_same(tmp_path, backbone):
    picture = sample_image("chelsea").resize((90, 60))
    picture.save(tmp_path / "photo.png")
    pixels = np.asarray(picture)
    tensor = torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1)[None]
    first = omniup.features(tmp_path / "photo.png", backbone)
    assert first.shape == (1, 64, 60, 90)
    for other in (str(tmp_path / "photo.png"), picture, pixels, tensor):
        torch.testing.assert_close(omniup.features(other, backbone), first, atol=1e-5, rtol=1e-5)


def test_it_is_the_encoder_and_then_the_method(backbone, image):
    dense = omniup.features(image, backbone, method="joint_bilateral", radius=1)
    expected = omniup.upsample(image, backbone(image).features, method="joint_bilateral", radius=1)
    assert torch.equal(dense, expected)


def test_lists_have_images_of_any_sizes(backbone):
    images = [torch.rand(1, 3, 40, 60), sample_image("coffee").resize((50, 33))]
    found = omniup.features(images, backbone)
    assert [each.shape for each in found] == [(1, 64, 40, 60), (1, 64, 33, 50)]
    assert torch.equal(found[0], omniup.features(images[0], backbone))


def test_batches(backbone, image):
    both = omniup.features(image, backbone)
    torch.testing.assert_close(both[1:], omniup.features(image[1:], backbone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "shape"), [(48, (36, 48)), ((30, 20), (30, 20)), (None, (97, 130))])
def test_sizes(size, shape, image, backbone):
    assert omniup.features(image, backbone, size=size).shape[2:] == shape


def test_large_images_are_reduced_unless_the_caller_says_otherwise():
    image = torch.rand(1, 3, 30, 1200)
    encoder = omniup.encoder("projection", channels=2)
    encoded = encode_image(image, encoder)
    assert encoded.encoding.features.shape == (1, 2, 2, 64)
    assert encoded.upsample().shape == (1, 2, 26, 1024)
    assert encode_image(image, encoder, size=1200).upsample().shape == (1, 2, 30, 1200)
    assert encode_image(image, encoder, resolution=1200).encoding.features.shape[3] == 75


def test_resolution_sets_the_number_of_cells(backbone, image):
    cells = [encode_image(image, backbone, resolution=n).encoding.features.shape[2:] for n in (64, 130, 260)]
    assert cells == [(3, 4), (6, 8), (12, 16)]


def test_padded_sides_leave_no_trace():
    """The colours of cells, on an image that padding makes larger by a third, lie where the image has them."""
    ramp = torch.linspace(0, 1, 24).view(1, 1, 1, 24).expand(1, 3, 20, 24)
    padded = omniup.features(ramp, averages, stride=16, sides="pad", method="bilinear")
    assert padded.shape == (1, 3, 20, 24)
    inner = slice(4, 12)
    torch.testing.assert_close(padded[..., 10, inner], ramp[..., 10, inner], atol=1e-4, rtol=0)


def test_padding_keeps_the_scale_and_resizing_does_not():
    seen = []

    def network(image):
        seen.append(image)
        return averages(image)

    image = torch.rand(1, 3, 20, 25)
    for sides in ("pad", "resize"):
        assert omniup.features(image, network, stride=16, sides=sides).shape == (1, 3, 20, 25)
    assert [each.shape for each in seen] == [(1, 3, 32, 32), (1, 3, 16, 32)]
    assert torch.equal(seen[0][..., :20, :25], image)
    assert torch.equal(seen[0][..., 20:, :25], image[..., -1:, :].expand(-1, -1, 12, -1))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision(precision, backbone, image):
    dense = omniup.features(image[:1], backbone, precision=precision)
    assert dense.dtype == getattr(torch, precision)
    whole = omniup.features(image[:1], backbone)
    assert F.cosine_similarity(dense.float(), whole).mean() > 0.99


def test_grey_images_have_three_equal_channels():
    grey = torch.rand(1, 1, 32, 32)
    colour = grey.expand(-1, 3, -1, -1)
    assert torch.equal(omniup.features(grey, "projection"), omniup.features(colour, "projection"))


def test_several_layers_are_concatenated(image):
    dense = omniup.features(image, omniup.encoder("timm:test_resnet", pretrained=False, layer=[1, -1]))
    assert dense.shape == (2, 32 + 96, 97, 130)


def test_a_model_of_timm_is_taken_as_it_is(image):
    model = timm.create_model("test_vit", dynamic_img_size=True).train()
    encoder = as_encoder(model)
    assert isinstance(encoder, TimmBackbone)
    encoding = encoder(image)
    assert (encoding.encoder, encoding.weights) == ("timm:test_vit", "the caller's")
    assert encoding.features.shape == (2, 64, 6, 8)
    assert not model.training


@pytest.mark.parametrize(
    "arrange",
    [lambda x: x, lambda x: x.movedim(1, 3), lambda x: x.flatten(2).mT, lambda x: F.pad(x.flatten(2).mT, (0, 0, 5, 0))],
    ids=["channels first", "channels last", "tokens", "tokens after others"],
)
def test_functions_may_return_any_layout(arrange, image):
    encoder = CallerEncoder(lambda image: arrange(averages(image)), stride=8)
    features = encoder(image).features
    assert features.shape == (2, 3, 12, 16)
    assert torch.equal(features, CallerEncoder(averages, 8)(image).features)


def test_outputs_of_transformers_are_taken(image):
    model = small_model("dinov2")
    encoding = CallerEncoder(lambda image: model((image - 0.45) / 0.225), stride=14)(image)
    assert encoding.features.shape == (2, 32, 7, 9)


@pytest.mark.parametrize(
    ("encoder", "problem"),
    [
        (3, "encoder is a int; accepted: a name"),
        (lambda image: None, "encoder returns a NoneType"),
        (lambda image: image.mean((2, 3)), r"encoder returns the shape \[2, 3\]"),
        ("resnet", "name is 'resnet'"),
    ],
)
def test_what_is_no_encoder_is_refused(encoder, problem, image):
    with pytest.raises(InputError, match=f"^{problem}"):
        omniup.features(image, encoder, stride=8)


def test_a_model_of_transformers_is_refused_with_the_way_to_use_it(image, tmp_path):
    with pytest.raises(InputError, match=r'^encoder is a model of transformers.*; accepted: "transformers:FOLDER"'):
        omniup.features(image, small_model("dinov2"))
    folder = save_model("dinov2", tmp_path / "dinov2")
    assert omniup.features(image, f"transformers:{folder}").shape == (2, 32, 97, 130)


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ({"sides": "crop"}, "sides is 'crop'; accepted: resize, pad"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"resolution": 0}, "resolution is 0"),
        ({"size": 0}, "size is 0; accepted: .height, width., or the longer side"),
        ({"size": (1, 2, 3)}, "size is"),
        ({"stride": 0}, "stride is 0"),
        ({"method": "cubist"}, "method is 'cubist'"),
        ({"layer": 3}, "layer is no setting of pyramid_bilateral"),
    ],
)
def test_options_are_refused_by_their_names(option, problem, image):
    with pytest.raises(InputError, match=f"^{problem}"):
        omniup.features(image, averages, **option)


def test_the_trained_network_of_timm(shared):
    """A pretrained network tells a cup from the table at the picture's resolution, with a colour that both have."""
    backbone = omniup.encoder(
        "timm:tf_efficientnet_lite0", pretrained=str(shared / "models/tf_efficientnet_lite0.safetensors"), layer=[1, 2]
    )
    dense = omniup.features(sample_image("coffee"), backbone, size=300)
    assert dense.shape == (1, 24 + 40, 200, 300)
    assert dense.isfinite().all()
