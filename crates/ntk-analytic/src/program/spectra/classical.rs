//! The two laws that random matrices without structure have.

use std::f64::consts::PI;

use crate::program::Error;

/// Density at x of the eigenvalues of (A + Aᵀ)/√2 for square A with entries N(0, 1/n): √(4 − x²)/2π on [−2, 2].
///
/// Its even moments are the numbers of Catalan. Source: \[yang2020tensor3\] on the semicircle law.
pub fn semicircle_density(x: f64) -> f64 {
    if x.abs() < 2.0 { (4.0 - x * x).sqrt() / (2.0 * PI) } else { 0.0 }
}

/// Eigenvalues of AAᵀ for A of m rows and n columns with entries N(0, 1/n), m/n = α.
///
/// Source: \[yang2020tensor3\] on the law of Marchenko and Pastur.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarchenkoPastur {
    alpha: f64,
}

impl MarchenkoPastur {
    /// For the ratio α = m/n of rows to columns.
    ///
    /// # Errors
    /// [`Error::Shape`] unless α is positive and finite.
    pub fn new(alpha: f64) -> Result<Self, Error> {
        if alpha > 0.0 && alpha.is_finite() {
            return Ok(MarchenkoPastur { alpha });
        }
        Err(Error::Shape { reason: format!("a ratio of rows to columns is positive, not {alpha}") })
    }

    /// [(1 − √α)², (1 + √α)²], outside of which the density is 0.
    pub fn support(&self) -> [f64; 2] {
        let root = self.alpha.sqrt();
        [(1.0 - root).powi(2), (1.0 + root).powi(2)]
    }

    /// √((b − x)(x − a))/(2παx) on the support (a, b).
    pub fn density(&self, x: f64) -> f64 {
        let [a, b] = self.support();
        if x > a && x < b { ((b - x) * (x - a)).sqrt() / (2.0 * PI * self.alpha * x) } else { 0.0 }
    }

    /// The share of eigenvalues that are 0: 1 − 1/α where rows are more than columns.
    pub fn mass_at_zero(&self) -> f64 {
        (1.0 - 1.0 / self.alpha).max(0.0)
    }
}
