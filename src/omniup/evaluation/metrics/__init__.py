"""Measure the quality of results, one number at a time; `labels` and `depth` count for the benchmark's tasks."""

from omniup.evaluation.metrics.edges import edge_spread
from omniup.evaluation.metrics.images import l1, psnr, reconstruction_metrics, ssim

__all__ = ["edge_spread", "l1", "psnr", "reconstruction_metrics", "ssim"]
