//! Singular values of random matrices by free probability: which architectures keep the lengths of gradients.
//!
//! The Jacobian J = Π D_l W_l of a deep network, D = diag φ′(h), has asymptotically free factors, so that the law of the
//! squared singular values follows from the S-transforms S_{JJᵀ} = Π S_{WWᵀ} S_{D²}: S_{WWᵀ} = 1/(σ²(1 + u)) for Gaussian W,
//! 1/σ² for orthogonal. Sources: \[pennington2017resurrecting\]; freeness is \[yang2020tensor3\], for Gaussian weights.

mod classical;
mod complex;
mod series;
mod slopes;

use std::f64::consts::{PI, TAU};

use ntk_core::Activation;

use super::error::Error;
use crate::Cov2;
pub use classical::{MarchenkoPastur, semicircle_density};
use complex::Complex;
use slopes::Slopes;

/// The law of square weight matrices W with E tr WWᵀ/n = σ².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensemble {
    /// Independent entries N(0, σ²/n).
    Gaussian,
    /// σ times an orthogonal matrix drawn uniformly.
    Orthogonal,
}

/// The law of the squared singular values of J = D_L W_L ⋯ D_1 W_1 for infinite width, where each D = diag φ′(√q z) with
/// standard normal z: the input–output Jacobian of a network whose preactivations have the variance q in all layers.
///
/// ```
/// use ntk_analytic::program::{Ensemble, JacobianSpectrum};
/// use ntk_core::Activation;
///
/// // ReLU networks at σ² = 2: the mean is 1, and the second moment grows with depth whatever the weights.
/// for (ensemble, second) in [(Ensemble::Gaussian, 7.0), (Ensemble::Orthogonal, 4.0)] {
///     let spectrum = JacobianSpectrum::new(&Activation::Relu, 3, 2.0, 1.0, ensemble)?;
///     let m = spectrum.moments(2);
///     assert!((m[0] - 1.0).abs() < 1e-12 && (m[1] - second).abs() < 1e-12);
/// }
/// # Ok::<(), ntk_analytic::program::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct JacobianSpectrum {
    depth: usize,
    variance: f64,
    ensemble: Ensemble,
    slopes: Slopes,
}

impl JacobianSpectrum {
    /// `depth` layers with weights of variance σ² = `variance` and preactivations of variance `q`, for example
    /// [`fixed_point_variance`]. Activations are piecewise linear or an erf; the identity is [`Activation::Monomial`] of
    /// degree 1.
    ///
    /// # Errors
    /// [`Error::Slopes`] for other activations; [`Error::Shape`] for no layer, or variances that are not positive and finite.
    pub fn new(
        phi: &Activation,
        depth: usize,
        variance: f64,
        q: f64,
        ensemble: Ensemble,
    ) -> Result<Self, Error> {
        phi.check().map_err(crate::Error::from)?;
        let positive = |x: f64| x > 0.0 && x.is_finite();
        if depth == 0 || !positive(variance) || !positive(q) {
            let reason = format!(
                "{depth} layers with σ² = {variance}, q = {q}: give one layer and positive variances"
            );
            return Err(Error::Shape { reason });
        }
        let slopes = Slopes::new(phi, q)?;
        if slopes.top() == 0.0 {
            return Err(Error::Shape { reason: "a network of slope 0 has no Jacobian".to_owned() });
        }
        Ok(JacobianSpectrum { depth, variance, ensemble, slopes })
    }

    /// E x, E x², …: the first `count` moments of the squared singular values, mₖ = \[u^{k−1}\]((1 + u)/S(u))ᵏ/k.
    pub fn moments(&self, count: usize) -> Vec<f64> {
        if count == 0 {
            return Vec::new();
        }
        // ψ(w)/w = Σ μₖ₊₁ wᵏ, and its inverse function χ(u) = u f(u).
        let psi: Vec<f64> = (1..=count).map(|k| self.slopes.moment(k)).collect();
        let chi = series::inverse(&series::power(&psi, -1.0));
        // (1 + u)/S = (1 + u)^{1 + L(g − 1)} (σ²u/χ)^L, where g is 1 for Gaussian weights and 0 for orthogonal ones.
        let mut line = vec![0.0; count];
        line[0] = 1.0;
        if let Some(slope) = line.get_mut(1) {
            *slope = 1.0;
        }
        let depth = self.depth as f64;
        let flat = series::power(&line, 1.0 + depth * (self.gaussian() - 1.0));
        let factors: Vec<f64> = chi.iter().map(|c| c / self.variance).collect();
        series::inverse(&series::product(&flat, &series::power(&factors, -depth)))
    }

    /// Mean and variance of the squared singular values: (σ²μ₁)^L and mean² · L(μ₂/μ₁² − 1 − s₁), with μₖ = E φ′²ᵏ and
    /// s₁ = −1 for Gaussian weights, 0 for orthogonal ones.
    ///
    /// A mean of 1 keeps gradients on average; a variance near 0 besides keeps all of them: dynamical isometry.
    /// Source: \[pennington2017resurrecting\].
    pub fn mean_and_variance(&self) -> [f64; 2] {
        let [first, second] = [1, 2].map(|k| self.slopes.moment(k));
        let mean = (self.variance * first).powi(self.depth as i32);
        let spread = second / (first * first) - 1.0 + self.gaussian();
        [mean, mean * mean * self.depth as f64 * spread]
    }

    fn gaussian(&self) -> f64 {
        f64::from(u8::from(self.ensemble == Ensemble::Gaussian))
    }

    /// Squared singular values that a share of all has: (value, share). 0 with the probability of a slope 0; for orthogonal
    /// weights also σ^{2L} dᴸ for a squared slope d of probability p > 1 − 1/L, with 1 − L(1 − p).
    pub fn atoms(&self) -> Vec<(f64, f64)> {
        let depth = self.depth as f64;
        let one = |&(d, p): &(f64, f64)| match self.ensemble {
            _ if d == 0.0 => (0.0, p),
            Ensemble::Gaussian => (0.0, 0.0),
            Ensemble::Orthogonal => ((self.variance * d).powi(self.depth as i32), 1.0 - depth * (1.0 - p)),
        };
        self.slopes.atoms().iter().map(one).filter(|(_, share)| *share > 0.0).collect()
    }

    /// The largest squared singular value: the least z(ω) of real ω.
    pub fn largest(&self) -> f64 {
        // In 1 − ω · top = e^{−t}, by golden section.
        let at = |t: f64| self.log_z(Complex::from(-(-t).exp_m1() / self.slopes.top()).ln()).re;
        let (mut low, mut high, golden) = (1e-9f64.ln(), 36f64.ln(), 0.5 * (5f64.sqrt() - 1.0));
        let at = |s: f64| at(s.exp());
        let mut inner = [high - golden * (high - low), low + golden * (high - low)];
        let mut values = inner.map(at);
        while high - low > 1e-8 {
            if values[0] < values[1] {
                high = inner[1];
                inner = [high - golden * (high - low), inner[0]];
                values = [at(inner[0]), values[0]];
            } else {
                low = inner[0];
                inner = [inner[1], low + golden * (high - low)];
                values = [values[1], at(inner[1])];
            }
        }
        values[0].min(values[1]).exp()
    }

    /// The density of the squared singular values at x > 0, without [`JacobianSpectrum::atoms`]: exact to about 10⁻¹⁰ of itself
    /// away from the edges of the support.
    ///
    /// With ψ that of the squared slopes and 1 + ψ_{JJᵀ}(1/z) = z G(z), both equal at ω, where
    /// z = (1 + u)/u · (σ²(1 + u)^{g−1} u/ω)^L, u = ψ(ω), g = 1 for Gaussian weights and 0 for orthogonal ones. The root is
    /// followed from large |z| to x, where the density is Im G/π.
    ///
    /// # Errors
    /// [`Error::Unresolved`] at atoms, where the density is infinite, and so near to 0 that less than 10⁻¹⁵ of all values lie
    /// below; [`Error::Shape`] unless x is positive and finite.
    pub fn density(&self, x: f64) -> Result<f64, Error> {
        if !(x > 0.0 && x.is_finite()) {
            return Err(Error::Shape {
                reason: format!("a density is asked for at positive numbers, not {x}"),
            });
        }
        if self.atoms().iter().any(|(atom, _)| (x - atom).abs() <= 1e-12 * atom) {
            return Err(Error::Unresolved { x });
        }
        let omega = self.follow(x)?.exp();
        let [_, one] = self.slopes.psi(omega);
        if one.im < 1e8 { Ok((one.im / (PI * x)).max(0.0)) } else { Err(Error::Unresolved { x }) }
    }

    /// The density of the singular values at s > 0: 2s times that of their squares at s².
    ///
    /// # Errors
    /// As [`JacobianSpectrum::density`].
    pub fn singular_value_density(&self, s: f64) -> Result<f64, Error> {
        Ok(2.0 * s * self.density(s * s)?)
    }

    /// ln z(ω) at ln ω, up to multiples of 2πi.
    fn log_z(&self, log: Complex) -> Complex {
        let omega = log.exp();
        let [u, one] = self.slopes.psi(omega);
        let layer = (u / omega).ln() + one.ln() * (self.gaussian() - 1.0) + self.variance.ln();
        (one / u).ln() + layer * self.depth as f64
    }

    /// ln ω for z = x, from below the real axis: there ω is above it.
    fn follow(&self, x: f64) -> Result<Complex, Error> {
        let [first, second] = [1, 2].map(|k| self.slopes.moment(k));
        let mean = self.variance * first;
        // Beyond the largest value, z = mean^L/(μ₁ω).
        let far = 1e4 * (1.0 + second / (first * first)) * self.largest().max(x);
        let mut y = far.ln();
        let mut log =
            Complex::new(self.depth as f64 * mean.ln() - first.ln(), 0.0) - Complex::new(0.0, -far).ln();
        let end = (1e-14 * x).ln();
        let mut step = 1.0f64;
        while step > 1e-6 {
            // The last step goes to the axis itself.
            let next = if y < (1e-3 * x).ln() { f64::NEG_INFINITY } else { y - step };
            if let Some(found) = self.newton(Complex::new(x, -next.exp()).ln(), log) {
                if next == f64::NEG_INFINITY {
                    return Ok(found);
                }
                (log, y, step) = (found, next, (1.5 * step).min(2.0));
            } else if next == f64::NEG_INFINITY {
                // Edges, where roots meet, are approached as far as doubles go.
                if y < end {
                    return Ok(log);
                }
                match self.newton(Complex::new(x, -(y - 2.0).exp()).ln(), log) {
                    Some(found) => (log, y) = (found, y - 2.0),
                    // Where there is next to nothing, that is known well enough.
                    None if self.slopes.psi(log.exp())[1].im < 1e-15 => return Ok(log),
                    None => return Err(Error::Unresolved { x }),
                }
            } else {
                step *= 0.5;
            }
        }
        Err(Error::Unresolved { x })
    }

    /// Solves ln z(ω) = `target` near `start`; nothing if that is not where it leads, or out of the upper half-plane.
    fn newton(&self, target: Complex, start: Complex) -> Option<Complex> {
        // Logarithms are known up to 2πi.
        let nearest = |r: Complex| Complex::new(r.re, r.im - TAU * (r.im / TAU).round());
        let mut log = start;
        for _ in 0..20 {
            let h = 1e-5;
            let slope = nearest(self.log_z(log + h) - self.log_z(log - h)) / (2.0 * h);
            let residual = nearest(self.log_z(log) - target);
            let step = residual / slope;
            log = log - step;
            let moved = (log - start).abs();
            if moved.is_nan() || moved > 1.5 {
                return None;
            }
            // At an edge the slope vanishes, and so does the residual before the step.
            if step.abs() < 1e-13 || residual.abs() < 2e-15 * (1.0 + self.depth as f64) {
                return (log.im > -1e-9 && log.im < PI + 1e-9).then_some(log);
            }
        }
        None
    }
}

/// The fixed point of q ↦ σ_w² E φ(√q z)² + σ_b², where the variance of preactivations settles with depth: reached from
/// q = 1, and 0 where it falls below 10⁻³⁰.
///
/// # Errors
/// [`Error::FixedPoint`] if there is none that is finite and attracts faster than algebraically; [`Error::Dual`] for an
/// activation without a dual; [`Error::Shape`] for variances that are negative or not finite.
pub fn fixed_point_variance(phi: &Activation, weight: f64, bias: f64) -> Result<f64, Error> {
    if let Some(value) = [weight, bias].iter().find(|v| !(**v >= 0.0 && v.is_finite())) {
        let reason = format!("a variance is a finite number of at least 0, not {value}");
        return Err(Error::Shape { reason });
    }
    let map =
        |q: f64| -> Result<f64, Error> { Ok(weight * crate::dual(phi, Cov2::new(q, q, q)?)?.value + bias) };
    let mut q = 1.0;
    for _ in 0..400 {
        let first = map(q)?;
        if (first - q).abs() <= 4.0 * f64::EPSILON * q {
            return Ok(first);
        }
        let second = map(first)?;
        if second < 1e-30 {
            return Ok(0.0);
        }
        if second > 1e100 {
            break;
        }
        // Aitken: exact for a map that is linear.
        let ahead = q - (first - q).powi(2) / (second - 2.0 * first + q);
        q = if ahead > 0.0 && ahead.is_finite() && (map(ahead)? - ahead).abs() < (second - first).abs() {
            ahead
        } else {
            second
        };
    }
    Err(Error::FixedPoint { activation: phi.name().to_owned(), variance: q })
}

#[cfg(test)]
mod tests;
