"""How good a result is, one number at a time; what the benchmark's tasks count with lies in `labels` and `depth`."""

from omniup.evaluation.metrics.edges import edge_spread
from omniup.evaluation.metrics.images import l1, psnr, reconstruction_metrics, ssim

__all__ = ["edge_spread", "l1", "psnr", "reconstruction_metrics", "ssim"]
