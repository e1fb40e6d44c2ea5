//! Inputs, well separated or as unpleasant as real data gets, and Gram matrices of known spectrum.

use std::f64::consts::TAU;

use ndarray::{Array1, Array2, ArrayView1};
use proptest::prelude::*;

/// No two samples of [`inputs`] are closer in angle than this.
const ANGLE: f64 = 0.05;

/// 2 to 10 samples of 1 to 8 features, on the sphere or Gaussian, every two more than 0.05 rad apart; shape (n, d).
pub fn inputs() -> impl Strategy<Value = Array2<f64>> + Clone {
    prop_oneof![spherical_inputs(), gaussian_inputs()]
}

/// As [`inputs`], with |x|² = d for every sample.
pub fn spherical_inputs() -> impl Strategy<Value = Array2<f64>> + Clone {
    gaussian_inputs().prop_map(|mut x| {
        let d = x.ncols() as f64;
        for mut row in x.rows_mut() {
            let scale = (d / row.dot(&row)).sqrt();
            row *= scale;
        }
        x
    })
}

/// As [`inputs`], with the features of a sample drawn from N(0, 1).
pub fn gaussian_inputs() -> impl Strategy<Value = Array2<f64>> + Clone {
    // On a line there are two directions only.
    let shape = (2usize..=10, 1usize..=8).prop_map(|(n, d)| if d == 1 { (2, 1) } else { (n, d) });
    shape
        .prop_flat_map(|(n, d)| {
            normals(n * d).prop_map(move |values| Array2::from_shape_fn((n, d), |(i, j)| values[i * d + j]))
        })
        .prop_map(|mut x| {
            if x.ncols() == 1 {
                x[[0, 0]] = x[[0, 0]].abs();
                x[[1, 0]] = -x[[1, 0]].abs();
            }
            x
        })
        .prop_filter("two samples in one direction, or one without a direction", separated)
}

/// [`inputs`] with zeros, duplicates, opposites, multiples and nearly identical (relative distance 10⁻⁹) samples
/// appended: what a kernel must survive exactly.
pub fn nasty_inputs() -> impl Strategy<Value = Array2<f64>> + Clone {
    let defect = prop_oneof![
        Just(Defect::Zero),
        Just(Defect::Multiple(1.0)),
        Just(Defect::Multiple(-1.0)),
        Just(Defect::Multiple(1e3)),
        Just(Defect::Nearly(1.0)),
        Just(Defect::Nearly(-1.0)),
    ];
    (inputs(), prop::collection::vec((defect, any::<prop::sample::Index>()), 1..5)).prop_map(
        |(x, defects)| {
            let rows: Vec<Array1<f64>> =
                defects.iter().map(|(defect, index)| defect.of(x.row(index.index(x.nrows())))).collect();
            let n = x.nrows();
            Array2::from_shape_fn(
                (n + rows.len(), x.ncols()),
                |(i, j)| {
                    if i < n { x[[i, j]] } else { rows[i - n][j] }
                },
            )
        },
    )
}

/// How an appended sample stands to an existing one.
#[derive(Clone, Copy, Debug)]
enum Defect {
    Zero,
    Multiple(f64),
    Nearly(f64),
}

impl Defect {
    fn of(self, sample: ArrayView1<'_, f64>) -> Array1<f64> {
        match self {
            Defect::Zero => Array1::zeros(sample.len()),
            Defect::Multiple(factor) => &sample * factor,
            Defect::Nearly(factor) => {
                let mut near = &sample * factor;
                near[0] += 1e-9 * sample.dot(&sample).sqrt();
                near
            }
        }
    }
}

fn separated(x: &Array2<f64>) -> bool {
    let norms: Vec<f64> = x.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect();
    norms.iter().all(|norm| *norm > 1e-3)
        && (0..x.nrows())
            .all(|i| (0..i).all(|j| x.row(i).dot(&x.row(j)) < norms[i] * norms[j] * f64::cos(ANGLE)))
}

/// Independent N(0, 1), by Box and Muller.
pub(super) fn normals(count: usize) -> impl Strategy<Value = Vec<f64>> + Clone {
    let normal = (0.0..1.0f64, 0.0..TAU).prop_map(|(u, angle)| (-2.0 * (-u).ln_1p()).sqrt() * angle.cos());
    prop::collection::vec(normal, count)
}

/// A symmetric positive semidefinite matrix and the eigenvalues that it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    /// Exactly symmetric, (n, n).
    pub matrix: Array2<f64>,
    /// Its n eigenvalues up to rounding, largest first.
    pub spectrum: Vec<f64>,
}

/// A matrix of given eigenvalues in random directions: Q diag(λ) Qᵀ with Q a product of n reflections.
pub fn gram(spectrum: impl Strategy<Value = Vec<f64>>) -> impl Strategy<Value = Gram> {
    spectrum.prop_flat_map(|mut spectrum| {
        spectrum.sort_by(|a, b| b.total_cmp(a));
        let n = spectrum.len();
        normals(n * n).prop_map(move |values| {
            let mut matrix = Array2::from_diag(&Array1::from_vec(spectrum.clone()));
            for v in values.chunks_exact(n).map(ArrayView1::from) {
                reflect(&mut matrix, v);
            }
            let symmetric = 0.5 * (&matrix + &matrix.t());
            Gram { matrix: symmetric, spectrum: spectrum.clone() }
        })
    })
}

/// Matrices of order 2 to 10 of which one to all but one eigenvalue are 0, the others in [0.1, 10).
pub fn singular_gram() -> impl Strategy<Value = Gram> {
    let spectrum = (1usize..=5, 1usize..=5).prop_flat_map(|(rank, nullity)| {
        prop::collection::vec(0.1..10.0f64, rank).prop_map(move |mut spectrum| {
            spectrum.resize(rank + nullity, 0.0);
            spectrum
        })
    });
    gram(spectrum)
}

/// H A H with the reflection H = I − 2vvᵀ/|v|².
fn reflect(matrix: &mut Array2<f64>, v: ArrayView1<'_, f64>) {
    let square = v.dot(&v);
    if square == 0.0 {
        return;
    }
    for _ in 0..2 {
        let image = matrix.dot(&v) * (2.0 / square);
        for (mut row, factor) in matrix.rows_mut().into_iter().zip(&image) {
            row.scaled_add(-factor, &v);
        }
        // The second pass works on the transpose, hence from the left.
        matrix.swap_axes(0, 1);
    }
}
