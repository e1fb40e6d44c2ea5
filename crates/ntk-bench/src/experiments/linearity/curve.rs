//! A quantity measured at several sizes for several seeds, its rate, and how it is shown.

use rayon::prelude::*;

use crate::stats::Fit;
use crate::{BoxError, Context, Criterion, Plot, Table, stats};

/// Results for each size, in the order of the sizes, and each seed, on all cores.
pub(super) fn measure<T: Send>(
    ctx: &Context<'_>,
    what: &str,
    sizes: &[usize],
    count: usize,
    one: impl Fn(usize, u64) -> Result<T, BoxError> + Sync,
) -> Result<Vec<Vec<T>>, BoxError> {
    let bar = ctx.progress(what, sizes.len() * count);
    // The largest first, so that no core waits for it at the end.
    let jobs: Vec<(usize, u64)> = sizes
        .iter()
        .rev()
        .flat_map(|&m| ctx.seeds(count).into_iter().rev().map(move |seed| (m, seed)))
        .collect();
    let mut results = jobs
        .par_iter()
        .with_max_len(1)
        .map(|&(m, seed)| {
            let result = one(m, seed);
            bar.step();
            result
        })
        .collect::<Result<Vec<T>, BoxError>>()?
        .into_iter()
        .rev();
    Ok(sizes.iter().map(|_| results.by_ref().take(count).collect()).collect())
}

/// One quantity against the size.
pub(super) struct Curve {
    pub(super) label: String,
    pub(super) sizes: Vec<usize>,
    /// The mean or the median over seeds.
    pub(super) values: Vec<f64>,
    /// Standard errors of means; of medians, 1.25 times those, as for normal samples.
    errors: Vec<f64>,
    center: Center,
}

/// What stands for all seeds.
#[derive(Clone, Copy)]
enum Center {
    Mean,
    Median,
}

impl Curve {
    /// Means over seeds of what `pick` takes from results.
    pub(super) fn means<T>(
        label: &str,
        sizes: &[usize],
        results: &[Vec<T>],
        pick: impl Fn(&T) -> f64,
    ) -> Self {
        Curve::new(label, sizes, results, pick, Center::Mean)
    }

    /// Medians over seeds, for quantities with heavy tails.
    pub(super) fn medians<T>(
        label: &str,
        sizes: &[usize],
        results: &[Vec<T>],
        pick: impl Fn(&T) -> f64,
    ) -> Self {
        Curve::new(label, sizes, results, pick, Center::Median)
    }

    fn new<T>(
        label: &str,
        sizes: &[usize],
        results: &[Vec<T>],
        pick: impl Fn(&T) -> f64,
        center: Center,
    ) -> Self {
        let (of, factor): (fn(&[f64]) -> f64, f64) = match center {
            Center::Mean => (stats::mean, 1.0),
            Center::Median => (stats::median, 1.25),
        };
        let columns: Vec<Vec<f64>> = results.iter().map(|group| group.iter().map(&pick).collect()).collect();
        Curve {
            label: label.to_owned(),
            sizes: sizes.to_vec(),
            values: columns.iter().map(|column| of(column)).collect(),
            errors: columns.iter().map(|column| factor * stats::standard_error(column)).collect(),
            center,
        }
    }

    /// The same under another label.
    pub(super) fn called(self, label: &str) -> Self {
        Curve { label: label.to_owned(), ..self }
    }

    /// The exponent in the size.
    pub(super) fn fit(&self) -> Result<Fit, BoxError> {
        self.fit_where(|_| true)
    }

    /// The exponent over some of the sizes.
    pub(super) fn fit_where(&self, wanted: impl Fn(usize) -> bool) -> Result<Fit, BoxError> {
        let (m, y): (Vec<f64>, Vec<f64>) =
            self.points().filter(|[m, _]| wanted(*m as usize)).map(|[m, y]| (m, y)).unzip();
        Ok(stats::power_law(&m, &y)?)
    }

    /// The value at the largest size.
    pub(super) fn last(&self) -> f64 {
        self.values[self.values.len() - 1]
    }

    /// The largest ratio of a value to the one before: below 1 if the quantity falls all the way.
    pub(super) fn steepest_rise(&self) -> f64 {
        self.values.windows(2).map(|pair| pair[1] / pair[0]).fold(0.0, f64::max)
    }

    pub(super) fn points(&self) -> impl Iterator<Item = [f64; 2]> + '_ {
        self.sizes.iter().zip(&self.values).map(|(&m, &y)| [m as f64, y])
    }
}

/// A log–log figure and a table of curves with standard errors and exponents.
pub(super) fn show(
    title: &str,
    size: &str,
    quantity: &str,
    curves: &[&Curve],
) -> Result<(Plot, Table), BoxError> {
    let mut plot = Plot::new(title, size, quantity).log_log();
    let medians = curves.iter().any(|curve| matches!(curve.center, Center::Median));
    let center = if medians { "medians" } else { "means" };
    let caption = format!("{title}: {center} over networks with standard errors");
    let mut table = Table::new(&caption, ["quantity"]);
    if let Some(first) = curves.first() {
        table.columns.extend(first.sizes.iter().map(usize::to_string));
    }
    table.columns.push("exponent".to_owned());
    for curve in curves {
        let bars = curve.points().zip(&curve.errors).map(|([m, y], e)| [m, y - e, y + e]);
        plot = plot.line(&curve.label, curve.points()).error_bars(&curve.label, bars);
        let fit = curve.fit()?;
        let cells = curve.values.iter().zip(&curve.errors).map(|(y, e)| format!("{y:.3e} ± {e:.0e}"));
        let cells = std::iter::once(curve.label.clone()).chain(cells);
        table = table.row(cells.chain([format!("{:.3} ± {:.3}", fit.slope, fit.standard_error)]));
    }
    Ok((plot, table))
}

/// low ≤ got ≤ high.
pub(super) fn between(low: f64, high: f64) -> Criterion {
    Criterion::Within { expected: 0.5 * (low + high), tolerance: 0.5 * (high - low) }
}
