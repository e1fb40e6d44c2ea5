//! Backpropagation as lines of the same program.

use super::{Builder, Error, Expr, Line, Program, ScalarId, ScalarOp, VectorId, VectorOp};

/// What becomes of gradients through scalars, as through the statistics of a normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarGradients {
    /// They are lines of their own, so that the finite program has its exact gradient.
    Exact,
    /// They are left out: in a program that passes [`Checks::bp_like`](super::Checks) they vanish as n → ∞.
    Dropped,
}

/// The gradients dx = √n ∇ₓf of vectors, where there is a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    of: Vec<Option<VectorId>>,
}

impl Gradients {
    /// dx; none if the output does not depend on x.
    pub fn of(&self, x: VectorId) -> Option<VectorId> {
        self.of.get(x.0).copied().flatten()
    }
}

impl Builder {
    /// Appends the backward pass of f with √n ∇ₓf = seed at each given x: for an output ⟨v, x⟩/√n that is (x, v).
    ///
    /// Gradients are in the widths of their vectors; kinks have the derivative of [`Expr::derivative`].
    ///
    /// # Errors
    /// [`Error::Dimension`] if a seed has another dimension than its vector; [`Error::Undefined`].
    ///
    /// # Source
    /// \[yang2020tensor\] section 5, with gradients through scalars as in its equations (30)–(34).
    pub fn backward(
        &mut self,
        seeds: &[(VectorId, VectorId)],
        scalars: ScalarGradients,
    ) -> Result<Gradients, Error> {
        self.backward_before(self.program().lines.len(), seeds, scalars)
    }

    /// The same for the first lines.
    fn backward_before(
        &mut self,
        lines: usize,
        seeds: &[(VectorId, VectorId)],
        scalars: ScalarGradients,
    ) -> Result<Gradients, Error> {
        let lines = self.program().lines[..lines].to_vec();
        let count = self.program().vectors.len();
        let mut vectors: Vec<Vec<(f64, VectorId)>> = vec![Vec::new(); count];
        // Of a scalar θ, √n ∇_θf/n.
        let mut parts: Vec<Vec<(f64, ScalarId)>> = vec![Vec::new(); self.program().scalars.len()];
        for &(x, seed) in seeds {
            // Checked by a combination that is not kept.
            self.clone().combine(&[(1.0, x), (1.0, seed)])?;
            vectors[x.0].push((1.0, seed));
        }
        let mut of = vec![None; count];
        for line in lines.iter().rev() {
            match line {
                Line::Vector(id) if !vectors[id.0].is_empty() => {
                    let dy = self.combine(&vectors[id.0])?;
                    of[id.0] = Some(dy);
                    self.vector_backward(*id, dy, &mut vectors, &mut parts, scalars)?;
                }
                Line::Inputs(group) => {
                    for x in self.program().inputs[*group].vectors.clone() {
                        if !vectors[x.0].is_empty() {
                            of[x.0] = Some(self.combine(&vectors[x.0])?);
                        }
                    }
                }
                Line::Scalar(id) if !parts[id.0].is_empty() => {
                    let terms = parts[id.0].iter().enumerate().map(|(k, (a, _))| Expr::param(k) * *a);
                    let ids: Vec<ScalarId> = parts[id.0].iter().map(|(_, s)| *s).collect();
                    let total = self.function(Expr::sum(terms), &ids)?;
                    self.scalar_backward(*id, total, &mut vectors, &mut parts)?;
                }
                _ => {}
            }
        }
        Ok(Gradients { of })
    }

    fn vector_backward(
        &mut self,
        y: VectorId,
        dy: VectorId,
        vectors: &mut [Vec<(f64, VectorId)>],
        parts: &mut [Vec<(f64, ScalarId)>],
        policy: ScalarGradients,
    ) -> Result<(), Error> {
        match self.program().vector(y).clone() {
            VectorOp::Input { .. } => {}
            VectorOp::MatMul { matrix, transposed, vector } => {
                let dx = self.multiply(matrix, !transposed, dy)?;
                vectors[vector.0].push((1.0, dx));
            }
            VectorOp::LinComb(terms) => terms.iter().for_each(|(a, x)| vectors[x.0].push((*a, dy))),
            VectorOp::Nonlin { f, vectors: args, scalars } => {
                let with: Vec<VectorId> = [dy].into_iter().chain(args.iter().copied()).collect();
                for (i, x) in args.iter().enumerate() {
                    match f.derivative(i) {
                        Expr::Constant(0.0) => {}
                        Expr::Constant(a) => vectors[x.0].push((a, dy)),
                        slope => {
                            let dx = self.apply_with(Expr::arg(0) * slope.shift(1, 0), &with, &scalars)?;
                            vectors[x.0].push((1.0, dx));
                        }
                    }
                }
                if policy == ScalarGradients::Exact {
                    for (i, theta) in scalars.iter().enumerate() {
                        let slope = f.derivative_param(i);
                        if slope != Expr::Constant(0.0) {
                            let mean = self.moment(Expr::arg(0) * slope.shift(1, 0), &with, &scalars)?;
                            parts[theta.0].push((self.program().ratio(y), mean));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// `total` is √n ∇f/n of the scalar.
    fn scalar_backward(
        &mut self,
        theta: ScalarId,
        total: ScalarId,
        vectors: &mut [Vec<(f64, VectorId)>],
        parts: &mut [Vec<(f64, ScalarId)>],
    ) -> Result<(), Error> {
        let (f, args, scalars) = match self.program().scalar(theta).clone() {
            ScalarOp::Moment { f, vectors, scalars } => (f, vectors, scalars),
            ScalarOp::Function { f, scalars } => (f, Vec::new(), scalars),
        };
        let last = scalars.len();
        let with: Vec<ScalarId> = scalars.iter().copied().chain([total]).collect();
        for (i, x) in args.iter().enumerate() {
            let slope = f.derivative(i);
            if slope != Expr::Constant(0.0) {
                let dx = self.apply_with(Expr::param(last) * slope, &args, &with)?;
                vectors[x.0].push((1.0 / self.program().ratio(*x), dx));
            }
        }
        for (i, other) in scalars.iter().enumerate() {
            let slope = f.derivative_param(i);
            if slope != Expr::Constant(0.0) {
                let part = if args.is_empty() {
                    self.function(Expr::param(last) * slope, &with)?
                } else {
                    self.moment(Expr::param(last) * slope, &args, &with)?
                };
                parts[other.0].push((1.0, part));
            }
        }
        Ok(())
    }
}

impl Program {
    /// The program with the backward pass of each of its outputs, and their gradients.
    ///
    /// # Errors
    /// As [`Builder::backward`].
    pub fn with_backward(&self, scalars: ScalarGradients) -> Result<(Program, Vec<Gradients>), Error> {
        let mut builder = Builder::extend(self.clone());
        let lines = self.lines.len();
        let seeds =
            self.outputs.iter().map(|output| output.parts.iter().map(|&(v, x)| (x, v)).collect::<Vec<_>>());
        // Lines of one backward pass do not belong to the next.
        let all = seeds.map(|seed| builder.backward_before(lines, &seed, scalars));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        Ok((builder.finish(), all))
    }
}
