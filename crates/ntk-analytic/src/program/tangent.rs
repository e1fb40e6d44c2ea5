//! The tangent kernel by tangents that go forward: Θ(Wx, Wx̄) = λ C(x, x̄) + σ² Θ(x, x̄) and
//! Θ(x, x̄) = Σ E[∂x/∂g ∂x̄/∂ḡ] Θ(g, ḡ) over the Gaussian vectors g, ḡ that x and x̄ are functions of.
//!
//! It is the adjoint of the decomposition over uses, needs no backward pass, and gives all pairs of outputs at once; it
//! holds where gradients are independent of the matrices they pass.

use std::collections::HashMap;

use ndarray::Array2;
use ntk_core::program::{Expr, MatrixId, Program, VectorId, VectorOp};

use super::error::Error;
use super::particle::inner;

/// What atoms have in common whose tangents meet.
#[derive(Clone, Copy, PartialEq)]
enum Family {
    Matrix(MatrixId, bool),
    Inputs(usize),
}

/// Products with matrices and inputs: the Gaussian vectors that everything is a function of.
struct Atom {
    vector: VectorId,
    family: Family,
}

/// A program with its atoms found.
pub(super) struct Rules<'a> {
    program: &'a Program,
    atoms: Vec<Atom>,
    /// The atoms that each vector is a function of.
    of: Vec<Vec<usize>>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(program: &'a Program) -> Result<Self, Error> {
        program.checks().simple_gia.map_err(Error::Dependent)?;
        let (mut atoms, mut of) = (Vec::new(), Vec::<Vec<usize>>::new());
        for x in program.vectors() {
            let family = match *program.vector(x) {
                VectorOp::Input { group, .. } => Some(Family::Inputs(group)),
                VectorOp::MatMul { matrix, transposed, .. } => Some(Family::Matrix(matrix, transposed)),
                _ => None,
            };
            if let Some(family) = family {
                of.push(vec![atoms.len()]);
                atoms.push(Atom { vector: x, family });
                continue;
            }
            let mut own: Vec<usize> = match program.vector(x) {
                VectorOp::LinComb(terms) => terms.iter().flat_map(|(_, y)| of[y.index()].clone()).collect(),
                VectorOp::Nonlin { vectors, .. } => {
                    vectors.iter().flat_map(|y| of[y.index()].clone()).collect()
                }
                _ => Vec::new(),
            };
            own.sort_unstable();
            own.dedup();
            of.push(own);
        }
        Ok(Rules { program, atoms, of })
    }

    /// The vectors whose tangents are asked for: what matrices multiply, and the states of outputs.
    fn targets(&self) -> Vec<bool> {
        let mut targets = vec![false; self.of.len()];
        for x in self.program.vectors() {
            if let VectorOp::MatMul { vector, .. } = self.program.vector(x) {
                targets[vector.index()] = true;
            }
        }
        let parts = self.program.outputs().iter().flat_map(|output| &output.parts);
        parts.for_each(|(_, x)| targets[x.index()] = true);
        targets
    }

    /// NNGP and tangent kernel of the outputs, or C and Θ of the coordinates of `ends`, from C(x, x̄) and from
    /// E[∂x/∂g ∂x̄/∂ḡ] of (x, g), (x̄, ḡ).
    pub(super) fn run<E>(
        &self,
        ends: Option<&[VectorId]>,
        mut covariance: impl FnMut(VectorId, VectorId) -> Result<f64, E>,
        mut slopes: impl FnMut((VectorId, VectorId), (VectorId, VectorId)) -> Result<f64, E>,
    ) -> Result<[Array2<f64>; 2], E> {
        let n = self.atoms.len();
        let mut theta = Array2::<f64>::zeros((n, n));
        let mut through = |theta: &Array2<f64>, x: VectorId, y: VectorId| -> Result<f64, E> {
            let mut sum = 0.0;
            for &a in &self.of[x.index()] {
                for &b in self.of[y.index()].iter().filter(|b| theta[[a, **b]] != 0.0) {
                    sum += slopes((x, self.atoms[a].vector), (y, self.atoms[b].vector))? * theta[[a, b]];
                }
            }
            Ok(sum)
        };
        for a in 0..n {
            for b in (0..=a).filter(|&b| self.atoms[b].family == self.atoms[a].family) {
                let value = match (
                    self.program.vector(self.atoms[a].vector),
                    self.program.vector(self.atoms[b].vector),
                ) {
                    (VectorOp::Input { group, index: i }, VectorOp::Input { index: j, .. }) => {
                        self.program.inputs()[*group].tangent.as_ref().map_or(0.0, |t| t[[*i, *j]])
                    }
                    (
                        VectorOp::MatMul { matrix, transposed, vector: x },
                        VectorOp::MatMul { vector: y, .. },
                    ) => {
                        let [rows, columns] = self.program.matrix_ratios(*matrix);
                        let ratio = if *transposed { rows / columns } else { 1.0 };
                        let rate = self.program.matrices()[matrix.index()].rate * ratio;
                        let own = if rate > 0.0 { rate * covariance(*x, *y)? } else { 0.0 };
                        own + self.program.variance(*matrix, *transposed) * through(&theta, *x, *y)?
                    }
                    _ => 0.0,
                };
                theta[[a, b]] = value;
                theta[[b, a]] = value;
            }
        }
        let outputs = self.program.outputs();
        let count = ends.map_or(outputs.len(), <[VectorId]>::len);
        let (mut nngp, mut ntk) = (Array2::zeros((count, count)), Array2::zeros((count, count)));
        for i in 0..count {
            for j in 0..=i {
                let (mut total, mut value) = (0.0, 0.0);
                let mut add = |x: VectorId, y: VectorId, variance: f64, tangent: f64| {
                    if (variance, tangent) != (0.0, 0.0) {
                        let state = covariance(x, y)?;
                        total += variance * state;
                        value += tangent * state;
                    }
                    if variance != 0.0 {
                        value += variance * through(&theta, x, y)?;
                    }
                    Ok(())
                };
                match ends {
                    Some(ends) => add(ends[i], ends[j], 1.0, 0.0)?,
                    None => {
                        for (v, x) in &outputs[i].parts {
                            for (w, y) in &outputs[j].parts {
                                let (variance, tangent) = self.program.input_pair(*v, *w);
                                add(*x, *y, variance, tangent)?;
                            }
                        }
                    }
                }
                (nngp[[i, j]], nngp[[j, i]]) = (total, total);
                (ntk[[i, j]], ntk[[j, i]]) = (value, value);
            }
        }
        Ok([nngp, ntk])
    }

    /// The kernels of joint samples of all vectors.
    pub(super) fn kernels(&self, vectors: &[Vec<f64>], scalars: &[f64]) -> [Array2<f64>; 2] {
        let slopes = self.sampled(vectors, scalars);
        let covariance = |x: VectorId, y: VectorId| {
            Ok::<f64, std::convert::Infallible>(inner(&vectors[x.index()], &vectors[y.index()]))
        };
        let product = |a: (VectorId, VectorId), b: (VectorId, VectorId)| {
            Ok(match (&slopes[&a], &slopes[&b]) {
                (Slope::Constant(a), Slope::Constant(b)) => a * b,
                (Slope::Constant(a), Slope::Values(b)) | (Slope::Values(b), Slope::Constant(a)) => {
                    a * b.iter().sum::<f64>() / b.len() as f64
                }
                (Slope::Values(a), Slope::Values(b)) => inner(a, b),
            })
        };
        match self.run(None, covariance, product) {
            Ok(kernels) => kernels,
        }
    }

    /// ∂x/∂g for the targets x and their atoms g, sample by sample.
    fn sampled(&self, vectors: &[Vec<f64>], scalars: &[f64]) -> HashMap<(VectorId, VectorId), Slope> {
        let targets = self.targets();
        let mut uses = vec![0; self.of.len()];
        let operands = |x: VectorId| match self.program.vector(x) {
            VectorOp::LinComb(terms) => terms.iter().map(|(_, y)| *y).collect(),
            VectorOp::Nonlin { vectors, .. } => vectors.clone(),
            _ => Vec::new(),
        };
        self.program.vectors().flat_map(operands).for_each(|y| uses[y.index()] += 1);
        let mut all: Vec<HashMap<usize, Slope>> = Vec::with_capacity(self.of.len());
        for x in self.program.vectors() {
            let own = match self.program.vector(x) {
                VectorOp::Input { .. } | VectorOp::MatMul { .. } => {
                    HashMap::from([(self.of[x.index()][0], Slope::Constant(1.0))])
                }
                VectorOp::LinComb(terms) => {
                    let mut own = HashMap::new();
                    for (a, y) in terms {
                        add(&mut own, &Slope::Constant(*a), &all[y.index()]);
                    }
                    own
                }
                VectorOp::Nonlin { f, vectors: args, scalars: params } => {
                    let values: Vec<&[f64]> = args.iter().map(|y| vectors[y.index()].as_slice()).collect();
                    let params: Vec<f64> = params.iter().map(|s| scalars[s.index()]).collect();
                    let mut own = HashMap::new();
                    for (i, y) in args.iter().enumerate() {
                        let slope = match f.derivative(i) {
                            Expr::Constant(0.0) => continue,
                            Expr::Constant(a) => Slope::Constant(a),
                            slope => {
                                let mut out = vec![0.0; vectors[x.index()].len()];
                                slope.eval_all(&values, &params, &mut out);
                                Slope::Values(out)
                            }
                        };
                        add(&mut own, &slope, &all[y.index()]);
                    }
                    own
                }
            };
            for y in operands(x) {
                uses[y.index()] -= 1;
                // Tangents of what nobody reads any more would fill the memory.
                if uses[y.index()] == 0 && !targets[y.index()] {
                    all[y.index()] = HashMap::new();
                }
            }
            all.push(own);
        }
        let named = |(x, own): (usize, HashMap<usize, Slope>)| {
            let x = self.program.vectors().nth(x);
            own.into_iter().filter_map(move |(g, slope)| Some(((x?, self.atoms[g].vector), slope)))
        };
        all.into_iter().enumerate().filter(|(x, _)| targets[*x]).flat_map(named).collect()
    }
}

/// A derivative, sample by sample or the same for all.
#[derive(Clone)]
enum Slope {
    Constant(f64),
    Values(Vec<f64>),
}

/// own += factor · inner.
fn add(own: &mut HashMap<usize, Slope>, factor: &Slope, inner: &HashMap<usize, Slope>) {
    for (&g, slope) in inner {
        let product = match (factor, slope) {
            (Slope::Constant(a), Slope::Constant(b)) => Slope::Constant(a * b),
            (Slope::Constant(a), Slope::Values(b)) | (Slope::Values(b), Slope::Constant(a)) => {
                Slope::Values(b.iter().map(|b| a * b).collect())
            }
            (Slope::Values(a), Slope::Values(b)) => {
                Slope::Values(a.iter().zip(b).map(|(a, b)| a * b).collect())
            }
        };
        let sum = match (own.remove(&g), product) {
            (None, product) => product,
            (Some(Slope::Constant(a)), Slope::Constant(b)) => Slope::Constant(a + b),
            (Some(Slope::Constant(a)), Slope::Values(b)) | (Some(Slope::Values(b)), Slope::Constant(a)) => {
                Slope::Values(b.iter().map(|b| a + b).collect())
            }
            (Some(Slope::Values(mut a)), Slope::Values(b)) => {
                a.iter_mut().zip(&b).for_each(|(a, b)| *a += b);
                Slope::Values(a)
            }
        };
        own.insert(g, sum);
    }
}
