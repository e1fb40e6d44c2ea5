//! `Display`: a program in the notation of the papers, one line for each of its own.

use std::fmt;

use super::{Expr, Line, Program, ScalarOp, VectorId, VectorOp};

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for line in &self.lines {
            if matches!(line, Line::Dimension { .. }) {
                continue;
            }
            if !std::mem::take(&mut first) {
                f.write_str("\n")?;
            }
            self.write_line(f, line)?;
        }
        Ok(())
    }
}

impl Program {
    fn write_line(&self, f: &mut fmt::Formatter<'_>, line: &Line) -> fmt::Result {
        match line {
            Line::Dimension { .. } => Ok(()),
            Line::Matrix(id) => {
                let matrix = &self.matrices[id.0];
                let (rows, columns) = (self.dimension_name(matrix.rows), self.dimension_name(matrix.columns));
                write!(
                    f,
                    "{} : A({rows}, {columns}), entries N(0, {}/{columns})",
                    matrix.name, matrix.variance
                )
            }
            Line::Inputs(group) => {
                let inputs = &self.inputs[*group];
                let names: Vec<&str> = inputs.vectors.iter().map(|&x| self.name(x)).collect();
                write!(f, "{} : G({}) ~ N(", names.join(", "), self.dimension(inputs.vectors[0]))?;
                match (&inputs.mean[..], inputs.covariance.as_slice()) {
                    ([mean], Some([variance])) => write!(f, "{mean}, {variance})"),
                    (mean, _) => {
                        let rows =
                            inputs.covariance.rows().into_iter().map(|row| format!("{:?}", row.to_vec()));
                        write!(f, "{mean:?}, [{}])", rows.collect::<Vec<_>>().join(", "))
                    }
                }
            }
            Line::Vector(id) => {
                let node = &self.vectors[id.0];
                let letter = if node.gaussian { 'G' } else { 'H' };
                write!(f, "{} : {letter}({}) := ", node.name, self.dimension(*id))?;
                match &node.op {
                    VectorOp::Input { .. } => Ok(()),
                    VectorOp::MatMul { matrix, transposed, vector } => {
                        let mark = if *transposed { "ᵀ" } else { "" };
                        write!(f, "{}{mark} {}", self.matrices[matrix.0].name, self.name(*vector))
                    }
                    VectorOp::LinComb(terms) => {
                        for (k, (a, x)) in terms.iter().enumerate() {
                            f.write_str(if k > 0 { " + " } else { "" })?;
                            match a {
                                1.0 => f.write_str(self.name(*x))?,
                                a => write!(f, "{a}·{}", self.name(*x))?,
                            }
                        }
                        Ok(())
                    }
                    VectorOp::Nonlin { f: phi, vectors, scalars } => {
                        self.write_expr(f, phi, vectors, scalars)
                    }
                }
            }
            Line::Scalar(id) => {
                let node = &self.scalars[id.0];
                write!(f, "{} : C := ", node.name)?;
                match &node.op {
                    ScalarOp::Moment { f: phi, vectors, scalars } => {
                        f.write_str("mean of ")?;
                        self.write_expr(f, phi, vectors, scalars)
                    }
                    ScalarOp::Function { f: phi, scalars } => self.write_expr(f, phi, &[], scalars),
                }
            }
            Line::Output(k) => {
                let output = &self.outputs[*k];
                write!(f, "{} : output := ", output.name)?;
                for (k, (v, x)) in output.parts.iter().enumerate() {
                    f.write_str(if k > 0 { " + " } else { "" })?;
                    write!(f, "{}ᵀ{}/√{}", self.name(*v), self.name(*x), self.dimension(*x))?;
                }
                Ok(())
            }
        }
    }

    fn write_expr(
        &self,
        f: &mut fmt::Formatter<'_>,
        e: &Expr,
        vectors: &[VectorId],
        scalars: &[super::ScalarId],
    ) -> fmt::Result {
        e.write(f, &|i| self.name(vectors[i]).to_owned(), &|i| self.scalar_name(scalars[i]).to_owned())
    }

    fn dimension(&self, x: VectorId) -> String {
        self.dimension_name(self.vectors[x.0].class)
    }

    /// The name of a dimension, or n with a number in the order of appearance.
    fn dimension_name(&self, class: usize) -> String {
        if let Some(dimension) = self.classes.dimension(class) {
            return dimension.name.clone();
        }
        let root = self.classes.root(class);
        let mut seen = Vec::new();
        let first = self.vectors.iter().map(|v| v.class);
        for class in first.chain(self.matrices.iter().flat_map(|m| [m.columns, m.rows])) {
            let root = self.classes.root(class);
            if self.classes.dimension(root).is_none() && !seen.contains(&root) {
                seen.push(root);
            }
        }
        format!("n{}", seen.iter().position(|&r| r == root).unwrap_or(seen.len()))
    }
}
