from __future__ import annotations
import torch
def load(network, weights):
    network.load_state_dict(torch.load(weights, weights_only=True))
