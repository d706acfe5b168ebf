"""Vision models of transformers with few random weights, as `save_pretrained` writes them."""

import functools

import torch
import transformers

_BLOCKS = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
_TALL = {**_BLOCKS, "intermediate_size": 32}
_STAGES = {"hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1]}

#: By name: the model, its configuration and what that is made of.
MODELS = {
    "vit": ("ViTForImageClassification", "ViTConfig", _TALL),  # without the pooler that ViTModel has
    "dinov2": ("Dinov2Model", "Dinov2Config", {**_BLOCKS, "patch_size": 14}),
    "registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", {**_BLOCKS, "patch_size": 14}),
    "deit": ("DeiTModel", "DeiTConfig", _TALL),
    "clip": ("CLIPModel", "CLIPConfig", {"vision_config": _TALL, "text_config": {**_TALL, "vocab_size": 49408}}),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", _TALL),
    "swin": ("SwinModel", "SwinConfig", {"embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4, "window_size": 3}),
    "convnext": ("ConvNextModel", "ConvNextConfig", _STAGES),
    "resnet": ("ResNetModel", "ResNetConfig", {**_STAGES, "embedding_size": 8}),
    "segformer": (
        "SegformerModel",
        "SegformerConfig",
        {"hidden_sizes": [8, 16, 32, 32], "num_attention_heads": [1] * 4},
    ),
    "mae": ("ViTMAEModel", "ViTMAEConfig", _TALL),
    "bert": ("BertModel", "BertConfig", {**_TALL, "vocab_size": 100}),
}


@functools.cache
def small_model(name):
    """A model with random weights, always the same."""
    model, config, settings = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()


def save_model(name, folder):
    """Save a model to a folder, and return the folder's name."""
    transformers.utils.logging.disable_progress_bar()
    small_model(name).save_pretrained(folder)
    return str(folder)
