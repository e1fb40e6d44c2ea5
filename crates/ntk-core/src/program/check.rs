//! What holds of a program before anything is computed: which theorem gives its limit, and what that limit needs.

use super::{Dependence, Growth, Line, Program, ScalarOp, VectorId, VectorOp};

/// Where a check fails, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Dependent {
    /// The line.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// What [`Program::checks`] finds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Checks {
    /// Whether every matrix and its transpose may be taken as independent: \[yang2020tensor\] theorem 7.2.
    pub bp_like: Result<(), Dependent>,
    /// Whether gradients of the outputs may be computed so: \[yang2020tensor\] condition 1 with \[yang2020tensor3\]: the
    /// readouts are independent of everything, have mean 0 and are used nowhere else, and no matrix is used beside its
    /// transpose.
    pub simple_gia: Result<(), Dependent>,
    /// The fastest growth of a function, and its line.
    pub growth: (Growth, usize),
    /// Whether a matrix is used beside its transpose in a way that makes Z = Ẑ + Ż with Ż ≠ 0.
    pub needs_z_dot: bool,
    /// Whether there are scalars: then the ranks of finite matrices of vectors must converge.
    pub needs_rank_stability: bool,
}

impl Program {
    /// Checks the program as it stands: before [`Program::with_backward`] for [`Checks::simple_gia`], after it for the
    /// rest if gradients are wanted.
    pub fn checks(&self) -> Checks {
        let bp_like = self.bp_like();
        Checks {
            needs_z_dot: bp_like.is_err(),
            bp_like,
            simple_gia: self.simple_gia(),
            growth: self.growth(),
            needs_rank_stability: self.scalars.iter().any(|s| matches!(s.op, ScalarOp::Moment { .. })),
        }
    }

    /// The readouts of the outputs.
    fn readouts(&self) -> Vec<VectorId> {
        let mut all: Vec<VectorId> =
            self.outputs.iter().flat_map(|output| &output.parts).map(|(v, _)| *v).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The first readout whose law is not that of an independent variable with mean 0.
    fn check_readouts(&self, readouts: &[VectorId]) -> Result<(), Dependent> {
        for &v in readouts {
            let VectorOp::Input { group, index } = self.vectors[v.0].op else { continue };
            let inputs = &self.inputs[group];
            let fail = |reason: String| Err(Dependent { line: self.line_of(v), reason });
            if inputs.mean[index] != 0.0 {
                return fail(format!("the readout {} has mean {}, not 0", self.name(v), inputs.mean[index]));
            }
            let other =
                |(k, x): &(usize, &VectorId)| inputs.covariance[[index, *k]] != 0.0 && !readouts.contains(x);
            if let Some((_, x)) = inputs.vectors.iter().enumerate().find(other) {
                return fail(format!("the readout {} is correlated with {}", self.name(v), self.name(*x)));
            }
        }
        Ok(())
    }

    /// Matrices used in both orientations.
    fn used_both_ways(&self) -> Vec<bool> {
        let mut used = vec![[false; 2]; self.matrices.len()];
        for node in &self.vectors {
            if let VectorOp::MatMul { matrix, transposed, .. } = node.op {
                used[matrix.0][usize::from(transposed)] = true;
            }
        }
        used.into_iter().map(|[a, b]| a && b).collect()
    }

    fn simple_gia(&self) -> Result<(), Dependent> {
        let readouts = self.readouts();
        self.check_readouts(&readouts)?;
        let both = self.used_both_ways();
        for (k, node) in self.vectors.iter().enumerate() {
            let line = || self.line_of(VectorId(k));
            if let VectorOp::MatMul { matrix, transposed: true, .. } = node.op
                && both[matrix.0]
            {
                let name = &self.matrices[matrix.0].name;
                return Err(Dependent { line: line(), reason: format!("{name}ᵀ is used beside {name}") });
            }
            if let Some(v) = operands(&node.op).into_iter().find(|x| readouts.contains(x)) {
                let reason = format!("the readout {} is used in the network", self.name(v));
                return Err(Dependent { line: line(), reason });
            }
        }
        Ok(())
    }

    /// How each vector depends on the readouts.
    fn dependences(&self, readouts: &[VectorId]) -> Vec<Dependence> {
        let mut all: Vec<Dependence> = Vec::with_capacity(self.vectors.len());
        for (k, node) in self.vectors.iter().enumerate() {
            all.push(match &node.op {
                VectorOp::Input { .. } if readouts.contains(&VectorId(k)) => Dependence::Odd,
                VectorOp::Input { .. } => Dependence::Free,
                VectorOp::MatMul { vector, .. } => all[vector.0],
                VectorOp::LinComb(terms) => {
                    let parts = terms.iter().map(|(_, x)| all[x.0]);
                    parts.reduce(Dependence::plus).unwrap_or(Dependence::Free)
                }
                VectorOp::Nonlin { f, vectors, .. } => {
                    let args: Vec<Dependence> = vectors.iter().map(|x| all[x.0]).collect();
                    f.dependence(&args)
                }
            });
        }
        all
    }

    /// Whether, of every matrix used both ways, one orientation multiplies only what is odd in the readouts and the
    /// other only what is free of them.
    fn bp_like(&self) -> Result<(), Dependent> {
        let both = self.used_both_ways();
        if !both.contains(&true) {
            return Ok(());
        }
        let readouts = self.readouts();
        self.check_readouts(&readouts)?;
        let all = self.dependences(&readouts);
        // Of each matrix, the dependence of what each orientation multiplies.
        let mut seen: Vec<[Option<Dependence>; 2]> = vec![[None; 2]; self.matrices.len()];
        for (k, node) in self.vectors.iter().enumerate() {
            let VectorOp::MatMul { matrix, transposed, vector } = node.op else { continue };
            if !both[matrix.0] {
                continue;
            }
            let (name, mark) = (&self.matrices[matrix.0].name, if transposed { "ᵀ" } else { "" });
            let (found, side) = (all[vector.0], usize::from(transposed));
            let fail = |reason: String| Err(Dependent { line: self.line_of(VectorId(k)), reason });
            if !matches!(found, Dependence::Free | Dependence::Odd) {
                return fail(format!(
                    "{name}{mark} multiplies {}, which is not odd in the readouts",
                    self.name(vector)
                ));
            }
            let [same, other] = [seen[matrix.0][side], seen[matrix.0][1 - side]];
            if same.is_some_and(|d| d != found) || other == Some(found) {
                let how =
                    if found == Dependence::Free { "free of the readouts" } else { "odd in the readouts" };
                return fail(format!(
                    "{name}{mark} multiplies {}, which is {how}, beside another product with {name} or {name}ᵀ that \
                     forbids it",
                    self.name(vector)
                ));
            }
            seen[matrix.0][side] = Some(found);
        }
        Ok(())
    }

    fn growth(&self) -> (Growth, usize) {
        let of = |(at, line): (usize, &Line)| {
            let f = match line {
                Line::Vector(id) => match &self.vectors[id.0].op {
                    VectorOp::Nonlin { f, .. } => Some(f),
                    _ => None,
                },
                Line::Scalar(id) => match &self.scalars[id.0].op {
                    ScalarOp::Moment { f, .. } | ScalarOp::Function { f, .. } => Some(f),
                },
                _ => None,
            };
            f.map(|f| (f.growth(), at + 1))
        };
        let all = self.lines.iter().enumerate().filter_map(of);
        // The first line of the fastest growth.
        all.reduce(|a, b| if b.0 > a.0 { b } else { a }).unwrap_or((Growth::Polynomial, 0))
    }
}

/// The vectors that a line reads.
fn operands(op: &VectorOp) -> Vec<VectorId> {
    match op {
        VectorOp::Input { .. } => Vec::new(),
        VectorOp::MatMul { vector, .. } => vec![*vector],
        VectorOp::LinComb(terms) => terms.iter().map(|(_, x)| *x).collect(),
        VectorOp::Nonlin { vectors, .. } => vectors.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.
mod tests {
    use super::super::{Builder, Expr, ScalarGradients};
    use super::*;

    /// x ↦ vᵀφ(Wφ(Wx))/√n.
    fn recurrent(mean: f64) -> Program {
        let mut p = Builder::new();
        let (x, w) = (p.input("x", 0.0, 1.0).unwrap(), p.matrix("W", 1.5).unwrap());
        let v = p.input("v", mean, 1.0).unwrap();
        let mut h = x;
        for _ in 0..2 {
            let g = p.matmul(w, h).unwrap();
            h = p.apply(Expr::arg(0).relu(), &[g]).unwrap();
        }
        p.output("f", v, h).unwrap();
        p.finish()
    }

    #[test]
    fn gradients_of_recurrent_networks_are_independent_of_their_matrices() {
        let forward = recurrent(0.0);
        let checks = forward.checks();
        assert_eq!((checks.bp_like.clone(), checks.simple_gia), (Ok(()), Ok(())));
        assert_eq!(checks.growth.0, Growth::Polynomial);
        let (program, gradients) = forward.with_backward(ScalarGradients::Exact).unwrap();
        let checks = program.checks();
        assert_eq!(checks.bp_like, Ok(()));
        assert!(!checks.needs_z_dot && !checks.needs_rank_stability);
        assert!(gradients[0].of(forward.find("x").unwrap()).is_some());
        assert!(gradients[0].of(forward.find("v").unwrap()).is_none());
    }

    #[test]
    fn means_and_ties_make_gradients_dependent() {
        let (program, _) = recurrent(1.0).with_backward(ScalarGradients::Exact).unwrap();
        let failure = program.checks().bp_like.unwrap_err();
        assert_eq!(failure.to_string(), "line 3: the readout v has mean 1, not 0");
        let mut p = Builder::new();
        let (x, w) = (p.input("x", 0.0, 1.0).unwrap(), p.matrix("W", 1.0).unwrap());
        let g = p.matmul(w, x).unwrap();
        let h = p.apply(Expr::arg(0).relu(), &[g]).unwrap();
        p.matmul_transposed(w, h).unwrap();
        let checks = p.finish().checks();
        assert!(checks.needs_z_dot && checks.bp_like.is_err());
        assert_eq!(checks.simple_gia.unwrap_err().to_string(), "line 5: Wᵀ is used beside W");
    }
}
