import numpy as np
import pytest
from scipy import stats

from orchestrator.compare import noise


def variances(rng: np.random.Generator, sd: np.ndarray, df: int) -> np.ndarray:
    return sd**2 * rng.chisquare(df, sd.size) / df


def test_equally_noisy_cells_are_pooled_to_the_true_variance(rng: np.random.Generator) -> None:
    result = noise.pooled(variances(rng, np.full(2000, 0.02), 8), np.full(2000, 8.0))

    assert np.median(result.variance) == pytest.approx(0.02**2, rel=0.05)
    assert np.median(result.df) > 100  # five repeats have 8; the other cells add theirs


def test_cells_that_differ_in_noise_keep_their_own_variance(rng: np.random.Generator) -> None:
    sd = 0.02 * np.exp(0.8 * rng.normal(size=500))
    result = noise.pooled(variances(rng, sd, 8), np.full(500, 8.0))

    assert np.median(result.df) < 20
    assert stats.spearmanr(result.variance, sd).statistic > 0.9


def test_a_cell_far_noisier_than_the_others_uses_its_own_variance(rng: np.random.Generator) -> None:
    own = variances(rng, np.full(100, 0.02), 8)
    own[7] = 0.3**2
    result = noise.pooled(own, np.full(100, 8.0))

    assert result.variance[7] == pytest.approx(0.3**2)
    assert result.df[7] == 8
    assert np.delete(result.variance, 7).max() < 0.04**2  # and it does not affect the others


def test_a_single_repeat_uses_the_variance_of_the_other_cells(rng: np.random.Generator) -> None:
    own, df = variances(rng, np.full(50, 0.02), 8), np.full(50, 8.0)
    own[0], df[0] = 0, 0

    assert noise.pooled(own, df).variance[0] == pytest.approx(0.02**2, rel=0.2)


def test_single_repeats_alone_have_an_infinite_variance() -> None:
    result = noise.pooled(np.zeros(3), np.zeros(3))

    assert np.isinf(result.variance).all()


def test_repeats_that_agree_exactly_have_the_variance_of_the_resolution() -> None:
    result = noise.pooled(np.zeros(20), np.full(20, 8.0))

    assert result.variance == pytest.approx(0.001**2, rel=0.2)


def test_no_estimate_has_more_degrees_of_freedom_than_all_cells_together(rng: np.random.Generator) -> None:
    result = noise.pooled(variances(rng, np.full(3, 0.02), 4), np.full(3, 4.0))

    assert result.df.max() <= 12


def test_the_noise_that_snapshots_add_is_estimated_beside_that_of_the_repeats(rng: np.random.Generator) -> None:
    means = rng.normal(size=(200, 15)) * np.hypot(0.009, 0.02)  # 0.9 % from the repeats, 2 % from each snapshot
    differences = np.diff(means, axis=1).ravel()
    result = noise.between_snapshots(differences, np.full(differences.size, 2 * 0.009**2))

    assert result.variance**0.5 == pytest.approx(0.02, rel=0.1)


def test_real_changes_in_a_few_cells_are_not_taken_for_noise_of_snapshots(rng: np.random.Generator) -> None:
    means = rng.normal(size=(200, 15)) * 0.009
    means[:40, 7:] += 0.5
    differences = np.diff(means, axis=1).ravel()
    result = noise.between_snapshots(differences, np.full(differences.size, 2 * 0.009**2))

    assert result.variance**0.5 < 0.004


def test_without_noise_of_snapshots_the_degrees_of_freedom_stay_the_same() -> None:
    within = noise.Noise(np.array([4.0, 4.0]), np.array([80.0, 40.0]))

    assert noise.combined_df(within, noise.SnapshotNoise(0.0, 2.0)) == pytest.approx([80, 40])
    assert noise.combined_df(within, noise.SnapshotNoise(4.0, 2.0)) == pytest.approx([64 / 8.2, 64 / 8.4])


def test_critical_is_the_t_of_student_with_bonferroni() -> None:
    assert noise.critical(np.array([8.0]), 1200, 0.01) == pytest.approx(stats.t.ppf(1 - 0.01 / 2400, 8))


def test_a_cell_alone_is_taken_for_the_median_of_its_like() -> None:
    found = noise.pooled(np.array([4e-4]), np.array([4.0]))

    assert found.variance == pytest.approx(4e-4 / (stats.chi2.median(4) / 4), rel=1e-4)
    assert found.df == 4


@pytest.mark.parametrize(("difference", "added"), [(3.0, 4.5 / 0.454936423 - 0.5), (0.1, 0.0)])
def test_snapshots_add_what_lifts_the_repeats_noise_to_the_differences(difference: float, added: float) -> None:
    # the median of difference^2 / (1 + 2 added) is that of a normal's square
    found = noise.between_snapshots(np.array([difference] * 16), np.ones(16))

    assert (found.variance, found.df) == (pytest.approx(added), 2.0)


def test_few_differences_have_one_degree_of_freedom_and_none_add_nothing() -> None:
    assert noise.between_snapshots(np.array([3.0]), np.ones(1)).df == 1.0
    assert noise.between_snapshots(np.zeros(0), np.zeros(0)) == noise.SnapshotNoise(0.0, 1.0)
