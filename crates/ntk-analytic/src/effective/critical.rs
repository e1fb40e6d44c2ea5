//! Critical initialization: the variances at which neither signals nor gradients die or explode with depth.

use ntk_core::{Activation, Variance};

use super::MeanField;
use super::moments::Moments;
use super::phase::bisect;
use crate::{Error, FunctionDual};

/// Why an activation is critical, \[roberts2022principles\] chapter 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// φ(cx) = cφ(x) for c > 0: every variance is fixed.
    ScaleInvariant,
    /// φ(0) = 0: the variance falls to K* = 0 as 1/depth, where φ is a line.
    VanishingVariance,
    /// K* > 0 with χ_∥ = χ_⊥ = 1, approached from one side.
    HalfStable,
    /// χ_⊥ = 1 and χ_∥ < 1: the edge of chaos, where only correlations have no depth scale.
    Edge,
}

/// Variances with χ_⊥(K*) = 1, and χ_∥(K*) = 1 except at [`Class::Edge`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Critical {
    /// σ_w².
    pub weight: f64,
    /// σ_b².
    pub bias: f64,
    /// K*; none where every variance is fixed.
    pub variance: Option<f64>,
    /// Why.
    pub class: Class,
}

/// The variances of weights and biases with χ_∥ = χ_⊥ = 1.
///
/// ```
/// use ntk_analytic::effective::{Class, critical};
/// use ntk_core::Activation;
///
/// let relu = critical(&Activation::Relu)?; // He initialization.
/// assert_eq!((relu.class, relu.bias), (Class::ScaleInvariant, 0.0));
/// assert!((relu.weight - 2.0).abs() < 1e-12);
/// # Ok::<(), ntk_analytic::Error>(())
/// ```
///
/// A scale-invariant φ has them at σ_b² = 0; one with φ(0) = 0 and E φ² ≤ φ′(0)²K at small K at K* = 0; others at
/// the least K* where d E φ²/dK = E φ′², if that leaves σ_b² = K* − σ_w² E φ² ≥ 0.
///
/// # Errors
/// [`Error::NoCriticality`], and as [`MeanField::new`].
pub fn critical(phi: &Activation) -> Result<Critical, Error> {
    of_moments(&Moments::of_activation(phi)?)
}

/// [`critical`] for an activation given by a closure.
///
/// # Errors
/// As [`critical`].
pub fn critical_function(phi: FunctionDual) -> Result<Critical, Error> {
    of_moments(&Moments::of_function(phi)?)
}

fn of_moments(moments: &Moments) -> Result<Critical, Error> {
    let refuse = |reason| Err(Error::NoCriticality { activation: moments.name().to_owned(), reason });
    let table = moments.table();
    let mut difference = Vec::with_capacity(table.len());
    let mut spread = 0.0f64;
    for &[q, v] in table {
        // Slopes may exist less far than values do.
        let Ok([parallel, perpendicular]) = moments.slopes(q) else { break };
        difference.push(parallel / perpendicular - 1.0);
        spread = spread.max((v / q / perpendicular - 1.0).abs());
    }
    if difference.is_empty() || difference.iter().any(|d| d.is_nan()) {
        return refuse("its slope vanishes almost everywhere");
    }
    if spread.max(difference.iter().fold(0.0, |a: f64, d| a.max(d.abs()))) < 1e-10 {
        let weight = 1.0 / moments.slopes(1.0)?[1];
        return Ok(Critical { weight, bias: 0.0, variance: None, class: Class::ScaleInvariant });
    }
    let (zero, [below, above]) = moments.at_zero();
    if zero == 0.0 && below == above && above != 0.0 {
        // Whether K* = 0 attracts: at a variance where E φ² has left the line, and the next order has not come.
        let (q, line) = (1e-4 / (1.0 + above * above), above * above);
        if moments.second(q)? <= line * q {
            let weight = 1.0 / line;
            return Ok(Critical { weight, bias: 0.0, variance: Some(0.0), class: Class::VanishingVariance });
        }
    }
    let mut negative = false;
    for (j, pair) in difference.windows(2).enumerate() {
        if pair[0] * pair[1] < 0.0 {
            let f = |q: f64| moments.slopes(q).map(|[parallel, perpendicular]| parallel - perpendicular);
            let variance = bisect([table[j][0], table[j + 1][0]], pair[0], f)?;
            let weight = 1.0 / moments.slopes(variance)?[1];
            let bias = variance - weight * moments.second(variance)?;
            if bias >= 0.0 {
                return Ok(Critical { weight, bias, variance: Some(variance), class: Class::HalfStable });
            }
            negative = true;
        }
    }
    refuse(if negative {
        "χ_∥ = χ_⊥ = 1 asks for a negative variance of the biases: see edge_of_chaos"
    } else {
        "χ_∥ and χ_⊥ are not 1 at the same variance: see edge_of_chaos"
    })
}

/// σ_w² on the edge of chaos at a given σ_b²: χ_⊥(K*) = 1 at a fixed point K*, the least one.
///
/// The line is σ_w² = 1/E φ′², σ_b² = K* − σ_w² E φ², with K* as its parameter, \[schoenholz2017deep\]; at σ_b² = 0 it
/// may end in one of the other classes.
///
/// # Errors
/// [`Error::NoCriticality`] where the line does not pass; as [`MeanField::new`].
pub fn edge_of_chaos(phi: &Activation, bias: Variance) -> Result<Critical, Error> {
    let moments = Moments::of_activation(phi)?;
    if bias == Variance::ZERO
        && let Ok(critical) = of_moments(&moments)
        && critical.bias == 0.0
    {
        return Ok(critical);
    }
    let excess = |q: f64| {
        let perpendicular = moments.slopes(q)?[1];
        Ok(q - moments.second(q)? / perpendicular - bias.get())
    };
    let mut last: Option<[f64; 2]> = None;
    for &[q, _] in moments.table() {
        let Ok(here) = excess(q) else { break };
        if let Some([before, value]) = last
            && value * here < 0.0
        {
            let variance = bisect([before, q], value, excess)?;
            let weight = 1.0 / moments.slopes(variance)?[1];
            return Ok(Critical { weight, bias: bias.get(), variance: Some(variance), class: Class::Edge });
        }
        last = Some([q, here]);
    }
    Err(Error::NoCriticality {
        activation: moments.name().to_owned(),
        reason: "χ_⊥ is nowhere 1 at a fixed point with this variance of the biases: try another",
    })
}

impl Critical {
    /// The network with these variances.
    ///
    /// # Errors
    /// As [`MeanField::new`].
    pub fn mean_field(&self, phi: &Activation) -> Result<MeanField, Error> {
        MeanField::new(phi, Variance::new(self.weight)?, Variance::new(self.bias)?)
    }
}
