//! Dual activations: E φ(u)φ(v) and E φ′(u)φ′(v) for a centered Gaussian pair (u, v), all that an activation
//! contributes to a kernel.
//!
//! Correlations travel as *signed gaps* s with |s| = 1 − |ρ| and the sign bit of ρ (so −0 is ρ = −1): the slope of
//! a kinked φ depends on √(1 − ρ), and 1 − ρ cannot be recovered from a rounded ρ. Every formula below therefore
//! takes a gap and gives the gap of its output without cancellation.

use ntk_core::Activation;

use crate::Error;

mod arc_cosine;
mod closed;
mod error_function;
mod exponential;
mod function;
mod hermite_series;
mod kinked;
mod piecewise;
mod polynomial;
mod rectified;
mod series;
mod table;
mod trigonometric;

pub(crate) use closed::no_moment;
use closed::prepare_closed;
pub use function::FunctionDual;
pub(crate) use function::of_activation;
pub(crate) use kinked::{Kinked, Rule};

/// The covariance of a centered Gaussian pair (u, v).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cov2 {
    /// E u².
    pub q11: f64,
    /// E v².
    pub q22: f64,
    /// E uv; where it differs from ±(1 − gap)√(q₁₁q₂₂) by rounding, the gap decides.
    pub q12: f64,
    /// 1 − |ρ| ∈ [0, 1], with full relative accuracy near 0.
    pub gap: f64,
}

/// What an activation makes of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dual {
    /// V₁₂ = E φ(u)φ(v).
    pub value: f64,
    /// E φ′(u)φ′(v), with the derivative almost everywhere (0 for a step).
    pub slope: f64,
    /// 1 − |V₁₂| / √(V₁₁V₂₂) of the output; 1 where V₁₁V₂₂ = 0.
    pub gap: f64,
}

/// A dual activation known by its formula, for example one of a user's.
pub trait DualActivation: Send + Sync {
    /// Value, slope and gap for one pair, at variances that [`DualActivation::variance`] accepts.
    fn dual(&self, cov: Cov2) -> Dual;

    /// E φ(u)² for E u² = q.
    ///
    /// # Errors
    /// An expectation that does not exist or overflows.
    fn variance(&self, q: f64) -> Result<f64, Error> {
        Ok(self.dual(Cov2 { q11: q, q22: q, q12: q, gap: if q > 0.0 { 0.0 } else { 1.0 } }).value)
    }

    /// The function behind a dual that is one known by its values: a whole block is then prepared at once.
    fn as_function(&self) -> Option<&FunctionDual> {
        None
    }
}

/// The correlation that a signed gap stands for.
#[inline(always)]
pub(crate) fn correlation(gap: f64) -> f64 {
    (1.0 - gap.abs()).copysign(gap)
}

/// Covariances may exceed Cauchy–Schwarz by this much, relative to q₁₁q₂₂, and count as rounded.
const ROUNDING: f64 = 1e-9;

impl Cov2 {
    /// From the three numbers; the gap is exact for the doubles given.
    ///
    /// # Errors
    /// [`Error::NotCovariance`]: numbers that are not finite, negative variances, or q₁₂² > q₁₁q₂₂ beyond rounding.
    pub fn new(q11: f64, q22: f64, q12: f64) -> Result<Self, Error> {
        let refused = Error::NotCovariance { q11, q22, q12 };
        if !(q11 >= 0.0 && q22 >= 0.0 && (q11 + q22 + q12).is_finite()) {
            return Err(refused);
        }
        let norm = q11.sqrt() * q22.sqrt();
        if norm == 0.0 {
            let zero = Cov2 { q11, q22, q12: 0.0, gap: 1.0 };
            return if q12 == 0.0 { Ok(zero) } else { Err(refused) };
        }
        // Powers of 2 that bring the variances near 1, without rounding.
        let half = |q: f64| 2f64.powi(-(0.5 * q.log2()).round() as i32);
        let (s, t) = (half(q11), half(q22));
        let (a, b, c) = (q11 * s * s, q22 * t * t, q12 * s * t);
        // q₁₁q₂₂ − q₁₂² with an error of one rounding of the result.
        let square = c * c;
        let determinant = a.mul_add(b, -square) - c.mul_add(c, -square);
        let scale = (a * b).sqrt();
        let gap = determinant / (scale * (scale + c.abs()));
        if gap < -ROUNDING {
            return Err(refused);
        }
        Ok(Cov2 { q11, q22, q12, gap: gap.clamp(0.0, 1.0) })
    }

    /// |s| = 1 − |ρ| with the sign of ρ; +1 where a variance is 0.
    pub(crate) fn signed_gap(self) -> Result<f64, Error> {
        let Cov2 { q11, q22, q12, gap } = self;
        if !(q11 >= 0.0 && q22 >= 0.0 && (q11 + q22 + q12).is_finite() && (0.0..=1.0).contains(&gap)) {
            return Err(Error::NotCovariance { q11, q22, q12 });
        }
        Ok(if q11 == 0.0 || q22 == 0.0 { 1.0 } else { gap.copysign(q12) })
    }
}

/// Value, slope and gap of one pair, within 1e-12 of √(V₁₁V₂₂), √(S₁₁S₂₂) and the right gap.
///
/// ```
/// use ntk_analytic::{Cov2, dual};
/// use ntk_core::Activation;
///
/// // ReLU of two equal unit Gaussians: E max(u, 0)² = ½ and P(u > 0) = ½.
/// let relu = dual(&Activation::Relu, Cov2::new(1.0, 1.0, 1.0)?)?;
/// assert_eq!((relu.value, relu.slope, relu.gap), (0.5, 0.5, 0.0));
/// # Ok::<(), ntk_analytic::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotCovariance`], [`Error::Expectation`], [`Error::Quadrature`], [`Error::UnknownActivation`], and a
/// parameter of the activation out of its domain.
pub fn dual(phi: &Activation, cov: Cov2) -> Result<Dual, Error> {
    phi.check()?;
    let gap = cov.signed_gap()?;
    Ok(dual_of(prepare(phi, &[cov.q11], &[cov.q22], TOLERANCE)?.as_ref(), gap))
}

/// The dual of the only pair that was prepared.
fn dual_of(prepared: &dyn Prepared, gap: f64) -> Dual {
    let (mut gap, mut slope) = ([gap], [0.0]);
    prepared.row(0, 0, &mut gap, Some(&mut slope));
    let ((v1, v2), gap) = (prepared.variances(), gap[0]);
    // √V·√V may differ from V in the last digit; identical samples have the variance itself.
    let norm = if v1[0] == v2[0] { v1[0] } else { v1[0].sqrt() * v2[0].sqrt() };
    Dual { value: correlation(gap) * norm, slope: slope[0], gap: gap.abs() }
}

/// E φ(u) for u ~ N(0, q), at each variance; none where φ is known by its dual alone.
pub(crate) fn means(phi: &Activation, q: &[f64]) -> Option<Vec<f64>> {
    if let Activation::Custom { .. } | Activation::ExpNormalized { .. } = phi {
        return None;
    }
    if let Activation::Exp { a, b } = phi {
        return Some(q.iter().map(|q| a * (0.5 * b * b * q).exp()).collect());
    }
    let (phi, rule) = (of_activation(phi), Rule::new(40));
    Some(q.iter().map(|&q| phi.mean(q, &rule)).collect())
}

/// The default error bound of a quadrature, relative to √(V₁₁V₂₂) and √(S₁₁S₂₂).
pub(crate) const TOLERANCE: f64 = 1e-12;

/// An activation ready for a whole kernel block: what depends on the variances alone is computed and checked.
pub(crate) trait Prepared: Send + Sync {
    /// Output variances V(q, q) of the row samples and of the column samples.
    fn variances(&self) -> (&[f64], &[f64]);

    /// For row sample `i` and the column samples from `j0` on: replaces the signed gaps of the pre-activations by
    /// those of the activations, and writes E φ′(u)φ′(v) to `slope` if asked.
    fn row(&self, i: usize, j0: usize, gap: &mut [f64], slope: Option<&mut [f64]>);

    /// The same for pairs of row sample `i0` + k and column sample `j0` + k.
    fn diagonal(&self, i0: usize, j0: usize, gap: &mut [f64], mut slope: Option<&mut [f64]>) {
        for k in 0..gap.len() {
            let slope = slope.as_deref_mut().map(|slope| &mut slope[k..=k]);
            self.row(i0 + k, j0 + k, &mut gap[k..=k], slope);
        }
    }

    /// [(a² + b²)/2, (a − b)²/(a² + b²)] of a·min(x, 0) + b·max(x, 0), which can be fused with other layers.
    fn arc_cosine(&self) -> Option<[f64; 2]> {
        None
    }

    /// Bound on the error of value and slope, relative to √(V₁₁V₂₂) and √(S₁₁S₂₂); 0 for a closed form.
    fn error(&self) -> f64 {
        0.0
    }
}

/// Prepares φ for row samples of variances `q1` and column samples of variances `q2`.
///
/// # Errors
/// [`Error::Expectation`], [`Error::Quadrature`], [`Error::UnknownActivation`].
pub(crate) fn prepare(
    phi: &Activation,
    q1: &[f64],
    q2: &[f64],
    tolerance: f64,
) -> Result<Box<dyn Prepared>, Error> {
    use error_function::{Erf, Gelu};
    use exponential::{Compositional, Gabor, Gaussian, Shifted};
    use trigonometric::Wave;

    let name = phi.name();
    let largest = || q1.iter().chain(q2).fold(0.0, |a: f64, &b| a.max(b));
    match *phi {
        Activation::Relu => prepare_closed(arc_cosine::AbRelu::new(0.0, 1.0), name, q1, q2),
        Activation::LeakyRelu { alpha } => prepare_closed(arc_cosine::AbRelu::new(alpha, 1.0), name, q1, q2),
        Activation::Abs => prepare_closed(arc_cosine::AbRelu::new(-1.0, 1.0), name, q1, q2),
        Activation::AbRelu { a, b } => prepare_closed(arc_cosine::AbRelu::new(a, b), name, q1, q2),
        Activation::Step | Activation::RectifiedMonomial { degree: 0 } => {
            prepare_closed(arc_cosine::Step, name, q1, q2)
        }
        Activation::Sign => prepare_closed(arc_cosine::Sign, name, q1, q2),
        Activation::RectifiedMonomial { degree } => {
            prepare_closed(rectified::RectifiedMonomial::new(degree), name, q1, q2)
        }
        Activation::Erf { a, b, c: 0.0 } if largest() * (2.0 * b * b) < 0.25 => {
            prepare_closed(Erf::<true> { a, b, c: 0.0 }, name, q1, q2)
        }
        Activation::Erf { a, b, c } => prepare_closed(Erf::<false> { a, b, c }, name, q1, q2),
        Activation::SigmoidLike => prepare_closed(Erf::<false>::SIGMOID_LIKE, name, q1, q2),
        Activation::Gelu => prepare_closed(Gelu, name, q1, q2),
        Activation::Sin { a, b, c: 0.0 } if largest() * (b * b) < 0.25 => {
            prepare_closed(Wave::<true>::sin(a, b, 0.0), name, q1, q2)
        }
        Activation::Sin { a, b, c } => prepare_closed(Wave::<false>::sin(a, b, c), name, q1, q2),
        Activation::Cos { a, b, c } => prepare_closed(Wave::<false>::cos(a, b, c), name, q1, q2),
        Activation::Rbf { gamma } => prepare_closed(Shifted::rbf(gamma), name, q1, q2),
        Activation::Exp { a, b } => prepare_closed(Shifted::exp(a, b), name, q1, q2),
        Activation::Gaussian { a, b } => prepare_closed(Gaussian { a, b }, name, q1, q2),
        Activation::Gabor => prepare_closed(Gabor, name, q1, q2),
        Activation::ExpNormalized { gamma, shift } => {
            prepare_closed(Compositional { gamma, shift }, name, q1, q2)
        }
        Activation::Hermite { degree } => {
            series::prepare_series(q1, q2, name, |q, _| Ok(polynomial::hermite(degree, q)))
        }
        Activation::Monomial { degree } => {
            let mut coefficients = vec![0.0; degree as usize];
            coefficients.push(1.0);
            series::prepare_series(q1, q2, name, |q, _| Ok(polynomial::polynomial(&coefficients, q)))
        }
        Activation::Polynomial { ref coefficients } => {
            series::prepare_series(q1, q2, name, |q, _| Ok(polynomial::polynomial(coefficients, q)))
        }
        Activation::Tanh
        | Activation::Sigmoid
        | Activation::Softplus
        | Activation::Silu
        | Activation::Mish
        | Activation::Elu { .. }
        | Activation::Selu
        | Activation::HardTanh
        | Activation::HardSigmoid
        | Activation::Relu6 => function::prepare_function(&of_activation(phi), name, q1, q2, tolerance),
        Activation::Custom { ref name, .. } => Err(Error::UnknownActivation { name: name.clone() }),
    }
}
