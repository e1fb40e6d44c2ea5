//! Class probabilities from regression on labels: one temperature, fitted to held-out samples.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

use crate::Error;
use crate::layout::check;

/// Targets of regression on labels: 1 − 1/c for the class, −1/c for the others, (N, c), which sum to zero.
///
/// ```
/// assert_eq!(ntk_dynamics::one_hot(&[1], 2)?, ndarray::array![[-0.5, 0.5]]);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
///
/// # Errors
/// [`Error::Label`] for a label that is not below the number of classes.
pub fn one_hot(labels: &[usize], classes: usize) -> Result<Array2<f64>, Error> {
    check_labels(labels, classes)?;
    let (off, on) = (-1.0 / classes as f64, 1.0 - 1.0 / classes as f64);
    Ok(Array2::from_shape_fn((labels.len(), classes), |(i, c)| if labels[i] == c { on } else { off }))
}

/// The temperature T > 0 of p = softmax(f/T), with f the outputs of regression on [`one_hot`] labels.
///
/// ```
/// use ndarray::array;
/// use ntk_dynamics::Temperature;
/// // Right three times of four, always with a lead of 1: p = ¾ has odds of 3 = e^{1/T}.
/// let scores = array![[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]];
/// let temperature = Temperature::fit(scores.view(), &[0, 0, 0, 1])?;
/// assert!((temperature.get() - 1.0 / 3.0_f64.ln()).abs() < 1e-12);
/// assert!((temperature.probabilities(scores.view())?[[0, 0]] - 0.75).abs() < 1e-12);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
///
/// # Source
/// \[guo2017calibration\], section 4.2.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Temperature(f64);

impl Temperature {
    /// T.
    ///
    /// # Errors
    /// [`Error::Setting`] unless 0 < T < ∞.
    pub fn new(temperature: f64) -> Result<Self, Error> {
        if temperature > 0.0 && temperature.is_finite() {
            Ok(Temperature(temperature))
        } else {
            let domain = "a finite number above 0";
            Err(Error::Setting { option: "temperature", value: temperature, domain })
        }
    }

    /// The temperature that minimizes the negative log-likelihood of labels, which is convex in 1/T, to rounding.
    ///
    /// Scores, (M, c), must be held out: of a test set, or `targets − residuals` of
    /// [`LeaveOneOut`](crate::LeaveOneOut).
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Label`]; [`Error::NoTemperature`] if the minimum lies at 0 or
    /// infinity.
    pub fn fit(scores: ArrayView2<'_, f64>, labels: &[usize]) -> Result<Self, Error> {
        check_scores(scores, labels)?;
        let gaps = gaps(scores, labels);
        let largest = gaps.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let correct = gaps.rows().into_iter().filter(|row| row.iter().all(|v| *v <= 0.0)).count();
        let none = |limit| Error::NoTemperature { limit, correct, samples: labels.len() };
        // At 1/T = 0 the slope is Σ (mean gap); at infinity, Σ (largest gap), which is at least 0.
        if largest == 0.0 || slope(&gaps, 0.0) >= 0.0 {
            return Err(none(f64::INFINITY));
        }
        if correct == labels.len() {
            return Err(none(0.0));
        }
        let (mut low, mut high) = (0.0, 1.0 / largest);
        while slope(&gaps, high) < 0.0 {
            (low, high) = (high, 2.0 * high);
        }
        // The slope rises from below 0 to above: halving ends when the two are neighbors.
        while let middle = 0.5 * (low + high)
            && low < middle
            && middle < high
        {
            if slope(&gaps, middle) < 0.0 { low = middle } else { high = middle }
        }
        Temperature::new(1.0 / high)
    }

    /// T.
    pub fn get(self) -> f64 {
        self.0
    }

    /// softmax(f/T) of each row of scores, (M, c) → (M, c).
    ///
    /// # Errors
    /// [`Error::NonFinite`].
    pub fn probabilities(self, scores: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        check("scores", scores, scores.dim())?;
        let mut probabilities = scores.to_owned();
        for mut row in probabilities.rows_mut() {
            let largest = row.fold(f64::NEG_INFINITY, |m, v| m.max(*v));
            row.mapv_inplace(|v| ((v - largest) / self.0).exp());
            let sum = row.sum();
            row /= sum;
        }
        Ok(probabilities)
    }

    /// The mean over samples of −ln softmax(f/T) at the label.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Label`].
    pub fn negative_log_likelihood(
        self,
        scores: ArrayView2<'_, f64>,
        labels: &[usize],
    ) -> Result<f64, Error> {
        check_scores(scores, labels)?;
        let loss = |row: ArrayView1<'_, f64>| {
            let largest = row.fold(0.0, |m: f64, v| m.max(*v)) / self.0;
            largest + row.fold(0.0, |sum, v| sum + (v / self.0 - largest).exp()).ln()
        };
        let losses: Array1<f64> = gaps(scores, labels).rows().into_iter().map(loss).collect();
        Ok(losses.sum() / labels.len() as f64)
    }
}

/// Scores minus the score of the label.
fn gaps(scores: ArrayView2<'_, f64>, labels: &[usize]) -> Array2<f64> {
    Array2::from_shape_fn(scores.dim(), |(i, c)| scores[[i, c]] - scores[[i, labels[i]]])
}

/// The derivative of Σ ln Σ e^{β gap} in β = 1/T.
fn slope(gaps: &Array2<f64>, beta: f64) -> f64 {
    let mean = |row: ArrayView1<'_, f64>| {
        let largest = row.fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        let weights = row.mapv(|v| (beta * (v - largest)).exp());
        weights.dot(&row) / weights.sum()
    };
    gaps.rows().into_iter().map(mean).sum()
}

fn check_scores(scores: ArrayView2<'_, f64>, labels: &[usize]) -> Result<(), Error> {
    check("scores", scores, (labels.len(), scores.ncols()))?;
    check_labels(labels, scores.ncols())
}

fn check_labels(labels: &[usize], classes: usize) -> Result<(), Error> {
    if labels.is_empty() {
        return Err(ntk_linalg::Error::Empty.into());
    }
    match labels.iter().enumerate().find(|(_, label)| **label >= classes) {
        Some((sample, &label)) => Err(Error::Label { sample, label, classes }),
        None => Ok(()),
    }
}
