//! E F(μ + Lz) over standard normal z: one and two dimensions between the kinks of F, more by shifted sequences.

use ndarray::Array2;
use ntk_core::program::{Estimate, Expr, Function};

use crate::nodes::{Nodes, SHIFTS};

/// Beyond this many standard deviations nothing of a function of polynomial growth is left.
const REACH: f64 = 8.7;

/// Half the length of a panel of polynomials for a Gaussian step of width 1.
const STEP: f64 = 0.9;

/// Largest number of nodes of one shift.
const MOST: usize = 1 << 12;

/// E F(μ + Lz).
pub(super) fn mean(f: &Expr, mean: &[f64], factor: &Array2<f64>) -> Estimate {
    let problem = Problem::new(f, mean, factor);
    match (factor.ncols(), problem.plain) {
        (0, _) => Estimate::exact(f.eval(mean, &[])),
        (1, true) => problem.refined(|nodes| problem.line(nodes)),
        (2, true) => problem.refined(|nodes| problem.plane(nodes)),
        _ => problem.sequence(),
    }
}

/// An integrand in standard variables.
struct Problem<'a> {
    f: &'a Expr,
    mean: &'a [f64],
    factor: &'a Array2<f64>,
    /// Kinks a·z + c = 0, as (a, c).
    kinks: Vec<(Vec<f64>, f64)>,
    /// Whether all kinks lie on planes.
    plain: bool,
    /// Half the length of a panel that polynomials follow F on.
    panel: f64,
    reach: f64,
}

impl<'a> Problem<'a> {
    fn new(f: &'a Expr, mean: &'a [f64], factor: &'a Array2<f64>) -> Self {
        let rank = factor.ncols();
        let (mut kinks, mut plain, mut steepest) = (Vec::new(), true, 1.0f64);
        f.visit(&mut |e| {
            let (x, kinked) = match e {
                Expr::Apply(Function::Relu | Function::Step, x) => (x, true),
                Expr::Apply(_, x) | Expr::Power(x, _) => (x, false),
                _ => return,
            };
            match x.as_affine() {
                Some((slopes, constant)) => {
                    let a: Vec<f64> =
                        (0..rank).map(|k| slopes.iter().map(|&(i, s)| s * factor[[i, k]]).sum()).collect();
                    let c = slopes.iter().map(|&(i, s)| s * mean[i]).sum::<f64>() + constant;
                    let norm = a.iter().map(|a| a * a).sum::<f64>().sqrt();
                    steepest = steepest.max(norm);
                    if kinked && norm > 0.0 {
                        kinks.push((a, c));
                    }
                }
                None => plain &= !kinked,
            }
        });
        // Functions with exponential growth have their mass elsewhere.
        let reach =
            if f.growth() == ntk_core::program::Growth::Polynomial { REACH } else { REACH + 2.0 * steepest };
        Problem { f, mean, factor, kinks, plain, panel: 0.9f64.min(1.2 / steepest), reach }
    }

    fn at(&self, z: &[f64]) -> f64 {
        let point: Vec<f64> = self
            .factor
            .rows()
            .into_iter()
            .zip(self.mean)
            .map(|(row, mean)| mean + row.iter().zip(z).map(|(l, z)| l * z).sum::<f64>())
            .collect();
        self.f.eval(&point, &[])
    }

    /// The value by many nodes, with its distance from that by fewer as the error.
    fn refined(&self, value: impl Fn(&Rule) -> f64) -> Estimate {
        let (coarse, fine) = (value(&Rule::new(12)), value(&Rule::new(16)));
        Estimate { value: fine, error: (fine - coarse).abs() + 1e-15 * fine.abs() }
    }

    fn line(&self, rule: &Rule) -> f64 {
        let breaks: Vec<f64> = self.kinks.iter().map(|(a, c)| -c / a[0]).collect();
        self.pieces(&breaks, rule, |z| self.at(&[z]))
    }

    fn plane(&self, rule: &Rule) -> f64 {
        // Where two kinks cross, one stands upright, or one is so steep that the line beside it sees a step of its width.
        let mut breaks = Vec::new();
        for (k, (a, c)) in self.kinks.iter().enumerate() {
            let width = (a[1] / a[0]).abs();
            if width <= 1e-14 {
                breaks.push(-c / a[0]);
            } else if width * STEP < self.panel {
                let panels = (REACH / STEP).ceil() as i32;
                breaks.extend((-panels..=panels).map(|k| -c / a[0] + STEP * width * f64::from(k)));
            }
            for (b, d) in &self.kinks[..k] {
                let determinant = a[0] * b[1] - a[1] * b[0];
                if determinant != 0.0 {
                    breaks.push((a[1] * d - b[1] * c) / determinant);
                }
            }
        }
        self.pieces(&breaks, rule, |x| {
            let inner = self.kinks.iter().filter(|(a, _)| a[1].abs() > 1e-14 * a[0].abs());
            let breaks: Vec<f64> = inner.map(|(a, c)| -(a[0] * x + c) / a[1]).collect();
            self.pieces(&breaks, rule, |y| self.at(&[x, y]))
        })
    }

    /// ∫ g φ dz, panel by panel between the breaks.
    fn pieces(&self, breaks: &[f64], rule: &Rule, g: impl Fn(f64) -> f64) -> f64 {
        let mut ends: Vec<f64> = breaks.iter().copied().filter(|b| b.abs() < self.reach).collect();
        ends.extend([-self.reach, self.reach]);
        ends.sort_by(f64::total_cmp);
        let mut sum = 0.0;
        for pair in ends.windows(2) {
            let length = pair[1] - pair[0];
            if length <= 0.0 {
                continue;
            }
            let panels = (length / (2.0 * self.panel)).ceil().max(1.0);
            let half = 0.5 * length / panels;
            for k in 0..panels as usize {
                let middle = pair[0] + (2 * k + 1) as f64 * half;
                for (x, w) in &rule.nodes {
                    let z = middle + half * x;
                    let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
                    sum += w * half * density * g(z);
                }
            }
        }
        sum
    }

    /// By randomly shifted sequences, whose spread is the error.
    fn sequence(&self) -> Estimate {
        let dimension = self.factor.ncols();
        let nodes = Nodes::new(dimension);
        let (mut sums, mut count) = ([0.0; SHIFTS], 0usize);
        let mut z = vec![0.0; dimension];
        for level in nodes.levels() {
            for node in level.chunks_exact(dimension) {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    z.iter_mut().zip(node).for_each(|(z, lanes)| *z = lanes[lane]);
                    *sum += self.at(&z);
                }
                count += 1;
            }
            if count >= MOST {
                break;
            }
        }
        let values = sums.map(|sum| sum / count as f64);
        let value = values.iter().sum::<f64>() / SHIFTS as f64;
        let square = values.iter().map(|v| (v - value).powi(2)).sum::<f64>();
        Estimate { value, error: (square / ((SHIFTS - 1) * SHIFTS) as f64).sqrt() }
    }
}

/// Gauss–Legendre nodes and weights on [−1, 1].
struct Rule {
    nodes: Vec<(f64, f64)>,
}

impl Rule {
    fn new(n: usize) -> Self {
        let node = |k: usize| {
            // Newton's method from Chebyshev's nodes.
            let mut x = (std::f64::consts::PI * (k as f64 + 0.75) / (n as f64 + 0.5)).cos();
            let mut slope = 0.0;
            for _ in 0..8 {
                let (mut below, mut here) = (1.0, x);
                for m in 2..=n {
                    let m = m as f64;
                    (below, here) = (here, ((2.0 * m - 1.0) * x * here - (m - 1.0) * below) / m);
                }
                slope = n as f64 * (x * here - below) / (x * x - 1.0);
                x -= here / slope;
            }
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        };
        Rule { nodes: (0..n).map(node).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn value(f: &Expr, covariance: &Array2<f64>) -> Estimate {
        mean(f, &vec![0.0; covariance.nrows()], &super::super::gaussian::factor(covariance))
    }

    #[test]
    fn two_dimensional_means_are_exact() {
        let (x, y) = (Expr::arg(0), Expr::arg(1));
        let c = array![[1.5, 0.8], [0.8, 0.9]];
        let found = value(&(x.clone().tanh() * y.clone().tanh()), &c);
        assert!((found.value - 0.274_930_420_891).abs() < 1e-12, "{found:?}");
        let slope = x.clone().tanh().derivative(0) * y.clone().tanh().derivative(1);
        assert!((value(&slope, &c).value - 0.369_097_904_806).abs() < 1e-12);
        // Of ReLU, with its kinks.
        let relu = value(&(x.clone().relu() * y.clone().relu()), &array![[1.0, 0.5], [0.5, 1.0]]);
        let rho = 0.5f64;
        let expected =
            ((1.0 - rho * rho).sqrt() + (std::f64::consts::PI - rho.acos()) * rho) / std::f64::consts::TAU;
        assert!((relu.value - expected).abs() < 1e-13 && relu.error < 1e-12, "{relu:?}");
        // Nearly parallel, with four steps: by the line along one variable, Φ of the other given it.
        let step = |e: Expr| Expr::apply(Function::Step, e);
        let inside = |i: usize| step(Expr::arg(i) + 1.0) - step(Expr::arg(i) - 1.0);
        for apart in [1e-2, 1e-4, 1e-6, 1e-9] {
            let found = value(&(inside(0) * inside(1)), &array![[1.0, 1.0 - apart], [1.0 - apart, 1.0]]);
            let nodes = 2000;
            // dP/dρ by Price, in ρ = 1 − t², which takes the root at ρ = 1 away.
            let slope = |t: f64| {
                let (plus, minus) = ((-1.0 / (2.0 - t * t)).exp(), (-1.0 / (t * t)).exp());
                4.0 * (plus - minus) / (std::f64::consts::TAU * (2.0 - t * t).sqrt())
            };
            let step = apart.sqrt() / f64::from(nodes);
            let lost: f64 = (0..nodes).map(|k| slope(step * (f64::from(k) + 0.5)) * step).sum();
            let exact = libm::erf(0.5f64.sqrt()) - lost;
            assert!((found.value - exact).abs() < 1e-11, "{apart}: {found:?} {exact}");
        }
        // A variable and its double: one dimension.
        let twice = value(&(x.relu() * (y - 1.0).relu()), &array![[1.0, 2.0], [2.0, 4.0]]);
        let exact = |z: f64| 2.0 * (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
        // ∫_{1/2}^∞ z(2z − 1)φ dz = 2(zφ + Q) − φ at z = 1/2.
        let (z, q) = (0.5, 0.5 * libm::erfc(0.5 / 2f64.sqrt()));
        assert!((twice.value - (exact(z) * z + 2.0 * q - 0.5 * exact(z))).abs() < 1e-14, "{twice:?}");
    }

    #[test]
    fn many_dimensions_know_their_error() {
        let product = Expr::product((0..4).map(|i| (Expr::arg(i) * 0.3).exp()));
        let covariance = Array2::from_shape_fn((4, 4), |(i, j)| if i == j { 1.0 } else { 0.3 });
        let found = value(&product, &covariance);
        let exact = (0.5 * 0.09 * (4.0 + 12.0 * 0.3f64)).exp();
        assert!(
            (found.value - exact).abs() < 5.0 * found.error && found.error < 1e-2 * exact,
            "{found:?} {exact}"
        );
    }
}
