//! The density of eigenvalues of a large operator, by Gauss quadratures of random directions.

use ndarray::{Array1, ArrayView1};

use super::probe::Source;
use super::{Krylov, Probe, check_steps, tridiagonal};
use crate::Error;

/// An estimate of the spectral density μ = p⁻¹ Σᵢ δ(λᵢ) of a symmetric operator, by stochastic Lanczos quadrature.
///
/// A unit vector u spreads over the eigenvectors; k steps of Lanczos from u give the Gauss quadrature of that spread,
/// k nodes with weights that sum to 1, exact for polynomials up to degree 2k − 1. The mean over random u estimates μ
/// without bias: E ⟨u, f(A) u⟩ = tr f(A)/p.
///
/// ```
/// use ndarray::{Array1, array};
/// use ntk_linalg::{Error, Probe, SpectralDensity};
/// let diagonal = array![3.0, 1.0, -3.0, 0.0];
/// let product = |v: &Array1<f64>| Ok::<_, Error>(&diagonal * v);
/// let density = SpectralDensity::estimate(4, 3, 2, Probe::Rademacher, 0, product)?;
/// assert!((density.moment(2)?.mean - 19.0 / 4.0).abs() < 1e-13);
/// # Ok::<(), Error>(())
/// ```
///
/// Source: \[ubaru2017fast\].
#[derive(Clone, Debug)]
pub struct SpectralDensity {
    /// Nodes and weights of each probe.
    quadratures: Vec<[Array1<f64>; 2]>,
}

/// A mean over probes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// The mean.
    pub mean: f64,
    /// Its standard error over probes; NaN for a single one.
    pub standard_error: f64,
}

impl SpectralDensity {
    /// Makes `steps` products from each of `probes` random directions. `apply`: (p) → (p).
    ///
    /// Memory: steps · p numbers. A probe ends earlier where its Krylov space is invariant, with an exact quadrature.
    ///
    /// # Errors
    /// As [`Lanczos::run`](crate::Lanczos::run); [`Error::Setting`] for 0 probes.
    pub fn estimate<E: From<Error>>(
        p: usize,
        steps: usize,
        probes: usize,
        law: Probe,
        seed: u64,
        mut apply: impl FnMut(&Array1<f64>) -> Result<Array1<f64>, E>,
    ) -> Result<Self, E> {
        check_steps(p, steps)?;
        if probes == 0 {
            return Err(Error::Setting { option: "probes", value: 0.0, domain: "at least 1" }.into());
        }
        let mut source = Source::new(seed);
        let mut quadratures = Vec::with_capacity(probes);
        for _ in 0..probes {
            let mut space = Krylov::new(source.probe(law, p), p)?;
            while space.len() < steps.min(p) && !space.is_invariant() {
                space.extend(&mut apply)?;
            }
            let (nodes, vectors) = tridiagonal::eigensystem(&space.alpha, &space.beta)?;
            quadratures.push([nodes, vectors.row(0).mapv(|s| s * s)]);
        }
        Ok(SpectralDensity { quadratures })
    }

    /// Nodes and weights of each probe; the weights of a probe sum to 1.
    pub fn quadratures(&self) -> impl ExactSizeIterator<Item = (ArrayView1<'_, f64>, ArrayView1<'_, f64>)> {
        self.quadratures.iter().map(|[nodes, weights]| (nodes.view(), weights.view()))
    }

    /// tr f(A)/p, the mean of f over the spectrum.
    pub fn expectation(&self, f: impl Fn(f64) -> f64) -> Moment {
        let integral = |[nodes, weights]: &[Array1<f64>; 2]| {
            nodes.iter().zip(weights).map(|(&node, weight)| weight * f(node)).sum::<f64>()
        };
        let values: Vec<f64> = self.quadratures.iter().map(integral).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        Moment { mean, standard_error: (square / (n - 1.0) / n).sqrt() }
    }

    /// tr Aᵠ/p: the estimate of Hutchinson, exactly, up to order 2 · steps − 1.
    ///
    /// # Errors
    /// [`Error::Setting`] for an order beyond that of every quadrature.
    pub fn moment(&self, order: u32) -> Result<Moment, Error> {
        // A probe that ended early is exact at every order, so the longest one tells how many steps were made.
        let steps = self.quadratures.iter().map(|[nodes, _]| nodes.len()).max().unwrap_or(0);
        if order as usize >= 2 * steps {
            let domain = "below twice the number of steps";
            return Err(Error::Setting { option: "order", value: f64::from(order), domain });
        }
        Ok(self.expectation(|x| x.powi(order as i32)))
    }

    /// The density convolved with a normal law of standard deviation `width`, at the points of a grid, (n) → (n), per
    /// unit of eigenvalue: it integrates to 1.
    ///
    /// # Errors
    /// [`Error::Setting`] if the width is not positive and finite.
    pub fn smoothed(&self, grid: ArrayView1<'_, f64>, width: f64) -> Result<Array1<f64>, Error> {
        if !(width > 0.0 && width.is_finite()) {
            return Err(Error::Setting { option: "width", value: width, domain: "a positive finite number" });
        }
        let height = 1.0 / (width * std::f64::consts::TAU.sqrt());
        Ok(grid.mapv(|x| self.expectation(|node| height * (-0.5 * ((x - node) / width).powi(2)).exp()).mean))
    }
}
