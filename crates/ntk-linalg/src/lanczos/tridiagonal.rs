//! The eigensystem of the small tridiagonal matrix that stands for the operator.

use faer::diag::{DiagMut, DiagRef};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd_scratch, tridiagonal_self_adjoint_evd};
use ndarray::{Array1, Array2, ShapeBuilder as _};

use crate::Error;
use crate::bridge::{mat_mut, parallelism};

/// Eigenvalues, ascending, and eigenvectors as columns of a symmetric tridiagonal matrix with diagonal `alpha` (k) and
/// off-diagonal `beta`, whose first k − 1 numbers count.
pub(super) fn eigensystem(alpha: &[f64], beta: &[f64]) -> Result<(Array1<f64>, Array2<f64>), Error> {
    let k = alpha.len();
    let largest = alpha.iter().chain(&beta[..k - 1]).fold(0.0_f64, |m, v| m.max(v.abs()));
    // Entries of order one keep the iteration away from overflow and underflow.
    let scale = if largest > 0.0 { largest } else { 1.0 };
    let diagonal: Vec<f64> = alpha.iter().map(|v| v / scale).collect();
    let beside: Vec<f64> = beta[..k - 1].iter().map(|v| v / scale).chain([0.0]).collect();
    let par = parallelism();
    let scratch = self_adjoint_evd_scratch::<f64>(k, ComputeEigenvectors::Yes, par, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let mut values = vec![0.0; k];
    let mut vectors = Array2::zeros((k, k).f());
    tridiagonal_self_adjoint_evd(
        DiagRef::from_slice(&diagonal),
        DiagRef::from_slice(&beside),
        DiagMut::from_slice_mut(&mut values),
        Some(mat_mut(&mut vectors)),
        par,
        MemStack::new(&mut memory),
        Default::default(),
    )
    .ok()
    .filter(|()| values.iter().all(|value| value.is_finite()))
    .ok_or(Error::NoConvergence { largest })?;
    Ok((Array1::from(values) * scale, vectors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_difference_by_hand() {
        // tridiag(−1, 2, −1) has eigenvalues 2 − 2 cos(jπ/(k+1)); at scales that would overflow when squared, too.
        for (k, scale) in [(1, 1.0), (2, 1e-200), (7, 1e200), (90, 1.0)] {
            let (values, vectors) = eigensystem(&vec![2.0 * scale; k], &vec![-scale; k]).unwrap();
            for (j, value) in values.iter().enumerate() {
                let exact = 2.0 - 2.0 * ((j + 1) as f64 * std::f64::consts::PI / (k + 1) as f64).cos();
                assert!((value / scale - exact).abs() < 1e-13, "{k} {j}: {value}");
            }
            let error = vectors.t().dot(&vectors) - Array2::<f64>::eye(k);
            assert!(error.iter().all(|v: &f64| v.abs() < 1e-12));
        }
    }
}
