//! Support-vector machines on kernel matrices: the classifier with which kernels of tables and graphs were published.

use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2};

use crate::data::Fold;

/// Where the conditions of an optimum are violated by no more, a machine is done.
const TOLERANCE: f64 = 1e-3;
/// After so many steps a machine is taken as it is, as in the published protocols.
const STEPS: usize = 500_000;

/// Accuracy on the test rows of a fold for each cost C, the costs in increasing order.
///
/// There is a machine for each pair of classes; the class with the most votes wins, of equals the lower one.
pub(super) fn accuracies(kernel: &Array2<f64>, labels: &[u8], fold: &Fold, costs: &[f64]) -> Vec<f64> {
    let mut classes: Vec<u8> = fold.train.iter().map(|&i| labels[i]).collect();
    classes.sort_unstable();
    classes.dedup();
    let mut votes = Array3::<u32>::zeros((costs.len(), fold.test.len(), classes.len()));
    for second in 0..classes.len() {
        for first in 0..second {
            let pair = [classes[first], classes[second]];
            let rows: Vec<usize> =
                fold.train.iter().copied().filter(|&i| pair.contains(&labels[i])).collect();
            let signs = rows.iter().map(|&i| if labels[i] == pair[0] { 1.0 } else { -1.0 });
            let select = |of: &[usize]| {
                Array2::from_shape_fn((of.len(), rows.len()), |(a, b)| kernel[[of[a], rows[b]]])
            };
            let (gram, cross) = (select(&rows), select(&fold.test));
            let mut machine = Machine::new(&gram, signs.collect());
            for (mut votes, &cost) in votes.outer_iter_mut().zip(costs) {
                machine.fit(cost);
                let f = cross.dot(&machine.beta) + machine.bias;
                for (mut votes, f) in votes.outer_iter_mut().zip(f) {
                    votes[if f > 0.0 { first } else { second }] += 1;
                }
            }
        }
    }
    let elected = |votes: ArrayView1<'_, u32>| {
        let winner = votes.iter().enumerate().rev().max_by_key(|(_, count)| **count);
        winner.map(|(class, _)| classes[class])
    };
    let right = |votes: ArrayView2<'_, u32>| {
        votes.outer_iter().zip(&fold.test).filter(|(v, i)| elected(*v) == Some(labels[**i])).count()
    };
    votes.outer_iter().map(|votes| right(votes) as f64 / fold.test.len() as f64).collect()
}

/// f(x) = Σ_i β_i K(x, x_i) + b with the β that maximize Σ_i y_iβ_i − ½ βᵀKβ under Σβ = 0 and 0 ≤ y_iβ_i ≤ C.
struct Machine<'a> {
    gram: &'a Array2<f64>,
    signs: Vec<f64>,
    /// Of the Gram matrix, side by side.
    diagonal: Vec<f64>,
    beta: Array1<f64>,
    /// y − Kβ: at the optimum at most b where β can rise, at least b where it can fall.
    gradient: Vec<f64>,
    bias: f64,
}

impl<'a> Machine<'a> {
    fn new(gram: &'a Array2<f64>, signs: Vec<f64>) -> Self {
        let (diagonal, beta) = (gram.diag().to_vec(), Array1::zeros(signs.len()));
        Machine { gram, gradient: signs.clone(), signs, diagonal, beta, bias: 0.0 }
    }

    /// Moves on to the optimum of a cost that is not below the last one: sequential minimal optimization, of the most
    /// violating variable and the one with which it gains most to second order.
    fn fit(&mut self, cost: f64) {
        let lower: Vec<f64> = self.signs.iter().map(|&y| if y > 0.0 { 0.0 } else { -cost }).collect();
        let Some(beta) = self.beta.as_slice_mut() else { return };
        let row = |i: usize| self.gram.row(i).to_slice().unwrap_or_default();
        for _ in 0..STEPS {
            let (mut rising, mut top, mut bottom) = (0, f64::NEG_INFINITY, f64::INFINITY);
            for (t, ((&slope, &beta), &lower)) in self.gradient.iter().zip(&*beta).zip(&lower).enumerate() {
                if slope > top && beta < lower + cost {
                    (rising, top) = (t, slope);
                }
                if slope < bottom && beta > lower {
                    bottom = slope;
                }
            }
            self.bias = 0.5 * (top + bottom);
            if top - bottom <= TOLERANCE {
                return;
            }
            let (risen, own) = (row(rising), self.diagonal[rising]);
            let (mut falling, mut most) = (rising, 0.0);
            let terms = self.gradient.iter().zip(&*beta).zip(&lower).zip(risen).zip(&self.diagonal);
            for (t, ((((&slope, &beta), &lower), &cross), &other)) in terms.enumerate() {
                let gap = top - slope;
                // A quotient is compared as a product: most pairs need no division.
                let curvature = (own + other - 2.0 * cross).max(1e-12);
                if gap > 0.0 && gap * gap > most * curvature && beta > lower {
                    (falling, most) = (t, gap * gap / curvature);
                }
            }
            let newton = most / (top - self.gradient[falling]);
            let upper = lower[rising] + cost;
            let rooms = [upper - beta[rising], beta[falling] - lower[falling]];
            let step = newton.min(rooms[0]).min(rooms[1]);
            // A bound is reached exactly, or the variable would be taken for a free one.
            beta[rising] = if step == rooms[0] { upper } else { beta[rising] + step };
            beta[falling] = if step == rooms[1] { lower[falling] } else { beta[falling] - step };
            for ((slope, a), b) in self.gradient.iter_mut().zip(risen).zip(row(falling)) {
                *slope -= step * (a - b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_points_stop_at_the_cost_or_at_the_margin() {
        let gram = Array2::eye(2);
        let mut machine = Machine::new(&gram, vec![1.0, -1.0]);
        for (cost, expected) in [(0.25, 0.25), (0.5, 0.5), (3.0, 1.0)] {
            machine.fit(cost);
            assert_eq!(machine.beta, ndarray::array![expected, -expected]);
            assert_eq!(machine.bias, 0.0);
        }
    }

    /// Kernel and classes of points that no machine separates.
    fn overlapping(n: usize) -> (Array2<f64>, Vec<u8>) {
        let x = Array1::from_shape_fn(n, |i| (7.3 * i as f64).sin() * 2.0);
        let labels = (0..n).map(|i| u8::from(x[i] + (3.1 * i as f64).cos() > 0.2)).collect();
        (Array2::from_shape_fn((n, n), |(i, j)| (-(x[i] - x[j]).powi(2)).exp()), labels)
    }

    #[test]
    fn the_duality_gap_closes_at_every_cost() {
        let (gram, labels) = overlapping(60);
        let signs: Vec<f64> = labels.iter().map(|&l| if l == 0 { 1.0 } else { -1.0 }).collect();
        let mut machine = Machine::new(&gram, signs.clone());
        for cost in [0.01, 0.1, 1.0, 10.0, 100.0] {
            machine.fit(cost);
            let f = gram.dot(&machine.beta);
            let norm = machine.beta.dot(&f);
            let hinge = |(f, y): (&f64, &f64)| (1.0 - y * (f + machine.bias)).max(0.0);
            let primal = 0.5 * norm + cost * f.iter().zip(&signs).map(hinge).sum::<f64>();
            let dual = machine.beta.iter().map(|b| b.abs()).sum::<f64>() - 0.5 * norm;
            assert!(machine.beta.sum().abs() < 1e-9 * cost, "{cost}");
            let bound = 60.0 * cost * TOLERANCE;
            assert!((-1e-9 * cost..bound).contains(&(primal - dual)), "{cost}: {primal} against {dual}");
        }
    }

    #[test]
    fn three_classes_are_elected() {
        // Three clusters on a line; the one in the middle is between the others.
        let x = Array1::from_shape_fn(30, |i| (i % 3) as f64 + 0.1 * (i as f64).sin());
        let kernel = Array2::from_shape_fn((30, 30), |(i, j)| (-4.0 * (x[i] - x[j]).powi(2)).exp());
        let labels: Vec<u8> = (0..30).map(|i| (i % 3) as u8 + 4).collect();
        let fold = Fold { train: (0..15).collect(), test: (15..30).collect() };
        assert_eq!(accuracies(&kernel, &labels, &fold, &[1.0, 10.0]), [1.0, 1.0]);
        // A class that the training rows lack is never right.
        let fold = Fold { train: (0..15).filter(|i| i % 3 != 2).collect(), test: (15..30).collect() };
        assert_eq!(accuracies(&kernel, &labels, &fold, &[1.0]), [10.0 / 15.0]);
    }
}
