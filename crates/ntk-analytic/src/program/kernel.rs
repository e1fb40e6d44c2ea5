//! `KernelLimit`: the limit of a program whose gradients are independent of its matrices, by integrals alone.

use std::sync::Mutex;

use ndarray::Array2;
use ntk_core::program::{
    Estimate, Expr, Interpretation, Line, Program, ScalarId, ScalarOp, VectorId, VectorOp,
};

use super::check_growth;
use super::error::Error;
use super::expectation::Gaussians;
use super::tangent::Rules;

/// The limit of a program as covariances of Gaussian variables.
///
/// Every input and every product with a matrix is a Gaussian variable, every other vector an expression of these; means
/// of expressions have closed forms, or are integrals over as few dimensions as their covariances have ranks: exact to
/// about 10⁻¹² in two, with a standard error in more. Errors of values that enter later ones are not carried on.
/// Correlations are kept as they are, not as distances from ±1: vectors that are nearly parallel lose half of their digits
/// at a kink and half of the rest at a jump, where [`Analytic`](crate::Analytic) keeps them.
///
/// # Source
/// \[yang2019scaling\] theorems 4.3 and 5.1, \[yang2020tensor\] theorem 7.2.
pub struct KernelLimit {
    program: Program,
    /// The number of the variable of each vector that is one.
    variables: Vec<Option<usize>>,
    /// Each vector as an expression of the variables.
    expressions: Vec<Expr>,
    scalars: Vec<Estimate>,
    gaussians: Mutex<Gaussians>,
}

impl std::fmt::Debug for KernelLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelLimit").field("program", &self.program).finish_non_exhaustive()
    }
}

impl KernelLimit {
    /// Computes all covariances of a program.
    ///
    /// # Errors
    /// [`Error::Dependent`] for a matrix used beside its transpose in a way that [`Program::checks`] forbids;
    /// [`Error::Growth`]; [`Error::NotFinite`].
    pub fn new(program: Program) -> Result<Self, Error> {
        check_growth(&program)?;
        program.checks().bp_like.map_err(Error::Dependent)?;
        let mut limit = KernelLimit {
            variables: Vec::new(),
            expressions: Vec::new(),
            scalars: Vec::new(),
            gaussians: Mutex::new(Gaussians::new()),
            program: Program::default(),
        };
        let mut gaussians = Gaussians::new();
        for line in program.lines() {
            match line {
                Line::Inputs(group) => limit.inputs(&program, *group, &mut gaussians),
                Line::Vector(id) => limit.vector(&program, *id, &mut gaussians)?,
                Line::Scalar(id) => {
                    let value = match program.scalar(*id) {
                        ScalarOp::Moment { f, vectors, scalars } => {
                            gaussians.mean_of(&limit.expression(f, vectors, scalars))
                        }
                        ScalarOp::Function { f, scalars } => {
                            let params: Vec<f64> =
                                scalars.iter().map(|s| limit.scalars[s.index()].value).collect();
                            Estimate::exact(f.eval(&[], &params))
                        }
                    };
                    if !value.value.is_finite() {
                        return Err(Error::NotFinite { name: program.scalar_name(*id).to_owned() });
                    }
                    limit.scalars.push(value);
                }
                Line::Matrix(_) | Line::Dimension { .. } | Line::Output(_) => {}
            }
        }
        limit.program = program;
        limit.gaussians = Mutex::new(gaussians);
        Ok(limit)
    }

    /// f with the expressions of its arguments, scalars at their values.
    fn expression(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> Expr {
        let args: Vec<Expr> = vectors.iter().map(|x| self.expressions[x.index()].clone()).collect();
        let params: Vec<Expr> = scalars.iter().map(|s| Expr::from(self.scalars[s.index()].value)).collect();
        f.substitute(&args, &params)
    }

    fn inputs(&mut self, program: &Program, group: usize, gaussians: &mut Gaussians) {
        let inputs = &program.inputs()[group];
        let first = gaussians.mean.len();
        for (i, mean) in inputs.mean.iter().enumerate() {
            let mut covariances = vec![0.0; first];
            covariances.extend((0..=i).map(|j| inputs.covariance[[i, j]]));
            self.add(*mean, &covariances, gaussians);
        }
    }

    /// Another variable, which is the next vector.
    fn add(&mut self, mean: f64, covariances: &[f64], gaussians: &mut Gaussians) {
        let variable = gaussians.mean.len();
        gaussians.push(mean, covariances);
        self.variables.push(Some(variable));
        self.expressions.push(Expr::arg(variable));
    }

    fn vector(&mut self, program: &Program, id: VectorId, gaussians: &mut Gaussians) -> Result<(), Error> {
        let expression = match program.vector(id) {
            VectorOp::Input { .. } => return Ok(()),
            VectorOp::LinComb(terms) => {
                Expr::sum(terms.iter().map(|(a, x)| self.expressions[x.index()].clone() * *a))
            }
            VectorOp::Nonlin { f, vectors, scalars } => self.expression(f, vectors, scalars),
            VectorOp::MatMul { matrix, transposed, vector } => {
                let variance = program.variance(*matrix, *transposed);
                let mut covariances = vec![0.0; gaussians.mean.len() + 1];
                for y in program.vectors().take(id.index() + 1) {
                    let VectorOp::MatMul { matrix: w, transposed: t, vector: z } = program.vector(y) else {
                        continue;
                    };
                    if (w, t) == (matrix, transposed) {
                        let product =
                            self.expressions[vector.index()].clone() * self.expressions[z.index()].clone();
                        let value = variance * gaussians.mean_of(&product).value;
                        if !value.is_finite() {
                            return Err(Error::NotFinite { name: program.name(id).to_owned() });
                        }
                        let at = if y == id {
                            gaussians.mean.len()
                        } else {
                            self.variables[y.index()].unwrap_or(0)
                        };
                        covariances[at] = value;
                    }
                }
                self.add(0.0, &covariances, gaussians);
                return Ok(());
            }
        };
        self.variables.push(None);
        self.expressions.push(expression);
        Ok(())
    }

    fn evaluate(&self, f: &Expr) -> Estimate {
        match self.gaussians.lock() {
            Ok(mut gaussians) => gaussians.mean_of(f),
            // A panic elsewhere left a memo that is right as far as it goes.
            Err(poisoned) => poisoned.into_inner().mean_of(f),
        }
    }

    /// The covariance of outputs and their tangent kernel, by tangents that go forward: no backward pass is needed.
    ///
    /// # Errors
    /// [`Error::Dependent`] unless the program passes [`ntk_core::program::Checks::simple_gia`].
    pub fn kernels(&self) -> Result<[Array2<f64>; 2], Error> {
        self.run(None)
    }

    /// C and Θ of the coordinates of some vectors: the kernels of a [`ntk_core::Net`] at the ends that
    /// [`Program::of_net`] gives.
    ///
    /// # Errors
    /// As [`KernelLimit::kernels`].
    pub fn kernels_of(&self, ends: &[VectorId]) -> Result<[Array2<f64>; 2], Error> {
        self.run(Some(ends))
    }

    fn run(&self, ends: Option<&[VectorId]>) -> Result<[Array2<f64>; 2], Error> {
        let rules = Rules::new(&self.program)?;
        let expression = |x: VectorId| &self.expressions[x.index()];
        let variable = |g: VectorId| self.variables[g.index()].unwrap_or(0);
        rules.run(
            ends,
            |x, y| Ok(self.evaluate(&(expression(x).clone() * expression(y).clone())).value),
            |(x, g), (y, h)| {
                let product = expression(x).derivative(variable(g)) * expression(y).derivative(variable(h));
                Ok(self.evaluate(&product).value)
            },
        )
    }
}

impl Interpretation for KernelLimit {
    type Error = Error;

    fn program(&self) -> &Program {
        &self.program
    }

    fn mean(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> Result<Estimate, Error> {
        Ok(self.evaluate(&self.expression(f, vectors, scalars)))
    }

    fn scalar(&self, s: ScalarId) -> Result<Estimate, Error> {
        Ok(self.scalars[s.index()])
    }
}
