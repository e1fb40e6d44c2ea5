//! What the limit says of itself: two representations, values of an independent program, small steps, convergence.

use ndarray::array;
use ntk_dynamics::LearningRate;
use ntk_dynamics::deep_linear::{Basis, Limit, Risk, feature_response};

use super::{SOURCE, distance};
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Table, stats};

pub(super) fn judge(_ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    representations(report)?;
    golden(report)?;
    small_steps(report)?;
    convergence(report)
}

/// Two correlated inputs.
fn pair() -> Result<Risk, BoxError> {
    Ok(Risk::new(array![[1.0, 0.3], [0.3, 0.6]], array![[1.2], [-0.7]])?)
}

fn start(middle: usize) -> Result<Limit, BoxError> {
    super::limit(&pair()?, middle, Basis::Lazy)
}

fn representations(report: &mut Report) -> Result<(), BoxError> {
    let mut table = Table::new(
        "Lazy operators and walks",
        ["q", "steps", "coordinates, lazy", "walks", "largest difference"],
    );
    let mut worst = 0.0_f64;
    for (q, steps) in [(1, 16), (2, 6), (3, 4)] {
        let length = q * steps + q / 2;
        let (lazy, walks) = (start(q)?, super::limit(&pair()?, q, Basis::Walks { length })?);
        let count = walks.dimensions().iter().sum::<usize>();
        let mut trained = lazy.clone();
        trained.descend(LearningRate::new(0.1)?, steps)?;
        let paths = [super::path(lazy, 0.1, steps)?, super::path(walks, 0.1, steps)?];
        let apart = paths[0].iter().zip(&paths[1]).map(|(a, b)| distance(a, b)).fold(0.0, f64::max);
        worst = worst.max(apart);
        let coordinates = trained.dimensions().iter().sum::<usize>();
        let cells = [q, steps, coordinates, count].map(|x| x.to_string());
        table = table.row(cells.into_iter().chain([format!("{apart:.1e}")]));
    }
    let quantity = "largest difference of predictors between lazy operators and walks, q = 1, 2, 3";
    report.claim(Claim::new(SOURCE, quantity, Criterion::AtMost(1e-12), worst)).table(table);
    Ok(())
}

/// Values of an independent program, ten digits for descent and eight for flow.
fn golden(report: &mut Report) -> Result<(), BoxError> {
    let mut worst = 0.0_f64;
    for (q, steps, expected) in [
        (0, 5, [0.706_601_418_6, -0.143_096_627_8]),
        (0, 25, [1.179_018_782_1, -0.654_060_967_4]),
        (1, 1, [0.297, -0.018]),
        (1, 2, [0.520_748_340_4, -0.061_733_468_5]),
        (1, 5, [0.936_141_949_7, -0.275_644_292_6]),
        (1, 25, [1.199_301_214_6, -0.698_280_583_7]),
        (2, 2, [0.675_492_466_9, -0.097_840_788_4]),
    ] {
        let mut network = start(q)?;
        network.descend(LearningRate::new(0.1)?, steps)?;
        worst = worst.max(distance(&network.predictor().to_owned(), &array![[expected[0]], [expected[1]]]));
    }
    let source = "[chizat2022infinite], values of an independent program";
    let claim = |quantity, bound, got| Claim::new(source, quantity, Criterion::AtMost(bound), got);
    report.claim(claim("largest error of 7 predictors of gradient descent", 1e-9, worst));
    let mut worst = 0.0_f64;
    for (q, time, expected) in [
        (0, 1.0, [0.969_660_77, -0.348_718_59]),
        (1, 0.5, [0.893_056_27, -0.275_256_61]),
        (1, 1.0, [1.127_922_39, -0.547_892_15]),
    ] {
        let mut network = start(q)?;
        network.flow(time, 1e-11)?;
        worst = worst.max(distance(&network.predictor().to_owned(), &array![[expected[0]], [expected[1]]]));
    }
    worst = worst.max((feature_response(1, 0.4)? - 1.867_250_75).abs());
    report.claim(claim("largest error of 4 values of gradient flow, known to 1e-8", 1e-8, worst));
    let response = (feature_response(1, 0.1)? - 0.308_123_541_055).abs();
    report.claim(claim("error of f(0.1) for one input, q = 1", 1e-9, response));
    Ok(())
}

/// Descent with smaller and smaller steps against flow.
fn small_steps(report: &mut Report) -> Result<(), BoxError> {
    let (time, points) = (4.0, 20);
    let mut network = start(1)?;
    let mut flow = vec![network.predictor().to_owned()];
    for _ in 0..points {
        network.flow(time / f64::from(points), 1e-11)?;
        flow.push(network.predictor().to_owned());
    }
    let rates = [0.2, 0.1, 0.05, 0.025, 0.0125];
    let mut errors = Vec::new();
    for rate in rates {
        let between = (time / f64::from(points) / rate).round() as usize;
        let path = super::path(start(1)?, rate, between * flow.len().saturating_sub(1))?;
        let sup = path.iter().step_by(between).zip(&flow).map(|(a, b)| distance(a, b)).fold(0.0, f64::max);
        errors.push(sup);
    }
    // The coarsest rate is not yet in the regime of first order: it is shown, not judged.
    for (rate, pair) in rates.iter().zip(errors.windows(2)).skip(1) {
        let quantity = format!("sup |β_GD − β_flow| for η = {rate} over that for half of it");
        let criterion = Criterion::Within { expected: 2.0, tolerance: 0.3 };
        report.claim(Claim::new(SOURCE, quantity, criterion, pair[0] / pair[1]));
    }
    let points = rates.iter().zip(&errors).map(|(&rate, &error)| [rate, error]);
    report.plot(
        Plot::new("Gradient descent against gradient flow, q = 1", "rate η", "supₜ |β_GD − β_flow|")
            .log_log()
            .line("sup error", points)
            .reference("η/2", [[0.0125, 0.00625], [0.2, 0.1]]),
    );
    Ok(())
}

/// Exponential convergence to the predictor of least norm where the data leave a direction free.
fn convergence(report: &mut Report) -> Result<(), BoxError> {
    let risk = super::risk([1.05, 0.45, 0.0])?;
    let target = risk.minimal_norm();
    let (interval, points) = (0.25, 120);
    let mut plot = Plot::new("Gradient flow of singular data", "time t", "|β(t) − S⁺S b|").log_y();
    let mut table = Table::new(
        "Exponential convergence: F falls like exp(−rate t)",
        ["q", "rate, measured", "bound 2λ₊‖z₀‖² at the end", "R²"],
    );
    for q in 0..3 {
        let mut network = super::limit(&risk, q, Basis::Lazy)?;
        let error = |network: &Limit| -> f64 { distance(&network.predictor().to_owned(), &target) };
        let mut curve = vec![[0.0, error(&network)]];
        for i in 1..=points {
            network.flow(interval, 1e-12)?;
            curve.push([interval * f64::from(i), error(&network)]);
        }
        let last = curve[curve.len() - 1][1];
        report.claim(Claim::new(
            format!("{SOURCE} Theorem 2.3"),
            format!("q = {q}: |β(t) − S⁺S b| of gradient flow at t = {}", interval * f64::from(points)),
            Criterion::AtMost(1e-10),
            last,
        ));
        // Behind the faster modes, ahead of rounding.
        let tail: Vec<[f64; 2]> = curve.iter().copied().filter(|p| (1e-9..1e-4).contains(&p[1])).collect();
        let [t, log]: [Vec<f64>; 2] =
            [tail.iter().map(|p| p[0]).collect(), tail.iter().map(|p| p[1].ln()).collect()];
        let fit = stats::line(&t, &log)?;
        let signal = (fit.slope / fit.standard_error).powi(2);
        let r_squared = signal / (signal + t.len() as f64 - 2.0);
        report.claim(Claim::new(
            format!("{SOURCE} Proposition 5.5"),
            format!("q = {q}: R² of ln |β(t) − S⁺S b| on t, between 1e-4 and 1e-9"),
            Criterion::AtLeast(0.999),
            r_squared,
        ));
        let bound = network.rate_bound()?;
        report.claim(Claim::new(
            format!("{SOURCE} Proposition 5.5"),
            format!("q = {q}: rate of F over its bound from ‖z₀‖²"),
            Criterion::AtLeast(1.0),
            -2.0 * fit.slope / bound,
        ));
        table = table.row([
            q.to_string(),
            format!("{:.4}", -2.0 * fit.slope),
            format!("{bound:.4}"),
            format!("{r_squared:.6}"),
        ]);
        plot = plot.line(&format!("q = {q}"), curve);
    }
    report.plot(plot).table(table);
    Ok(())
}
