//! Calibration: do intervals that claim to hold a share of the targets hold it?

use ndarray::{Array1, ArrayView2, Zip};

use crate::Error;
use crate::layout::check;

/// Normal predictions held against their targets, all samples and outputs together.
///
/// A prediction's probability integral transform u = Φ((y − μ)/σ) is uniform on [0, 1] if predictions are calibrated.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::Calibration;
/// // Residuals y − μ of half a standard deviation: variances are too large.
/// let timid = Calibration::new(array![[1.0], [-1.0]].view(), array![[4.0], [4.0]].view())?;
/// assert_eq!((timid.coverage(0.3)?, timid.coverage(0.5)?), (0.0, 1.0));
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
///
/// # Source
/// \[kuleshov2018accurate\], of central intervals.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Φ((y − μ)/σ).
    transforms: Array1<f64>,
    /// 2Φ(|y − μ|/σ) − 1, ascending: the level of the smallest central interval that holds the target.
    levels: Vec<f64>,
    log_likelihood: f64,
}

impl Calibration {
    /// From residuals y − μ and variances σ² of targets, noise included, both (M, k).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`]; [`Error::Setting`] for a variance that is not above 0.
    /// [`Error::Linalg`] without any residual.
    pub fn new(residuals: ArrayView2<'_, f64>, variances: ArrayView2<'_, f64>) -> Result<Self, Error> {
        if residuals.is_empty() {
            return Err(ntk_linalg::Error::Empty.into());
        }
        check("residuals", residuals, residuals.dim())?;
        check("variances", variances, residuals.dim())?;
        if let Some(&value) = variances.iter().find(|value| **value <= 0.0) {
            return Err(Error::Setting {
                option: "variance",
                value,
                domain: "above 0: add that of the noise",
            });
        }
        let scores = Zip::from(residuals).and(variances).map_collect(|r, v| r / (2.0 * v).sqrt());
        let mut levels: Vec<f64> = scores.iter().map(|score| libm::erf(score.abs())).collect();
        levels.sort_by(f64::total_cmp);
        let density =
            |sum, score: &f64, v: &f64| sum - 0.5 * (std::f64::consts::TAU * v).ln() - score * score;
        Ok(Calibration {
            transforms: scores.iter().map(|score| 0.5 * libm::erfc(-score)).collect(),
            levels,
            log_likelihood: Zip::from(&scores).and(variances).fold(0.0, density),
        })
    }

    /// The probability integral transforms Φ((y − μ)/σ), row by row.
    pub fn transforms(&self) -> &Array1<f64> {
        &self.transforms
    }

    /// The shares of transforms in equal bins of [0, 1], which sum to 1; 1/`bins` each if calibrated.
    ///
    /// # Errors
    /// [`Error::Setting`] for 0 bins.
    pub fn histogram(&self, bins: usize) -> Result<Array1<f64>, Error> {
        if bins == 0 {
            return Err(Error::Setting { option: "bins", value: 0.0, domain: "at least 1" });
        }
        let mut shares = Array1::zeros(bins);
        for transform in &self.transforms {
            shares[((transform * bins as f64) as usize).min(bins - 1)] += 1.0 / self.transforms.len() as f64;
        }
        Ok(shares)
    }

    /// The share of targets in the central intervals μ ± z σ of probability `level`; equal to it if calibrated.
    ///
    /// # Errors
    /// [`Error::Setting`] for a level outside [0, 1].
    pub fn coverage(&self, level: f64) -> Result<f64, Error> {
        if !(0.0..=1.0).contains(&level) {
            return Err(Error::Setting { option: "level", value: level, domain: "between 0 and 1" });
        }
        Ok(self.levels.partition_point(|value| *value <= level) as f64 / self.levels.len() as f64)
    }

    /// The expected calibration error ∫₀¹ |coverage(p) − p| dp, exactly: 0 if calibrated, ½ at worst.
    pub fn expected_error(&self) -> f64 {
        let n = self.levels.len() as f64;
        // Between two levels the coverage is constant, and |c − p| has the antiderivative (p − c)|p − c|/2.
        let antiderivative = |p: f64, c: f64| (p - c) * (p - c).abs() / 2.0;
        let ends = self.levels.iter().copied().chain([1.0]);
        let mut from = 0.0;
        let mut sum = 0.0;
        for (i, to) in ends.enumerate() {
            let covered = i as f64 / n;
            sum += antiderivative(to, covered) - antiderivative(from, covered);
            from = to;
        }
        sum
    }

    /// The mean over targets of ln N(y; μ, σ²).
    pub fn mean_log_likelihood(&self) -> f64 {
        self.log_likelihood / self.transforms.len() as f64
    }
}
