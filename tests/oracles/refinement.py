"""Refinement of one image, literally: components by singular values, the solver by its formulas, no bands."""

import math

import torch
from torch.nn import functional as F


def components(features, most):
    """Mean [C], directions [K, C] and deviations [K] of features [C, h, w] that vary in all of them."""
    vectors = features.flatten(1).T
    mean = vectors.mean(0)
    _, values, directions = torch.linalg.svd(vectors - mean, full_matrices=False)
    directions = directions[:most]
    for direction in directions:
        if ((vectors - mean) @ direction).pow(3).sum() < 0:
            direction *= -1
    return mean, directions, values[:most] / math.sqrt(len(vectors))


def alphas(timesteps=1000):
    """ᾱ of the cosine schedule (arXiv 2102.09672), its root stretched to end at zero (arXiv 2305.08891): [T]."""

    def level(t):
        return math.cos((t / timesteps + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - level(t + 1) / level(t), 0.999) for t in range(timesteps)]
    roots = torch.tensor([1 - beta for beta in betas], dtype=torch.float64).cumprod(0).sqrt()
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square()


def solve(estimate, noise, steps, timesteps=1000):
    """Sample from noise by DPM-Solver++(2M), algorithm 2 of arXiv 2211.01095: `estimate(x, t)` gives x_0.

    The correction is that of Heun; the first and the last step, which has no end on the scale of λ, are DDIM's.
    """
    alpha = alphas(timesteps).clamp_min(2**-24)
    a, sigma = alpha.sqrt(), (1 - alpha).sqrt()
    log_snr = (a / sigma).log()  # λ
    times = [round(timesteps - step * timesteps / steps) - 1 for step in range(steps)]
    x, before = noise, None
    for index, time in enumerate(times):
        start = estimate(x, time)
        if index == steps - 1:
            return start
        there = times[index + 1]
        h = log_snr[there] - log_snr[time]
        x = sigma[there] / sigma[time] * x - a[there] * torch.expm1(-h) * start
        if before is not None:
            slope = (start - before) * h / (log_snr[time] - log_snr[times[index - 1]])
            x = x + a[there] * (torch.expm1(-h) / h + 1) * slope
        before = start
    raise AssertionError


def refine(denoise, conditions, features, initial, noise, steps, most):
    """Mean [C, H, W], spread [H, W] and samples [S, C, H, W] of one image; the mean is that of the first estimates.

    Args:
        denoise: x [1, 1, H', W'], conditions [1, 9, H', W'], t [1] and a relative deviation [1] to x_0.
        conditions: [K, 9, H', W'].
        features: [C, h, w].
        initial: [C, H, W].
        noise: [S, K, H', W'].
        steps: of the solver.
        most: K.
    """
    _, directions, deviations = components(features, most)
    samples, means = [], []
    for noisy in noise:
        residual = mean = 0
        for k, direction in enumerate(directions):

            def estimate(x, time, k=k):
                relative = (deviations[k] / deviations[0])[None]
                return denoise(x, conditions[k : k + 1], torch.tensor([time]), relative)

            coordinate = solve(estimate, noisy[k][None, None], steps)[0]  # [1, H', W']
            residual = residual + deviations[k] * direction[:, None, None] * coordinate
            first = estimate(noisy[k][None, None], 999)[0]
            mean = mean + deviations[k] * direction[:, None, None] * first
        samples.append(residual)
        means.append(mean)
    residuals = torch.stack(samples)  # [S, C, H', W']
    size = initial.shape[1:]
    spread = residuals.var(0).mean(0).sqrt()[None, None]
    made, expected = (initial + F.interpolate(each, size, mode="bilinear") for each in (residuals, torch.stack(means)))
    return expected.mean(0), F.interpolate(spread, size, mode="bilinear")[0, 0], made
