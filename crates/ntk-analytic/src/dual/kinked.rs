//! Duals of functions with kinks, by nested Gauss–Legendre quadrature that knows where the kinks are.
//!
//! With u = σ₁x and v = σ₂(ρx + τy), τ = √(1 − ρ²), the outer integral over x is split at the kinks of φ(u) and
//! refined where the inner one sweeps over a kink of φ(v), which happens within a few τ/ρ; the inner integral over y is
//! split at the kinks of φ(v). Between those points everything is analytic, and the rule converges geometrically.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::piecewise;

/// A real function that threads may share.
pub(crate) type Shared = Arc<dyn Fn(f64) -> f64 + Send + Sync>;

/// φ, φ′ and the points where they may not be analytic.
#[derive(Clone)]
pub(crate) struct Kinked {
    pub(crate) f: Shared,
    pub(crate) df: Shared,
    pub(crate) kinks: Vec<f64>,
    /// Whether φ is linear between its kinks.
    pub(super) linear: bool,
}

/// Where the integrals end, in standard deviations.
const END: f64 = 9.0;

/// The longest panel.
const PANEL: f64 = 2.5;

/// The nodes of one Gauss–Legendre rule on [−1, 1], and the step of the trapezoid rule that goes with it.
pub(crate) struct Rule {
    nodes: Vec<(f64, f64)>,
    step: f64,
}

impl Rule {
    /// The rule of `n` nodes, by Newton's method from the asymptotic zeros of Pₙ.
    pub(crate) fn new(n: usize) -> Self {
        let node = |i: usize| {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
            let mut derivative = 1.0;
            for _ in 0..8 {
                let (mut below, mut here) = (1.0, x);
                for k in 2..=n {
                    let k = k as f64;
                    (below, here) = (here, ((2.0 * k - 1.0) * x * here - (k - 1.0) * below) / k);
                }
                derivative = n as f64 * (x * here - below) / (x * x - 1.0);
                x -= here / derivative;
            }
            (x, 2.0 / ((1.0 - x * x) * derivative * derivative))
        };
        Rule { nodes: (0..n).map(node).collect(), step: 5.0 / n as f64 }
    }

    /// Calls `each(x, weight)` for ∫ over [low, high].
    pub(crate) fn plain(&self, low: f64, high: f64, mut each: impl FnMut(f64, f64)) {
        let (middle, half) = (0.5 * (low + high), 0.5 * (high - low));
        self.nodes.iter().for_each(|&(t, w)| each(middle + half * t, half * w));
    }

    /// Calls `each(x, weight)` for ∫ over the panels between `points`, the normal density included in the weight.
    pub(super) fn panels(&self, points: &[f64], mut each: impl FnMut(f64, f64)) {
        for panel in points.windows(2) {
            self.plain(panel[0], panel[1], |x, w| each(x, w * (-0.5 * x * x).exp() / TAU.sqrt()));
        }
    }
}

/// Panel boundaries in [−END, END].
pub(super) struct Points(Vec<f64>);

impl Default for Points {
    fn default() -> Self {
        Points(vec![-END, END])
    }
}

impl Points {
    fn clear(&mut self) {
        self.0.clear();
        self.0.extend([-END, END]);
    }

    pub(super) fn push(&mut self, x: f64) {
        if x.abs() < END {
            self.0.push(x);
        }
    }

    /// A kink of a function that changes on the scale `scale` next to it: panels that double away from it.
    fn kink(&mut self, at: f64, scale: f64) {
        self.push(at);
        if at.abs() > 2.0 * END {
            return;
        }
        let mut distance = scale;
        while distance < PANEL {
            self.push(at - distance);
            self.push(at + distance);
            distance *= 2.0;
        }
    }

    /// The smooth step that a kink becomes when averaged with a normal density of width `width`.
    fn step(&mut self, at: f64, width: f64) {
        self.push(at);
        for k in [1.5, 3.0, 5.0, END] {
            self.push(at - k * width);
            self.push(at + k * width);
        }
    }

    /// Sorts, and cuts panels that are too long.
    pub(super) fn finish(&mut self) -> &[f64] {
        let points = &mut self.0;
        points.sort_by(f64::total_cmp);
        points.dedup_by(|b, a| *b - *a < 1e-15);
        for i in 0..points.len() - 1 {
            let (a, b) = (points[i], points[i + 1]);
            let pieces = ((b - a) / PANEL).ceil();
            points.extend((1..pieces as usize).map(|k| a + (b - a) * k as f64 / pieces));
        }
        points.sort_by(f64::total_cmp);
        points
    }
}

/// What the quadrature finds for a pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// 1 − ρ′ and 1 + ρ′ = E[(φ(u)/√V₁₁ ∓ φ(v)/√V₂₂)²]/2.
    pub(super) distance: [f64; 2],
    /// E φ′(u)φ′(v).
    pub(super) slope: f64,
}

impl Kinked {
    /// E φ at variance q.
    pub(super) fn mean(&self, q: f64, rule: &Rule) -> f64 {
        if q == 0.0 {
            return (self.f)(0.0);
        }
        let (sigma, mut points) = (q.sqrt(), Points::default());
        self.kinks.iter().for_each(|kink| points.kink(kink / sigma, 1.0));
        let mut sum = 0.0;
        rule.panels(points.finish(), |x, w| sum += w * (self.f)(sigma * x));
        sum
    }

    /// E φ² and E φ′² at variance q.
    pub(super) fn moments(&self, q: f64, rule: &Rule) -> [f64; 2] {
        let sigma = q.sqrt();
        let mut points = Points::default();
        if q > 0.0 {
            self.kinks.iter().for_each(|k| points.kink(k / sigma, 1.0 / sigma));
        } else {
            return [(self.f)(0.0).powi(2), (self.df)(0.0).powi(2)];
        }
        let mut sums = [0.0; 2];
        rule.panels(points.finish(), |x, w| {
            sums[0] += w * (self.f)(sigma * x).powi(2);
            sums[1] += w * (self.df)(sigma * x).powi(2);
        });
        sums
    }

    /// The jumps of φ′ at the kinks, from its values between them.
    fn jumps(&self) -> Vec<f64> {
        let k = &self.kinks;
        let between = |i: usize| match i {
            0 => k[0] - 1.0,
            i if i == k.len() => k[i - 1] + 1.0,
            i => 0.5 * (k[i - 1] + k[i]),
        };
        (0..k.len()).map(|i| (self.df)(between(i + 1)) - (self.df)(between(i))).collect()
    }

    /// One pair with variances `q` and `v` before and after φ, from its signed gap.
    pub(super) fn pair(&self, q: [f64; 2], v: [f64; 2], gap: f64, rule: &Rule) -> Found {
        let sigma = q.map(f64::sqrt);
        let inverse = v.map(|v| if v > 0.0 { 1.0 / v.sqrt() } else { 0.0 });
        if self.linear {
            return piecewise::pair(self, &self.jumps(), sigma, inverse, gap, rule);
        }
        let u = gap.abs();
        let (rho, tau) = ((1.0 - u).copysign(gap), (u * (2.0 - u)).sqrt());
        let mut sums = [0.0; 3];
        let mut points = Points::default();
        for k in &self.kinks {
            if sigma[0] > 0.0 {
                points.kink(k / sigma[0], 1.0 / sigma[0]);
            }
            let slope = sigma[1] * rho;
            if slope != 0.0 {
                points.kink(k / slope, 1.0 / slope.abs());
                points.step(k / slope, tau / rho.abs());
            }
        }
        let mut inner = Points::default();
        let spread = sigma[1] * tau;
        rule.panels(points.finish(), |x, weight| {
            let (a, da) = ((self.f)(sigma[0] * x) * inverse[0], (self.df)(sigma[0] * x));
            let mean = sigma[1] * rho * x;
            let mut add = |y: f64, w: f64| {
                let at = mean + spread * y;
                let b = (self.f)(at) * inverse[1];
                sums[0] += weight * w * (a - b) * (a - b);
                sums[1] += weight * w * (a + b) * (a + b);
                sums[2] += weight * w * da * (self.df)(at);
            };
            if spread == 0.0 {
                add(0.0, 1.0);
            } else if spread < 1.0 && self.kinks.iter().all(|k| ((k - mean) / spread).abs() > END) {
                let last = (END / rule.step) as i32;
                for i in -last..=last {
                    let y = f64::from(i) * rule.step;
                    add(y, rule.step * (-0.5 * y * y).exp() / TAU.sqrt());
                }
            } else {
                inner.clear();
                self.kinks.iter().for_each(|k| inner.kink((k - mean) / spread, 1.0 / spread));
                rule.panels(inner.finish(), add);
            }
        });
        Found { distance: [0.5 * sums[0], 0.5 * sums[1]], slope: sums[2] }
    }
}
