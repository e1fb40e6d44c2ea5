//! What training minimizes, beyond squares: losses of one sample's outputs, with their gradients and curvatures.

use crate::Error;

/// A loss ℓ(f, y) of the outputs f of one sample, k of them, with targets y; summed over samples and divided by
/// [`LossScale`](crate::LossScale).
///
/// Implement it for a loss of your own; [`FunctionSpace`](crate::FunctionSpace) needs no more. The gradient must be
/// continuous. Convex losses never increase under gradient flow; others may be used.
///
/// ```
/// use ntk_dynamics::Loss;
/// /// log cosh(f − y), summed over outputs: between squares and absolute values.
/// struct LogCosh;
/// impl Loss for LogCosh {
///     fn value(&self, f: &[f64], y: &[f64]) -> f64 {
///         f.iter().zip(y).map(|(f, y)| (f - y).cosh().ln()).sum()
///     }
///     fn gradient(&self, f: &[f64], y: &[f64], gradient: &mut [f64]) {
///         for ((g, f), y) in gradient.iter_mut().zip(f).zip(y) {
///             *g = (f - y).tanh();
///         }
///     }
/// }
/// let mut bent = [0.0];
/// LogCosh.curvature(&[0.0], &[0.0], &[2.0], &mut bent);
/// assert!((bent[0] - 2.0).abs() < 1e-9);
/// ```
pub trait Loss {
    /// ℓ(f, y). f, y: k numbers each.
    fn value(&self, f: &[f64], y: &[f64]) -> f64;

    /// ∇ℓ in f, written to `gradient`. All slices: k numbers.
    fn gradient(&self, f: &[f64], y: &[f64], gradient: &mut [f64]);

    /// The Hessian of ℓ in f times `direction`, written to `product`. All slices: k numbers.
    ///
    /// A central difference of the gradient unless implemented: right to about 1e-10 of the gradient, which costs the
    /// integrator no accuracy, only steps.
    fn curvature(&self, f: &[f64], y: &[f64], direction: &[f64], product: &mut [f64]) {
        let size = |values: &[f64]| values.iter().fold(0.0_f64, |a, v| a.max(v.abs()));
        let length = size(direction);
        if length == 0.0 {
            return product.fill(0.0);
        }
        let step = 1e-5 * (1.0 + size(f)) / length;
        let moved = |step: f64| -> Vec<f64> { f.iter().zip(direction).map(|(f, d)| f + step * d).collect() };
        let mut below = vec![0.0; f.len()];
        self.gradient(&moved(step), y, product);
        self.gradient(&moved(-step), y, &mut below);
        for (p, b) in product.iter_mut().zip(below) {
            *p = (*p - b) / (2.0 * step);
        }
    }
}

/// Half the squared distance, ½ |f − y|²: the loss whose training has a closed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Squared;

impl Loss for Squared {
    fn value(&self, f: &[f64], y: &[f64]) -> f64 {
        each(f, y, |f, y| 0.5 * (f - y) * (f - y))
    }

    fn gradient(&self, f: &[f64], y: &[f64], gradient: &mut [f64]) {
        write(f, y, gradient, |f, y| f - y);
    }

    fn curvature(&self, _f: &[f64], _y: &[f64], direction: &[f64], product: &mut [f64]) {
        product.copy_from_slice(direction);
    }
}

/// Softmax cross-entropy −Σⱼ yⱼ ln softmax(f)ⱼ, k ≥ 2 classes; y: probabilities, one-hot for labels.
///
/// Any finite y is taken; the loss is convex where Σⱼ yⱼ ≥ 0. Adding a number to all outputs of a sample changes
/// nothing. One-hot targets that the kernel can separate have no minimum: outputs grow like ln t.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossEntropy;

impl Loss for CrossEntropy {
    fn value(&self, f: &[f64], y: &[f64]) -> f64 {
        let top = largest(f);
        let log_sum = f.iter().map(|f| (f - top).exp()).sum::<f64>().ln();
        each(f, y, |f, y| y * (log_sum - (f - top)))
    }

    fn gradient(&self, f: &[f64], y: &[f64], gradient: &mut [f64]) {
        let total: f64 = y.iter().sum();
        softmax(f, gradient);
        for (g, y) in gradient.iter_mut().zip(y) {
            *g = total * *g - y;
        }
    }

    fn curvature(&self, f: &[f64], y: &[f64], direction: &[f64], product: &mut [f64]) {
        // (Σ y) (diag p − p pᵀ) d.
        let total: f64 = y.iter().sum();
        softmax(f, product);
        let mean = each(product, direction, |p, d| p * d);
        for (p, d) in product.iter_mut().zip(direction) {
            *p *= total * (d - mean);
        }
    }
}

/// Logistic loss Σⱼ ln(1 + e^{−yⱼfⱼ}), labels y = ±1: each output a classifier of its own.
///
/// Labels that the kernel can separate have no minimum: outputs grow like ln t.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logistic;

impl Loss for Logistic {
    fn value(&self, f: &[f64], y: &[f64]) -> f64 {
        each(f, y, |f, y| softplus(-y * f))
    }

    fn gradient(&self, f: &[f64], y: &[f64], gradient: &mut [f64]) {
        write(f, y, gradient, |f, y| -y * sigmoid(-y * f));
    }

    fn curvature(&self, f: &[f64], y: &[f64], direction: &[f64], product: &mut [f64]) {
        write(f, y, product, |f, y| y * y * sigmoid(y * f) * sigmoid(-y * f));
        scale(product, direction);
    }
}

/// Huber loss: ½ (f − y)² up to |f − y| = δ, δ |f − y| − ½ δ² beyond, summed over outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Huber(f64);

impl Huber {
    /// δ, in units of the outputs.
    ///
    /// # Errors
    /// [`Error::Setting`] unless 0 < δ < ∞.
    pub fn new(delta: f64) -> Result<Self, Error> {
        positive("the threshold of the Huber loss", delta).map(Huber)
    }
}

impl Loss for Huber {
    fn value(&self, f: &[f64], y: &[f64]) -> f64 {
        let delta = self.0;
        each(f, y, |f, y| {
            let r = (f - y).abs();
            if r <= delta { 0.5 * r * r } else { delta * (r - 0.5 * delta) }
        })
    }

    fn gradient(&self, f: &[f64], y: &[f64], gradient: &mut [f64]) {
        write(f, y, gradient, |f, y| (f - y).clamp(-self.0, self.0));
    }

    fn curvature(&self, f: &[f64], y: &[f64], direction: &[f64], product: &mut [f64]) {
        write(f, y, product, |f, y| if (f - y).abs() <= self.0 { 1.0 } else { 0.0 });
        scale(product, direction);
    }
}

/// Squared hinge ½ Σⱼ max(0, 1 − yⱼfⱼ)², labels y = ±1: zero, with its gradient, beyond the margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquaredHinge;

impl Loss for SquaredHinge {
    fn value(&self, f: &[f64], y: &[f64]) -> f64 {
        each(f, y, |f, y| 0.5 * (1.0 - y * f).max(0.0).powi(2))
    }

    fn gradient(&self, f: &[f64], y: &[f64], gradient: &mut [f64]) {
        write(f, y, gradient, |f, y| -y * (1.0 - y * f).max(0.0));
    }

    fn curvature(&self, f: &[f64], y: &[f64], direction: &[f64], product: &mut [f64]) {
        write(f, y, product, |f, y| if y * f < 1.0 { y * y } else { 0.0 });
        scale(product, direction);
    }
}

/// Smooth hinge τ Σⱼ ln(1 + e^{(1 − yⱼfⱼ)/τ}), labels y = ±1: the hinge max(0, 1 − yf) as τ → 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothHinge(f64);

impl SmoothHinge {
    /// τ, the temperature: over this width the hinge is rounded, by at most τ ln 2 in value.
    ///
    /// # Errors
    /// [`Error::Setting`] unless 0 < τ < ∞.
    pub fn new(temperature: f64) -> Result<Self, Error> {
        positive("the temperature of the smooth hinge", temperature).map(SmoothHinge)
    }
}

impl Loss for SmoothHinge {
    fn value(&self, f: &[f64], y: &[f64]) -> f64 {
        each(f, y, |f, y| self.0 * softplus((1.0 - y * f) / self.0))
    }

    fn gradient(&self, f: &[f64], y: &[f64], gradient: &mut [f64]) {
        write(f, y, gradient, |f, y| -y * sigmoid((1.0 - y * f) / self.0));
    }

    fn curvature(&self, f: &[f64], y: &[f64], direction: &[f64], product: &mut [f64]) {
        write(f, y, product, |f, y| {
            let z = (1.0 - y * f) / self.0;
            y * y / self.0 * sigmoid(z) * sigmoid(-z)
        });
        scale(product, direction);
    }
}

fn each(f: &[f64], y: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    f.iter().zip(y).map(|(&f, &y)| term(f, y)).sum()
}

fn write(f: &[f64], y: &[f64], out: &mut [f64], term: impl Fn(f64, f64) -> f64) {
    for ((out, &f), &y) in out.iter_mut().zip(f).zip(y) {
        *out = term(f, y);
    }
}

fn scale(out: &mut [f64], by: &[f64]) {
    for (out, by) in out.iter_mut().zip(by) {
        *out *= by;
    }
}

fn positive(option: &'static str, value: f64) -> Result<f64, Error> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(Error::Setting { option, value, domain: "above 0, finite" })
    }
}

fn largest(f: &[f64]) -> f64 {
    f.iter().fold(f64::NEG_INFINITY, |a, &f| a.max(f))
}

fn softmax(f: &[f64], out: &mut [f64]) {
    let top = largest(f);
    write(f, f, out, |f, _| (f - top).exp());
    let sum: f64 = out.iter().sum();
    out.iter_mut().for_each(|p| *p /= sum);
}

fn sigmoid(z: f64) -> f64 {
    // The small side without cancellation and without overflow.
    let e = (-z.abs()).exp();
    if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// ln(1 + e^z).
fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests;
