"""`omniup.nn.Upsample` inside networks: gradients, training loops, copies, compilers."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import omniup
from omniup import InputError
from omniup.nn import Upsample
from support.anyup import random_anyup
from support.kernels import random_signal, smooth_image

SIZE, GRID = (16, 24), (4, 6)
IMAGE = smooth_image(SIZE, batch=2, dtype=torch.float32)
SIGNAL = random_signal(GRID, channels=3, batch=2).float()
SETTINGS = {
    "pyramid_bilateral": {"back_projections": 2, "sigma_r_candidates": 2},
    "upsample_anything": {"iterations": 1},
}
METHODS = list(omniup.methods())
NETWORKS = ["anyup", "ensemble"]
DIFFERENTIABLE = ["nearest", "bilinear", "bicubic", "guided_filter", "anyup"]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A file of random weights of AnyUp."""
    path, network = tmp_path_factory.mktemp("weights") / "anyup.safetensors", random_anyup()
    save_file(network.state_dict(), path, network.metadata())
    return str(path)


@pytest.fixture
def layer(request, weights):
    """A layer of the method whose name is the parameter."""
    settings = {"weights": weights} if request.param in NETWORKS else SETTINGS.get(request.param, {})
    return Upsample(request.param, **settings)


every_layer = pytest.mark.parametrize("layer", METHODS, indirect=True)


@pytest.mark.parametrize("signal_type", ["features", "logits", "measurement", "auto"])
@every_layer
def test_it_gives_what_the_one_call_gives(layer, signal_type):
    layer.signal_type = signal_type
    options = {"method": layer.method, "signal_type": signal_type, "size": (20, 30), **layer.settings}
    assert torch.equal(layer(IMAGE, SIGNAL, (20, 30)), omniup.upsample(IMAGE, SIGNAL, **options))


def test_a_size_may_be_the_longer_side():
    image, signal = torch.rand(1, 3, 48, 64), torch.rand(1, 4, 6, 8)
    assert torch.equal(omniup.nn.Upsample()(image, signal, 32), omniup.upsample(image, signal, size=(24, 32)))


@every_layer
def test_it_is_differentiable_in_the_signal(layer):
    layer.double()

    def mix(signal):
        return layer(IMAGE[:1].double(), signal)

    assert torch.autograd.gradcheck(mix, SIGNAL[:1, :2].double().requires_grad_(), fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("valid", [None, torch.arange(24).view(1, 1, *GRID) % 5 > 0], ids=["all", "holes"])
@pytest.mark.parametrize("layer", DIFFERENTIABLE, indirect=True)
def test_some_are_differentiable_in_the_image(layer, valid):
    layer.double()
    assert layer.image_gradient
    image, signal = IMAGE[:1].double().requires_grad_(), SIGNAL[:1, :2].double().requires_grad_()
    result = layer(image, signal, None, valid)
    torch.testing.assert_close(result, layer(image.detach(), signal, None, valid), atol=1e-6, rtol=1e-5)
    if layer.method in ("guided_filter", "anyup"):
        assert torch.autograd.grad(result.square().sum(), image)[0].abs().max() > 0
        arguments = (image * 0.9 + 0.05, signal, (12, 18), valid)
        assert torch.autograd.gradcheck(layer, arguments, fast_mode=True, atol=1e-4)
    else:
        assert torch.autograd.grad(result.sum(), image, allow_unused=True) == (None,)


@pytest.mark.parametrize("layer", ["guided_filter", "anyup"], indirect=True)
def test_the_one_call_and_points_have_the_image_s_gradient_too(layer):
    points = torch.tensor([[3, 5], [12, 20]])
    image = IMAGE[:1].clone().requires_grad_()
    upsampler, grad = layer.upsampler, torch.autograd.grad
    at_points = grad(upsampler.prepare(image, GRID).render_at(SIGNAL[:1], points, "features").sum(), image)
    everywhere = upsampler.prepare(image, GRID).render(SIGNAL[:1], "features")
    chosen = grad(everywhere[:, :, points[:, 0], points[:, 1]].sum(), image)
    torch.testing.assert_close(at_points, chosen, atol=1e-5, rtol=1e-4)
    once = omniup.upsample(image, SIGNAL[:1], method=layer.method, signal_type="features", **layer.settings)
    assert torch.equal(grad(once.sum(), image)[0], grad(layer(image, SIGNAL[:1]).sum(), image)[0])


@pytest.mark.parametrize("layer", [name for name in METHODS if name not in DIFFERENTIABLE], indirect=True)
def test_a_gradient_that_a_method_does_not_have_is_refused(layer):
    image = IMAGE.clone().requires_grad_()
    with pytest.raises(InputError, match=rf"^image requires a gradient, which {layer.method} does not have;.*detach"):
        layer(image, SIGNAL)
    with torch.no_grad():
        assert torch.equal(layer(image, SIGNAL), layer(IMAGE, SIGNAL))
    assert not omniup.upsample(image, SIGNAL, method=layer.method, **layer.settings).requires_grad


@every_layer
def test_only_weights_are_in_the_state_dict(layer):
    keys = layer.state_dict().keys()
    assert len(keys) == (73 if layer.method in NETWORKS else 0)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_a_checkpoint_of_a_network_with_torch_s_layer_loads():
    theirs = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Upsample(scale_factor=4)])
    nn.ModuleList([nn.Conv2d(3, 3, 1), Upsample()]).load_state_dict(theirs.state_dict())


@every_layer
def test_copies_give_the_same(layer):
    expected = layer(IMAGE, SIGNAL)
    for same in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), layer.eval(), layer.train()):
        assert torch.equal(same(IMAGE, SIGNAL), expected)


@every_layer
def test_autocast_changes_nothing_but_the_signal_s_dtype(layer):
    expected = layer(IMAGE, SIGNAL.bfloat16())
    conv = nn.Conv2d(3, 3, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(IMAGE, SIGNAL.bfloat16()), expected)
        result = layer(IMAGE, conv(SIGNAL))
    assert result.dtype == torch.bfloat16
    result.float().square().sum().backward()
    assert conv.weight.grad.isfinite().all()
    assert conv.weight.grad.abs().max() > 0


@pytest.mark.parametrize("layer", ["pyramid_bilateral", "anyup"], indirect=True)
def test_a_network_with_it_learns(layer):
    """Also with data in parallel, as every process of a distributed training has it."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        head, target = nn.Conv2d(3, 3, 1), layer(IMAGE, 2 * SIGNAL)
        network = nn.ModuleDict({"head": head, "upsample": layer}).train()
        network.forward = lambda image, signal: layer(image, head(signal))
        parallel = nn.parallel.DistributedDataParallel(network)
        optimizer, losses = torch.optim.SGD(head.parameters(), lr=0.5), []
        for _ in range(8):
            loss = (parallel(IMAGE, SIGNAL) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.5 * losses[0]
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("layer", ["pyramid_bilateral", *NETWORKS], indirect=True)
def test_replicas_in_threads_give_the_same(layer):
    """As `torch.nn.DataParallel` has them, one for each device."""
    expected = layer(IMAGE, SIGNAL)
    replicas = [layer._replicate_for_data_parallel() for _ in range(4)]
    for replica in replicas:  # what broadcasting the weights to their devices does
        replica._modules = {name: copy.deepcopy(module) for name, module in layer._modules.items()}
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda replica: replica(IMAGE, SIGNAL), 2 * replicas))
    assert all(torch.equal(result, expected) for result in results)
    assert torch.equal(nn.DataParallel(layer)(IMAGE, SIGNAL), expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of the compiler, on its way
@pytest.mark.parametrize("layer", ["bilinear", "joint_bilateral", "anyup"], indirect=True)
def test_a_compiled_network_gives_the_same(layer):
    torch.compiler.reset()
    network = nn.Conv2d(3, 3, 1)
    compiled = torch.compile(lambda image, signal: layer(image, network(signal)).square(), backend="eager")
    torch.testing.assert_close(compiled(IMAGE, SIGNAL), layer(IMAGE, network(SIGNAL)).square())


class _Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.upsample = Upsample("joint_bilateral")

    def forward(self, image, signal):
        return self.upsample(image, signal)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("how", "compile_"),
    [
        ("scripted", torch.jit.script),
        ("exported", lambda network: torch.jit.trace(network, (IMAGE, SIGNAL))),
        pytest.param(
            "exported",
            lambda network: torch.export.export(network, (IMAGE, SIGNAL)),
            marks=pytest.mark.skipif(
                not hasattr(torch.compiler, "is_exporting"), reason="older torch refuses in its own words"
            ),
        ),
    ],
    ids=["script", "trace", "export"],
)
def test_graphs_are_refused(how, compile_):
    with pytest.raises(InputError, match=rf"^omniup.nn.Upsample cannot be {how}: .*torch.compile"):
        compile_(_Network())


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("method", {"method": "nothing"}),
        ("radius", {"method": "bilinear", "radius": 1}),
        ("signal_type", {"signal_type": "pictures"}),
        ("holes", {"holes": "leave"}),
        ("consistency", {"consistency": -1}),
        ("memory", {"memory": "much"}),
    ],
)
def test_a_setting_is_refused_when_the_network_is_made(argument, options):
    with pytest.raises(InputError, match=f"^{argument} "):
        Upsample(**options)


def test_what_it_says_of_itself():
    layer = Upsample("joint_bilateral", signal_type="logits", radius=1)
    assert repr(layer) == "Upsample(method='joint_bilateral', signal_type='logits', radius=1)"
