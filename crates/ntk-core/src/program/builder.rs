//! `Builder`: writes a program line by line, and refuses a wrong line where it stands.

use std::collections::{HashMap, HashSet};

use ndarray::Array2;

use super::classes::not_covariance;
use super::{
    Dimension, Error, Expr, Inputs, Line, MatrixId, MatrixInput, Output, Program, ScalarId, ScalarNode,
    ScalarOp, VectorId, VectorNode, VectorOp,
};

/// A program being written. Each method adds a line, or finds the one that says the same.
///
/// ```
/// use ntk_core::program::{Builder, Expr};
///
/// let mut p = Builder::new();
/// let x = p.input("x", 0.0, 1.0)?;
/// let w = p.matrix("W", 2.0)?;
/// let g = p.matmul(w, x)?;
/// let h = p.apply(Expr::arg(0).relu(), &[g])?;
/// let program = p.finish();
/// assert_eq!(program.to_string(), "\
/// x : G(n0) ~ N(0, 1)
/// W : A(n1, n0), entries N(0, 2/n0)
/// g1 : G(n1) := W x
/// h2 : H(n1) := relu(g1)");
/// # let _ = h; Ok::<(), ntk_core::program::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    program: Program,
    names: HashSet<String>,
    /// Lines that say the same, by what they say.
    vectors: HashMap<String, VectorId>,
    scalars: HashMap<String, ScalarId>,
}

impl Builder {
    /// An empty program.
    pub fn new() -> Self {
        Builder::default()
    }

    /// Goes on with a program.
    pub fn extend(program: Program) -> Self {
        let mut builder = Builder { program, ..Builder::default() };
        let p = &builder.program;
        let names = p.matrices.iter().map(|m| &m.name).chain(p.vectors.iter().map(|v| &v.name));
        builder.names = names.chain(p.scalars.iter().map(|s| &s.name)).cloned().collect();
        let vectors = p.vectors.iter().enumerate().map(|(k, v)| (key(&v.op), VectorId(k)));
        builder.vectors = vectors.collect();
        builder.scalars = p.scalars.iter().enumerate().map(|(k, s)| (key(&s.op), ScalarId(k))).collect();
        builder
    }

    /// The program so far.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Ends the program.
    pub fn finish(self) -> Program {
        self.program
    }

    /// The number of the next line.
    fn line(&self) -> usize {
        self.program.lines.len() + 1
    }

    fn name(&mut self, name: &str) -> Result<String, Error> {
        if !self.names.insert(name.to_owned()) {
            return Err(Error::Duplicate { line: self.line(), name: name.to_owned() });
        }
        Ok(name.to_owned())
    }

    fn fresh(&mut self, letter: &str) -> String {
        let mut k = self.program.vectors.len() + self.program.scalars.len();
        while self.names.contains(&format!("{letter}{k}")) {
            k += 1;
        }
        let name = format!("{letter}{k}");
        self.names.insert(name.clone());
        name
    }

    fn known(&self, x: VectorId) -> Result<&VectorNode, Error> {
        let undefined = || Error::Undefined { line: self.line(), name: format!("vector {}", x.0) };
        self.program.vectors.get(x.0).ok_or_else(undefined)
    }

    fn number(&self, what: &'static str, value: f64, least: f64, domain: &'static str) -> Result<(), Error> {
        if value.is_finite() && value >= least {
            return Ok(());
        }
        Err(Error::Number { line: self.line(), what, value, domain })
    }

    /// A matrix with independent entries N(0, σ²/columns) that is trained at rate σ²: `variance` = σ². This is the
    /// parameterization W = σω/√columns with ω ~ N(0, 1) trained.
    ///
    /// # Errors
    /// [`Error::Number`] unless σ² is a finite number of at least 0; [`Error::Duplicate`].
    pub fn matrix(&mut self, name: &str, variance: f64) -> Result<MatrixId, Error> {
        self.matrix_with(name, variance, variance)
    }

    /// The same with a rate of its own: W = ω/√columns with ω ~ N(0, σ²) trained has rate 1, a frozen matrix 0.
    ///
    /// # Errors
    /// As [`Builder::matrix`], also for the rate.
    pub fn matrix_with(&mut self, name: &str, variance: f64, rate: f64) -> Result<MatrixId, Error> {
        self.number("a variance", variance, 0.0, "a finite number of at least 0")?;
        self.number("a rate", rate, 0.0, "a finite number of at least 0")?;
        let name = self.name(name)?;
        let classes = &mut self.program.classes;
        let (rows, columns) = (classes.new_class(), classes.new_class());
        let id = MatrixId(self.program.matrices.len());
        self.program.matrices.push(MatrixInput { name, variance, rate, rows, columns });
        self.program.lines.push(Line::Matrix(id));
        Ok(id)
    }

    /// An input vector with independent coordinates N(mean, variance), not trained.
    ///
    /// # Errors
    /// As [`Builder::inputs`].
    pub fn input(&mut self, name: &str, mean: f64, variance: f64) -> Result<VectorId, Error> {
        let covariance = Array2::from_elem((1, 1), variance);
        Ok(self.inputs(&[name], &[mean], covariance, None)?[0])
    }

    /// Input vectors whose coordinates are independent draws of one joint Gaussian N(mean, covariance).
    ///
    /// The embedding W¹ξ of a network input ξ is such a vector, with covariance σ² ξᵀξ̄/d over the samples; a bias is one;
    /// a readout is one. `tangent` is the share of their own parameters in the tangent kernel of a coordinate: λ ξᵀξ̄/d
    /// for an embedding, λ for a bias, none where nothing is trained.
    ///
    /// # Errors
    /// [`Error::Law`] unless mean, covariance and tangent have one row for each name, and the matrices are finite,
    /// symmetric and positive semidefinite; [`Error::Duplicate`]; [`Error::Empty`].
    pub fn inputs(
        &mut self,
        names: &[&str],
        mean: &[f64],
        covariance: Array2<f64>,
        tangent: Option<Array2<f64>>,
    ) -> Result<Vec<VectorId>, Error> {
        let (line, n) = (self.line(), names.len());
        if n == 0 {
            return Err(Error::Empty { line, operation: "inputs" });
        }
        let law = |reason: String| Err(Error::Law { line, reason });
        if mean.len() != n || mean.iter().any(|m| !m.is_finite()) {
            return law(format!("{n} inputs need {n} finite means, not {mean:?}"));
        }
        for (what, matrix) in [("covariance", Some(&covariance)), ("tangent kernel", tangent.as_ref())] {
            if let Some(reason) = matrix.and_then(|matrix| not_covariance(what, matrix, n)) {
                return law(reason);
            }
        }
        let class = self.program.classes.new_class();
        let group = self.program.inputs.len();
        let mut ids = Vec::with_capacity(n);
        for (index, name) in names.iter().enumerate() {
            let name = self.name(name)?;
            ids.push(VectorId(self.program.vectors.len()));
            let op = VectorOp::Input { group, index };
            self.program.vectors.push(VectorNode { name, op, class, gaussian: true });
        }
        self.program.inputs.push(Inputs { vectors: ids.clone(), mean: mean.to_vec(), covariance, tangent });
        self.program.lines.push(Line::Inputs(group));
        Ok(ids)
    }

    /// Names the dimension of a vector: its width is `ratio` times n. Dimensions without a name have ratio 1.
    ///
    /// # Errors
    /// [`Error::Dimension`] if it has another one already; [`Error::Number`] unless the ratio is finite and positive.
    pub fn dimension(&mut self, x: VectorId, name: &str, ratio: f64) -> Result<(), Error> {
        self.number("a ratio of widths", ratio, f64::MIN_POSITIVE, "a finite positive number")?;
        let class = self.program.classes.root(self.known(x)?.class);
        let new = Dimension { name: name.to_owned(), ratio };
        if let Some(old) = self.program.classes.dimension(class).filter(|old| **old != new) {
            return Err(Error::Dimension {
                line: self.line(),
                left: self.known(x)?.name.clone(),
                left_dimension: old.to_string(),
                right: "it".to_owned(),
                right_dimension: new.to_string(),
            });
        }
        // One name is one dimension.
        match self.program.classes.find(name) {
            Some(other) => self.join((class, name), (other, name))?,
            None => self.program.classes.call(class, new),
        }
        self.program.lines.push(Line::Dimension { vector: x, name: name.to_owned(), ratio });
        Ok(())
    }

    fn join(&mut self, (a, left): (usize, &str), (b, right): (usize, &str)) -> Result<(), Error> {
        let line = self.line();
        self.program.classes.join(a, b).map_err(|[x, y]| Error::Dimension {
            line,
            left: left.to_owned(),
            left_dimension: x.to_string(),
            right: right.to_owned(),
            right_dimension: y.to_string(),
        })
    }

    /// W x.
    ///
    /// # Errors
    /// [`Error::Dimension`] if the columns of W are not the coordinates of x.
    pub fn matmul(&mut self, w: MatrixId, x: VectorId) -> Result<VectorId, Error> {
        self.multiply(w, false, x)
    }

    /// Wᵀ x.
    ///
    /// # Errors
    /// [`Error::Dimension`] if the rows of W are not the coordinates of x.
    pub fn matmul_transposed(&mut self, w: MatrixId, x: VectorId) -> Result<VectorId, Error> {
        self.multiply(w, true, x)
    }

    pub(super) fn multiply(&mut self, w: MatrixId, transposed: bool, x: VectorId) -> Result<VectorId, Error> {
        let undefined = || Error::Undefined { line: self.line(), name: format!("matrix {}", w.0) };
        let matrix = self.program.matrices.get(w.0).ok_or_else(undefined)?;
        let (input, output) =
            if transposed { (matrix.rows, matrix.columns) } else { (matrix.columns, matrix.rows) };
        let (matrix, vector) = (matrix.name.clone(), self.known(x)?);
        let (class, name) = (vector.class, vector.name.clone());
        let at = if transposed { format!("{matrix}ᵀ") } else { matrix };
        self.join((input, &at), (class, &name))?;
        self.vector(VectorOp::MatMul { matrix: w, transposed, vector: x }, output, true)
    }

    /// Σ aᵢ xᵢ.
    ///
    /// # Errors
    /// [`Error::Empty`]; [`Error::Dimension`]; [`Error::Number`] unless all aᵢ are finite.
    pub fn combine(&mut self, terms: &[(f64, VectorId)]) -> Result<VectorId, Error> {
        let vectors: Vec<VectorId> = terms.iter().map(|(_, x)| *x).collect();
        let class = self.common(&vectors, "a linear combination")?;
        if let Some(&(value, _)) = terms.iter().find(|(a, _)| !a.is_finite()) {
            let (what, domain) = ("a coefficient", "a finite number");
            return Err(Error::Number { line: self.line(), what, value, domain });
        }
        if let [(1.0, x)] = terms {
            return Ok(*x);
        }
        let gaussian = vectors.iter().all(|x| self.program.vectors[x.0].gaussian);
        self.vector(VectorOp::LinComb(terms.to_vec()), class, gaussian)
    }

    /// f(x₁, …), coordinate by coordinate.
    ///
    /// # Errors
    /// As [`Builder::apply_with`].
    pub fn apply(&mut self, f: Expr, vectors: &[VectorId]) -> Result<VectorId, Error> {
        self.apply_with(f, vectors, &[])
    }

    /// f(x₁, …; θ₁, …), coordinate by coordinate.
    ///
    /// # Errors
    /// [`Error::Empty`]; [`Error::Arity`]; [`Error::Dimension`] unless all vectors have one dimension.
    pub fn apply_with(
        &mut self,
        f: Expr,
        vectors: &[VectorId],
        scalars: &[ScalarId],
    ) -> Result<VectorId, Error> {
        let class = self.common(vectors, "a nonlinearity")?;
        self.check_arity(&f, vectors.len(), scalars)?;
        if f == Expr::Arg(0) {
            return Ok(vectors[0]);
        }
        let op = VectorOp::Nonlin { f, vectors: vectors.to_vec(), scalars: scalars.to_vec() };
        self.vector(op, class, false)
    }

    /// The scalar (1/n) Σ_α f(x₁α, …; θ₁, …), which converges.
    ///
    /// # Errors
    /// As [`Builder::apply_with`].
    pub fn moment(&mut self, f: Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> Result<ScalarId, Error> {
        self.common(vectors, "a moment")?;
        self.check_arity(&f, vectors.len(), scalars)?;
        self.scalar(ScalarOp::Moment { f, vectors: vectors.to_vec(), scalars: scalars.to_vec() })
    }

    /// f(θ₁, …), of the parameters of the expression.
    ///
    /// # Errors
    /// [`Error::Arity`].
    pub fn function(&mut self, f: Expr, scalars: &[ScalarId]) -> Result<ScalarId, Error> {
        self.check_arity(&f, 0, scalars)?;
        if f == Expr::Param(0) {
            return Ok(scalars[0]);
        }
        self.scalar(ScalarOp::Function { f, scalars: scalars.to_vec() })
    }

    /// An output f = ⟨v, x⟩/√n, with an input v that is used nowhere else if the theorems on gradients are to apply.
    ///
    /// # Errors
    /// As [`Builder::output_of`].
    pub fn output(&mut self, name: &str, readout: VectorId, state: VectorId) -> Result<usize, Error> {
        self.output_of(name, &[(readout, state)])
    }

    /// An output f = Σ ⟨vₖ, xₖ⟩/√n.
    ///
    /// # Errors
    /// [`Error::Empty`]; [`Error::Readout`] if a v is no input; [`Error::Dimension`]; [`Error::Duplicate`].
    pub fn output_of(&mut self, name: &str, parts: &[(VectorId, VectorId)]) -> Result<usize, Error> {
        let all: Vec<VectorId> = parts.iter().flat_map(|&(v, x)| [v, x]).collect();
        self.common(&all, "an output")?;
        for &(readout, _) in parts {
            let v = self.known(readout)?;
            if !matches!(v.op, VectorOp::Input { .. }) {
                return Err(Error::Readout { line: self.line(), name: v.name.clone() });
            }
        }
        let name = self.name(name)?;
        self.program.outputs.push(Output { name, parts: parts.to_vec() });
        self.program.lines.push(Line::Output(self.program.outputs.len() - 1));
        Ok(self.program.outputs.len() - 1)
    }

    /// The one dimension of all these vectors.
    fn common(&mut self, vectors: &[VectorId], operation: &'static str) -> Result<usize, Error> {
        let Some((&first, rest)) = vectors.split_first() else {
            return Err(Error::Empty { line: self.line(), operation });
        };
        let first = self.known(first)?;
        let (class, name) = (first.class, first.name.clone());
        for &x in rest {
            let other = self.known(x)?;
            let (b, right) = (other.class, other.name.clone());
            self.join((class, &name), (b, &right))?;
        }
        Ok(class)
    }

    fn check_arity(&self, f: &Expr, vectors: usize, scalars: &[ScalarId]) -> Result<(), Error> {
        let line = self.line();
        if let Some(s) = scalars.iter().find(|s| s.0 >= self.program.scalars.len()) {
            return Err(Error::Undefined { line, name: format!("scalar {}", s.0) });
        }
        let (args, params) = f.arity();
        for (what, reads, given) in [("vectors", args, vectors), ("scalars", params, scalars.len())] {
            if reads > given {
                return Err(Error::Arity { line, what, reads, given });
            }
        }
        Ok(())
    }

    fn vector(&mut self, op: VectorOp, class: usize, gaussian: bool) -> Result<VectorId, Error> {
        let key = key(&op);
        if let Some(&same) = self.vectors.get(&key) {
            return Ok(same);
        }
        let name = self.fresh(if gaussian { "g" } else { "h" });
        let id = VectorId(self.program.vectors.len());
        self.program.vectors.push(VectorNode { name, op, class, gaussian });
        self.program.lines.push(Line::Vector(id));
        self.vectors.insert(key, id);
        Ok(id)
    }

    /// Gives a vector another name.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if another variable has it; [`Error::Undefined`].
    pub fn rename(&mut self, x: VectorId, name: &str) -> Result<(), Error> {
        let old = self.known(x)?.name.clone();
        if old != name {
            self.name(name)?;
            self.names.remove(&old);
            self.program.vectors[x.0].name = name.to_owned();
        }
        Ok(())
    }

    /// Gives a scalar another name.
    ///
    /// # Errors
    /// As [`Builder::rename`].
    pub fn rename_scalar(&mut self, s: ScalarId, name: &str) -> Result<(), Error> {
        let undefined = Error::Undefined { line: self.line(), name: format!("scalar {}", s.0) };
        let old = self.program.scalars.get(s.0).ok_or(undefined)?.name.clone();
        if old != name {
            self.name(name)?;
            self.names.remove(&old);
            self.program.scalars[s.0].name = name.to_owned();
        }
        Ok(())
    }

    fn scalar(&mut self, op: ScalarOp) -> Result<ScalarId, Error> {
        let key = key(&op);
        if let Some(&same) = self.scalars.get(&key) {
            return Ok(same);
        }
        let name = self.fresh("θ");
        let id = ScalarId(self.program.scalars.len());
        self.program.scalars.push(ScalarNode { name, op });
        self.program.lines.push(Line::Scalar(id));
        self.scalars.insert(key, id);
        Ok(id)
    }
}

/// What a line says, with all digits of its numbers.
fn key(op: &impl std::fmt::Debug) -> String {
    format!("{op:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn lines_that_say_the_same_are_one() {
        let mut p = Builder::new();
        let x = p.input("x", 0.0, 1.0).unwrap();
        let w = p.matrix("W", 1.0).unwrap();
        let (a, b) = (p.matmul(w, x).unwrap(), p.matmul(w, x).unwrap());
        assert_eq!(a, b);
        assert_ne!(a, p.matmul_transposed(w, x).unwrap());
        assert_eq!(p.apply(Expr::arg(0), &[a]).unwrap(), a);
        let mut again = Builder::extend(p.clone().finish());
        assert_eq!(again.matmul(w, x).unwrap(), a);
        assert_eq!(again.input("x", 0.0, 1.0).unwrap_err().to_string(), "line 5: the name x is taken");
    }

    #[test]
    fn dimensions_are_found_and_kept_apart() {
        let mut p = Builder::new();
        let (x, y) = (p.input("x", 0.0, 1.0).unwrap(), p.input("y", 0.0, 1.0).unwrap());
        let w = p.matrix("W", 1.0).unwrap();
        p.dimension(x, "n", 1.0).unwrap();
        p.dimension(y, "m", 2.0).unwrap();
        let g = p.matmul(w, x).unwrap();
        let back = p.matmul_transposed(w, g).unwrap();
        assert_eq!(p.program().class(back), p.program().class(x));
        p.combine(&[(1.0, g), (1.0, y)]).unwrap();
        assert_eq!((p.program().ratio(g), p.program().matrix_ratios(w)), (2.0, [2.0, 1.0]));
        assert_eq!(p.program().variance(w, true), 2.0);
        assert_eq!(
            p.combine(&[(1.0, x), (1.0, g)]).unwrap_err().to_string(),
            "line 9: x has dimension n and g2 has dimension m = 2·n, which must be equal here"
        );
        let other = p.matmul(w, y).unwrap_err().to_string();
        assert_eq!(other, "line 9: W has dimension n and y has dimension m = 2·n, which must be equal here");
    }

    #[test]
    fn wrong_lines_are_refused() {
        let mut p = Builder::new();
        let x = p.input("x", 0.0, 1.0).unwrap();
        let message = |e: Error| e.to_string();
        assert_eq!(
            message(p.apply(Expr::arg(1), &[x]).unwrap_err()),
            "line 2: the function reads 2 vectors, and 1 are given"
        );
        assert_eq!(
            message(p.matrix("W", f64::NAN).unwrap_err()),
            "line 2: a variance is a finite number of at least 0, not NaN"
        );
        let indefinite = array![[1.0, 2.0], [2.0, 1.0]];
        assert_eq!(
            message(p.inputs(&["a", "b"], &[0.0; 2], indefinite, None).unwrap_err()),
            "line 2: the covariance is not positive semidefinite"
        );
        let singular = array![[1.0, 1.0], [1.0, 1.0]];
        p.inputs(&["a", "b"], &[0.0; 2], singular, None).unwrap();
        assert_eq!(message(p.combine(&[]).unwrap_err()), "line 3: a linear combination of nothing");
        let w = p.matrix("W", 1.0).unwrap();
        let g = p.matmul(w, x).unwrap();
        assert_eq!(message(p.output("f", g, g).unwrap_err()), "line 5: a readout is an input, and g3 is not");
        assert_eq!(
            message(p.matmul(w, VectorId(99)).unwrap_err()),
            "line 5: vector 99 is used before it is defined"
        );
    }
}
