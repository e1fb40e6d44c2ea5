//! How sure is a Gaussian process, is it right to be, and how much would more data help?

#![allow(clippy::print_stdout)] // An example prints.

use ndarray::{Array1, Array2, Axis};
use ntk_dynamics::{
    Calibration, Eigenlearning, Error, Evidence, Gaussian, Gram, Posterior, Ridge, Temperature,
};

/// A kernel of the angle between points on a circle, of length scale `width`.
fn kernel(a: &Array1<f64>, b: &Array1<f64>, width: f64) -> Array2<f64> {
    Array2::from_shape_fn((a.len(), b.len()), |(i, j)| (((a[i] - b[j]).cos() - 1.0) / (width * width)).exp())
}

fn main() -> Result<(), Error> {
    // 240 points, of which every third is known: one function drawn from the prior, seen with noise.
    let (noise, width) = (0.01, 0.5);
    let all = Array1::from_shape_fn(240, |i| i as f64 / 240.0 * std::f64::consts::TAU);
    let law = Gaussian::new(Array2::zeros((240, 1)).view(), kernel(&all, &all, width))?;
    let targets = law.with_noise(noise)?.sample(3)?;
    let known: Vec<usize> = (0..240).step_by(3).collect();
    let rest: Vec<usize> = (0..240).filter(|i| i % 3 != 0).collect();
    let (x, y) = (all.select(Axis(0), &known), targets.select(Axis(0), &known));
    let (test_x, test_y) = (all.select(Axis(0), &rest), targets.select(Axis(0), &rest));

    println!("length scale   evidence   leave one out   test error   coverage of 90%   calibration error");
    for width in [0.125, 0.25, 0.5, 1.0, 2.0] {
        let (gram, rows) = (Gram::new(kernel(&x, &x, width))?, kernel(&test_x, &x, width));
        let evidence = Evidence::new(&gram, Ridge::Absolute(noise), y.view())?;
        let posterior = Posterior::new(&gram, Ridge::Absolute(noise), y.view())?;
        let residuals = &test_y - &posterior.mean(rows.view())?;
        let variances = posterior.variance(rows.view(), Array1::ones(rest.len()).view())? + noise;
        let calibration = Calibration::new(residuals.view(), variances.insert_axis(Axis(1)).view())?;
        println!(
            "{width:12}   {:8.2}   {:13.2}   {:10.5}   {:15.2}   {:17.3}",
            evidence.log_likelihood(),
            evidence.leave_one_out()?.log_likelihood,
            (&residuals * &residuals).mean().unwrap_or(0.0),
            calibration.coverage(0.9)?,
            calibration.expected_error(),
        );
    }

    // The sign as a class: leave-one-out scores are held out, so that a temperature can be fitted to them.
    let labels: Vec<usize> = y.iter().map(|v| usize::from(*v > 0.0)).collect();
    let classes = ntk_dynamics::one_hot(&labels, 2)?;
    let gram = Gram::new(kernel(&x, &x, width))?;
    let one_out = Evidence::new(&gram, Ridge::Absolute(0.1), classes.view())?.leave_one_out()?;
    let scores = &classes - &one_out.residuals;
    let fitted = Temperature::fit(scores.view(), &labels)?;
    println!("\ntemperature   negative log-likelihood");
    for temperature in [Temperature::new(1.0)?, fitted] {
        let loss = temperature.negative_log_likelihood(scores.view(), &labels)?;
        println!("{:11.4}   {loss:.4}", temperature.get());
    }

    // What the spectrum of the kernel at hand says about fewer samples, noise in the targets included.
    println!("\nsamples   predicted test error");
    let curve = Eigenlearning::from_samples(&gram, y.view())?;
    for samples in [5.0, 10.0, 20.0, 40.0] {
        println!("{samples:7}   {:.5}", curve.at(samples, noise)?.test);
    }
    Ok(())
}
