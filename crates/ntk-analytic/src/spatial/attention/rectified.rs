//! |x| and max(x, 0) of random logits: one pair of logits at a time, in closed form.

use ndarray::Array2;
use ntk_core::Activation;

use crate::Error;
use crate::dual::{Cov2, Prepared, TOLERANCE, correlation, prepare};

/// Unit-variance duals of an activation that is homogeneous of degree 1, for pairs of logits whose covariance is a
/// product, E u_ac v_bd = K̃_ab K̃_cd.
pub(super) struct Homogeneous {
    /// Of one variable of unit variance with as many as there are pairs of positions.
    dual: Box<dyn Prepared>,
    /// Signed gaps of the correlations of K̃₁₂.
    gaps: Array2<f64>,
    /// Standard deviations of both samples.
    deviations: [Vec<f64>; 2],
}

impl Homogeneous {
    /// From K̃₁₁, K̃₂₂ (their diagonals) and K̃₁₂.
    ///
    /// # Errors
    /// [`Error::NotCovariance`].
    pub(super) fn new(
        activation: &Activation,
        own: [&Array2<f64>; 2],
        cross: &Array2<f64>,
    ) -> Result<Self, Error> {
        let mut gaps = Array2::ones(cross.dim());
        for ((a, b), gap) in gaps.indexed_iter_mut() {
            *gap = Cov2::new(own[0][[a, a]], own[1][[b, b]], cross[[a, b]])?.signed_gap()?;
        }
        let deviations = own.map(|own| own.diag().iter().map(|q| q.sqrt()).collect());
        let dual = prepare(activation, &[1.0], &vec![1.0; cross.len()], TOLERANCE)?;
        Ok(Homogeneous { dual, gaps, deviations })
    }

    /// E φ(u_ac)φ(v_bd) and E φ′(u_ac)φ′(v_bd), for c in `reads[0]` and d in `reads[1]`.
    pub(super) fn row(&self, [a, b]: [usize; 2], reads: [&[usize]; 2]) -> [Array2<f64>; 2] {
        let shape = (reads[0].len(), reads[1].len());
        let ab = self.gaps[[a, b]];
        let mut gaps: Vec<f64> = Vec::with_capacity(shape.0 * shape.1);
        for &c in reads[0] {
            gaps.extend(reads[1].iter().map(|&d| {
                // 1 − (1 − x)(1 − y), signed.
                let cd = self.gaps[[c, d]];
                (ab.abs() + cd.abs() * (1.0 - ab.abs())).copysign(ab.signum() * cd.signum())
            }));
        }
        let mut slopes = vec![0.0; gaps.len()];
        self.dual.row(0, 0, &mut gaps, Some(&mut slopes));
        let variance = self.dual.variances().0[0];
        let [left, right] = &self.deviations;
        let value = |(i, j)| {
            let (c, d): (usize, usize) = (reads[0][i], reads[1][j]);
            variance * correlation(gaps[i * shape.1 + j]) * (left[a] * left[c]) * (right[b] * right[d])
        };
        let slope = |(i, j)| slopes[i * shape.1 + j];
        [Array2::from_shape_fn(shape, value), Array2::from_shape_fn(shape, slope)]
    }
}
