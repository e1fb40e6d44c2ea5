//! What a deep linear network is before it is drawn: its number of matrices, its shape and its variances.

use ntk_core::Variance;

use crate::Error;

/// More middle matrices than anyone trains; a typing error asks for no memory.
const LARGEST: usize = 1024;

/// q middle matrices, ratios of widths and variances of the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    ratios: Vec<f64>,
    input: Variance,
    middle: Variance,
    output: Variance,
}

impl Architecture {
    /// `middle` = q matrices between q + 1 hidden layers of one width, variances 1.
    ///
    /// # Errors
    /// [`Error::Setting`] above q = 1024.
    pub fn new(middle: usize) -> Result<Self, Error> {
        if middle > LARGEST {
            let domain = "at most 1024 matrices";
            return Err(Error::Setting { option: "middle", value: middle as f64, domain });
        }
        let one = Variance::ONE;
        Ok(Architecture { ratios: vec![1.0; middle + 1], input: one, middle: one, output: one })
    }

    /// Widths nⱼ = cⱼ n of the hidden layers, j = 0, …, q.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are q + 1 ratios; [`Error::Setting`] for ratios that are not positive or not
    /// finite.
    pub fn with_widths(self, ratios: &[f64]) -> Result<Self, Error> {
        if ratios.len() != self.ratios.len() {
            let (expected, found) = ((self.ratios.len(), 1), (ratios.len(), 1));
            return Err(Error::Shape { what: "ratios of widths", expected, found });
        }
        if let Some(&value) = ratios.iter().find(|ratio| !(ratio.is_finite() && **ratio > 0.0)) {
            let domain = "finite numbers above 0";
            return Err(Error::Setting { option: "a ratio of widths", value, domain });
        }
        Ok(Architecture { ratios: ratios.to_vec(), ..self })
    }

    /// Entries start as N(0, σ²/n): A with `input` and n₀, Mⱼ with `middle` and nⱼ₋₁, B with `output` and n_q.
    pub fn with_variances(self, input: Variance, middle: Variance, output: Variance) -> Self {
        Architecture { input, middle, output, ..self }
    }

    /// q.
    pub fn middle(&self) -> usize {
        self.ratios.len() - 1
    }

    /// ‖Λⱼ u‖ and ‖Λⱼᵀ v‖ of unit vectors in the limit: σ √(cⱼ/cⱼ₋₁) and σ, for j = 1, …, q.
    pub(super) fn norms(&self) -> Vec<[f64; 2]> {
        let std = self.middle.std();
        self.ratios.windows(2).map(|c| [std * (c[1] / c[0]).sqrt(), std]).collect()
    }

    /// Norms of the columns of A(0) and B(0).
    pub(super) fn endpoints(&self) -> [f64; 2] {
        [self.input.std(), self.output.std()]
    }
}
