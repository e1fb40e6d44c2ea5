//! The differential equation of training in function space: products with the kernel, gradients, curvatures.

use ndarray::{Array2, ArrayView2};
use ntk_linalg::product;

use super::phi::Mode;
use crate::{Error, Loss};

/// Coefficients v and what they are as outputs, Θv; (N, k), or (N·k, 1) if the kernel tells outputs apart.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) dual: Array2<f64>,
    pub(crate) output: Array2<f64>,
}

impl Pair {
    pub(super) fn zeros(shape: (usize, usize)) -> Self {
        Pair { dual: Array2::zeros(shape), output: Array2::zeros(shape) }
    }

    /// √(vᵀΘv), the norm in the function space of the kernel.
    pub(super) fn norm(&self) -> f64 {
        super::krylov::dot(&self.dual, &self.output).max(0.0).sqrt()
    }
}

/// a′ = −ρ ∇L(f₀ + Θa), or a″ = −γ a′ − ρ ∇L(f₀ + Θa), from rest at a = 0.
pub(crate) struct Problem<'a, L> {
    /// Θ(X, X), (n, n), without the ridge.
    pub(crate) kernel: ArrayView2<'a, f64>,
    pub(crate) ridge: f64,
    pub(crate) loss: &'a L,
    /// Targets and initial outputs, as the kernel sees them.
    pub(crate) targets: Array2<f64>,
    pub(crate) initial: Array2<f64>,
    /// k.
    pub(crate) outputs: usize,
    /// ρ = η / scale.
    pub(crate) rate: f64,
    /// γ = 1 − β, if there is momentum.
    pub(crate) friction: Option<f64>,
    /// ‖Θ + ridge‖, in Frobenius' norm.
    pub(crate) bound: f64,
    /// √ max Θᵢᵢ: outputs differ by at most so much times the norm of functions.
    pub(crate) unit: f64,
}

impl<L: Loss> Problem<'_, L> {
    /// Θv + ridge · v.
    pub(super) fn image(&self, v: &Array2<f64>) -> Result<Array2<f64>, Error> {
        // The symmetric kernel by columns: five times faster for a few right-hand sides.
        let mut image = product(self.kernel.t(), v.view())?.as_standard_layout().into_owned();
        if self.ridge != 0.0 {
            image.scaled_add(self.ridge, v);
        }
        Ok(image)
    }

    /// ρ ∇L at outputs f.
    pub(super) fn gradient(&self, f: &Array2<f64>) -> Array2<f64> {
        let mut gradient = Array2::zeros(f.dim());
        for ((g, f), y) in self.rows_mut(&mut gradient).zip(self.rows(f)).zip(self.rows(&self.targets)) {
            self.loss.gradient(f, y, g);
        }
        gradient * self.rate
    }

    /// ρ H(f) v.
    pub(super) fn curvature(&self, f: &Array2<f64>, v: &Array2<f64>) -> Array2<f64> {
        let mut bent = Array2::zeros(f.dim());
        let samples = self.rows(f).zip(self.rows(&self.targets)).zip(self.rows(v));
        for (b, ((f, y), v)) in self.rows_mut(&mut bent).zip(samples) {
            self.loss.curvature(f, y, v, b);
        }
        bent * self.rate
    }

    /// Σ ℓ over samples, not scaled.
    pub(crate) fn loss(&self, f: &Array2<f64>) -> f64 {
        self.rows(f).zip(self.rows(&self.targets)).map(|(f, y)| self.loss.value(f, y)).sum()
    }

    pub(super) fn mode(&self) -> Mode {
        self.friction.map_or(Mode::Flow, |friction| Mode::HeavyBall { friction })
    }

    /// The outputs of each sample, contiguous in either layout.
    fn rows<'b>(&self, values: &'b Array2<f64>) -> std::slice::ChunksExact<'b, f64> {
        values.as_slice().unwrap_or(&[]).chunks_exact(self.outputs)
    }

    fn rows_mut<'b>(&self, values: &'b mut Array2<f64>) -> std::slice::ChunksExactMut<'b, f64> {
        values.as_slice_mut().unwrap_or(&mut []).chunks_exact_mut(self.outputs)
    }
}
