//! Gradient descent and gradient flow: the gradient of each matrix has the rank of the outputs and is never formed.

use ndarray::{Array2, ArrayView2, s};

use super::DeepLinear;
use crate::Error;

/// A′ = z₀ rᵀ, Mⱼ′ = zⱼ pⱼ₋₁ᵀ, B′ = p_q.
struct Signals {
    /// zⱼ, each (k, nⱼ).
    backward: Vec<Array2<f64>>,
    /// pⱼ = Mⱼ ⋯ M₁ A r, likewise.
    forward: Vec<Array2<f64>>,
    /// r, (d, k).
    descent: Array2<f64>,
}

impl DeepLinear {
    /// Gradient descent for some steps: `descent` gives −∇F(β) for β, both (d, k).
    ///
    /// β moves by η K r to first order in η, whatever the scaling.
    ///
    /// # Errors
    /// [`Error::Setting`] for a rate that is not a positive number; [`Error::MatrixShape`] for a gradient of another
    /// shape; [`Error::Diverged`] with the first step whose predictor is not finite.
    pub fn descend(
        &mut self,
        mut descent: impl FnMut(ArrayView2<'_, f64>) -> Array2<f64>,
        rate: f64,
        steps: usize,
    ) -> Result<(), Error> {
        positive("rate", rate)?;
        for step in 0..steps {
            let signals = self.signals(&mut descent)?;
            self.advance(&[(rate, &signals)]);
            self.check(step)?;
        }
        Ok(())
    }

    /// Gradient flow for a time, by so many steps of the classical Runge–Kutta method; one step of descent with rate η
    /// takes a time of η.
    ///
    /// Each step keeps a second copy of the weights.
    ///
    /// # Errors
    /// As [`DeepLinear::descend`], with the time in place of the rate.
    pub fn flow(
        &mut self,
        mut descent: impl FnMut(ArrayView2<'_, f64>) -> Array2<f64>,
        time: f64,
        steps: usize,
    ) -> Result<(), Error> {
        positive("time", time)?;
        if steps == 0 {
            return Err(Error::Setting { option: "steps", value: 0.0, domain: "at least 1" });
        }
        let h = time / steps as f64;
        for step in 0..steps {
            let start = self.clone();
            let first = self.signals(&mut descent)?;
            self.advance(&[(0.5 * h, &first)]);
            let second = self.signals(&mut descent)?;
            self.clone_from(&start);
            self.advance(&[(0.5 * h, &second)]);
            let third = self.signals(&mut descent)?;
            self.clone_from(&start);
            self.advance(&[(h, &third)]);
            let fourth = self.signals(&mut descent)?;
            *self = start;
            self.advance(&[(h / 6.0, &first), (h / 3.0, &second), (h / 3.0, &third), (h / 6.0, &fourth)]);
            self.check(step)?;
        }
        Ok(())
    }

    fn check(&self, step: usize) -> Result<(), Error> {
        let finite = self.predictor.iter().all(|x| x.is_finite());
        if finite { Ok(()) } else { Err(Error::Diverged { step }) }
    }

    fn signals(
        &self,
        descent: &mut impl FnMut(ArrayView2<'_, f64>) -> Array2<f64>,
    ) -> Result<Signals, Error> {
        let r = descent(self.predictor.view());
        let (expected, found) = (self.predictor.dim(), r.dim());
        if expected != found {
            return Err(Error::MatrixShape { what: "the gradient in the predictor", expected, found });
        }
        let forward = self.forward(self.input.dot(&r).reversed_axes());
        Ok(Signals { backward: self.backward.clone(), forward, descent: r })
    }

    /// Rows x, M₁x, …, M_q ⋯ M₁ x.
    pub(super) fn forward(&self, x: Array2<f64>) -> Vec<Array2<f64>> {
        let mut all = vec![x.as_standard_layout().into_owned()];
        for (at, matrix) in self.middle.iter().enumerate() {
            let mut next = Array2::zeros((x.nrows(), matrix.nrows()));
            for (mut out, x) in next.rows_mut().into_iter().zip(all[at].rows()) {
                out.assign(&matrix.dot(&x));
            }
            all.push(next);
        }
        all
    }

    /// Backward pass and predictor for the weights as they are.
    pub(super) fn refresh(&mut self) {
        self.advance(&[]);
    }

    /// θ ← θ + Σ h θ′/γ, and backward pass and predictor there: one sweep over each matrix.
    fn advance(&mut self, terms: &[(f64, &Signals)]) {
        let q = self.middle.len();
        for &(h, Signals { backward, forward, descent }) in terms {
            self.input.scaled_add(h / self.gain, &descent.dot(&backward[0]).t());
            self.output.scaled_add(h / self.gain, &forward[q]);
        }
        let mut all = vec![self.output.clone()];
        for at in (0..q).rev() {
            let z = &all[all.len() - 1];
            let mut next = Array2::zeros((z.nrows(), self.middle[at].ncols()));
            for (i, mut row) in self.middle[at].rows_mut().into_iter().enumerate() {
                for &(h, signals) in terms {
                    let columns = signals.backward[at + 1].slice(s![.., i]);
                    for (&z, p) in columns.iter().zip(signals.forward[at].rows()) {
                        row.scaled_add(h / self.gain * z, &p);
                    }
                }
                for (&z, mut out) in z.slice(s![.., i]).iter().zip(next.rows_mut()) {
                    out.scaled_add(z, &row);
                }
            }
            all.push(next);
        }
        all.reverse();
        self.predictor = all[0].dot(&self.input).reversed_axes() * self.gain;
        self.backward = all;
    }
}

fn positive(option: &'static str, value: f64) -> Result<(), Error> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::Setting { option, value, domain: "finite numbers above 0" })
}
