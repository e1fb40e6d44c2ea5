//! Extreme eigenvalues and spectral densities of operators too large to be matrices, from a few products A v.

mod density;
mod probe;
mod ritz;
mod tridiagonal;

use ndarray::Array1;

pub use density::{Moment, SpectralDensity};
pub(crate) use probe::Source;
pub use probe::{Probe, normals};
pub use ritz::Ritz;

use crate::Error;

/// ⟨u, A v⟩ and ⟨v, A u⟩ may differ by this much of the largest ‖A v‖: room for products in single precision.
const ASYMMETRY: f64 = 1e-4;

/// Which ends of the spectrum a tolerance is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extreme {
    /// The smallest and the largest eigenvalue.
    #[default]
    Both,
    /// The smallest eigenvalue.
    Smallest,
    /// The largest eigenvalue.
    Largest,
    /// The eigenvalue of largest modulus, whose modulus is the norm.
    Modulus,
}

/// The method of Lanczos with full reorthogonalization, for a symmetric operator A of dimension p given by products.
///
/// k steps are k products, 4 k² p operations to keep the basis orthogonal, and k p numbers of memory.
///
/// The operator is a function v ↦ A v, (p) → (p), that may fail with an error of its own. That A is symmetric is
/// checked at every step, at no cost: coordinates of A vⱼ along v₁ … vⱼ₋₁ are known beforehand. They may be off by
/// 1e-4 of the largest ‖A v‖, which lets products in single precision pass and finds operators that are none.
///
/// Power iteration does not end where λ and −λ are both eigenvalues, as those of Hessians of wide networks nearly
/// are; this method finds both ends at once.
///
/// ```
/// use ndarray::{Array1, array};
/// use ntk_linalg::{Error, Lanczos};
/// let diagonal = array![3.0, 1.0, -3.0, 0.5];
/// let ritz = Lanczos::new(4).run(4, |v: &Array1<f64>| Ok::<_, Error>(&diagonal * v))?;
/// assert!((ritz.max() - 3.0).abs() < 1e-14 && (ritz.min() + 3.0).abs() < 1e-14);
/// assert!((ritz.norm() - 3.0).abs() < 1e-14);
/// # Ok::<(), Error>(())
/// ```
///
/// Source: \[parlett1998symmetric\], chapter 13; \[giraud2005rounding\] for two passes of Gram–Schmidt being enough.
#[derive(Clone, Debug, PartialEq)]
pub struct Lanczos {
    /// Most products with A; more than p are not made.
    pub steps: usize,
    /// Ends as soon as the residual bounds of the wanted extremes are below this multiple of the largest |Ritz value|;
    /// 0 makes all steps.
    pub tolerance: f64,
    /// What the tolerance is about.
    pub wanted: Extreme,
    /// Seed of random vectors: the start, and where the space reached is invariant the vectors to go on with.
    pub seed: u64,
    /// The first vector, (p), of any length but zero; without it, a random direction.
    pub start: Option<Array1<f64>>,
}

impl Lanczos {
    /// That many steps from a random start of seed 0.
    pub fn new(steps: usize) -> Self {
        Lanczos { steps, tolerance: 0.0, wanted: Extreme::Both, seed: 0, start: None }
    }

    /// At most that many steps, fewer if the norm |λ| of largest modulus has been found to a relative tolerance.
    pub fn norm(steps: usize, tolerance: f64) -> Self {
        Lanczos { tolerance, wanted: Extreme::Modulus, ..Lanczos::new(steps) }
    }

    /// Ritz values of A with residual bounds. `apply`: (p) → (p).
    ///
    /// Where the space spanned so far is invariant under A its Ritz values are eigenvalues, with bound 0. From a random
    /// start these are all different eigenvalues with probability one; a positive tolerance then ends the run,
    /// otherwise it goes on from a random vector orthogonal to the space. So p steps give all p eigenvalues, multiple
    /// ones as often as they occur.
    ///
    /// # Errors
    /// Those of the operator, and as the same type: [`Error::Empty`] for p = 0; [`Error::Setting`] for 0 steps or a
    /// tolerance that is negative or not finite; [`Error::Start`]; [`Error::ProductLength`],
    /// [`Error::NonFiniteProduct`], [`Error::OperatorNotSymmetric`]; [`Error::NoConvergence`].
    pub fn run<E: From<Error>>(
        &self,
        p: usize,
        mut apply: impl FnMut(&Array1<f64>) -> Result<Array1<f64>, E>,
    ) -> Result<Ritz, E> {
        let mut source = Source::new(self.seed);
        let mut space = self.begin(p, &mut source)?;
        let (steps, mut check) = (self.steps.min(p), 2);
        loop {
            space.extend(&mut apply)?;
            let (made, ended) = (space.len(), space.is_invariant());
            // The small eigenproblem is solved at a number of steps that grows by an eighth, to cost little in all.
            if made == steps || (self.tolerance > 0.0 && (ended || made >= check)) {
                let ritz = Ritz::new(&space)?;
                if made == steps || ended || self.is_reached(&ritz) {
                    return Ok(ritz.with_basis(space.basis));
                }
                check = made + (made / 8).max(1);
            }
            if ended {
                space.restart(&mut source);
            }
        }
    }

    fn is_reached(&self, ritz: &Ritz) -> bool {
        let allowed = self.tolerance * ritz.norm();
        let (first, last) = (0, ritz.values().len() - 1);
        let small = |index: usize| ritz.bounds()[index] <= allowed;
        match self.wanted {
            Extreme::Both => small(first) && small(last),
            Extreme::Smallest => small(first),
            Extreme::Largest => small(last),
            Extreme::Modulus => small(ritz.modulus()),
        }
    }

    /// Checks the options and normalizes the start.
    fn begin(&self, p: usize, source: &mut Source) -> Result<Krylov, Error> {
        check_steps(p, self.steps)?;
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            let domain = "a finite number, at least 0";
            return Err(Error::Setting { option: "tolerance", value: self.tolerance, domain });
        }
        let start = match &self.start {
            Some(start) => start.clone(),
            None => source.probe(Probe::Gaussian, p),
        };
        Krylov::new(start, p)
    }
}

fn check_steps(p: usize, steps: usize) -> Result<(), Error> {
    if p == 0 {
        return Err(Error::Empty);
    }
    if steps == 0 {
        return Err(Error::Setting { option: "steps", value: 0.0, domain: "at least 1" });
    }
    Ok(())
}

/// An orthonormal basis v₁ … vₖ of a Krylov space, in which A is tridiagonal with diagonal α and off-diagonal β.
struct Krylov {
    basis: Vec<Array1<f64>>,
    alpha: Vec<f64>,
    /// βⱼ between vⱼ and vⱼ₊₁; the last one is the length of what leaves the space.
    beta: Vec<f64>,
    /// The vector that extends the space next, of unit length.
    next: Array1<f64>,
    /// The largest ‖A v‖ so far.
    largest: f64,
}

impl Krylov {
    fn new(start: Array1<f64>, p: usize) -> Result<Self, Error> {
        let largest = start.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        if start.len() != p || !start.iter().all(|v| v.is_finite()) || largest == 0.0 {
            return Err(Error::Start { expected: p, found: start.len() });
        }
        // Entries of modulus one at most have a square that does not overflow.
        let start = start / largest;
        let norm = length(&start);
        Ok(Krylov {
            basis: Vec::new(),
            alpha: Vec::new(),
            beta: Vec::new(),
            next: start / norm,
            largest: 0.0,
        })
    }

    fn len(&self) -> usize {
        self.alpha.len()
    }

    /// Whether A maps the space into itself.
    fn is_invariant(&self) -> bool {
        self.beta.last() == Some(&0.0)
    }

    /// One product, one basis vector more.
    fn extend<E: From<Error>>(
        &mut self,
        apply: &mut impl FnMut(&Array1<f64>) -> Result<Array1<f64>, E>,
    ) -> Result<(), E> {
        let p = self.next.len();
        let mut w = apply(&self.next)?;
        let step = self.len() + 1;
        if w.len() != p {
            return Err(Error::ProductLength { expected: p, found: w.len() }.into());
        }
        let norm = length(&w);
        if !norm.is_finite() {
            return Err(Error::NonFiniteProduct { step }.into());
        }
        self.largest = self.largest.max(norm);
        let alpha = self.next.dot(&w);
        w.scaled_add(-alpha, &self.next);
        // By symmetry ⟨vᵢ, A vⱼ⟩ = ⟨vⱼ, A vᵢ⟩, which is βⱼ₋₁ for i = j − 1 and 0 for the vectors before.
        let mut difference = 0.0_f64;
        for (i, v) in self.basis.iter().enumerate() {
            let along = v.dot(&w);
            let known = if i + 2 == step { self.beta[i] } else { 0.0 };
            difference = difference.max((along - known).abs());
            w.scaled_add(-along, v);
        }
        if difference > ASYMMETRY * self.largest {
            return Err(Error::OperatorNotSymmetric { step, difference, largest: self.largest }.into());
        }
        self.alpha.push(alpha);
        self.basis.push(std::mem::take(&mut self.next));
        orthogonalize(&mut w, &self.basis);
        let beta = length(&w);
        // Less than this is rounding of products and of Gram–Schmidt.
        if self.len() == p || beta <= 10.0 * f64::EPSILON * (p as f64).sqrt() * self.largest {
            self.beta.push(0.0);
        } else {
            self.beta.push(beta);
            self.next = w / beta;
        }
        Ok(())
    }

    /// A random direction orthogonal to the space, which must not be everything.
    fn restart(&mut self, source: &mut Source) {
        let p = self.basis[0].len();
        loop {
            let mut w = source.probe(Probe::Gaussian, p);
            let before = length(&w);
            orthogonalize(&mut w, &self.basis);
            orthogonalize(&mut w, &self.basis);
            let after = length(&w);
            // A direction of which nearly all was in the space would keep the errors of the subtraction.
            if after > 1e-6 * before {
                w /= after;
                orthogonalize(&mut w, &self.basis);
                self.next = &w / length(&w);
                return;
            }
        }
    }
}

/// One pass of modified Gram–Schmidt.
fn orthogonalize(w: &mut Array1<f64>, basis: &[Array1<f64>]) {
    for v in basis {
        let along = v.dot(w);
        w.scaled_add(-along, v);
    }
}

fn length(v: &Array1<f64>) -> f64 {
    v.dot(v).sqrt()
}
