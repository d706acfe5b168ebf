"""Time of Upsample Anything, and its distance from what this machine can do.

The limit of the paper case is what its method must compute, as written (197 candidates for every pixel): in each of
51 iterations, for 256 cells of 196 pixels, three products [196, 10] × [10, 197] (logits; derivative by the weights;
derivative by the keys) and one exponential per pair, and once the product that renders 384 channels. Each is timed
here, in the same run, on 16 cells at a time, so that it stays in the cache. We list border cells once, however often
clamping repeats them, and so have a little less to do.
"""

from __future__ import annotations

import statistics

import torch

from measure import device_argument, photograph, show
from omniup import UpsampleAnything
from omniup.evaluation.measuring import in_turns, ratio

ITERATIONS, CELLS, PIXELS, CANDIDATES, WIDTH, CHANNELS = 51, 256, 196, 197, 10, 384
AT_ONCE = 16


def main() -> None:
    """Print the table."""
    device = device_argument(__doc__)
    paper_image, spec_image = photograph(224, 224, device), photograph(256, 256, device)
    features = torch.randn(1, CHANNELS, 16, 16, device=device)
    paper, spec = UpsampleAnything.preset("paper"), UpsampleAnything.preset("spec")
    kernels = paper.prepare(paper_image, (16, 16))

    queries = torch.randn(AT_ONCE, PIXELS, WIDTH, device=device)
    keys = torch.randn(AT_ONCE, WIDTH, CANDIDATES, device=device)
    values = torch.randn(AT_ONCE, CANDIDATES, CHANNELS, device=device)
    logits = queries @ keys
    rendered = logits @ values
    negative = -logits.abs()
    times = in_turns(
        [
            lambda: paper.prepare(paper_image, (16, 16)).render(features),
            lambda: paper.prepare(paper_image, (16, 16)),
            lambda: kernels.render(features),
            lambda: spec.prepare(spec_image, (16, 16)),
            lambda: [torch.bmm(queries, keys, out=logits) for _ in range(CELLS // AT_ONCE)],
            lambda: [torch.exp(negative, out=logits) for _ in range(CELLS // AT_ONCE)],
            lambda: [torch.bmm(logits, values, out=rendered) for _ in range(CELLS // AT_ONCE)],
        ],
        device,
        turns=11,
    )
    both, fit, render, spec_fit, product, exponential, render_product = times
    limit = [ITERATIONS * (3 * p + e) + r for p, e, r in zip(product, exponential, render_product, strict=True)]

    def row(name: str, numbers: list[float], reach: str) -> list[str]:
        return [name, f"{statistics.median(numbers):.3f} s", f"{min(numbers):.3f} to {max(numbers):.3f}", reach]

    show(
        "Upsample Anything",
        ["what", "median", "range", "to reach"],
        [
            row("paper: 224×224, 16×16 grid, 384 channels, 51 iterations, fit + render", both, "≤ 1.1 s"),
            row("    of which fit", fit, ""),
            row("    of which render", render, ""),
            row("limit of that case on this machine", limit, ""),
            ["distance from the limit", f"{ratio(both, limit):.2f} ×", "", "≤ 1.5 ×"],
            row("spec: 256×256, stride 16, R = 2, 50 iterations", spec_fit, "≤ 0.25 s"),
        ],
        device,
    )


if __name__ == "__main__":
    main()
