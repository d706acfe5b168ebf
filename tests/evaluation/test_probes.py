import pytest
import torch

from omniup.evaluation.probes import LinearProbe, mean_iou


def test_it_finds_a_linear_rule():
    random = torch.Generator().manual_seed(0)
    features = torch.randn(2, 6, 16, 16, generator=random)
    labels = torch.einsum("lc,nchw->nlhw", torch.randn(3, 6, generator=random), features).argmax(1)
    probe = LinearProbe.fit(features, labels)
    assert (probe.predict(features) == labels).float().mean() > 0.9


def test_it_is_ridge_regression_to_the_shares_of_labels():
    random = torch.Generator().manual_seed(0)
    features = torch.randn(1, 3, 4, 5, generator=random)
    labels = torch.randint(-1, 2, (1, 8, 10), generator=random)
    probe = LinearProbe.fit(features, labels)

    vectors, targets = [], []
    for y in range(8):
        for x in range(10):
            if (label := int(labels[0, y, x])) >= 0:  # every pixel a row, at its cell's features
                vectors.append(features[0, :, y // 2, x // 2].double())
                targets.append(torch.eye(2).double()[label])
    x, y = torch.stack(vectors), torch.stack(targets)
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x)
    ridge = 1e-2 * covariance.diagonal().mean() * torch.eye(3)
    expected = torch.linalg.solve(covariance + ridge, centred.T @ (y - y.mean(0)) / len(x)).T
    assert torch.allclose(probe.weight.double(), expected, atol=1e-6)
    assert torch.allclose(probe.bias.double(), y.mean(0) - expected @ x.mean(0), atol=1e-6)


def test_mean_iou_of_a_case_done_by_hand():
    labels = torch.tensor([0, 0, 1, 1, 1, -1])
    prediction = torch.tensor([0, 1, 1, 1, 2, 0])
    assert mean_iou(prediction, labels) == pytest.approx((1 / 2 + 2 / 4) / 2)  # 2 does not occur
    assert mean_iou(labels.clamp(min=0), labels) == 1
