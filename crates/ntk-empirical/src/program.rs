//! A draw of a tensor program at finite width: what its limit is the limit of.

mod device;

use ndarray::{Array1, Array2};
use ntk_core::program::{
    Estimate, Expr, Interpretation, Line, MatrixId, Program, ScalarId, ScalarOp, VectorId, VectorOp,
};

use crate::Error;
use crate::draw::Stream;

pub use device::DeviceProgram;

/// A program with its random matrices and inputs drawn at width n, in f64 on the CPU; elsewhere it is a [`DeviceProgram`].
///
/// Matrices are drawn when they are first used and never transposed in memory: 8 · rows · columns bytes each, and 8n a
/// vector. The same seed gives the same matrices in every program that names them alike.
///
/// ```
/// use ntk_core::program::{Builder, Expr, Interpretation};
/// use ntk_empirical::FiniteProgram;
///
/// let mut p = Builder::new();
/// let (x, w) = (p.input("x", 0.0, 1.0)?, p.matrix("W", 2.0)?);
/// let g = p.matmul(w, x)?;
/// let h = p.apply(Expr::arg(0).relu(), &[g])?;
/// let draw = FiniteProgram::draw(p.finish(), 2000, 1)?;
/// assert!((draw.inner(h, h)?.value - 1.0).abs() < 0.15); // E max(g, 0)² = ½ · 2
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FiniteProgram {
    program: Program,
    matrices: Vec<Option<Array2<f64>>>,
    vectors: Vec<Array1<f64>>,
    scalars: Vec<f64>,
    n: usize,
}

impl std::fmt::Debug for FiniteProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FiniteProgram")
            .field("program", &self.program)
            .field("n", &self.n)
            .finish_non_exhaustive()
    }
}

impl FiniteProgram {
    /// Draws and evaluates a program whose dimensions are n times their ratios, rounded.
    ///
    /// # Errors
    /// [`Error::Setting`] for n = 0; [`Error::NonFinite`] where a vector or a scalar overflows.
    pub fn draw(program: Program, n: usize, seed: u64) -> Result<Self, Error> {
        Self::with_matrices(program, n, seed, &[])
    }

    /// The same with some of the matrices given, entries as they are used: rows × columns.
    ///
    /// # Errors
    /// As [`FiniteProgram::draw`]; [`Error::ParameterShape`] for a matrix of another shape.
    pub fn with_matrices(
        program: Program,
        n: usize,
        seed: u64,
        given: &[(MatrixId, Array2<f64>)],
    ) -> Result<Self, Error> {
        if n == 0 {
            return Err(Error::Setting { option: "width", value: 0.0, domain: "at least 1" });
        }
        let mut draw = FiniteProgram {
            matrices: vec![None; program.matrices().len()],
            vectors: Vec::new(),
            scalars: Vec::new(),
            program: Program::default(),
            n,
        };
        for (id, matrix) in given {
            let expected = program.matrix_ratios(*id).map(|ratio| width(n, ratio));
            if matrix.dim() != (expected[0], expected[1]) {
                let name = program.matrices()[id.index()].name.clone();
                let found = vec![matrix.nrows(), matrix.ncols()];
                return Err(Error::ParameterShape { name, expected: expected.to_vec(), found });
            }
            draw.matrices[id.index()] = Some(matrix.clone());
        }
        for line in program.lines() {
            match line {
                Line::Inputs(group) => draw.vectors.extend(drawn_inputs(&program, *group, n, seed)),
                Line::Vector(id) => {
                    let x = draw.vector(&program, *id, seed);
                    if let Some(x) = x {
                        if x.iter().any(|x| !x.is_finite()) {
                            return Err(Error::NonFinite { quantity: "a vector of the program" });
                        }
                        draw.vectors.push(x);
                    }
                }
                Line::Scalar(id) => {
                    let value = match program.scalar(*id) {
                        ScalarOp::Moment { f, vectors, scalars } => draw.average(f, vectors, scalars),
                        ScalarOp::Function { f, scalars } => f.eval(&[], &draw.parameters(scalars)),
                    };
                    if !value.is_finite() {
                        return Err(Error::NonFinite { quantity: "a scalar of the program" });
                    }
                    draw.scalars.push(value);
                }
                Line::Matrix(_) | Line::Dimension { .. } | Line::Output(_) => {}
            }
        }
        draw.program = program;
        Ok(draw)
    }

    /// Width n.
    pub fn width(&self) -> usize {
        self.n
    }

    /// The coordinates of a vector.
    ///
    /// # Panics
    /// For a vector of another program.
    pub fn vector_of(&self, x: VectorId) -> &Array1<f64> {
        &self.vectors[x.index()]
    }

    /// A matrix; none if no line uses it.
    ///
    /// # Panics
    /// For a matrix of another program.
    pub fn matrix_of(&self, w: MatrixId) -> Option<&Array2<f64>> {
        self.matrices[w.index()].as_ref()
    }

    /// The outputs Σ ⟨v, x⟩/√n.
    pub fn outputs(&self) -> Array1<f64> {
        let part = |(v, x): &(VectorId, VectorId)| {
            let (v, x) = (&self.vectors[v.index()], &self.vectors[x.index()]);
            v.dot(x) / (x.len() as f64).sqrt()
        };
        self.program.outputs().iter().map(|output| output.parts.iter().map(part).sum::<f64>()).collect()
    }

    fn vector(&mut self, program: &Program, id: VectorId, seed: u64) -> Option<Array1<f64>> {
        let ratio = program.ratio(id);
        Some(match program.vector(id) {
            VectorOp::Input { .. } => return None,
            VectorOp::LinComb(terms) => {
                let mut sum = Array1::zeros(width(self.n, ratio));
                for (a, x) in terms {
                    sum.scaled_add(*a, &self.vectors[x.index()]);
                }
                sum
            }
            VectorOp::Nonlin { f, vectors, scalars } => {
                let mut out = vec![0.0; width(self.n, ratio)];
                f.eval_all(&self.arguments(vectors), &self.parameters(scalars), &mut out);
                Array1::from_vec(out)
            }
            VectorOp::MatMul { matrix, transposed, vector } => {
                let n = self.n;
                let w = self.matrices[matrix.index()]
                    .get_or_insert_with(|| drawn_matrix(program, *matrix, n, seed));
                let x = &self.vectors[vector.index()];
                if *transposed { w.t().dot(x) } else { w.dot(x) }
            }
        })
    }

    fn arguments(&self, vectors: &[VectorId]) -> Vec<&[f64]> {
        vectors.iter().map(|x| self.vectors[x.index()].as_slice().unwrap_or_default()).collect()
    }

    fn parameters(&self, scalars: &[ScalarId]) -> Vec<f64> {
        scalars.iter().map(|s| self.scalars[s.index()]).collect()
    }

    fn average(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> f64 {
        let args = self.arguments(vectors);
        let n = args.first().map_or(1, |x| x.len());
        let mut out = vec![0.0; n];
        f.eval_all(&args, &self.parameters(scalars), &mut out);
        out.iter().sum::<f64>() / n as f64
    }
}

/// Averages over the coordinates, which are exact: [`Estimate::error`] is 0.
impl Interpretation for FiniteProgram {
    type Error = Error;

    fn program(&self) -> &Program {
        &self.program
    }

    fn mean(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> Result<Estimate, Error> {
        Ok(Estimate::exact(self.average(f, vectors, scalars)))
    }

    fn scalar(&self, s: ScalarId) -> Result<Estimate, Error> {
        Ok(Estimate::exact(self.scalars[s.index()]))
    }

    fn inner(&self, x: VectorId, y: VectorId) -> Result<Estimate, Error> {
        let (x, y) = (&self.vectors[x.index()], &self.vectors[y.index()]);
        Ok(Estimate::exact(x.dot(y) / x.len() as f64))
    }
}

/// The vectors of a group of inputs at width n.
fn drawn_inputs(program: &Program, group: usize, n: usize, seed: u64) -> Vec<Array1<f64>> {
    let inputs = &program.inputs()[group];
    let n = width(n, program.ratio(inputs.vectors[0]));
    // One stream for each input, so that a group of more inputs begins with the same numbers.
    let noise: Vec<Array1<f64>> = inputs
        .vectors
        .iter()
        .map(|&x| Array1::from_vec(Stream::new(seed, program.name(x)).normals(n)))
        .collect();
    let factor = factor(&inputs.covariance);
    let vector = |(mean, row): (&f64, ndarray::ArrayView1<'_, f64>)| {
        let mut x = Array1::from_elem(n, *mean);
        for (l, noise) in row.iter().zip(&noise) {
            x.scaled_add(*l, noise);
        }
        x
    };
    inputs.mean.iter().zip(factor.rows()).map(vector).collect()
}

/// A matrix at width n.
fn drawn_matrix(program: &Program, w: MatrixId, n: usize, seed: u64) -> Array2<f64> {
    let [rows, columns] = program.matrix_ratios(w).map(|ratio| width(n, ratio));
    let input = &program.matrices()[w.index()];
    let scale = (input.variance / columns as f64).sqrt();
    let numbers = Stream::new(seed, &input.name).normals(rows * columns);
    let numbers = numbers.into_iter().map(|z| scale * z).collect();
    Array2::from_shape_vec((rows, columns), numbers).unwrap_or_default()
}

fn width(n: usize, ratio: f64) -> usize {
    ((n as f64 * ratio).round() as usize).max(1)
}

/// L with L Lᵀ = the covariance, in the order of its rows: columns of variables that earlier ones determine are 0.
fn factor(covariance: &Array2<f64>) -> Array2<f64> {
    let n = covariance.nrows();
    let mut l = Array2::<f64>::zeros((n, n));
    for j in 0..n {
        let known: f64 = (0..j).map(|k| l[[j, k]] * l[[j, k]]).sum();
        let pivot = covariance[[j, j]] - known;
        if pivot <= 1e-13 * covariance[[j, j]] {
            continue;
        }
        l[[j, j]] = pivot.sqrt();
        for i in j + 1..n {
            let known: f64 = (0..j).map(|k| l[[i, k]] * l[[j, k]]).sum();
            l[[i, j]] = (covariance[[i, j]] - known) / l[[j, j]];
        }
    }
    l
}
