//! The tangent kernel of a program, from what any interpretation says of its vectors.

use ndarray::Array2;

use super::{Expr, Gradients, MatrixId, Program, ScalarId, VectorId, VectorOp};

/// A number with a bound or a standard error, whichever the interpretation knows.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Its error: 0 where it is exact to rounding.
    pub error: f64,
}

impl Estimate {
    /// A number without error.
    pub fn exact(value: f64) -> Self {
        Estimate { value, error: 0.0 }
    }

    /// Σ aₖ bₖ with errors added: they need not be independent.
    pub fn plus(self, other: Estimate) -> Self {
        Estimate { value: self.value + other.value, error: self.error + other.error }
    }

    /// The product, to first order in the errors.
    pub fn times(self, other: Estimate) -> Self {
        let error = self.value.abs() * other.error + other.value.abs() * self.error;
        Estimate { value: self.value * other.value, error }
    }

    /// A multiple.
    pub fn scaled(self, a: f64) -> Self {
        Estimate { value: a * self.value, error: a.abs() * self.error }
    }
}

/// What gives a program numbers: a limit, or a draw of finite width.
pub trait Interpretation {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The program.
    fn program(&self) -> &Program;

    /// E f(Z^{x₁}, …; θ₁, …), or at finite width (1/n) Σ_α f(x₁α, …; θ₁, …).
    ///
    /// # Errors
    /// Those of the interpretation.
    fn mean(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> Result<Estimate, Self::Error>;

    /// A scalar.
    ///
    /// # Errors
    /// Those of the interpretation.
    fn scalar(&self, s: ScalarId) -> Result<Estimate, Self::Error>;

    /// E Z^x Z^y, or ⟨x, y⟩/n.
    ///
    /// # Errors
    /// Those of the interpretation.
    fn inner(&self, x: VectorId, y: VectorId) -> Result<Estimate, Self::Error> {
        self.mean(&(Expr::arg(0) * Expr::arg(1)), &[x, y], &[])
    }
}

/// The kernels of the outputs of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputKernels {
    /// Σ Cov(v, v̄) E Z^x Z^x̄: the covariance of outputs as Gaussian processes.
    pub nngp: Array2<Estimate>,
    /// The tangent kernel.
    pub ntk: Array2<Estimate>,
    /// The part of the tangent kernel in which a product with W meets one with Wᵀ: 0 where gradients are independent.
    pub cross: Array2<Estimate>,
}

/// The kernels of all pairs of outputs by the decomposition over pairs of uses of each parameter: with dx = √n ∇ₓf,
///
/// Σ_W λ_W (rows/n) [Σ ⟨dy, dȳ⟩⟨z, z̄⟩ over y = Wz, ȳ = Wz̄ + the same for Wᵀ + ⟨dy, z̄⟩⟨z, dȳ⟩ over y = Wz, ȳ = Wᵀz̄]
/// + Σ over inputs of tangent · ⟨dx, dx̄⟩ + tangent(v, v̄)⟨x, x̄⟩.
///
/// The interpretation is of the program with its backward passes ([`Program::with_backward`]), which `gradients` are; at
/// finite width the result is exact if scalars had exact gradients.
///
/// # Errors
/// Those of the interpretation.
///
/// # Source
/// \[yang2020tensor\] equations (10)–(12); the last term of the brackets is missing in \[yang2019scaling\] equation (14).
pub fn tangent_kernel<I: Interpretation>(of: &I, gradients: &[Gradients]) -> Result<OutputKernels, I::Error> {
    let program = of.program();
    let outputs = &program.outputs()[..gradients.len()];
    let n = outputs.len();
    let zeros = || Array2::from_elem((n, n), Estimate::default());
    let mut kernels = OutputKernels { nngp: zeros(), ntk: zeros(), cross: zeros() };
    let uses: Vec<Vec<Use>> = gradients.iter().map(|gradients| uses(program, gradients)).collect();
    for i in 0..n {
        for j in i..n {
            let (a, b) = (&outputs[i], &outputs[j]);
            let width = program.ratio(a.parts[0].1);
            let (mut nngp, mut total) = (Estimate::default(), Estimate::default());
            for ((v, x), (w, y)) in a.parts.iter().flat_map(|p| b.parts.iter().map(move |q| (p, q))) {
                let (covariance, tangent) = program.input_pair(*v, *w);
                if (covariance, tangent) != (0.0, 0.0) {
                    let state = of.inner(*x, *y)?;
                    nngp = nngp.plus(state.scaled(covariance));
                    total = total.plus(state.scaled(tangent));
                }
            }
            let mut cross = Estimate::default();
            for u in &uses[i] {
                for w in uses[j].iter().filter(|w| w.matrix == u.matrix) {
                    let scale = program.matrices()[u.matrix.index()].rate
                        * program.matrix_ratios(u.matrix)[0]
                        / width;
                    if u.transposed == w.transposed {
                        let both = of.inner(u.gradient, w.gradient)?.times(of.inner(u.input, w.input)?);
                        total = total.plus(both.scaled(scale));
                    } else {
                        let both = of.inner(u.gradient, w.input)?.times(of.inner(u.input, w.gradient)?);
                        cross = cross.plus(both.scaled(scale));
                    }
                }
            }
            for inputs in program.inputs() {
                let Some(tangent) = &inputs.tangent else { continue };
                for (p, x) in inputs.vectors.iter().enumerate() {
                    for (q, y) in inputs.vectors.iter().enumerate().filter(|(q, _)| tangent[[p, *q]] != 0.0) {
                        if let (Some(dx), Some(dy)) = (gradients[i].of(*x), gradients[j].of(*y)) {
                            let scale = tangent[[p, q]] * program.ratio(*x) / width;
                            total = total.plus(of.inner(dx, dy)?.scaled(scale));
                        }
                    }
                }
            }
            for (at, kernel, value) in [
                ((i, j), &mut kernels.nngp, nngp),
                ((i, j), &mut kernels.cross, cross),
                ((i, j), &mut kernels.ntk, total.plus(cross)),
            ] {
                kernel[at] = value;
                kernel[(j, i)] = value;
            }
        }
    }
    Ok(kernels)
}

/// One product with a trained matrix on the way to an output.
struct Use {
    matrix: MatrixId,
    transposed: bool,
    /// z of y = Wz.
    input: VectorId,
    /// dy.
    gradient: VectorId,
}

fn uses(program: &Program, gradients: &Gradients) -> Vec<Use> {
    let one = |y: VectorId| match *program.vector(y) {
        VectorOp::MatMul { matrix, transposed, vector } if program.matrices()[matrix.index()].rate > 0.0 => {
            Some(Use { matrix, transposed, input: vector, gradient: gradients.of(y)? })
        }
        _ => None,
    };
    program.vectors().filter_map(one).collect()
}
