//! How alike two kernels are, how a kernel meets labels, and how many directions it has: what changes while a network
//! learns features.
//!
//! All of them compare directions: a kernel may be multiplied by any positive number. They cost one or two passes over
//! the matrices, with k products a row for labels of k outputs; [`target_shares`] alone needs an eigensystem.

use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};

use crate::bridge::{check_finite, check_rows, product};
use crate::{Error, Symmetric, SymmetricEigen};

/// The distance 1 − ⟨A, B⟩/(‖A‖ ‖B‖) of two kernels on the same samples, in [0, 2], and in [0, 1] for positive
/// semidefinite ones. a, b: (n, n).
///
/// It is taken as ½ ‖A/‖A‖ − B/‖B‖‖², so that small distances keep all their digits. For a small change of the kernel
/// it is half the square of the angle turned.
///
/// ```
/// use ndarray::array;
/// use ntk_linalg::{Symmetric, kernel_distance};
/// let a = Symmetric::new(array![[1.0, 0.0], [0.0, 0.0]])?;
/// let b = Symmetric::new(array![[0.0, 0.0], [0.0, 7.0]])?;
/// assert_eq!((kernel_distance(&a, &a)?, kernel_distance(&a, &b)?), (0.0, 1.0));
/// # Ok::<(), ntk_linalg::Error>(())
/// ```
///
/// # Errors
/// [`Error::Rows`] for kernels of different sizes, [`Error::NoDirection`] for one that is zero.
///
/// # Source
/// \[fort2020deep\].
pub fn kernel_distance(a: &Symmetric, b: &Symmetric) -> Result<f64, Error> {
    check_rows(a.len(), b.len())?;
    let (a, b) = (Direction::of(a)?, Direction::of(b)?);
    let square = Zip::from(a.view).and(b.view).fold(0.0, |sum, x, y| sum + (a.at(*x) - b.at(*y)).powi(2));
    Ok(0.5 * square)
}

/// The distance of two kernels over the time between them. a, b: (n, n).
///
/// The distance is of second order in the change, so that velocities over short times tend to 0 with the time: compare
/// those over equal times.
///
/// # Errors
/// Those of [`kernel_distance`]; [`Error::Interval`] for a time that is not finite and above 0.
///
/// # Source
/// \[fort2020deep\].
pub fn kernel_velocity(a: &Symmetric, b: &Symmetric, time: f64) -> Result<f64, Error> {
    if !(time.is_finite() && time > 0.0) {
        return Err(Error::Interval { value: time });
    }
    Ok(kernel_distance(a, b)? / time)
}

/// ‖B − A‖/‖A‖ in Frobenius norms: the only quantity here that sees scale. a, b: (n, n).
///
/// # Errors
/// As [`kernel_distance`], but b may be zero.
pub fn relative_change(a: &Symmetric, b: &Symmetric) -> Result<f64, Error> {
    check_rows(a.len(), b.len())?;
    let a = Direction::of(a)?;
    let square = Zip::from(a.view).and(b.view()).fold(0.0, |sum, x, y| sum + (a.at(*y) - a.at(*x)).powi(2));
    Ok(square.sqrt())
}

/// The alignment ⟨Θ, YYᵀ⟩/(‖Θ‖ ‖YYᵀ‖) of a kernel with labels, at most 1; for one output yᵀΘy/(‖Θ‖ |y|²).
/// kernel: (n, n), y: (n, k).
///
/// It does not change if labels are rotated among outputs. Center the labels first if their mean should not count.
///
/// # Errors
/// [`Error::Rows`], [`Error::NonFinite`] for labels that do not fit; [`Error::NoDirection`] if kernel or labels are
/// zero.
///
/// # Source
/// \[cristianini2001kernel\], Definition 1.
pub fn target_alignment(kernel: &Symmetric, y: ArrayView2<'_, f64>) -> Result<f64, Error> {
    let (direction, y) = (Direction::of(kernel)?, targets(kernel.len(), y)?);
    // ‖YYᵀ‖ = ‖YᵀY‖, which is small.
    let norm = product(y.t(), y.view())?.iter().map(|v| v * v).sum::<f64>().sqrt();
    let along = Zip::from(&product(direction.view, y.view())?).and(&y).fold(0.0, |sum, a, y| sum + a * y);
    Ok(direction.at(along) / norm)
}

/// The centered alignment ⟨HAH, HBH⟩/(‖HAH‖ ‖HBH‖) of two kernels, H = I − 11ᵀ/n: linear CKA. a, b: (n, n).
///
/// It does not change if c 1ᵀ + 1 cᵀ is added to a kernel, as a constant in the features does.
///
/// # Errors
/// [`Error::Rows`] for kernels of different sizes; [`Error::NoDirection`] for one that is zero, or is zero up to
/// rounding when it is centered.
///
/// # Source
/// \[cortes2012algorithms\]; \[kornblith2019similarity\].
pub fn centered_alignment(a: &Symmetric, b: &Symmetric) -> Result<f64, Error> {
    check_rows(a.len(), b.len())?;
    let (a, b) = (centered(a)?, centered(b)?);
    Ok(Zip::from(&a).and(&b).fold(0.0, |sum, x, y| sum + x * y))
}

/// The effective rank (tr Θ)²/tr(Θ²): n for a multiple of the identity, 1 for rank one, in between the number of
/// eigenvalues that count. kernel: (n, n).
///
/// # Errors
/// [`Error::NoDirection`] for a kernel of zeros.
pub fn effective_rank(kernel: &Symmetric) -> Result<f64, Error> {
    let direction = Direction::of(kernel)?;
    Ok(direction.view.diag().iter().map(|v| direction.at(*v)).sum::<f64>().powi(2))
}

/// The share of the labels in the span of the leading eigenvectors, Σ_{i ≤ j} |uᵢᵀY|²/‖Y‖². y: (n, k) → n shares.
///
/// Entry j − 1 belongs to the j eigenvectors of largest eigenvalues; the last is 1.
///
/// # Errors
/// [`Error::Rows`], [`Error::NonFinite`] for labels that do not fit; [`Error::NoDirection`] if they are zero.
pub fn target_shares(eigen: &SymmetricEigen, y: ArrayView2<'_, f64>) -> Result<Array1<f64>, Error> {
    let y = targets(eigen.values().len(), y)?;
    let total: f64 = y.iter().map(|v| v * v).sum();
    let modes = product(eigen.vectors().t(), y.view())?;
    let mut sum = 0.0;
    let shares = modes.rows().into_iter().rev().map(|row| {
        sum += row.dot(&row) / total;
        sum
    });
    Ok(shares.collect())
}

/// A matrix and its norm, kept apart as largest · scale so that no square over- or underflows.
struct Direction<'a> {
    view: ArrayView2<'a, f64>,
    largest: f64,
    /// ‖A‖ / largest, between 1 and n.
    scale: f64,
}

impl<'a> Direction<'a> {
    fn of(matrix: &'a Symmetric) -> Result<Self, Error> {
        let view = matrix.view();
        let largest = modulus(view);
        if largest == 0.0 {
            return Err(Error::NoDirection { what: "a kernel" });
        }
        let scale = view.iter().map(|v| (v / largest).powi(2)).sum::<f64>().sqrt();
        Ok(Direction { view, largest, scale })
    }

    /// An entry of A/‖A‖.
    fn at(&self, entry: f64) -> f64 {
        entry / self.largest / self.scale
    }
}

fn modulus(values: ArrayView2<'_, f64>) -> f64 {
    values.iter().fold(0.0_f64, |m, v| m.max(v.abs()))
}

/// Labels with largest entry ±1.
fn targets(n: usize, y: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
    check_rows(n, y.nrows())?;
    check_finite(y)?;
    match modulus(y) {
        0.0 => Err(Error::NoDirection { what: "the array of labels" }),
        largest => Ok(&y / largest),
    }
}

/// HAH/‖HAH‖.
fn centered(matrix: &Symmetric) -> Result<Array2<f64>, Error> {
    let direction = Direction::of(matrix)?;
    let mut a = direction.view.mapv(|v| direction.at(v));
    // One axis after the other, twice: a large constant leaves rounding behind, which the second round removes.
    for axis in [0, 1, 0, 1] {
        let mean = a.sum_axis(Axis(axis)) / matrix.len() as f64;
        a -= &mean.insert_axis(Axis(axis));
    }
    let norm = a.iter().map(|v| v * v).sum::<f64>().sqrt();
    if norm <= matrix.len() as f64 * f64::EPSILON {
        return Err(Error::NoDirection { what: "a centered kernel" });
    }
    Ok(a / norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn symmetric(a: Array2<f64>) -> Symmetric {
        Symmetric::new(a).unwrap()
    }

    /// A positive definite matrix without any symmetry.
    fn kernel(n: usize, seed: f64) -> Array2<f64> {
        let b = Array2::from_shape_fn((n, n), |(i, j)| (1.7 * (i * n + j) as f64 + seed).sin());
        b.dot(&b.t()) + Array2::<f64>::eye(n)
    }

    #[test]
    fn values_by_hand() {
        let (a, b) = (symmetric(array![[3.0, 0.0], [0.0, 4.0]]), symmetric(array![[0.0, 1.0], [1.0, 1.0]]));
        // ⟨a, b⟩ = 4, ‖a‖ = 5, ‖b‖ = √3.
        let expected = 1.0 - 4.0 / (5.0 * 3f64.sqrt());
        assert!((kernel_distance(&a, &b).unwrap() - expected).abs() < 1e-15);
        assert!((kernel_velocity(&a, &b, 0.5).unwrap() - 2.0 * expected).abs() < 1e-15);
        assert!((relative_change(&a, &b).unwrap() - 20f64.sqrt() / 5.0).abs() < 1e-15);
        assert!((effective_rank(&a).unwrap() - 49.0 / 25.0).abs() < 1e-15);
        // yᵀay = 7 with |y|² = 2; with two outputs ⟨a, YYᵀ⟩ = 3 + 4 · 4 and ‖YYᵀ‖ = √17.
        assert!((target_alignment(&a, array![[1.0], [-1.0]].view()).unwrap() - 0.7).abs() < 1e-15);
        let y = array![[1.0, 0.0], [0.0, 2.0]];
        assert!((target_alignment(&a, y.view()).unwrap() - 19.0 / (5.0 * 17f64.sqrt())).abs() < 1e-15);
        // Of two samples the centered kernel is a multiple of (1, −1)(1, −1)ᵀ.
        assert!((centered_alignment(&a, &b).unwrap() + 1.0).abs() < 1e-15);
        let eigen = SymmetricEigen::new(&a).unwrap();
        assert_eq!(target_shares(&eigen, array![[4.0], [3.0]].view()).unwrap(), array![0.36, 1.0]);
    }

    #[test]
    fn a_kernel_is_aligned_with_itself_at_any_scale() {
        let a = kernel(7, 0.0);
        for scale in [1e-300, 1e-160, 1.0, 1e160, 1e300] {
            let (one, other) = (symmetric(a.clone()), symmetric(&a * scale));
            assert!(kernel_distance(&one, &other).unwrap() < 1e-30, "{scale:e}");
            assert!((centered_alignment(&one, &other).unwrap() - 1.0).abs() < 1e-14, "{scale:e}");
            let ranks = [effective_rank(&one).unwrap(), effective_rank(&other).unwrap()];
            assert!((ranks[0] / ranks[1] - 1.0).abs() < 1e-14, "{scale:e}: {ranks:?}");
            let y = Array2::from_shape_fn((7, 1), |(i, _)| scale * (i as f64).cos());
            let alignments = [&one, &other].map(|k| target_alignment(k, y.view()).unwrap());
            assert!((alignments[0] - alignments[1]).abs() < 1e-14, "{scale:e}: {alignments:?}");
        }
        let y = Array2::from_shape_fn((7, 2), |(i, j)| (i as f64 + 3.0 * j as f64).cos());
        let labels = symmetric(y.dot(&y.t()));
        assert!((target_alignment(&labels, y.view()).unwrap() - 1.0).abs() < 1e-14);
    }

    #[test]
    fn small_distances_keep_their_digits() {
        // Turned by an angle t in the plane of I and a traceless matrix: 1 − cos t = 2 sin²(t/2).
        for t in [1e-2_f64, 1e-5, 1e-8, 1e-12] {
            let (c, s) = (t.cos(), t.sin());
            let turned = symmetric(array![[c + s, 0.0], [0.0, c - s]]);
            let got = kernel_distance(&symmetric(Array2::eye(2)), &turned).unwrap();
            let expected = 2.0 * (t / 2.0).sin().powi(2);
            assert!((got / expected - 1.0).abs() < 1e-15 / t + 1e-12, "{t:e}: {got:e}");
        }
    }

    #[test]
    fn rotated_labels_align_alike() {
        let (a, (s, c)) = (symmetric(kernel(6, 0.3)), 0.7_f64.sin_cos());
        let y = Array2::from_shape_fn((6, 2), |(i, j)| (2.0 * i as f64 + 5.0 * j as f64).sin());
        let turned = y.dot(&array![[c, -s], [s, c]]);
        let [one, other] = [&y, &turned].map(|y| target_alignment(&a, y.view()).unwrap());
        assert!((one - other).abs() < 1e-14);
        let eigen = SymmetricEigen::new(&a).unwrap();
        let [one, other] = [&y, &turned].map(|y| target_shares(&eigen, y.view()).unwrap());
        assert!((one - other).iter().all(|d| d.abs() < 1e-14));
    }

    #[test]
    fn centered_alignment_ignores_constants_in_the_features() {
        let (a, b) = (kernel(6, 0.0), kernel(6, 1.0));
        let c = Array2::from_shape_fn((6, 1), |(i, _)| 3.0 * (i as f64).sin() + 10.0);
        let shifted = &a + &c + c.t();
        let plain = centered_alignment(&symmetric(a), &symmetric(b.clone())).unwrap();
        let got = centered_alignment(&symmetric(shifted), &symmetric(b)).unwrap();
        assert!((plain - got).abs() < 1e-13, "{plain} {got}");
        assert!((0.0..1.0).contains(&plain));
    }

    #[test]
    fn what_has_no_direction_is_refused() {
        let (a, zero) = (symmetric(Array2::eye(2)), symmetric(Array2::zeros((2, 2))));
        let no = |what| Err(Error::NoDirection { what });
        assert_eq!(kernel_distance(&a, &zero), no("a kernel"));
        assert_eq!(relative_change(&zero, &a), no("a kernel"));
        assert!((relative_change(&a, &zero).unwrap() - 1.0).abs() < 1e-15);
        assert_eq!(effective_rank(&zero), no("a kernel"));
        assert_eq!(target_alignment(&a, array![[0.0], [0.0]].view()), no("the array of labels"));
        let constant = symmetric(Array2::from_elem((2, 2), 0.1));
        assert_eq!(centered_alignment(&a, &constant), no("a centered kernel"));
        assert_eq!(
            kernel_distance(&a, &symmetric(Array2::eye(3))),
            Err(Error::Rows { expected: 2, rows: 3 })
        );
        assert_eq!(target_alignment(&a, array![[1.0]].view()), Err(Error::Rows { expected: 2, rows: 1 }));
        let bad = array![[1.0], [f64::INFINITY]];
        assert_eq!(
            target_alignment(&a, bad.view()),
            Err(Error::NonFinite { row: 1, column: 0, value: f64::INFINITY })
        );
        assert_eq!(kernel_velocity(&a, &a, 0.0), Err(Error::Interval { value: 0.0 }));
        assert_eq!(kernel_velocity(&a, &a, -1.0), Err(Error::Interval { value: -1.0 }));
        assert!(kernel_velocity(&a, &a, f64::NAN).is_err());
    }
}
