//! `Jet`: a tensor along a curve θ(s) in parameter space, so that one set of rules gives derivatives of every order.
//!
//! A curve θ(s) = θ + s v + ½ s² a carries every tensor of a sweep with it. Its Taylor coefficients in s need three
//! operations only: linear maps act on each of them, bilinear ones are Cauchy products, and functions of one variable
//! compose by their derivatives. The rules of all layers, forward and backward, are written in these.

mod affine;
mod attention;
mod contract;
mod norm;
mod rules;

use candle_core::{Result, Tensor};

pub(crate) use self::affine::Curve;
pub(crate) use self::contract::add_share;
pub(crate) use self::rules::{JetSignal, JetSweep};

/// c₀ + c₁ s + … + c_K s^K. A higher coefficient that is none is zero.
#[derive(Clone)]
pub(crate) struct Jet {
    pub(crate) value: Tensor,
    /// c₁, …, c_K.
    pub(crate) higher: Vec<Option<Tensor>>,
}

impl Jet {
    /// What does not move.
    pub(crate) fn constant(value: Tensor, order: usize) -> Self {
        Jet { value, higher: vec![None; order] }
    }

    /// K.
    pub(crate) fn order(&self) -> usize {
        self.higher.len()
    }

    /// c_k, none if it is zero.
    pub(crate) fn coefficient(&self, k: usize) -> Option<&Tensor> {
        if k == 0 { Some(&self.value) } else { self.higher[k - 1].as_ref() }
    }

    /// c₀ + c₁ + … + c_K: the Taylor polynomial at s = 1.
    pub(crate) fn total(&self) -> Result<Tensor> {
        self.higher.iter().flatten().try_fold(self.value.clone(), |total, c| total + c)
    }

    /// L x of a linear map L.
    pub(crate) fn map(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Jet> {
        let higher = self.higher.iter().map(|c| c.as_ref().map(&f).transpose());
        Ok(Jet { value: f(&self.value)?, higher: higher.collect::<Result<_>>()? })
    }

    /// B(x, y) of a bilinear map B: c_k = Σᵢ B(xᵢ, y_{k−i}).
    pub(crate) fn bilinear(
        &self,
        other: &Jet,
        f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Jet> {
        let higher = (1..=self.order()).map(|k| cauchy(k, self, other, &f));
        Ok(Jet { value: f(&self.value, &other.value)?, higher: higher.collect::<Result<_>>()? })
    }

    /// x + y.
    pub(crate) fn plus(&self, other: &Jet) -> Result<Jet> {
        let sum = |(a, b): (&Option<Tensor>, &Option<Tensor>)| match (a, b) {
            (Some(a), Some(b)) => (a + b).map(Some),
            (a, b) => Ok(a.clone().or_else(|| b.clone())),
        };
        let higher = self.higher.iter().zip(&other.higher).map(sum).collect::<Result<_>>()?;
        Ok(Jet { value: (&self.value + &other.value)?, higher })
    }

    /// x − y, where y is spread over what it is shared by.
    pub(crate) fn minus(&self, other: &Jet) -> Result<Jet> {
        let difference = |(a, b): (&Option<Tensor>, &Option<Tensor>)| match (a, b) {
            (Some(a), Some(b)) => a.broadcast_sub(b).map(Some),
            (None, Some(b)) => b.neg()?.broadcast_as(self.value.shape())?.contiguous().map(Some),
            (a, None) => Ok(a.clone()),
        };
        let higher = self.higher.iter().zip(&other.higher).map(difference).collect::<Result<_>>()?;
        Ok(Jet { value: self.value.broadcast_sub(&other.value)?, higher })
    }

    /// φ(x) entry by entry, from φ, φ′, φ″ at x₀: c₁ = φ′ x₁, c₂ = φ′ x₂ + ½ φ″ x₁².
    pub(crate) fn compose(&self, derivatives: &[Tensor]) -> Result<Jet> {
        let mut higher = Vec::with_capacity(self.order());
        for k in 1..=self.order() {
            let linear = self.coefficient(k).map(|c| c * &derivatives[1]).transpose()?;
            let square = match self.coefficient(1) {
                Some(c) if k == 2 => Some(((c.sqr()? * &derivatives[2])? * 0.5)?),
                _ => None,
            };
            higher.push(add(linear, square)?);
        }
        Ok(Jet { value: derivatives[0].clone(), higher })
    }

    /// x ∘ y, where y is spread over what it is shared by.
    pub(crate) fn times(&self, other: &Jet) -> Result<Jet> {
        self.bilinear(other, |a, b| if a.shape() == b.shape() { a * b } else { a.broadcast_mul(b) })
    }
}

/// Σᵢ B(xᵢ, y_{k−i}), none if all of it is zero.
pub(crate) fn cauchy(
    k: usize,
    x: &Jet,
    y: &Jet,
    f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Option<Tensor>> {
    (0..=k).try_fold(None, |total, i| match (x.coefficient(i), y.coefficient(k - i)) {
        (Some(x), Some(y)) => add(total, Some(f(x, y)?)),
        _ => Ok(total),
    })
}

/// a + b, where none is zero.
pub(crate) fn add(a: Option<Tensor>, b: Option<Tensor>) -> Result<Option<Tensor>> {
    match (a, b) {
        (Some(a), Some(b)) => (a + b).map(Some),
        (a, b) => Ok(a.or(b)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Tests may.
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn products_and_functions_by_hand() {
        // x = 2 + 3s + 5s², y = 7 + s: xy = 14 + 23s + 38s², x³ = 8 + 36s + 114s² + ….
        let number = |v: f64| Tensor::new(&[v], &Device::Cpu).unwrap();
        let x = Jet { value: number(2.0), higher: vec![Some(number(3.0)), Some(number(5.0))] };
        let y = Jet { value: number(7.0), higher: vec![Some(number(1.0)), None] };
        let get = |j: &Jet| {
            (0..3).map(|k| j.coefficient(k).unwrap().to_vec1::<f64>().unwrap()[0]).collect::<Vec<_>>()
        };
        assert_eq!(get(&x.times(&y).unwrap()), [14.0, 23.0, 38.0]);
        let cube = x.compose(&[number(8.0), number(12.0), number(12.0)]).unwrap();
        assert_eq!(get(&cube), [8.0, 36.0, 114.0]);
        assert_eq!(get(&x.plus(&y).unwrap()), [9.0, 4.0, 5.0]);
        assert_eq!(get(&y.minus(&x).unwrap()), [5.0, -2.0, -5.0]);
    }
}
