//! The samples as they come in: variances, means, and distances between positions.

use ntk_core::{Batch, Grid};

use super::sheets::{Image, Layout};
use super::stage::{Of, Table};

/// The samples of a tile, those of the rows and then those of the columns.
pub(crate) struct Inputs {
    grid: Grid,
    values: Values,
}

enum Values {
    /// Numbers of each sample, position by position, and how many there are at each.
    Real(Vec<Vec<f64>>, usize),
    Tokens(Vec<Vec<u32>>),
}

impl Inputs {
    /// Numbers are divided by the scales of their samples, powers of two.
    pub(crate) fn new(batches: [Option<Batch<'_>>; 2], scales: &[f64]) -> Self {
        let batches = || batches.into_iter().flatten();
        let grid = batches().next().map_or(Grid::VECTOR, |batch| batch.positions());
        let tokens = batches().filter_map(|batch| batch.token_ids());
        let tokens: Vec<Vec<u32>> = tokens
            .flat_map(|ids| ids.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>())
            .collect();
        let values = if tokens.is_empty() {
            let rows = batches().flat_map(|batch| {
                batch.values().rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>()
            });
            let scaled = |(mut row, scale): (Vec<f64>, &f64)| {
                row.iter_mut().for_each(|x| *x /= scale);
                row
            };
            let features = batches().next().map_or(1, |batch| batch.features());
            Values::Real(rows.zip(scales).map(scaled).collect(), features)
        } else {
            Values::Tokens(tokens)
        };
        Inputs { grid, values }
    }

    pub(crate) fn positions(&self) -> usize {
        self.grid.positions()
    }

    /// E u² at each position: ‖x‖²/d, and 1 for a token.
    pub(crate) fn variances(&self) -> Table {
        self.table(1.0, |x| x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64)
    }

    /// The mean over the channels at each position.
    pub(crate) fn means(&self) -> Table {
        self.table(0.0, |x| x.iter().sum::<f64>() / x.len() as f64)
    }

    fn table(&self, token: f64, f: impl Fn(&[f64]) -> f64) -> Table {
        let positions = self.positions();
        let values = match &self.values {
            Values::Real(samples, d) => samples.iter().flat_map(|x| x.chunks_exact(*d).map(&f)).collect(),
            Values::Tokens(samples) => vec![token; samples.len() * positions],
        };
        Table::new(positions, values)
    }

    /// The samples in the order of sheets; none for tokens.
    pub(crate) fn images(&self, layout: &Layout) -> Option<Vec<Image>> {
        match &self.values {
            Values::Real(samples, d) => Some(samples.iter().map(|x| Image::new(layout, x, *d)).collect()),
            Values::Tokens(_) => None,
        }
    }

    /// ½‖x_p − y_r‖²/d, or 1 for different tokens, with tangent kernels of 0 if somebody asks.
    pub(crate) fn distances(&self, of: Of, full: bool, ntk: bool) -> (Vec<f64>, Vec<f64>) {
        let positions = self.positions();
        let distance = |p: usize, r: usize| match &self.values {
            Values::Real(samples, d) => {
                let (u, v) = (&samples[of.i][p * d..(p + 1) * d], &samples[of.j][r * d..(r + 1) * d]);
                let square: f64 = u.iter().zip(v).map(|(u, v)| (u - v) * (u - v)).sum();
                0.5 * square / *d as f64
            }
            Values::Tokens(samples) => f64::from(u8::from(samples[of.i][p] != samples[of.j][r])),
        };
        let values: Vec<f64> = if full {
            (0..positions * positions).map(|k| distance(k / positions, k % positions)).collect()
        } else {
            (0..positions).map(|p| distance(p, p)).collect()
        };
        let ntk = vec![0.0; if ntk { values.len() } else { 0 }];
        (values, ntk)
    }
}
