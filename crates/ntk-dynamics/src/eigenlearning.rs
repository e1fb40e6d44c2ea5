//! Learning curves of kernel regression from the kernel's spectrum and the target's share of each mode.

use ndarray::{Array1, ArrayView2, Axis};

use crate::layout::Layout;
use crate::{Error, Gram, Ridge, Spectrum};

/// Eigenfunctions of one eigenvalue of the kernel's integral operator, with what the target has of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetMode {
    /// λ ≥ 0 of K(x, x′) = Σ λ φ(x) φ(x′), with E φ² = 1 over the law of the inputs.
    pub eigenvalue: f64,
    /// The number of such eigenfunctions.
    pub multiplicity: f64,
    /// Σ v² over them of the target f = Σ v φ; over outputs, too, if there are several.
    pub power: f64,
}

/// Train and test error of kernel regression on N random samples, predicted from the spectrum; no data are drawn.
///
/// With κ from Σ λ/(λ + κ) + ρ/κ = N, a mode has the learnability L = λ/(λ + κ), the share of it that is learned on
/// average, and
///
/// * E₀ = N/(N − Σ L²), by how much noise is fitted;
/// * test error E₀ (Σ (1 − L)² v² + σ²), the mean of (f(x) − y)² over new noisy targets, summed over outputs;
/// * train error (ρ/(N κ))² times that.
///
/// Exact as N grows for features that are as good as Gaussian; good to a percent at N of a few dozens.
///
/// ```
/// use ntk_dynamics::{Eigenlearning, TargetMode};
/// // Ten directions with all of the target in one of them, and no ridge: below ten samples, N of ten are learned.
/// let modes = vec![TargetMode { eigenvalue: 2.0, multiplicity: 10.0, power: 1.0 }];
/// let curve = Eigenlearning::new(modes, 0.0)?;
/// let at = curve.at(5.0, 0.0)?;
/// assert!((at.learnability[0] - 0.5).abs() < 1e-12 && (at.test - 0.5).abs() < 1e-12);
/// # Ok::<(), ntk_dynamics::Error>(())
/// ```
///
/// # Source
/// \[simon2023eigenlearning\], eqs. (4)–(9); the same as \[canatar2021spectral\].
#[derive(Clone, Debug, PartialEq)]
pub struct Eigenlearning {
    modes: Vec<TargetMode>,
    noise: f64,
}

/// One point of a learning curve.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Generalization {
    /// κ: modes of λ above it are learned.
    pub kappa: f64,
    /// L of each mode, in their order.
    pub learnability: Array1<f64>,
    /// E₀ ≥ 1; infinite where N equals the number of modes and there is no ridge.
    pub overfitting: f64,
    /// The mean of (f(x) − y)² over new samples, summed over outputs.
    pub test: f64,
    /// The same over the train set.
    pub train: f64,
}

impl Eigenlearning {
    /// A target with independent noise of variance `noise` = σ² in it (summed over outputs).
    ///
    /// # Errors
    /// [`Error::Setting`] for a number that is negative or not finite, a multiplicity of 0, or eigenvalues that are all
    /// zero.
    pub fn new(modes: Vec<TargetMode>, noise: f64) -> Result<Self, Error> {
        let numbers = modes.iter().flat_map(|mode| {
            [("eigenvalue", mode.eigenvalue), ("multiplicity", mode.multiplicity), ("power", mode.power)]
        });
        for (option, value) in numbers.chain([("noise", noise)]) {
            if !(value >= 0.0 && value.is_finite()) || (option == "multiplicity" && value == 0.0) {
                let domain = "finite and at least 0, multiplicities above";
                return Err(Error::Setting { option, value, domain });
            }
        }
        if modes.iter().all(|mode| mode.eigenvalue == 0.0) {
            return Err(Error::Setting { option: "the largest eigenvalue", value: 0.0, domain: "above 0" });
        }
        Ok(Eigenlearning { modes, noise })
    }

    /// The spectrum and target as estimated from n samples of both: λ = λᵢ(K)/n and v² = |uᵢᵀY|²/n, one mode each.
    ///
    /// Good for curves at N well below n; beyond, the sample is all there is. Noise in the targets counts as target.
    ///
    /// # Errors
    /// [`Error::Targets`], [`Error::NonFinite`]; those of [`Spectrum::new`]; [`Error::Setting`] for a kernel of zeros.
    pub fn from_samples(gram: &Gram, targets: ArrayView2<'_, f64>) -> Result<Self, Error> {
        let layout = Layout::new(gram.len(), targets.dim())?;
        let targets = layout.flat("targets", targets, layout.samples)?;
        let spectrum = Spectrum::new(gram, Ridge::None)?;
        let n = gram.len() as f64;
        let powers = spectrum.to_modes(targets.view())?.mapv_into(|v| v * v / n).sum_axis(Axis(1));
        let mode =
            |(&value, &power): (&f64, &f64)| TargetMode { eigenvalue: value / n, multiplicity: 1.0, power };
        Self::new(spectrum.eigenvalues().iter().zip(&powers).map(mode).collect(), 0.0)
    }

    /// What regression with ridge ρ on `samples` = N > 0 random samples learns.
    ///
    /// # Errors
    /// [`Error::Setting`] for N that is not above 0 or a ridge below 0, or either not finite.
    pub fn at(&self, samples: f64, ridge: f64) -> Result<Generalization, Error> {
        if !(samples > 0.0 && samples.is_finite()) {
            return Err(Error::Setting { option: "samples", value: samples, domain: "finite and above 0" });
        }
        if !(ridge >= 0.0 && ridge.is_finite()) {
            return Err(Error::Setting { option: "ridge", value: ridge, domain: "finite and at least 0" });
        }
        let kappa = self.kappa(samples, ridge);
        let learned = |mode: &TargetMode| match mode.eigenvalue {
            0.0 => 0.0,
            value => value / (value + kappa),
        };
        let learnability: Array1<f64> = self.modes.iter().map(learned).collect();
        let (mut squares, mut left) = (0.0, self.noise);
        for (mode, learned) in self.modes.iter().zip(&learnability) {
            squares += mode.multiplicity * learned * learned;
            // κ/(λ + κ) and not 1 − L, which would lose what is learned nearly.
            let missing = if *learned == 0.0 { 1.0 } else { kappa / (mode.eigenvalue + kappa) };
            left += missing * missing * mode.power;
        }
        // Without a ridge and with N samples or more than modes, κ = 0 and ρ/κ tends to what is missing in the sum.
        let free = if kappa > 0.0 { ridge / (samples * kappa) } else { 1.0 - self.rank() / samples };
        let overfitting = if squares < samples { samples / (samples - squares) } else { f64::INFINITY };
        let test = if left == 0.0 { 0.0 } else { overfitting * left };
        let train = if free == 0.0 { 0.0 } else { free * free * test };
        Ok(Generalization { kappa, learnability, overfitting, test, train })
    }

    /// The learning curve over numbers of samples.
    ///
    /// # Errors
    /// Those of [`Eigenlearning::at`].
    pub fn curve(&self, samples: &[f64], ridge: f64) -> Result<Vec<Generalization>, Error> {
        samples.iter().map(|&samples| self.at(samples, ridge)).collect()
    }

    /// The modes.
    pub fn modes(&self) -> &[TargetMode] {
        &self.modes
    }

    /// The number of eigenfunctions with λ > 0.
    fn rank(&self) -> f64 {
        self.modes.iter().filter(|mode| mode.eigenvalue > 0.0).map(|mode| mode.multiplicity).sum()
    }

    /// The root of Σ λ/(λ + κ) + ρ/κ = N, whose left side falls in κ; 0 if it is at most N for every κ > 0.
    fn kappa(&self, samples: f64, ridge: f64) -> f64 {
        let rank = self.rank();
        if ridge == 0.0 && rank <= samples {
            return 0.0;
        }
        let positive = || self.modes.iter().filter(|mode| mode.eigenvalue > 0.0);
        let total: f64 = positive().map(|mode| mode.multiplicity * mode.eigenvalue).sum();
        let smallest = positive().fold(f64::INFINITY, |m, mode| m.min(mode.eigenvalue));
        // Brackets: every λ/(λ + κ) is at most λ/κ and at least that of the smallest λ.
        let mut high = (total + ridge) / samples;
        let mut low = (ridge / samples).max(smallest * (rank / samples - 1.0)).min(high);
        let mut kappa = high;
        for _ in 0..200 {
            let (mut value, mut slope) = (ridge / kappa - samples, -ridge / kappa);
            for mode in positive() {
                let learned = mode.eigenvalue / (mode.eigenvalue + kappa);
                value += mode.multiplicity * learned;
                slope -= mode.multiplicity * learned * (1.0 - learned);
            }
            if value > 0.0 {
                low = kappa
            } else {
                high = kappa
            }
            // Newton's step in ln κ, where the left side is nearly straight, kept inside the bracket.
            let newton = kappa * (-value / slope).exp();
            let next = if newton > low && newton < high { newton } else { (low * high).sqrt() };
            if (next - kappa).abs() <= f64::EPSILON * kappa {
                return next;
            }
            kappa = next;
        }
        kappa
    }
}
