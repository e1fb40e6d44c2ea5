//! From inputs to the first correlations: one matrix product a tile, and exact differences where it loses the angle.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, linalg::general_mat_mul};

use ntk_core::Batch;

use crate::lane::vectorized;

/// Below this gap the Gram product has lost more than the contract allows, and differences are taken instead.
const NEAR: f64 = 1.0 / (1u64 << 20) as f64;

/// Inputs divided by their norms, and their second moments.
pub(crate) struct Directions {
    /// x/‖x‖, zero where x is.
    unit: Array2<f64>,
    /// ‖x‖²/d.
    pub(crate) variance: Vec<f64>,
}

impl Directions {
    pub(crate) fn new(x: Batch<'_>) -> Self {
        let features = x.features() as f64;
        let mut unit = x.values().to_owned();
        let mut variance = Vec::with_capacity(x.len());
        for mut row in unit.rows_mut() {
            // Scaled by the largest entry, so that squares neither overflow nor vanish.
            let scale = row.fold(0.0f64, |a, b| a.max(b.abs()));
            if scale == 0.0 {
                variance.push(0.0);
                continue;
            }
            row.mapv_inplace(|v| v / scale);
            let norm = row.dot(&row).sqrt();
            row.mapv_inplace(|v| v / norm);
            variance.push((norm * scale) * (norm * scale / features));
        }
        Directions { unit, variance }
    }

    pub(crate) fn rows(&self, start: usize, end: usize) -> ArrayView2<'_, f64> {
        self.unit.slice(ndarray::s![start..end, ..])
    }
}

/// Signed gaps between the rows of two sets of directions, into `gaps` of shape (rows of x, rows of y).
pub(crate) fn signed_gaps(x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>, mut gaps: ArrayViewMut2<'_, f64>) {
    general_mat_mul(1.0, &x, &y.t(), 0.0, &mut gaps);
    for (mut gaps, x) in gaps.rows_mut().into_iter().zip(x.rows()) {
        let mut near = 0;
        if let Some(gaps) = gaps.as_slice_mut() {
            from_correlations(gaps, &mut near);
        }
        if near > 0 {
            for (gap, y) in gaps.iter_mut().zip(y.rows()) {
                if gap.abs() < NEAR {
                    let sign = 1f64.copysign(*gap);
                    let squares = x.iter().zip(y).map(|(x, y)| (x - sign * y) * (x - sign * y));
                    *gap = (0.5 * squares.sum::<f64>()).copysign(sign);
                }
            }
        }
    }
}

vectorized! {
    /// Signed gaps in place of correlations, counting those that are near ±1.
    fn from_correlations(values: &mut [f64], near: &mut u64) {
        let _ = FMA;
        for value in values {
            let gap = 1.0 - value.abs();
            *near += u64::from(gap < NEAR);
            *value = gap.copysign(*value);
        }
    }
}
