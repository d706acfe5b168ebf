"""How good a result is."""

from omniup.evaluation.metrics import l1, psnr, reconstruction_metrics, ssim

__all__ = ["l1", "psnr", "reconstruction_metrics", "ssim"]
