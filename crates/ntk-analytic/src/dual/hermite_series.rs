//! Hermite coefficients of an analytic activation, by the trapezoid rule.
//!
//! For a function that is analytic in a strip around the real line the trapezoid rule converges geometrically, with
//! the width of the strip over the step as exponent, and Gauss–Hermite quadrature does not; so the step is halved
//! until the coefficients stand still, and the number of terms follows from Parseval's identity.

use super::closed::no_moment;
use super::series::Expansion;
use crate::Error;

/// Never more terms than this: a variance that wants more is better served by quadrature pair by pair.
const MOST_TERMS: usize = 8192;

/// The finest step tried is ½ divided by this power of 2.
const HALVINGS: i32 = 6;

/// The points x ≥ 0 and weighted values of φ and φ′ for one step.
struct Grid {
    x: Vec<f64>,
    /// h N(x) times φ(σx) + φ(−σx) and φ(σx) − φ(−σx), so that the coefficients of an even or odd φ vanish exactly;
    /// and the same for φ′.
    weighted: [[Vec<f64>; 2]; 2],
    /// E φ², E φ′².
    moments: [f64; 2],
}

impl Grid {
    fn new(f: &[&dyn Fn(f64) -> f64; 2], sigma: f64, h: f64) -> Self {
        // Beyond 13.5, √N(x) heₖ(x) is below 1e-17 for all degrees; a function that grows fast wants more.
        let mut end = 13.5;
        let mass =
            |x: f64| f.iter().map(|f| f(sigma * x).powi(2) * (-0.25 * x * x).exp()).fold(0.0, f64::max);
        while end < 36.0 && mass(end).max(mass(-end)) > 1e-17 * mass(0.0).max(mass(1.0)).max(mass(-1.0)) {
            end += 1.5;
        }
        let x: Vec<f64> = (0..=(end / h) as i32).map(|i| f64::from(i) * h).collect();
        let weight = |x: f64| {
            let both = if x == 0.0 { 0.5 } else { 1.0 };
            both * h / std::f64::consts::TAU.sqrt() * (-0.5 * x * x).exp()
        };
        let mut moments = [0.0; 2];
        let weighted = [0, 1].map(|d| {
            let (mut even, mut odd) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
            for &x in &x {
                let (w, right, left) = (weight(x), f[d](sigma * x), f[d](-sigma * x));
                even.push(w * (right + left));
                odd.push(w * (right - left));
                moments[d] += w * (right * right + left * left);
            }
            [even, odd]
        });
        Grid { x, weighted, moments }
    }

    /// Coefficients, at least `least`, until the missing share of both moments is at most `tolerance`; and that share.
    fn coefficients(&self, least: usize, most: usize, tolerance: f64) -> ([Vec<f64>; 2], f64) {
        let mut below = vec![0.0; self.x.len()];
        let mut here = vec![1.0; self.x.len()];
        let mut lists = [Vec::new(), Vec::new()];
        let mut rest = self.moments;
        let mut missing = f64::INFINITY;
        for k in 0..most {
            for d in 0..2 {
                let a = dot(&self.weighted[d][k % 2], &here);
                rest[d] -= a * a;
                lists[d].push(a);
            }
            let share =
                |d: usize| if self.moments[d] > 0.0 { (rest[d] / self.moments[d]).abs() } else { 0.0 };
            missing = share(0).max(share(1));
            if missing <= tolerance && k + 1 >= least {
                break;
            }
            let (s, t) = ((k as f64).sqrt(), 1.0 / ((k + 1) as f64).sqrt());
            for ((below, here), x) in below.iter_mut().zip(&mut here).zip(&self.x) {
                (*below, *here) = (*here, (x * *here - s * *below) * t);
            }
        }
        (lists, missing)
    }
}

/// A dot product with eight partial sums, which the compiler can widen.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a8.zip(b8) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The expansion of φ(√q x) and φ′(√q x) by at least `least` terms, with at most `tolerance` of their second moments
/// missing.
///
/// # Errors
/// [`Error::Expectation`], and [`Error::Quadrature`] where too many terms or too fine a step would be needed.
pub(super) fn expand(
    f: &dyn Fn(f64) -> f64,
    df: &dyn Fn(f64) -> f64,
    q: f64,
    least: usize,
    tolerance: f64,
    name: &str,
) -> Result<Expansion, Error> {
    if q == 0.0 {
        return Ok(Expansion::exact(vec![f(0.0)], vec![df(0.0)]));
    }
    let sigma = q.sqrt();
    let mut before: Option<([Vec<f64>; 2], [f64; 2])> = None;
    let mut reached = f64::INFINITY;
    for halving in 0..=HALVINGS {
        let h = 0.5f64.powi(halving + 1);
        // heₖ and heₖ oscillate as sin √k x: the rule keeps them orthonormal while √k < π/h.
        let most = MOST_TERMS.min((std::f64::consts::PI / h).powi(2) as usize);
        if most < least {
            continue;
        }
        let grid = Grid::new(&[f, df], sigma, h);
        if grid.moments.iter().any(|m| !m.is_finite()) {
            return Err(no_moment(name, q));
        }
        let (lists, missing) = grid.coefficients(least, most, tolerance);
        if let Some((coarse, moments)) = before {
            let change = |d: usize| {
                let pairs = lists[d].iter().zip(&coarse[d]);
                let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                let moment = grid.moments[d].max(f64::MIN_POSITIVE);
                (worst / moment.sqrt()).max((grid.moments[d] - moments[d]).abs() / moment)
            };
            // The error of the finer rule is about the square of this change.
            let change = change(0).max(change(1));
            reached = missing.max(change * change);
            if missing <= tolerance && change <= 1e-10 {
                let [value, slope] = lists;
                return Ok(Expansion { variance: grid.moments[0], value, slope, error: reached });
            }
        }
        before = Some((lists, grid.moments));
    }
    Err(Error::Quadrature { activation: name.to_owned(), reached, asked: tolerance })
}
