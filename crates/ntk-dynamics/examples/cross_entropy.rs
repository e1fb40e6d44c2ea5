//! How does a classifier learn from cross-entropy, and how sure is it of a label among others?

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::Array2;
use ntk_dynamics::{CrossEntropy, Error, FunctionSpace, Gram, LearningRate, LossScale, Ridge, Time};

fn main() -> Result<(), Error> {
    // 24 points on a circle in three classes: two arcs, and three points inside the first arc that look mislabeled.
    let n = 24;
    let angle = |i: f64| i / n as f64 * std::f64::consts::TAU;
    let kernel = |a: f64, b: f64| (4.0 * (angle(a) - angle(b)).cos() - 4.0).exp();
    let class = |i: usize| if (5..8).contains(&i) { 2 } else { usize::from(i >= n / 2) };
    let gram = Gram::new(Array2::from_shape_fn((n, n), |(i, j)| kernel(i as f64, j as f64)))?;
    let labels = Array2::from_shape_fn((n, 3), |(i, c)| if class(i) == c { 1.0 } else { 0.0 });
    let zero = Array2::zeros((n, 3));

    let flow =
        FunctionSpace::flow(&gram, Ridge::None, CrossEntropy, LearningRate::new(1.0)?, LossScale::MeanN)?;
    let times: Vec<Time> = (0..6).map(|power| Time::Finite(10.0_f64.powi(power))).collect();
    let run = flow.fit(labels.view(), zero.view(), &times)?;

    // Between the sixth and the seventh point.
    let test_train = Array2::from_shape_fn((1, n), |(_, j)| kernel(5.5, j as f64));
    println!("      time        loss   probabilities at a test point of the third class");
    for (snapshot, time) in run.snapshots.iter().zip(&times) {
        let test = snapshot.test(test_train.view(), Array2::zeros((1, 3)).view())?;
        let exponentials = test.mapv(f64::exp);
        let p = &exponentials / exponentials.sum();
        let t = time.value()?;
        println!("{t:10.0}   {:9.3e}   {:.3} {:.3} {:.3}", snapshot.loss, p[[0, 0]], p[[0, 1]], p[[0, 2]]);
    }
    let event = flow.fit_until(labels.view(), zero.view(), 0.01, Time::Finite(1e8))?;
    println!("the loss is 0.01 at time {:.1}", event.snapshots[0].time.value()?);
    println!("{} products with the kernel in {} steps", event.work.evaluations, event.work.accepted);
    Ok(())
}
