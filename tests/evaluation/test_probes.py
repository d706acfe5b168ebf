import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omniup.evaluation.probes import LinearProbe, mean_iou, ridge_regression, softmax_regression


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


@given(st.integers(1, 4), st.integers(2, 4), st.integers(0, 99))
def test_softmax_regression_is_where_the_likelihood_and_the_decay_balance(channels, labels, seed):
    random = torch.Generator().manual_seed(seed)
    vectors = 3 * torch.randn(40, channels, generator=random, dtype=torch.float64) + 5
    shares = torch.rand(40, labels, generator=random, dtype=torch.float64)
    shares[::5] = 0  # which count for nothing
    probe = softmax_regression(vectors, shares)

    counted = shares.sum(1) > 0
    total, mean = shares.sum(), (shares.sum(1, keepdim=True) * vectors).sum(0) / shares.sum()
    scale = ((shares.sum(1, keepdim=True) * (vectors - mean) ** 2).sum(0) / total).sqrt()
    weight = (probe.weight.double() * scale).requires_grad_()
    bias = (probe.bias.double() + probe.weight.double() @ mean).requires_grad_()
    loss = 0.5 * 1e-3 * weight.square().sum()
    for vector, share in zip(vectors[counted], shares[counted], strict=True):
        scores = weight @ ((vector - mean) / scale) + bias
        loss = loss - (share * torch.log(scores.exp() / scores.exp().sum())).sum() / total
    loss.backward()
    assert weight.grad.abs().max() < 1e-4
    assert bias.grad.abs().max() < 1e-4


def test_softmax_regression_does_not_depend_on_the_features_scales():
    random = torch.Generator().manual_seed(0)
    vectors, shares = torch.randn(60, 3, generator=random), torch.eye(2)[torch.arange(60) % 2]
    scales, offset = torch.tensor([0.01, 1, 50]), torch.tensor([3.0, 0, -7])
    plain, other = softmax_regression(vectors, shares), softmax_regression(vectors * scales + offset, shares)
    torch.testing.assert_close(other.weight * scales, plain.weight, rtol=1e-3, atol=1e-4)


def test_a_channel_that_is_constant_is_left_out():
    random = torch.Generator().manual_seed(0)
    vectors = torch.cat([torch.randn(50, 2, generator=random), torch.full((50, 1), 0.3)], dim=1)
    probe = softmax_regression(vectors, torch.eye(2)[(vectors[:, 0] > 0).long()])
    assert probe.weight.isfinite().all()
    assert (probe.weight[:, 2] == 0).all()
    assert (probe.predict(vectors.T[None, :, :, None])[0, :, 0] == (vectors[:, 0] > 0)).float().mean() > 0.9


def test_ridge_regression_counts_a_vector_as_often_as_told():
    random = torch.Generator().manual_seed(0)
    vectors, targets = torch.randn(9, 2, generator=random), torch.randn(9, 3, generator=random)
    counts = torch.tensor([0, 1, 2, 3, 0, 1, 1, 2, 5])
    repeated = [maps.repeat_interleave(counts, 0) for maps in (vectors, targets)]
    weighted = ridge_regression(vectors, targets * counts[:, None], counts)
    plain = ridge_regression(*repeated, torch.ones(len(repeated[0])))
    torch.testing.assert_close(weighted.weight, plain.weight)
    torch.testing.assert_close(weighted.bias, plain.bias)
