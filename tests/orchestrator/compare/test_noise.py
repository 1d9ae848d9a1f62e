import numpy as np
import pytest
from scipy import stats

from orchestrator.compare import noise


def variances(rng: np.random.Generator, sd: np.ndarray, df: int) -> np.ndarray:
    return sd**2 * rng.chisquare(df, sd.size) / df


def test_equally_noisy_cells_are_pooled_to_the_true_variance(rng: np.random.Generator) -> None:
    found = noise.pooled(variances(rng, np.full(2000, 0.02), 8), np.full(2000, 8.0))

    assert np.median(found.variance) == pytest.approx(0.02**2, rel=0.05)
    assert np.median(found.df) > 100  # five repeats have 8: the other cells lend theirs


def test_cells_that_differ_in_noise_keep_their_own(rng: np.random.Generator) -> None:
    sd = 0.02 * np.exp(0.8 * rng.normal(size=500))
    found = noise.pooled(variances(rng, sd, 8), np.full(500, 8.0))

    assert np.median(found.df) < 20
    assert stats.spearmanr(found.variance, sd).statistic > 0.9


def test_a_cell_far_noisier_than_the_others_is_judged_by_its_own_repeats(rng: np.random.Generator) -> None:
    own = variances(rng, np.full(100, 0.02), 8)
    own[7] = 0.3**2
    found = noise.pooled(own, np.full(100, 8.0))

    assert found.variance[7] == pytest.approx(0.3**2)
    assert found.df[7] == 8
    assert np.delete(found.variance, 7).max() < 0.04**2  # and it moves no other


def test_a_single_repeat_borrows_the_variance_of_the_other_cells(rng: np.random.Generator) -> None:
    own, df = variances(rng, np.full(50, 0.02), 8), np.full(50, 8.0)
    own[0], df[0] = 0, 0

    assert noise.pooled(own, df).variance[0] == pytest.approx(0.02**2, rel=0.2)


def test_single_repeats_alone_know_nothing() -> None:
    found = noise.pooled(np.zeros(3), np.zeros(3))

    assert np.isinf(found.variance).all()


def test_repeats_that_agree_exactly_are_believed_to_the_resolution_only() -> None:
    found = noise.pooled(np.zeros(20), np.full(20, 8.0))

    assert found.variance == pytest.approx(noise.RESOLUTION**2, rel=0.2)


def test_no_estimate_has_more_degrees_of_freedom_than_all_cells_together(rng: np.random.Generator) -> None:
    found = noise.pooled(variances(rng, np.full(3, 0.02), 4), np.full(3, 4.0))

    assert found.df.max() <= 12


def test_what_nights_add_is_found_beside_the_repeats_noise(rng: np.random.Generator) -> None:
    nights = rng.normal(size=(200, 15)) * np.hypot(0.009, 0.02)  # repeats give 0.9 %, a night adds 2 %
    differences = np.diff(nights, axis=1).ravel()
    found = noise.between_nights(differences, np.full(differences.size, 2 * 0.009**2))

    assert found.variance**0.5 == pytest.approx(0.02, rel=0.1)


def test_real_changes_in_a_few_cells_are_not_taken_for_noise_of_nights(rng: np.random.Generator) -> None:
    nights = rng.normal(size=(200, 15)) * 0.009
    nights[:40, 7:] += 0.5
    differences = np.diff(nights, axis=1).ravel()
    found = noise.between_nights(differences, np.full(differences.size, 2 * 0.009**2))

    assert found.variance**0.5 < 0.004


def test_noise_that_nights_do_not_add_costs_no_degrees_of_freedom() -> None:
    within = noise.Noise(np.array([4.0, 4.0]), np.array([80.0, 40.0]))

    assert noise.combined_df(within, noise.NightNoise(0.0, 2.0)) == pytest.approx([80, 40])
    assert noise.combined_df(within, noise.NightNoise(4.0, 2.0)) == pytest.approx([64 / 8.2, 64 / 8.4])


def test_critical_is_the_students_t_of_bonferroni() -> None:
    assert noise.critical(np.array([8.0]), 1200, 0.01) == pytest.approx(stats.t.ppf(1 - 0.01 / 2400, 8))
