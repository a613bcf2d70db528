"""The local outlier factor."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import LocalOutlierFactor

from labelrepair.outliers import outlier_factors


def cloud(rows=100, seed=0):
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("neighbours", [1, 5, 50])
def test_equals_scikit_learns(neighbours):
    features = cloud(200)
    model = LocalOutlierFactor(n_neighbors=neighbours).fit(features.numpy())
    found = outlier_factors(features, neighbours)
    np.testing.assert_allclose(found, -model.negative_outlier_factor_, rtol=1e-4)


def test_by_hand():
    """0, 1, 3 on a line, one neighbour each: 1 reaches 0 at 1, 3 reaches 1 at 2."""
    found = outlier_factors(torch.tensor([[0.0], [1.0], [3.0]]), 1)
    np.testing.assert_allclose(found, [1, 1, 2], rtol=1e-6)


def test_a_row_far_from_the_others_is_odd():
    factors = outlier_factors(torch.cat([cloud(), torch.full((1, 3), 9.0)]), 20)
    assert factors[-1] > 2 * factors[:-1].max()
    assert factors[:-1].median() == pytest.approx(1, abs=0.1)
    assert outlier_factors(cloud()[:2], 20).tolist() == [1, 1]


def test_wrong_rows_that_are_alike_are_found_with_enough_neighbours():
    """Thirty of a hundred rows lie together: odd to half of the class, usual among themselves."""
    rows = torch.cat([cloud(70), cloud(30, 1) / 2 + 6])
    by_half, by_few = outlier_factors(rows), outlier_factors(rows, 10)
    assert (by_half.argsort()[70:] >= 70).float().mean() > 0.9
    assert (by_few.argsort()[70:] >= 70).float().mean() < 0.6


def test_a_sample_of_references_tells_the_same_rows():
    rows = torch.cat([cloud(2000), 4 * cloud(40, 1)])
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:200]
    whole, some = outlier_factors(rows, 400), outlier_factors(rows, 400, drawn)
    assert np.corrcoef(whole, some)[0, 1] > 0.95


def test_copies_do_not_break_the_factors():
    factors = outlier_factors(torch.eye(3).repeat_interleave(20, 0)[:45], 5)
    assert factors.isfinite().all()
    assert (factors > 0).all()
