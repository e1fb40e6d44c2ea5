//! Derivatives of some samples at a time, and the tiles of a kernel that they give.

use std::ops::{ControlFlow, Range};

use candle_core::{Result as CandleResult, Tensor};
use ndarray::{Array2, ArrayView2, s};
use ntk_core::{Batch, Progress};

use super::{Autograd, Model};
use crate::{Error, tensor};

/// The columns of a tile that are swept at a time, at most: enough for a product of matrices to be one.
const COLUMNS: usize = 16;

/// The derivatives of r combinations of the outputs of some samples.
pub(crate) struct Jacobian {
    /// (samples · r, p), one for each variable.
    pub(crate) blocks: Vec<Tensor>,
}

/// The derivatives in one variable of the samples of a tile's rows and columns.
pub(super) struct Tile<'a> {
    pub(super) variable: usize,
    pub(super) rate: f64,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    a: &'a Tensor,
    b: &'a Tensor,
}

impl Tile<'_> {
    /// All pairs of combinations: (rows · r, columns · r).
    pub(super) fn blocks(&self) -> CandleResult<Array2<f64>> {
        gram(self.a, self.b)
    }

    /// The sum over equal combinations: (rows, columns).
    pub(super) fn trace(&self) -> CandleResult<Array2<f64>> {
        let flat = |t: &Tensor, samples: &Range<usize>| t.reshape((samples.len(), ()));
        gram(&flat(self.a, &self.rows)?, &flat(self.b, &self.columns)?)
    }

    /// One combination with itself: (rows, columns).
    pub(super) fn output(&self, output: usize) -> CandleResult<Array2<f64>> {
        let pick = |t: &Tensor, samples: &Range<usize>| {
            let p = t.dim(1)?;
            t.reshape((samples.len(), (), p))?.narrow(1, output, 1)?.squeeze(1)?.contiguous()
        };
        gram(&pick(self.a, &self.rows)?, &pick(self.b, &self.columns)?)
    }

    /// Adds λ · part in the tile's place. theta: (n₁, n₂).
    pub(super) fn add_to(&self, theta: &mut Array2<f64>, part: &Array2<f64>) {
        theta.slice_mut(s![self.rows.clone(), self.columns.clone()]).scaled_add(self.rate, part);
    }
}

fn gram(a: &Tensor, b: &Tensor) -> CandleResult<Array2<f64>> {
    tensor::array(&a.matmul(&b.t()?)?)
}

impl<M: Model> Autograd<M> {
    /// ∂⟨u, f(x)⟩/∂θ, without rates. x: (n, d), u: (n or 1, r, o); `after` is called after each sample.
    pub(crate) fn sweep(
        &self,
        x: &Tensor,
        u: &Tensor,
        after: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Jacobian, Error> {
        let (n, (shared, r, _)) = (x.dim(0)?, u.dims3()?);
        let zeros = |(_, var): &(String, candle_core::Var)| {
            Tensor::zeros((n * r, var.elem_count()), self.dtype(), self.device())
        };
        let blocks = self.vars.iter().map(zeros).collect::<CandleResult<Vec<_>>>()?;
        for i in 0..n {
            // The graph of a sample ends with this scope: what is kept of it are copies of numbers.
            let y = self.forward(&x.narrow(0, i, 1)?)?;
            let u = u.narrow(0, if shared == 1 { 0 } else { i }, 1)?.squeeze(0)?;
            for row in 0..r {
                let gradients = (&y * u.narrow(0, row, 1)?)?.sum_all()?.backward()?;
                for (block, (_, var)) in blocks.iter().zip(&self.vars) {
                    if let Some(gradient) = gradients.get(var) {
                        let gradient = gradient.contiguous()?.reshape((1, ()))?;
                        block.slice_set(&gradient, 0, i * r + row)?;
                    }
                }
            }
            after()?;
        }
        Ok(Jacobian { blocks })
    }

    /// Tells the observer of one more sample of a total at each call; it may stop.
    pub(crate) fn progress(&self, total: usize) -> impl FnMut() -> Result<(), Error> {
        let mut done = 0;
        move || {
            done += 1;
            match self.observer.as_ref().map(|observer| observer(Progress { done, total })) {
                Some(ControlFlow::Break(())) => Err(ntk_core::Error::Cancelled { done, total }.into()),
                _ => Ok(()),
            }
        }
    }

    /// The gradients of ⟨u_i, f(x_i)⟩ of a few samples in every variable of a rate above 0. x: (t, d), u: (t, o).
    pub(crate) fn weighted_gradients(
        &self,
        x: Batch<'_>,
        u: ArrayView2<'_, f64>,
        after: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Vec<(&str, f64, Tensor)>, Error> {
        let u = tensor::matrix(u, self.dtype(), self.device())?.unsqueeze(1)?;
        let jacobian = self.sweep(&self.tensor(x)?, &u, after)?;
        let named = self.vars.iter().zip(&self.rates).zip(jacobian.blocks);
        let named = named.map(|(((name, _), &rate), gradients)| (name.as_str(), rate, gradients));
        Ok(named.filter(|(_, rate, _)| *rate > 0.0).collect())
    }

    /// How many samples' derivatives may exist at a time, for r combinations of outputs.
    pub(crate) fn capacity(&self, r: usize, least: usize) -> Result<usize, Error> {
        let sample = self.dtype().size_in_bytes() * self.parameter_count() * r;
        let capacity = self.memory / sample.max(1);
        if capacity < least {
            return Err(Error::ModelMemory { needed: least * sample, bound: self.memory });
        }
        Ok(capacity)
    }

    /// Visits all tiles, variable by variable, or for equal samples those of the upper triangle; says which.
    pub(super) fn contract(
        &self,
        x1: Batch<'_>,
        x2: Batch<'_>,
        u: &Tensor,
        mut visit: impl FnMut(&Tile<'_>) -> CandleResult<()>,
    ) -> Result<bool, Error> {
        let symmetric = x1.reborrow() == x2.reborrow();
        let (n1, n2) = (x1.len(), x2.len());
        let capacity = self.capacity(u.dim(1)?, 2)?;
        let width = (capacity / 8).clamp(1, COLUMNS);
        let height = (capacity - width).min(n1);
        let first = |end: usize| if symmetric { end } else { 0 };
        let rows: Vec<Range<usize>> = ranges(0..n1, height).collect();
        let total = rows.iter().map(|rows| rows.len() + n2 - first(rows.end)).sum();
        let mut after = self.progress(total);
        for rows in rows {
            let a = self.sweep(&self.tensor(x1.range(rows.start, rows.end))?, u, &mut after)?;
            if symmetric {
                self.visit(&a, &a, rows.clone(), rows.clone(), &mut visit)?;
            }
            for columns in ranges(first(rows.end)..n2, width) {
                let b = self.sweep(&self.tensor(x2.range(columns.start, columns.end))?, u, &mut after)?;
                self.visit(&a, &b, rows.clone(), columns, &mut visit)?;
            }
        }
        Ok(symmetric)
    }

    fn visit(
        &self,
        a: &Jacobian,
        b: &Jacobian,
        rows: Range<usize>,
        columns: Range<usize>,
        visit: &mut impl FnMut(&Tile<'_>) -> CandleResult<()>,
    ) -> CandleResult<()> {
        for (variable, ((a, b), &rate)) in a.blocks.iter().zip(&b.blocks).zip(&self.rates).enumerate() {
            visit(&Tile { variable, rate, rows: rows.clone(), columns: columns.clone(), a, b })?;
        }
        Ok(())
    }
}

/// Consecutive ranges of at most `size`.
fn ranges(all: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    all.clone().step_by(size).map(move |start| start..all.end.min(start + size))
}
