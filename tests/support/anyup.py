"""AnyUp with random weights: what must hold of any, for checkouts that have no published ones."""

import torch

from omniup import AnyUp


def random_anyup(*, seed=0, dtype=torch.float32, **options):
    """A network whose logits differ by some units, ready for use; norms and extensions are as if trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AnyUp(**options)
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter.data, 1.0 if name.endswith("weight") else 0.0, 0.2)
            elif not parameter.any():  # where an extension begins
                torch.nn.init.normal_(parameter.data, 0.0, 0.2)
        network.cross_decode.cross_attn.norm_q.weight.data *= 4
    return network.to(dtype).eval().requires_grad_(False)
