//! What a sliding window makes of the numbers of a sample: variances, lengths, and which positions it reads.

use ntk_core::AxisTaps;

use super::op::Numbers;
use super::stage::Table;

/// Lengths after a window.
pub(super) fn shorten(lengths: &mut [usize], axes: &[AxisTaps]) {
    if let [axis] = axes {
        lengths.iter_mut().for_each(|length| *length = axis.valid(*length));
    }
}

/// The position that each tap reads for each output of a grid, or the number of positions for padding.
pub(super) fn taps(axes: &[AxisTaps]) -> Vec<Vec<u32>> {
    let positions: usize = axes.iter().map(|axis| axis.inputs).product();
    let index = |p: Option<usize>| p.unwrap_or(positions) as u32;
    AxisTaps::product(axes).into_iter().map(|tap| tap.into_iter().map(index).collect()).collect()
}

/// Outputs one after another whose sources follow one another, too.
struct Run {
    output: usize,
    source: usize,
    len: usize,
}

/// What an axis reads, tap by tap.
fn runs(axis: &AxisTaps) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for tap in &axis.sources {
        let first = runs.len();
        for (output, source) in tap.iter().enumerate().filter_map(|(o, source)| Some((o, (*source)?))) {
            match runs[first..].last_mut() {
                Some(run) if (run.output + run.len, run.source + run.len) == (output, source) => run.len += 1,
                _ => runs.push(Run { output, source, len: 1 }),
            }
        }
    }
    runs
}

/// Variances after a convolution, one axis after another.
pub(super) fn averaged(q: &Table, axes: &[AxisTaps], numbers: Numbers) -> Table {
    let taps: usize = axes.iter().map(|axis| axis.sources.len()).product();
    let share = numbers.weight / taps as f64;
    let runs: Vec<Vec<Run>> = axes.iter().map(runs).collect();
    let one = |sample: usize| {
        let mut q = q.of(sample).to_vec();
        // Positions of an axis follow one another at the distance of all positions of the axes behind.
        let mut inner: usize = axes.iter().map(|axis| axis.inputs).product();
        for (axis, runs) in axes.iter().zip(&runs) {
            inner /= axis.inputs;
            let blocks = q.len() / (axis.inputs * inner);
            let mut sums = vec![0.0; blocks * axis.outputs * inner];
            let pairs = q.chunks_exact(axis.inputs * inner).zip(sums.chunks_exact_mut(axis.outputs * inner));
            for (from, to) in pairs {
                for run in runs {
                    let from = &from[run.source * inner..][..run.len * inner];
                    let to = &mut to[run.output * inner..][..run.len * inner];
                    to.iter_mut().zip(from).for_each(|(sum, q)| *sum += q);
                }
            }
            q = sums;
        }
        q.iter_mut().for_each(|q| *q = share * *q + numbers.bias);
        q
    };
    let outputs = axes.iter().map(|axis| axis.outputs).product();
    let all: Vec<Vec<f64>> = (0..q.samples()).map(one).collect();
    Table::new(outputs, all.concat())
}
