"""Temporal fusion, pixel by pixel, as the head of omniup/sequences/fusion.py states it."""

import math

import numpy as np


def fetch(channel, x, y, cubic):
    """The value of a channel [H, W] at a place, bicubic (a = -0.75) or bilinear; its border goes on."""
    height, width = channel.shape
    left, top = math.floor(x), math.floor(y)
    reach = range(-1, 3) if cubic else range(2)
    total = 0.0
    for i in reach:
        for j in reach:
            weight = (_cubic if cubic else _linear)(y - top - i) * (_cubic if cubic else _linear)(x - left - j)
            total += weight * channel[min(max(top + i, 0), height - 1), min(max(left + j, 0), width - 1)]
    return total


def _linear(t):
    return max(0.0, 1 - abs(t))


def _cubic(t, a=-0.75):
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def confidence_of_flow(image, before, places, length, error, settings):
    """[H, W] of two frames [G, H, W] with their flow."""
    _, height, width = image.shape
    change = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            there = [fetch(channel, *places[y, x], False) for channel in before]
            change[y, x] = np.mean([abs(now - then) for now, then in zip(image[:, y, x], there, strict=True)])
    trust = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            light = change[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean()
            tolerance = settings.tolerance + settings.slope * length[y, x]
            inside = 0 <= places[y, x, 0] <= width - 1 and 0 <= places[y, x, 1] <= height - 1
            trust[y, x] = inside * math.exp(-((error[y, x] / tolerance) ** 2) - (light / settings.light) ** 2)
    return trust


def mix(current, before, places, weight):
    """(S + m W) / (1 + m) with m [H, W], of results [C, H, W]."""
    out = np.zeros_like(current)
    for c, (now, then) in enumerate(zip(current, before, strict=True)):
        for y, x in np.ndindex(now.shape):
            fetched = min(max(fetch(then, *places[y, x], True), then.min()), then.max())
            out[c, y, x] = (now[y, x] + weight[y, x] * fetched) / (1 + weight[y, x])
    return out
