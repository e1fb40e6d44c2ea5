//! The estimates that turn runs into claims: fitted rates with standard errors, averages, quantiles, normality.

use crate::Error;

/// A straight line y = intercept + slope · x through points, by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The slope.
    pub slope: f64,
    /// The value at x = 0.
    pub intercept: f64,
    /// Standard error of the slope, √(Σr²/((n−2) Σ(x−x̄)²)) with the residuals r.
    pub standard_error: f64,
}

/// The line through the points (xᵢ, yᵢ).
///
/// # Errors
/// [`Error::TooFewNumbers`] with fewer than three finite points or without two different x.
pub fn line(x: &[f64], y: &[f64]) -> Result<Fit, Error> {
    let points: Vec<(f64, f64)> =
        x.iter().copied().zip(y.iter().copied()).filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let (n, found) = (points.len() as f64, points.len());
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / n;
    let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
    let sum = |f: &dyn Fn(f64, f64) -> f64| points.iter().map(|p| f(p.0 - x_mean, p.1 - y_mean)).sum::<f64>();
    let sxx = sum(&|x, _| x * x);
    if found < 3 || sxx == 0.0 {
        return Err(Error::TooFewNumbers { what: "a fitted slope", needed: 3, found });
    }
    let slope = sum(&|x, y| x * y) / sxx;
    let residuals = sum(&|x, y| (y - slope * x).powi(2));
    let standard_error = (residuals / ((n - 2.0) * sxx)).sqrt();
    Ok(Fit { slope, intercept: y_mean - slope * x_mean, standard_error })
}

/// The exponent b of y ≈ a xᵇ: the line through (ln xᵢ, ln yᵢ), with ln a as its intercept.
///
/// # Errors
/// As [`line()`]; points with x ≤ 0 or y ≤ 0 do not count.
pub fn power_law(x: &[f64], y: &[f64]) -> Result<Fit, Error> {
    let ln = |values: &[f64]| values.iter().map(|v| v.ln()).collect::<Vec<_>>();
    line(&ln(x), &ln(y))
}

/// The arithmetic mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The unbiased variance Σ(x−x̄)²/(n−1); NaN of fewer than two.
pub fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

/// The standard error of the mean, √(variance/n); NaN of fewer than two.
pub fn standard_error(values: &[f64]) -> f64 {
    (variance(values) / values.len() as f64).sqrt()
}

/// √(Σx²/n): what is averaged over seeds before a rate is fitted.
pub fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt()
}

/// The quantile at p ∈ [0, 1], interpolated linearly between order statistics; NaN of nothing.
pub fn quantile(values: &[f64], p: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = p.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (at - at.floor()) * (above - below)
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// How far a sample is from the normal law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normality {
    /// Third standardized moment m₃/m₂^(3/2): 0 for a normal law, with standard error √(6/n).
    pub skewness: f64,
    /// Fourth standardized moment less three, m₄/m₂² − 3: 0 for a normal law, with standard error √(24/n).
    pub excess_kurtosis: f64,
    /// Jarque–Bera: n (skewness²/6 + kurtosis²/24), χ² with two degrees of freedom under the normal law.
    pub jarque_bera: f64,
    /// Probability of a statistic at least this large under the normal law, exp(−statistic/2).
    pub p_value: f64,
}

/// The moment test of normality, for samples of a hundred or more.
///
/// # Errors
/// [`Error::TooFewNumbers`] with fewer than eight numbers.
pub fn normality(values: &[f64]) -> Result<Normality, Error> {
    let found = values.iter().filter(|x| x.is_finite()).count();
    if found < 8 || found < values.len() {
        return Err(Error::TooFewNumbers { what: "a test of normality", needed: 8, found });
    }
    let (n, center) = (values.len() as f64, mean(values));
    let moment = |k| values.iter().map(|x| (x - center).powi(k)).sum::<f64>() / n;
    let skewness = moment(3) / moment(2).powf(1.5);
    let excess_kurtosis = moment(4) / moment(2).powi(2) - 3.0;
    let jarque_bera = n * (skewness.powi(2) / 6.0 + excess_kurtosis.powi(2) / 24.0);
    Ok(Normality { skewness, excess_kurtosis, jarque_bera, p_value: (-jarque_bera / 2.0).exp() })
}

/// The Kolmogorov–Smirnov distance sup |Fₙ − F| between a sample and a given distribution function F, and the
/// probability of a distance at least this large if F is the law (the limit for large n, with Stephens' correction).
pub fn kolmogorov_smirnov(values: &[f64], cdf: impl Fn(f64) -> f64) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let distance = sorted.iter().enumerate().fold(0.0_f64, |worst, (i, &x)| {
        let f = cdf(x);
        worst.max(f - i as f64 / n).max((i as f64 + 1.0) / n - f)
    });
    let t = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * distance;
    // Below 0.3 the alternating series needs many terms and is 1 to five digits.
    let p_value = if t < 0.3 {
        1.0
    } else {
        let term = |k: i32| f64::from(1 - 2 * ((k + 1) % 2)) * (-2.0 * f64::from(k * k) * t * t).exp();
        (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
    };
    (distance, p_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_points_by_hand() {
        // Residuals of y = x + ½ are −½, ½, ½, −½: Σr² = 1, Σ(x−x̄)² = 5, n − 2 = 2.
        let fit = line(&[0.0, 1.0, 2.0, 3.0], &[0.0, 2.0, 3.0, 3.0]).unwrap();
        assert_eq!((fit.slope, fit.intercept), (1.0, 0.5));
        assert!((fit.standard_error - 0.1_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn a_power_law_is_found_exactly() {
        let x = [1.0, 4.0, 16.0, 64.0];
        let fit = power_law(&x, &x.map(|x: f64| 3.0 / x.sqrt())).unwrap();
        assert!((fit.slope + 0.5).abs() < 1e-14 && (fit.intercept - 3f64.ln()).abs() < 1e-14);
        assert!(fit.standard_error < 1e-14);
    }

    #[test]
    fn lines_need_three_points_and_two_places() {
        let nan = f64::NAN;
        assert!(matches!(
            line(&[0.0, 1.0, 2.0], &[0.0, nan, 1.0]),
            Err(Error::TooFewNumbers { found: 2, .. })
        ));
        assert!(line(&[1.0, 1.0, 1.0], &[0.0, 1.0, 2.0]).is_err());
        assert!(power_law(&[1.0, 2.0, 4.0], &[1.0, 0.0, 1.0]).is_err());
    }

    #[test]
    fn averages_by_hand() {
        let values = [1.0, 2.0, 3.0, 6.0];
        assert_eq!((mean(&values), variance(&values)), (3.0, 14.0 / 3.0));
        assert_eq!(standard_error(&values), (14.0_f64 / 12.0).sqrt());
        assert_eq!(rms(&[3.0, 4.0]), 12.5_f64.sqrt());
        assert_eq!((median(&values), quantile(&values, 0.0), quantile(&values, 1.0)), (2.5, 1.0, 6.0));
        assert!((quantile(&values, 0.9) - 5.1).abs() < 1e-15);
        assert!(mean(&[]).is_nan() && median(&[]).is_nan() && variance(&[1.0]).is_nan());
    }

    #[test]
    fn moments_of_two_points_by_hand() {
        // ±1 in equal parts: m₂ = m₄ = 1, m₃ = 0, so the excess kurtosis is −2 and the statistic 8 · 4/24.
        let two = [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0];
        let test = normality(&two).unwrap();
        assert_eq!((test.skewness, test.excess_kurtosis), (0.0, -2.0));
        assert!((test.jarque_bera - 4.0 / 3.0).abs() < 1e-15);
        assert!((test.p_value - (-2.0_f64 / 3.0).exp()).abs() < 1e-15);
        assert!(normality(&two[..7]).is_err());
    }

    #[test]
    fn kolmogorov_smirnov_by_hand() {
        // Midpoints of n equal cells are 1/(2n) away from the uniform law; the constant 1 is as far as can be.
        let cells: Vec<f64> = (0..8).map(|i| (f64::from(i) + 0.5) / 8.0).collect();
        let uniform = |x: f64| x.clamp(0.0, 1.0);
        assert_eq!(kolmogorov_smirnov(&cells, uniform), (1.0 / 16.0, 1.0));
        let (distance, p_value) = kolmogorov_smirnov(&[1.0; 8], uniform);
        assert!(distance == 1.0 && p_value < 1e-6);
    }
}
