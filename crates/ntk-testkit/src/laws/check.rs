//! The laws at work: one law, one kernel, one tolerance.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ndarray::{Array1, Array2, Axis};
use ntk_core::{Batch, Cached, KernelBlock, KernelFn, Tiled, Which};
use ntk_linalg::{Symmetric, eigenvalues};

use super::{Violation, bad};

/// Bytes that hold every block of a test.
const CACHE: usize = 1 << 24;

pub(super) struct Check<'k, K> {
    kernel: &'k K,
    law: &'static str,
    tolerance: f64,
}

/// A block in which both kernels are known to be there, finite and of the right shape.
struct Both {
    nngp: Array2<f64>,
    ntk: Array2<f64>,
}

impl Both {
    fn named(&self) -> [(&'static str, &Array2<f64>); 2] {
        [("NNGP", &self.nngp), ("NTK", &self.ntk)]
    }

    fn map(&self, f: impl Fn(&Array2<f64>) -> Array2<f64>) -> Both {
        Both { nngp: f(&self.nngp), ntk: f(&self.ntk) }
    }
}

impl<'k, K: KernelFn> Check<'k, K> {
    pub(super) fn new(kernel: &'k K, law: &'static str, tolerance: f64) -> Self {
        Check { kernel, law, tolerance }
    }

    pub(super) fn finite(&self, x: Batch<'_>) -> Result<(), Violation> {
        let (left, right) = halves(x);
        self.whole(self.kernel, x)?;
        self.between(self.kernel, left, right)?;
        Ok(())
    }

    pub(super) fn symmetric(&self, x: Batch<'_>) -> Result<(), Violation> {
        let whole = self.whole(self.kernel, x)?;
        self.equal(&whole, &whole.map(|k| k.t().to_owned()), |_, _, _| 0.0)?;
        let (left, right) = halves(x);
        let forth = self.between(self.kernel, left, right)?;
        let back = self.between(self.kernel, right, left)?.map(|k| k.t().to_owned());
        let scale = self.scale(&whole);
        self.equal(&forth, &back, |kernel, i, j| scale(kernel, i, x.len() - right.len() + j))
    }

    pub(super) fn psd(&self, x: Batch<'_>) -> Result<(), Violation> {
        for (kernel, matrix) in self.whole(self.kernel, x)?.named() {
            let correlations = Symmetric::new(unit_diagonal(matrix)).map_err(|e| self.refused(e))?;
            // In ascending order; there is one at least, since a kernel of no samples is refused.
            let smallest = eigenvalues(&correlations).map_err(|e| self.refused(e))?[0];
            let allowed = self.tolerance * x.len() as f64;
            if smallest < -allowed {
                return Err(Violation::Indefinite { law: self.law, kernel, smallest, allowed });
            }
        }
        Ok(())
    }

    pub(super) fn cauchy_schwarz(&self, x: Batch<'_>) -> Result<(), Violation> {
        for (kernel, matrix) in self.whole(self.kernel, x)?.named() {
            for ((row, column), &got) in matrix.indexed_iter() {
                let expected = matrix[[row, row]].sqrt() * matrix[[column, column]].sqrt();
                let allowed = self.tolerance * expected;
                // A negative variance makes the root NaN, which must not pass.
                if expected.is_nan() || got.abs() > expected + allowed {
                    return Err(Violation::Entry {
                        law: self.law,
                        kernel,
                        row,
                        column,
                        got,
                        expected,
                        allowed,
                    });
                }
            }
        }
        Ok(())
    }

    pub(super) fn diagonal(&self, x: Batch<'_>) -> Result<(), Violation> {
        let whole = self.whole(self.kernel, x)?;
        let diag = self.kernel.diag(x, Which::Both).map_err(|e| self.refused(e))?;
        let column = |diag: Option<Array1<f64>>| diag.map(|d| d.insert_axis(Axis(1)));
        let block = KernelBlock { nngp: column(diag.nngp), ntk: column(diag.ntk) };
        let diag = self.complete(block, (x.len(), 1))?;
        let scale = self.scale(&whole);
        let expected = whole.map(|k| k.diag().to_owned().insert_axis(Axis(1)));
        self.equal(&diag, &expected, |kernel, i, _| scale(kernel, i, i))
    }

    pub(super) fn which(&self, x: Batch<'_>) -> Result<(), Violation> {
        let whole = self.whole(self.kernel, x)?;
        let alone = |asked, kernel| {
            let block = self.kernel.symmetric(x, asked).map_err(|e| self.refused(e))?;
            let (wanted, other) =
                if asked == Which::Ntk { (block.ntk, block.nngp) } else { (block.nngp, block.ntk) };
            match (wanted, other) {
                (None, _) => Err(Violation::Presence { law: self.law, kernel, asked, given: false }),
                (_, Some(_)) => {
                    let kernel = if kernel == "NTK" { "NNGP" } else { "NTK" };
                    Err(Violation::Presence { law: self.law, kernel, asked, given: true })
                }
                (Some(wanted), None) => Ok(wanted),
            }
        };
        let apart =
            KernelBlock { nngp: Some(alone(Which::Nngp, "NNGP")?), ntk: Some(alone(Which::Ntk, "NTK")?) };
        self.equal(&self.complete(apart, (x.len(), x.len()))?, &whole, self.scale(&whole))
    }

    pub(super) fn tiled(&self, x: Batch<'_>, tile: usize) -> Result<(), Violation> {
        let tiled = Tiled::new(self.kernel, tile).map_err(|e| self.refused(e))?;
        let whole = self.whole(self.kernel, x)?;
        let scale = self.scale(&whole);
        self.equal(&self.whole(&tiled, x)?, &whole, &scale)?;
        let (left, right) = halves(x);
        let at_once = self.between(self.kernel, left, right)?;
        let scale = |kernel: &str, i: usize, j: usize| scale(kernel, i, x.len() - right.len() + j);
        self.equal(&self.between(&tiled, left, right)?, &at_once, scale)
    }

    pub(super) fn permuted(&self, x: Batch<'_>, order: &[usize]) -> Result<(), Violation> {
        let got = self.whole(self.kernel, x.select(order).view())?;
        let expected = self
            .whole(self.kernel, x)?
            .map(|k| Array2::from_shape_fn((order.len(), order.len()), |(i, j)| k[[order[i], order[j]]]));
        self.equal(&got, &expected, self.scale(&expected))
    }

    pub(super) fn cached(&self, x: Batch<'_>) -> Result<(), Violation> {
        let cached = Cached::new(self.kernel, CACHE);
        let (left, right) = halves(x);
        let (whole, between) = (self.whole(self.kernel, x)?, self.between(self.kernel, left, right)?);
        for _ in 0..2 {
            self.equal(&self.whole(&cached, x)?, &whole, |_, _, _| 0.0)?;
            self.equal(&self.between(&cached, left, right)?, &between, |_, _, _| 0.0)?;
        }
        Ok(())
    }

    pub(super) fn bad_input(&self, x: Batch<'_>) -> Result<(), Violation> {
        x.check().map_err(|e| self.refused(e))?;
        for (input, other) in bad::elsewhere(x) {
            self.refuses("block", input, || self.kernel.block(x, other.view(), Which::Both).is_err())?;
        }
        for (input, bad) in bad::batches(x) {
            let bad = bad.view();
            self.refuses("block", input, || self.kernel.block(bad, bad, Which::Both).is_err())?;
            self.refuses("symmetric", input, || self.kernel.symmetric(bad, Which::Both).is_err())?;
            self.refuses("diag", input, || self.kernel.diag(bad, Which::Both).is_err())?;
        }
        Ok(())
    }

    fn refuses(
        &self,
        request: &'static str,
        input: &'static str,
        is_err: impl FnOnce() -> bool,
    ) -> Result<(), Violation> {
        // The kernel is only read after a panic to report it, never asked again.
        match catch_unwind(AssertUnwindSafe(is_err)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Violation::Accepted { law: self.law, request, input }),
            Err(_) => Err(Violation::Panicked { law: self.law, request, input }),
        }
    }

    fn refused(&self, error: impl std::error::Error + Send + Sync + 'static) -> Violation {
        Violation::Refused { law: self.law, source: Box::new(error) }
    }

    fn whole<F: KernelFn>(&self, kernel: &F, x: Batch<'_>) -> Result<Both, Violation> {
        let block = kernel.symmetric(x, Which::Both).map_err(|e| self.refused(e))?;
        self.complete(block, (x.len(), x.len()))
    }

    fn between<F: KernelFn>(&self, kernel: &F, x1: Batch<'_>, x2: Batch<'_>) -> Result<Both, Violation> {
        let block = kernel.block(x1, x2, Which::Both).map_err(|e| self.refused(e))?;
        self.complete(block, (x1.len(), x2.len()))
    }

    fn complete(&self, block: KernelBlock, shape: (usize, usize)) -> Result<Both, Violation> {
        let one = |kernel, matrix: Option<Array2<f64>>| {
            let absent = Violation::Presence { law: self.law, kernel, asked: Which::Both, given: false };
            let matrix = matrix.ok_or(absent)?;
            if matrix.dim() != shape {
                let (got, expected) = (matrix.shape().to_vec(), vec![shape.0, shape.1]);
                return Err(Violation::Shape { law: self.law, kernel, got, expected });
            }
            match matrix.indexed_iter().find(|(_, value)| !value.is_finite()) {
                Some(((row, column), &got)) => {
                    Err(Violation::NotFinite { law: self.law, kernel, row, column, got })
                }
                None => Ok(matrix),
            }
        };
        Ok(Both { nngp: one("NNGP", block.nngp)?, ntk: one("NTK", block.ntk)? })
    }

    /// The deviation allowed for samples i and j of a symmetric kernel.
    fn scale(&self, whole: &Both) -> impl Fn(&str, usize, usize) -> f64 + use<K> {
        let tolerance = self.tolerance;
        let [nngp, ntk] = whole.named().map(|(_, k)| k.diag().mapv(|v| v.max(0.0).sqrt()));
        move |kernel, i, j| {
            let roots = if kernel == "NTK" { &ntk } else { &nngp };
            tolerance * roots[i] * roots[j]
        }
    }

    fn equal(
        &self,
        got: &Both,
        expected: &Both,
        allowed: impl Fn(&str, usize, usize) -> f64,
    ) -> Result<(), Violation> {
        for ((kernel, got), (_, expected)) in got.named().into_iter().zip(expected.named()) {
            for ((row, column), &got) in got.indexed_iter() {
                let (expected, allowed) = (expected[[row, column]], allowed(kernel, row, column));
                if (got - expected).abs() > allowed {
                    return Err(Violation::Entry {
                        law: self.law,
                        kernel,
                        row,
                        column,
                        got,
                        expected,
                        allowed,
                    });
                }
            }
        }
        Ok(())
    }
}

/// The first half of the samples and the rest: different samples, as `block` wants them, unless there is only one.
fn halves(x: Batch<'_>) -> (Batch<'_>, Batch<'_>) {
    let middle = x.len().div_ceil(2);
    (x.range(0, middle), x.range(middle.min(x.len().saturating_sub(1)), x.len()))
}

/// (k(xᵢ, xⱼ) + k(xⱼ, xᵢ))/2√(k(xᵢ, xᵢ) k(xⱼ, xⱼ)); samples of variance 0 as they are.
fn unit_diagonal(k: &Array2<f64>) -> Array2<f64> {
    let scales = k.diag().mapv(|v| if v == 0.0 { 1.0 } else { v.abs().sqrt() });
    Array2::from_shape_fn(k.dim(), |(i, j)| 0.5 * (k[[i, j]] + k[[j, i]]) / (scales[i] * scales[j]))
}
