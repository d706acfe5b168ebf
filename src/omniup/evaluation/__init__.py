"""Measure the quality of results and the speed of computations."""

from omniup.evaluation.metrics import edge_spread, l1, psnr, reconstruction_metrics, ssim

__all__ = ["edge_spread", "l1", "psnr", "reconstruction_metrics", "ssim"]
