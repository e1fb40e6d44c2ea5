//! What does a deep linear network of infinite width learn, and how do its weights and its kernel move meanwhile?

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::array;
use ntk_dynamics::deep_linear::{Architecture, Basis, Limit, Risk};
use ntk_dynamics::{Error, LearningRate};

fn main() -> Result<(), Error> {
    // ANCHOR: path
    // Two correlated inputs, and the predictor that they ask for.
    let risk = Risk::new(array![[1.0, 0.3], [0.3, 0.6]], array![[1.2], [-0.7]])?;
    let rate = LearningRate::new(0.1)?;

    // Four hidden layers: three matrices between them.
    let mut network = Limit::new(&risk, &Architecture::new(3)?, Basis::Lazy)?;
    let start = network.law();
    println!("  step      loss      β                   tr K    corr. of features   coordinates");
    let mut done = 0;
    for step in [0, 1, 2, 4, 8, 16, 32, 64] {
        network.descend(rate, step - done)?;
        done = step;
        let (beta, law) = (network.predictor(), network.law());
        let moved = law.input_covariance(&start)?[[0, 0]] / law.input_covariance(&law)?[[0, 0]].sqrt();
        println!(
            "{step:6}   {:.2e}   ({:+.4}, {:+.4})   {:6.3}   {moved:17.4}   {:?}",
            network.loss()?,
            beta[[0, 0]],
            beta[[1, 0]],
            network.tangent_kernel().diag().sum(),
            network.dimensions(),
        );
    }
    // ANCHOR_END: path

    // Training makes the middle matrices far from Gaussian.
    let law = network.law();
    let w = law.sample_update(2, 500, 500, 7)?;
    let moment = |p: i32| w.iter().map(|x| x.powi(p)).sum::<f64>() / w.len() as f64;
    let (variance, kurtosis) = (law.update_variances()[1], law.update_kurtoses()[1].unwrap_or(f64::NAN));
    println!("W₂: variance {variance:.4}, drawn {:.4}", moment(2));
    println!("    kurtosis {kurtosis:.2}, drawn {:.2}", moment(4) / moment(2).powi(2));
    Ok(())
}
