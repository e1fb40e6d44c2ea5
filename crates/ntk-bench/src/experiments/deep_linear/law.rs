//! The weights of one wide network after training, beside the law that the limit gives them.

use ndarray::Axis;
use ntk_dynamics::LearningRate;
use ntk_dynamics::deep_linear::Basis;
use ntk_empirical::{DeepLinear, DeepLinearOptions};

use super::SOURCE;
use crate::{BoxError, Claim, Context, Criterion, Plot, Report, Table, stats};

pub(super) fn judge(ctx: &Context<'_>, report: &mut Report) -> Result<(), BoxError> {
    let (n, steps, rate) = (ctx.pick([1024, 2048, 4096]), 25, 0.1);
    report.size("law of the weights", format!("one network, q = 1, n = {n}, {steps} steps"));
    let risk = super::risk([1.05, 0.45, 0.15])?;
    let mut limit = super::limit(&risk, 1, Basis::Lazy)?;
    limit.descend(LearningRate::new(rate)?, steps)?;
    let law = limit.law();
    let shape = DeepLinearOptions::new(1, n);
    let first = DeepLinear::draw(&DeepLinearOptions { inputs: 3, seed: ctx.seed, ..shape })?;
    let mut network = first.clone();
    for _ in 0..steps {
        let r = risk.descent(network.predictor())?;
        network.descend(|_| r.clone(), rate, 1)?;
    }
    let width = n as f64;
    let claim = |quantity: &str, criterion, got| Claim::new(SOURCE, quantity, criterion, got);

    // Second moments of rows of U = √n A and V = √n B; products of two Gaussians have this standard error.
    let mut table =
        Table::new("Second moments of weights", ["quantity", "limit", "network", "standard errors apart"]);
    let mut worst = 0.0_f64;
    let mut moment = |name: String, limit: f64, got: f64, error: f64| {
        let apart = (got - limit).abs() / error;
        worst = worst.max(apart);
        table.rows.push(vec![name, format!("{limit:.4}"), format!("{got:.4}"), format!("{apart:.1}")]);
    };
    let (expected, got) = (law.input_covariance(&law)?, network.input().t().dot(&network.input()));
    for i in 0..3 {
        for j in 0..=i {
            let square = expected[[i, i]] * expected[[j, j]] + expected[[i, j]].powi(2);
            let name = format!("E U{} U{}", i + 1, j + 1);
            moment(name, expected[[i, j]], got[[i, j]], (square / width).sqrt());
        }
    }
    let (expected, got) = (law.output_covariance(&law)?, network.output().t().dot(&network.output()));
    moment("E V²".to_owned(), expected[[0, 0]], got[[0, 0]], expected[[0, 0]] * (2.0 / width).sqrt());
    report.claim(claim(
        "standard errors between second moments of U and V and their limits, the worst of 7 (neurons share Z)",
        Criterion::AtMost(5.0),
        worst,
    ));

    // Each column of U against many draws of its law, whose distribution function serves as the exact one.
    let (variances, drawn) = (law.input_covariance(&law)?, law.sample_input(200_000, ctx.seed));
    let (mut least, mut plot) =
        (1.0_f64, Plot::new("Columns of U", "quantile of the limit", "quantile of U"));
    for (i, column) in network.input().axis_iter(Axis(1)).enumerate() {
        let scale = (width / variances[[i, i]]).sqrt();
        let standard: Vec<f64> = column.iter().map(|x| x * scale).collect();
        let mut reference: Vec<f64> = drawn.column(i).iter().map(|x| x / variances[[i, i]].sqrt()).collect();
        reference.sort_by(f64::total_cmp);
        let cdf = |x: f64| reference.partition_point(|&y| y <= x) as f64 / reference.len() as f64;
        least = least.min(stats::kolmogorov_smirnov(&standard, cdf).1);
        let points = (1..40).map(|p| f64::from(p) / 40.0);
        plot = plot.points(
            &format!("column {}", i + 1),
            points.map(|p| [stats::quantile(&reference, p), stats::quantile(&standard, p)]),
        );
    }
    report.claim(claim(
        "Kolmogorov–Smirnov: probability of columns of U under the sampler of the limit, the least of 3",
        Criterion::AtLeast(1e-3),
        least,
    ));
    report.plot(plot.reference("equal", [[-2.2, -2.2], [2.2, 2.2]]));

    // W = n (M − M(0)) is bilinear.
    let z = &first.middle()[0];
    let w = (&network.middle()[0] - z) * width;
    let mean = |power: i32| w.iter().map(|x| x.powi(power)).sum::<f64>() / (width * width);
    let (variance, kurtosis) = (law.update_variances()[0], law.update_kurtoses()[0].ok_or("no update")?);
    let got = mean(4) / mean(2).powi(2);
    report.claim(claim(
        "kurtosis of the entries of W",
        Criterion::Within { expected: 9.0, tolerance: 2.0 },
        got,
    ));
    report.claim(claim(
        "kurtosis of the entries of W in the limit",
        Criterion::Within { expected: 9.0, tolerance: 0.5 },
        kurtosis,
    ));
    // Both sides are means over n neurons of a square of variance 2.
    report.claim(claim(
        "E W² over its limit",
        Criterion::Within { expected: 1.0, tolerance: 5.0 * 2.0 / width.sqrt() },
        mean(2) / variance,
    ));
    let cross = (&w * z).sum() / (width * width) / (mean(2) / width).sqrt();
    report.claim(claim(
        "√n times the correlation of the entries of W with those of Z",
        Criterion::Within { expected: 0.0, tolerance: 3.0 },
        cross * width.sqrt(),
    ));
    table.rows.push(vec![
        "E W²".to_owned(),
        format!("{variance:.4}"),
        format!("{:.4}", mean(2)),
        String::new(),
    ]);
    table.rows.push(vec![
        "kurtosis of W".to_owned(),
        format!("{kurtosis:.2}"),
        format!("{got:.2}"),
        String::new(),
    ]);
    report.table(table);
    Ok(())
}
