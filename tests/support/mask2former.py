"""A Mask2Former without trained weights."""

import torch
import transformers

CLASSES = ("wall", "sky", "tree", "person", "car")


def small_network():
    """A Mask2Former of 0.1 million random weights, and opinions as strong as a trained one's."""
    config = transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=64,
        mask_feature_size=32,
        hidden_dim=64,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=6,
        id2label=dict(enumerate(CLASSES)),
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)
        made = transformers.Mask2FormerForUniversalSegmentation(config).eval()
        for name, parameter in made.named_parameters():
            if name.startswith("class_predictor"):
                parameter.data.normal_(0, 0.5)
            elif "mask_embedder" in name:
                parameter.data.normal_(0, 0.3)
    return made
