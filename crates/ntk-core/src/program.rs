//! Tensor programs: straight-line computations with large random matrices, which have a limit whatever they compute.
//!
//! A [`Net`](crate::Net) draws new weights in every layer. A [`Program`] may use a matrix again, or its transpose: recurrent
//! networks, tied weights, backpropagation itself. It is written with a [`Builder`], a line at a time, in the language
//! NETSOR⊤⁺ of \[yang2019scaling\] and \[yang2020tensor\]; every vector has n coordinates (times a fixed ratio), and as n → ∞
//! its coordinates become independent draws of one random variable, which `ntk-analytic` computes.
//!
//! | line | meaning | limit of a coordinate |
//! |---|---|---|
//! | [`Builder::inputs`] | vectors with Gaussian coordinates | Gaussian |
//! | [`Builder::matmul`] | W x, or Wᵀ x | Gaussian, plus what Wᵀ knows of W |
//! | [`Builder::combine`] | Σ aᵢ xᵢ | the same combination |
//! | [`Builder::apply`] | f(x₁, …; θ₁, …) | the same function |
//! | [`Builder::moment`] | (1/n) Σ_α f(x₁α, …) | a constant, E f |

mod backward;
mod builder;
mod check;
mod class;
mod classes;
mod error;
mod expr;
mod function;
#[cfg(feature = "serde")]
mod json;
mod lower;
pub mod networks;
mod show;
mod tangent;

use std::fmt;

use ndarray::Array2;

pub use backward::{Gradients, ScalarGradients};
pub use builder::Builder;
pub use check::{Checks, Dependent};
pub use class::{Dependence, Growth};
pub use error::Error;
pub use expr::Expr;
pub use function::Function;
pub use tangent::{Estimate, Interpretation, OutputKernels, tangent_kernel};

/// A matrix of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MatrixId(pub(crate) usize);

/// A vector of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VectorId(pub(crate) usize);

/// A scalar of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScalarId(pub(crate) usize);

macro_rules! index {
    ($($id:ident),*) => {$(
        impl $id {
            /// Its place among those of its kind, in the order of the program.
            pub fn index(self) -> usize {
                self.0
            }
        }
    )*};
}
index!(MatrixId, VectorId, ScalarId);

/// A width relative to n, with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimension {
    /// The name.
    pub name: String,
    /// Width over n.
    pub ratio: f64,
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ratio == 1.0 {
            f.write_str(&self.name)
        } else {
            write!(f, "{} = {}·n", self.name, self.ratio)
        }
    }
}

/// A matrix with independent entries N(0, σ²/columns).
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixInput {
    /// Its name.
    pub name: String,
    /// σ².
    pub variance: f64,
    /// λ: what the derivatives in ω = √columns · W are multiplied by in the tangent kernel; 0 if it is not trained.
    pub rate: f64,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// Input vectors whose coordinates are independent draws of one Gaussian.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// The vectors.
    pub vectors: Vec<VectorId>,
    /// E.
    pub mean: Vec<f64>,
    /// Cov, without the means.
    pub covariance: Array2<f64>,
    /// Their own share in the tangent kernel of a coordinate, if they are trained.
    pub tangent: Option<Array2<f64>>,
}

/// How a vector is made.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorOp {
    /// A member of a group of [`Inputs`].
    Input {
        /// The group.
        group: usize,
        /// Its place there.
        index: usize,
    },
    /// W x or Wᵀ x.
    MatMul {
        /// W.
        matrix: MatrixId,
        /// Whether it is transposed.
        transposed: bool,
        /// x.
        vector: VectorId,
    },
    /// Σ aᵢ xᵢ.
    LinComb(Vec<(f64, VectorId)>),
    /// f(x₁, …; θ₁, …).
    Nonlin {
        /// f.
        f: Expr,
        /// x₁, ….
        vectors: Vec<VectorId>,
        /// θ₁, ….
        scalars: Vec<ScalarId>,
    },
}

/// How a scalar is made.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalarOp {
    /// (1/n) Σ_α f(x₁α, …; θ₁, …).
    Moment {
        /// f.
        f: Expr,
        /// x₁, ….
        vectors: Vec<VectorId>,
        /// θ₁, ….
        scalars: Vec<ScalarId>,
    },
    /// f(θ₁, …), of its parameters.
    Function {
        /// f.
        f: Expr,
        /// θ₁, ….
        scalars: Vec<ScalarId>,
    },
}

/// A vector with its name and type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VectorNode {
    pub(crate) name: String,
    pub(crate) op: VectorOp,
    pub(crate) class: usize,
    /// G-var: an input, a product with a matrix, or a linear combination of these.
    pub(crate) gaussian: bool,
}

/// A scalar with its name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScalarNode {
    pub(crate) name: String,
    pub(crate) op: ScalarOp,
}

/// f = Σ ⟨vₖ, xₖ⟩/√n: one part in most networks, one for each position where all are read out.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// The (vₖ, xₖ): readout and state.
    pub parts: Vec<(VectorId, VectorId)>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// Declares a matrix.
    Matrix(MatrixId),
    /// Declares a group of inputs.
    Inputs(usize),
    /// Names a dimension.
    Dimension {
        /// A vector that has it.
        vector: VectorId,
        /// The name.
        name: String,
        /// Width over n.
        ratio: f64,
    },
    /// Makes a vector.
    Vector(VectorId),
    /// Makes a scalar.
    Scalar(ScalarId),
    /// Declares an output.
    Output(usize),
}

/// A straight-line computation with random matrices. See [the module](self).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    pub(crate) lines: Vec<Line>,
    pub(crate) matrices: Vec<MatrixInput>,
    pub(crate) inputs: Vec<Inputs>,
    pub(crate) vectors: Vec<VectorNode>,
    pub(crate) scalars: Vec<ScalarNode>,
    pub(crate) outputs: Vec<Output>,
    classes: classes::Classes,
}

impl Program {
    /// The lines, in order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The matrices, by [`MatrixId::index`].
    pub fn matrices(&self) -> &[MatrixInput] {
        &self.matrices
    }

    /// The groups of inputs.
    pub fn inputs(&self) -> &[Inputs] {
        &self.inputs
    }

    /// The outputs.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// All vectors.
    pub fn vectors(&self) -> impl ExactSizeIterator<Item = VectorId> + use<> {
        (0..self.vectors.len()).map(VectorId)
    }

    /// All scalars.
    pub fn scalars(&self) -> impl ExactSizeIterator<Item = ScalarId> + use<> {
        (0..self.scalars.len()).map(ScalarId)
    }

    /// How a vector is made.
    ///
    /// # Panics
    /// For a vector of another program.
    pub fn vector(&self, x: VectorId) -> &VectorOp {
        &self.vectors[x.0].op
    }

    /// How a scalar is made.
    ///
    /// # Panics
    /// For a scalar of another program.
    pub fn scalar(&self, s: ScalarId) -> &ScalarOp {
        &self.scalars[s.0].op
    }

    /// The name of a vector.
    ///
    /// # Panics
    /// For a vector of another program.
    pub fn name(&self, x: VectorId) -> &str {
        &self.vectors[x.0].name
    }

    /// The name of a scalar.
    ///
    /// # Panics
    /// For a scalar of another program.
    pub fn scalar_name(&self, s: ScalarId) -> &str {
        &self.scalars[s.0].name
    }

    /// The vector of a name.
    pub fn find(&self, name: &str) -> Option<VectorId> {
        self.vectors.iter().position(|v| v.name == name).map(VectorId)
    }

    /// Whether a vector is Gaussian as it stands: an input, a product with a matrix, or a combination of these.
    ///
    /// # Panics
    /// For a vector of another program.
    pub fn is_gaussian(&self, x: VectorId) -> bool {
        self.vectors[x.0].gaussian
    }

    /// Width over n of a vector; 1 where nobody said otherwise.
    ///
    /// # Panics
    /// For a vector of another program.
    pub fn ratio(&self, x: VectorId) -> f64 {
        self.ratio_of(self.vectors[x.0].class)
    }

    /// Rows and columns of a matrix over n.
    ///
    /// # Panics
    /// For a matrix of another program.
    pub fn matrix_ratios(&self, w: MatrixId) -> [f64; 2] {
        let MatrixInput { rows, columns, .. } = self.matrices[w.0];
        [self.ratio_of(rows), self.ratio_of(columns)]
    }

    /// The common dimension class of a vector: vectors of one class have one width, and only they are averaged together.
    ///
    /// # Panics
    /// For a vector of another program.
    pub fn class(&self, x: VectorId) -> usize {
        self.classes.root(self.vectors[x.0].class)
    }

    /// The covariance of two inputs and their share in the tangent kernel of a coordinate; 0 for those of two groups.
    ///
    /// # Panics
    /// For a vector of another program.
    pub fn input_pair(&self, x: VectorId, y: VectorId) -> (f64, f64) {
        match (&self.vectors[x.0].op, &self.vectors[y.0].op) {
            (VectorOp::Input { group, index: i }, VectorOp::Input { group: other, index: j })
                if group == other =>
            {
                let inputs = &self.inputs[*group];
                (inputs.covariance[[*i, *j]], inputs.tangent.as_ref().map_or(0.0, |t| t[[*i, *j]]))
            }
            _ => (0.0, 0.0),
        }
    }

    /// σ² of W or, transposed, that of Wᵀ: its entries have variance σ²/columns, those of Wᵀ the same number over the
    /// columns of Wᵀ, which are the rows of W.
    ///
    /// # Panics
    /// For a matrix of another program.
    pub fn variance(&self, w: MatrixId, transposed: bool) -> f64 {
        let [rows, columns] = self.matrix_ratios(w);
        self.matrices[w.0].variance * if transposed { rows / columns } else { 1.0 }
    }

    fn ratio_of(&self, class: usize) -> f64 {
        self.classes.dimension(class).map_or(1.0, |dimension| dimension.ratio)
    }

    /// The number of the line that makes a vector.
    pub(crate) fn line_of(&self, x: VectorId) -> usize {
        let makes = |line: &Line| match line {
            Line::Vector(id) => *id == x,
            Line::Inputs(group) => self.inputs[*group].vectors.contains(&x),
            _ => false,
        };
        self.lines.iter().position(makes).map_or(0, |at| at + 1)
    }
}
