//! When a prediction is asked for: a time or a number of steps, or their limit.

use crate::Error;

/// A time t of gradient flow θ′ = −η ∇L: one step of descent with rate η takes a time of about 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Time {
    /// t ≥ 0, checked where it is used.
    Finite(f64),
    /// t → ∞.
    Infinite,
}

impl Time {
    /// t, or ∞.
    ///
    /// # Errors
    /// [`Error::Time`] if the number is negative, infinite or NaN.
    pub fn value(self) -> Result<f64, Error> {
        match self {
            Time::Finite(t) if t.is_finite() && t >= 0.0 => Ok(t),
            Time::Finite(value) => Err(Error::Time { value }),
            Time::Infinite => Ok(f64::INFINITY),
        }
    }
}

/// A number of full-batch steps of descent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Steps {
    /// So many steps; 0 is the initial network.
    Finite(u64),
    /// The limit of infinitely many, where there is one.
    Infinite,
}
