//! Chizat, Colombo, Fernández-Real and Figalli 2022: deep linear networks that learn features have a limit, which a
//! computer can follow to rounding.

mod exact;
mod law;
mod widths;

use ndarray::{Array2, array};
use ntk_dynamics::LearningRate;
use ntk_dynamics::deep_linear::{Architecture, Basis, Limit, Risk};

use crate::{BoxError, Context, Experiment, Report};

/// Finite networks against the limit, and the limit against itself.
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "deep-linear",
    title: "Deep linear networks that learn features have a limit",
    source: "[chizat2022infinite]",
    claim: "Predictors of deep linear networks tend to those of a limit as n^(−1/2) along training; rows of the outer \
            matrices become Gaussian, entries of the updates of the inner ones bilinear in Gaussians. Gradient flow goes \
            exponentially to the predictor of least norm, and is the limit of small steps. Features move at any width, \
            which they do not in the scaling of the NTK.",
    formula: "supₖ |βₙ(k) − β(k)| = O(n^(−1/2)), Wᵢⱼ → g(i)ᵀ G g′(j), β(t) → S⁺S b",
    seconds: [3.0, 20.0, 1200.0],
    memory: [[0.1, 0.05], [0.4, 0.1], [0.4, 0.6]],
    run,
};

const SOURCE: &str = "[chizat2022infinite]";

fn run(ctx: &Context<'_>) -> Result<Report, BoxError> {
    let mut report = Report::default();
    report.note(
        "The theorems are about one middle matrix and one output, q = 1; the limit for q ≥ 2 is formal. The exponent −1/2 is \
         that of our measurements and of the fluctuation of the start; the paper states a bound in the number of neurons.",
    );
    widths::judge(ctx, &mut report)?;
    law::judge(ctx, &mut report)?;
    exact::judge(ctx, &mut report)?;
    Ok(report)
}

/// Three inputs with second moments of these eigenvalues, none of them along an axis.
fn risk(eigenvalues: [f64; 3]) -> Result<Risk, BoxError> {
    let v = array![[1.0], [2.0], [3.0]];
    let mirror = Array2::eye(3) - v.dot(&v.t()) / 7.0;
    let moment = mirror.dot(&Array2::from_diag(&array![eigenvalues[0], eigenvalues[1], eigenvalues[2]]));
    Ok(Risk::new(moment.dot(&mirror), array![[1.0], [-0.6], [0.5]])?)
}

/// The limit with q middle matrices.
fn limit(risk: &Risk, middle: usize, basis: Basis) -> Result<Limit, BoxError> {
    Ok(Limit::new(risk, &Architecture::new(middle)?, basis)?)
}

/// Predictors after 0, 1, …, `steps` steps.
fn path(mut network: Limit, rate: f64, steps: usize) -> Result<Vec<Array2<f64>>, BoxError> {
    let mut path = vec![network.predictor().to_owned()];
    for _ in 0..steps {
        network.descend(LearningRate::new(rate)?, 1)?;
        path.push(network.predictor().to_owned());
    }
    Ok(path)
}

/// The largest difference of entries.
fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b).iter().fold(0.0, |worst: f64, x| worst.max(x.abs()))
}
