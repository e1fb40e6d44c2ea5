//! `ParticleLimit`: the limit of any program by joint samples of all its variables.

use ndarray::Array2;
#[cfg(feature = "rayon")]
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use ntk_core::program::{
    Estimate, Expr, Interpretation, Line, Program, ScalarId, ScalarOp, VectorId, VectorOp,
};

use super::error::Error;
use super::{check_growth, gaussian};

/// How many particles, and which.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParticleOptions {
    /// Joint samples of all variables, in [`REPLICATES`] independent groups whose spread gives the errors.
    pub particles: usize,
    /// Seed of all draws.
    pub seed: u64,
    /// Takes every matrix and its transpose as independent, whether or not that is right: the naive value.
    pub gradient_independence: bool,
}

impl Default for ParticleOptions {
    fn default() -> Self {
        ParticleOptions { particles: 1 << 16, seed: 0, gradient_independence: false }
    }
}

/// Independent groups of particles.
pub const REPLICATES: usize = 16;

/// The limit of a program by particles: Z^x as joint samples for every vector x.
///
/// A product Wx is Ẑ, which is drawn given all earlier products with W by an incremental Cholesky factor (so that linear
/// relations hold to rounding), and Ż, whose coefficients are Stein's: E[Ẑ Z^x] against the covariance of the earlier
/// products with Wᵀ. Values have standard errors of order N^(−1/2), and a bias of order 16/N.
///
/// The k-th product with a matrix costs O(kN); memory is 8N bytes a vector.
///
/// # Source
/// \[yang2020tensor3\] theorem 2.10 with definition 2.6; Stein's form is \[yang2019scaling\] theorem 6.3.
pub struct ParticleLimit {
    program: Program,
    groups: Vec<Particles>,
}

/// One group.
struct Particles {
    vectors: Vec<Vec<f64>>,
    scalars: Vec<f64>,
}

impl std::fmt::Debug for ParticleLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParticleLimit").field("program", &self.program).finish_non_exhaustive()
    }
}

impl ParticleLimit {
    /// Samples all variables of a program.
    ///
    /// # Errors
    /// [`Error::Growth`] for a function that no theorem covers; [`Error::Particles`] for fewer than two particles a group;
    /// [`Error::NotFinite`] where a variable overflows.
    pub fn new(program: Program, options: ParticleOptions) -> Result<Self, Error> {
        check_growth(&program)?;
        let particles = options.particles / REPLICATES;
        if particles < 2 {
            return Err(Error::Particles { least: 2 * REPLICATES, found: options.particles });
        }
        let checks = program.checks();
        let dependent = checks.needs_z_dot && !options.gradient_independence;
        let ancestors = if dependent { ancestors(&program) } else { Vec::new() };
        let one = |group: usize| {
            let stream = options.seed.wrapping_mul(REPLICATES as u64).wrapping_add(group as u64);
            Particles::draw(
                &program,
                particles,
                gaussian::Normals::new(stream),
                dependent.then_some(&ancestors),
            )
        };
        #[cfg(feature = "rayon")]
        let groups: Result<Vec<Particles>, Error> = (0..REPLICATES).into_par_iter().map(one).collect();
        #[cfg(not(feature = "rayon"))]
        let groups: Result<Vec<Particles>, Error> = (0..REPLICATES).map(one).collect();
        Ok(ParticleLimit { groups: groups?, program })
    }

    /// A number of each group, with the standard error of their mean.
    fn estimate(&self, of: impl Fn(&Particles) -> f64 + Sync) -> Estimate {
        #[cfg(feature = "rayon")]
        let all: Vec<f64> = self.groups.iter().collect::<Vec<_>>().into_par_iter().map(&of).collect();
        #[cfg(not(feature = "rayon"))]
        let all: Vec<f64> = self.groups.iter().map(&of).collect();
        let n = all.len() as f64;
        let value = all.iter().sum::<f64>() / n;
        let variance = all.iter().map(|x| (x - value).powi(2)).sum::<f64>() / (n - 1.0);
        Estimate { value, error: (variance / n).sqrt() }
    }

    /// The kernels of all pairs of outputs by tangents that go forward through the program: for programs whose gradients
    /// are independent of their matrices, with less noise than by [`ntk_core::program::tangent_kernel`].
    ///
    /// # Errors
    /// [`Error::Dependent`] if the program uses a matrix beside its transpose.
    pub fn forward_tangents(&self) -> Result<[Array2<Estimate>; 2], Error> {
        let rules = super::tangent::Rules::new(&self.program)?;
        let per_group = |p: &Particles| rules.kernels(&p.vectors, &p.scalars);
        #[cfg(feature = "rayon")]
        let all: Vec<[Array2<f64>; 2]> =
            self.groups.iter().collect::<Vec<_>>().into_par_iter().map(per_group).collect();
        #[cfg(not(feature = "rayon"))]
        let all: Vec<[Array2<f64>; 2]> = self.groups.iter().map(per_group).collect();
        let n = all.len() as f64;
        Ok([0, 1].map(|k: usize| {
            Array2::from_shape_fn(all[0][k].dim(), |at| {
                let value = all.iter().map(|kernels| kernels[k][at]).sum::<f64>() / n;
                let square = all.iter().map(|kernels| (kernels[k][at] - value).powi(2)).sum::<f64>();
                Estimate { value, error: (square / (n - 1.0) / n).sqrt() }
            })
        }))
    }
}

impl Interpretation for ParticleLimit {
    type Error = Error;

    fn program(&self) -> &Program {
        &self.program
    }

    fn mean(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> Result<Estimate, Error> {
        Ok(self.estimate(|p| p.mean(f, vectors, scalars)))
    }

    fn scalar(&self, s: ScalarId) -> Result<Estimate, Error> {
        Ok(self.estimate(|p| p.scalars[s.index()]))
    }

    fn inner(&self, x: VectorId, y: VectorId) -> Result<Estimate, Error> {
        Ok(self.estimate(|p| inner(&p.vectors[x.index()], &p.vectors[y.index()])))
    }
}

/// Which products with matrices a vector depends on.
fn ancestors(program: &Program) -> Vec<Vec<bool>> {
    let n = program.vectors().len();
    let mut all: Vec<Vec<bool>> = Vec::with_capacity(n);
    for x in program.vectors() {
        let mut own = vec![false; n];
        let join = |own: &mut Vec<bool>, of: &VectorId| {
            own.iter_mut().zip(&all[of.index()]).for_each(|(own, of)| *own |= of);
        };
        match program.vector(x) {
            VectorOp::Input { .. } => {}
            VectorOp::MatMul { vector, .. } => {
                join(&mut own, vector);
                own[x.index()] = true;
            }
            VectorOp::LinComb(terms) => terms.iter().for_each(|(_, of)| join(&mut own, of)),
            VectorOp::Nonlin { vectors, .. } => vectors.iter().for_each(|of| join(&mut own, of)),
        }
        all.push(own);
    }
    all
}

/// The products with one matrix in one orientation.
#[derive(Default)]
struct History {
    /// Those that brought noise of their own: the vector that was multiplied, the product.
    basis: Vec<(VectorId, VectorId)>,
    /// Rows of the Cholesky factor of their covariance.
    factor: Vec<Vec<f64>>,
    noise: Vec<Vec<f64>>,
}

impl History {
    /// Ẑ of the product with x.
    fn extend(
        &mut self,
        variance: f64,
        (x, y): (VectorId, VectorId),
        vectors: &[Vec<f64>],
        normals: &mut gaussian::Normals,
    ) -> Vec<f64> {
        let own = &vectors[x.index()];
        let mut row: Vec<f64> = Vec::with_capacity(self.basis.len() + 1);
        for (k, (z, _)) in self.basis.iter().enumerate() {
            let covariance = variance * inner(&vectors[z.index()], own);
            let known: f64 = row.iter().zip(&self.factor[k]).map(|(a, b)| a * b).sum();
            row.push((covariance - known) / self.factor[k][k]);
        }
        let total = variance * inner(own, own);
        let rest = total - row.iter().map(|l| l * l).sum::<f64>();
        let mut product = vec![0.0; own.len()];
        for (l, noise) in row.iter().zip(&self.noise) {
            product.iter_mut().zip(noise).for_each(|(p, e)| *p += l * e);
        }
        // What is left of a vector that lies in the span of earlier ones is rounding.
        if rest > 1e-12 * total {
            let (pivot, noise) = (rest.sqrt(), normals.take(own.len()));
            product.iter_mut().zip(&noise).for_each(|(p, e)| *p += pivot * e);
            row.push(pivot);
            self.factor.push(row);
            self.noise.push(noise);
            self.basis.push((x, y));
        }
        product
    }

    /// Adds Ż of a product of the transpose with x: σ² Σ dⱼ zⱼ with d = L⁻ᵀ E[ε Z^x].
    fn add_dependent(&self, variance: f64, x: &[f64], vectors: &[Vec<f64>], product: &mut [f64]) {
        let mut d: Vec<f64> = self.noise.iter().map(|noise| inner(noise, x)).collect();
        for k in (0..d.len()).rev() {
            let known: f64 = (k + 1..d.len()).map(|m| self.factor[m][k] * d[m]).sum();
            d[k] = (d[k] - known) / self.factor[k][k];
        }
        for (d, (z, _)) in d.iter().zip(&self.basis) {
            let a = variance * d;
            product.iter_mut().zip(&vectors[z.index()]).for_each(|(p, z)| *p += a * z);
        }
    }
}

impl Particles {
    fn draw(
        program: &Program,
        n: usize,
        mut normals: gaussian::Normals,
        ancestors: Option<&Vec<Vec<bool>>>,
    ) -> Result<Self, Error> {
        let mut all = Particles { vectors: Vec::new(), scalars: Vec::new() };
        let mut histories: Vec<[History; 2]> =
            program.matrices().iter().map(|_| Default::default()).collect();
        for line in program.lines() {
            match line {
                Line::Inputs(group) => {
                    let inputs = &program.inputs()[*group];
                    let factor = gaussian::factor(&inputs.covariance);
                    let noise: Vec<Vec<f64>> = (0..factor.ncols()).map(|_| normals.take(n)).collect();
                    for (mean, row) in inputs.mean.iter().zip(factor.rows()) {
                        let mut x = vec![*mean; n];
                        for (l, noise) in row.iter().zip(&noise) {
                            x.iter_mut().zip(noise).for_each(|(x, e)| *x += l * e);
                        }
                        all.vectors.push(x);
                    }
                }
                Line::Vector(id) => {
                    let x = match program.vector(*id) {
                        VectorOp::Input { .. } => continue,
                        VectorOp::LinComb(terms) => {
                            let mut sum = vec![0.0; n];
                            for (a, x) in terms {
                                let x = &all.vectors[x.index()];
                                sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += a * x);
                            }
                            sum
                        }
                        VectorOp::Nonlin { f, vectors, scalars } => {
                            let mut out = vec![0.0; n];
                            let (args, params) = all.operands(vectors, scalars);
                            f.eval_all(&args, &params, &mut out);
                            out
                        }
                        VectorOp::MatMul { matrix, transposed, vector } => {
                            let variance = program.variance(*matrix, *transposed);
                            let [plain, turned] = &mut histories[matrix.index()];
                            let (own, other) =
                                if *transposed { (turned, &*plain) } else { (plain, &*turned) };
                            let pair = (*vector, *id);
                            let mut product = own.extend(variance, pair, &all.vectors, &mut normals);
                            let depends = |(_, y): &(VectorId, VectorId)| {
                                ancestors.is_some_and(|all| all[vector.index()][y.index()])
                            };
                            if other.basis.iter().any(depends) {
                                let x = &all.vectors[vector.index()];
                                other.add_dependent(variance, x, &all.vectors, &mut product);
                            }
                            product
                        }
                    };
                    if x.iter().any(|x| !x.is_finite()) {
                        return Err(Error::NotFinite { name: program.name(*id).to_owned() });
                    }
                    all.vectors.push(x);
                }
                Line::Scalar(id) => {
                    let value = match program.scalar(*id) {
                        ScalarOp::Moment { f, vectors, scalars } => all.mean(f, vectors, scalars),
                        ScalarOp::Function { f, scalars } => {
                            let params: Vec<f64> = scalars.iter().map(|s| all.scalars[s.index()]).collect();
                            f.eval(&[], &params)
                        }
                    };
                    if !value.is_finite() {
                        return Err(Error::NotFinite { name: program.scalar_name(*id).to_owned() });
                    }
                    all.scalars.push(value);
                }
                Line::Matrix(_) | Line::Dimension { .. } | Line::Output(_) => {}
            }
        }
        Ok(all)
    }

    fn operands(&self, vectors: &[VectorId], scalars: &[ScalarId]) -> (Vec<&[f64]>, Vec<f64>) {
        let args = vectors.iter().map(|x| self.vectors[x.index()].as_slice()).collect();
        (args, scalars.iter().map(|s| self.scalars[s.index()]).collect())
    }

    fn mean(&self, f: &Expr, vectors: &[VectorId], scalars: &[ScalarId]) -> f64 {
        let (args, params) = self.operands(vectors, scalars);
        let n = args.first().map_or(1, |x| x.len());
        let mut out = vec![0.0; n];
        f.eval_all(&args, &params, &mut out);
        out.iter().sum::<f64>() / n as f64
    }
}

/// The mean of the products, in several partial sums.
pub(super) fn inner(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (x, y) in x.chunks(8).zip(y.chunks(8)) {
        sums.iter_mut().zip(x.iter().zip(y)).for_each(|(sum, (x, y))| *sum += x * y);
    }
    sums.iter().sum::<f64>() / x.len() as f64
}
