//! The network of infinite width: where training has brought it, and steps of gradient descent.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use super::lazy::Lazy;
use super::operators::Operators;
use super::vector::{Vector, gram};
use super::walks::Walks;
use super::weights::{Signals, Weights};
use super::{Architecture, Risk};
use crate::{Error, LearningRate};

/// How the Gaussian operators are represented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Coordinates appear as products ask for them: exact at any depth and for any number of steps.
    ///
    /// Each product adds at most one direction, so that K steps lead to d + k + 2kK coordinates a layer; in practice
    /// their number stops to grow when the weights do, below a hundred.
    Lazy,
    /// All walks of at most so many steps along the chain of hidden layers: the construction of the theorem.
    ///
    /// The first K steps of descent are exact with `length` ≥ q K + q/2. Coordinates of a layer: (d + k)(length + 1)/2 for
    /// q = 1, growing like √2^length for q = 2 and like (2 cos π/(q + 2))^length beyond.
    Walks {
        /// Steps of the longest walk.
        length: usize,
    },
}

/// A deep linear network in the limit of infinite width, trained by gradient descent or gradient flow.
///
/// With z_q = B, zⱼ₋₁ = Mⱼᵀ zⱼ, r = −∇F(β), p₀ = A r, pⱼ = Mⱼ pⱼ₋₁, training moves A by z₀ rᵀ, Mⱼ by zⱼ pⱼ₋₁ᵀ and B by
/// p_q; here Mⱼ = Λⱼ + Gⱼ acts on the coordinates of a [`Basis`]. At the start β = 0: the predictor of a finite network of
/// width n is off by O(n^(−1/2)) for every fixed number of steps.
///
/// A step costs 2qk products, each O(D²) for D coordinates a layer.
///
/// Source: \[chizat2022infinite\] Theorem 2.1 for q = 1 and k = 1; more see at [the module](super).
#[derive(Clone, Debug)]
pub struct Limit {
    pub(super) risk: Risk,
    pub(super) architecture: Architecture,
    pub(super) operators: Operators,
    pub(super) weights: Weights,
    /// zⱼ of the weights.
    pub(super) backward: Vec<Vec<Vector>>,
    predictor: Array2<f64>,
}

impl Limit {
    /// The network at its start, β = 0.
    ///
    /// # Errors
    /// [`Error::Walks`] for a basis of too many walks.
    pub fn new(risk: &Risk, architecture: &Architecture, basis: Basis) -> Result<Self, Error> {
        let (d, k) = risk.dim();
        let (q, norms) = (architecture.middle(), architecture.norms());
        let mut roots = vec![0; q + 1];
        roots[0] += d;
        roots[q] += k;
        let operators = match basis {
            Basis::Lazy => {
                Operators::Lazy { dimensions: roots, operators: norms.into_iter().map(Lazy::new).collect() }
            }
            Basis::Walks { length } => Operators::Walks(Arc::new(Walks::new(&roots, &norms, length)?)),
        };
        let weights = start(architecture, d, k);
        let mut limit = Limit {
            risk: risk.clone(),
            architecture: architecture.clone(),
            operators,
            weights,
            backward: Vec::new(),
            predictor: Array2::zeros((d, k)),
        };
        limit.refresh()?;
        Ok(limit)
    }

    /// So many steps of gradient descent.
    ///
    /// # Errors
    /// [`Error::Overflow`] if training has diverged: the rate exceeds what the tangent kernel allows on the way. The
    /// network is then of no more use.
    pub fn descend(&mut self, rate: LearningRate, steps: usize) -> Result<(), Error> {
        for _ in 0..steps {
            let backward = std::mem::take(&mut self.backward);
            let signals = self.signals(backward)?;
            self.weights.add(rate.get(), &signals);
            self.refresh()?;
        }
        Ok(())
    }

    /// β, (d, k).
    pub fn predictor(&self) -> ArrayView2<'_, f64> {
        self.predictor.view()
    }

    /// F(β) less its least value, see [`Risk::excess`].
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn loss(&self) -> Result<f64, Error> {
        let loss = self.risk.excess(self.predictor())?;
        if loss.is_finite() { Ok(loss) } else { Err(Error::Overflow) }
    }

    /// Coordinates in use of each hidden layer, q + 1 of them.
    pub fn dimensions(&self) -> &[usize] {
        self.operators.dimensions()
    }

    /// Backward pass and predictor for the weights as they are.
    pub(super) fn refresh(&mut self) -> Result<(), Error> {
        self.backward = self.weights.backward(&mut self.operators);
        self.predictor = gram(&self.weights.input, &self.backward[0]);
        if self.predictor.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(Error::Overflow) }
    }

    /// Where the weights go from here, given their backward pass.
    pub(super) fn signals(&mut self, backward: Vec<Vec<Vector>>) -> Result<Signals, Error> {
        let descent = self.risk.descent(self.predictor.view())?;
        let forward = self.weights.forward(&mut self.operators, self.weights.read(&descent));
        Ok(Signals { backward, forward, descent })
    }
}

/// The columns of A(0) and B(0): orthogonal, as those of a wide Gaussian matrix are, and roots of walks.
pub(super) fn start(architecture: &Architecture, d: usize, k: usize) -> Weights {
    let [input, output] = architecture.endpoints();
    let columns = |first: usize, count: usize, length: f64| -> Vec<Vector> {
        (first..first + count).map(|i| [vec![0.0; i], vec![length]].concat()).collect()
    };
    let q = architecture.middle();
    // A single hidden layer holds both.
    let behind = if q == 0 { d } else { 0 };
    Weights {
        input: columns(0, d, input),
        updates: vec![Default::default(); q],
        output: columns(behind, k, output),
    }
}
