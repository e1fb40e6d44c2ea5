//! Expectations of an activation and its derivative under one Gaussian, which are all that the recursions of a network's
//! statistics over depth ask for.

use std::f64::consts::TAU;
use std::sync::OnceLock;

use ntk_core::{Activation, Variance};

use crate::dual::{self, FunctionDual, Kinked, Prepared, Rule};
use crate::{Error, dual::TOLERANCE};

/// The variances that fixed points are looked for at: 10⁻¹⁰ to 10¹⁰, eight a decade.
const DECADES: i32 = 10;
const PER_DECADE: i32 = 8;

/// Beyond this many standard deviations the normal density is no normal double.
const REACH: f64 = 37.0;

/// Integrals go at least this far.
const CORE: f64 = 9.0;

/// A function that is not resolved by this many panels oscillates too fast for its variance.
const PANELS: usize = 1 << 13;

/// Panels of this length are not halved: what is left of an unknown kink is below rounding.
const SHORTEST: f64 = 1e-13;

/// Derivatives by differences are exact to less than this.
const NOISE: f64 = 1e-11;

/// An activation as a function of which expectations are taken.
pub(super) struct Moments {
    source: Source,
    function: Kinked,
    rule: Rule,
    table: OnceLock<Vec<[f64; 2]>>,
}

enum Source {
    Named(Activation),
    Function(FunctionDual),
}

impl Moments {
    pub(super) fn of_activation(phi: &Activation) -> Result<Self, Error> {
        phi.check()?;
        match phi {
            Activation::Custom { name, .. } => Err(Error::UnknownActivation { name: name.clone() }),
            Activation::ExpNormalized { .. } => Err(Error::NoFunction { activation: phi.name().to_owned() }),
            _ => Self::new(Source::Named(phi.clone()), dual::of_activation(phi)),
        }
    }

    pub(super) fn of_function(phi: FunctionDual) -> Result<Self, Error> {
        let function = phi.function().clone();
        Self::new(Source::Function(phi), function)
    }

    fn new(source: Source, function: Kinked) -> Result<Self, Error> {
        let moments = Moments { source, function, rule: Rule::new(20), table: OnceLock::new() };
        for &at in &moments.function.kinks {
            let h = 1e-9 * at.abs().max(1.0);
            let [below, above] = [at - h, at + h].map(&*moments.function.f);
            if (above - below).abs() > 1e-6 * (1.0 + above.abs() + below.abs()) {
                return Err(Error::Discontinuous { activation: moments.name().to_owned(), at });
            }
        }
        Ok(moments)
    }

    pub(super) fn name(&self) -> &str {
        match &self.source {
            Source::Named(phi) => phi.name(),
            Source::Function(phi) => phi.name(),
        }
    }

    /// The dual of pairs of variance q.
    pub(super) fn prepare(&self, q: f64) -> Result<Box<dyn Prepared>, Error> {
        match &self.source {
            Source::Named(phi) => dual::prepare(phi, &[q], &[q], TOLERANCE),
            Source::Function(phi) => phi.prepare(&[q], &[q]),
        }
    }

    /// φ(0), and φ′ on both sides of 0.
    pub(super) fn at_zero(&self) -> (f64, [f64; 2]) {
        ((self.function.f)(0.0), [-f64::MIN_POSITIVE, f64::MIN_POSITIVE].map(&*self.function.df))
    }

    /// E φ².
    pub(super) fn second(&self, q: f64) -> Result<f64, Error> {
        Ok(self.expect(q, |_, y, _| [y * y])?[0])
    }

    /// d E φ²/dq = E φφ′z/√q and E φ′².
    pub(super) fn slopes(&self, q: f64) -> Result<[f64; 2], Error> {
        let (zero, [below, above]) = self.at_zero();
        if q == 0.0 {
            // d E φ²/dq = E (φφ′)′: the second derivative by differences of φ′ of fourth order.
            let bend =
                |h: f64| ((self.function.df)(h) - (self.function.df)(-h) - (above - below)) / (2.0 * h);
            let curvature = if zero == 0.0 { 0.0 } else { zero * (4.0 * bend(5e-4) - bend(1e-3)) / 3.0 };
            let square = 0.5 * (below * below + above * above);
            return Ok([square + curvature, square]);
        }
        let [growth, square] = self.expect(q, |z, y, dy| [y * dy * z, dy * dy])?;
        Ok([growth / q.sqrt(), square])
    }

    /// (q, E φ²) over the variances that fixed points are looked for at, as far as E φ² is finite.
    pub(super) fn table(&self) -> &[[f64; 2]] {
        self.table.get_or_init(|| {
            let variance = |k: i32| 10f64.powf(f64::from(k) / f64::from(PER_DECADE));
            let entry = |q: f64| self.second(q).ok().filter(|v| v.is_finite()).map(|v| [q, v]);
            (-DECADES * PER_DECADE..=DECADES * PER_DECADE).map(variance).map_while(entry).collect()
        })
    }

    /// E f(z, φ(√q z), φ′(√q z)) for standard normal z, to about 10⁻¹⁴ of the integral of |f|: Gauss–Legendre on panels
    /// between the kinks, halved until that changes nothing.
    ///
    /// # Errors
    /// [`Error::Expectation`] for an integral that does not exist.
    pub(super) fn expect<const N: usize>(
        &self,
        q: f64,
        f: impl Fn(f64, f64, f64) -> [f64; N],
    ) -> Result<[f64; N], Error> {
        Variance::new(q)?;
        // At q = 0 both sides of a kink at 0 count.
        let sigma = q.sqrt().max(1e-100);
        let refused = || dual::no_moment(self.name(), q);
        let panel = |a: f64, b: f64| {
            let (mut sum, mut size) = ([0.0; N], [0.0; N]);
            self.rule.plain(a, b, |z, w| {
                let (x, w) = (sigma * z, w * (-0.5 * z * z).exp() / TAU.sqrt());
                let values = f(z, (self.function.f)(x), (self.function.df)(x));
                for c in 0..N {
                    sum[c] += w * values[c];
                    size[c] += w * values[c].abs();
                }
            });
            (sum, size)
        };
        let mut ends: Vec<f64> = (-5..=5).map(|k| f64::from(k) * CORE / 5.0).collect();
        for kink in self.function.kinks.iter().copied().chain([0.0]) {
            // Functions change on the scale 1 of their argument next to these points: panels that double away from them.
            let (at, mut distance) = (kink / sigma, 2.0 / sigma);
            ends.push(at);
            while distance < 1.0 {
                ends.extend([at - distance, at + distance]);
                distance *= 2.0;
            }
        }
        ends.retain(|z| z.abs() < REACH);
        ends.sort_by(f64::total_cmp);
        ends.dedup();
        let (mut stack, mut total, mut size) = (Vec::new(), [0.0; N], [0.0; N]);
        let mut push = |stack: &mut Vec<_>, a: f64, b: f64| {
            let (sum, part) = panel(a, b);
            (0..N).for_each(|c| size[c] += part[c]);
            stack.push((a, b, sum, part, f64::INFINITY));
            (0..N).any(|c| part[c] > 1e-17 * size[c])
        };
        for pair in ends.windows(2) {
            push(&mut stack, pair[0], pair[1]);
        }
        // Fast growth moves the mass outwards: on, until nothing comes any more.
        for side in [-1.0, 1.0] {
            let mut at = if side < 0.0 { ends[0] } else { ends[ends.len() - 1] };
            while push(&mut stack, at.min(at + side), at.max(at + side)) {
                at += side;
                if at.abs() >= REACH {
                    return Err(refused());
                }
            }
        }
        let mut panels = 0;
        while let Some((a, b, sum, part, before)) = stack.pop() {
            panels += 1;
            if panels > PANELS || size.iter().any(|s| !s.is_finite()) {
                return Err(refused());
            }
            let middle = 0.5 * (a + b);
            let ((left, left_part), (right, right_part)) = (panel(a, middle), panel(middle, b));
            (0..N).for_each(|c| size[c] += left_part[c] + right_part[c] - part[c]);
            // Relative to the whole, of the worst of the integrals.
            let change = |c: usize| (left[c] + right[c] - sum[c]).abs() / size[c].max(f64::MIN_POSITIVE);
            let error = (0..N).map(change).fold(0.0, f64::max);
            // Halves of a panel that is off by the noise of φ′ share the noise; all else falls faster.
            let noise = error < NOISE && error > 0.3 * before;
            if b - a < SHORTEST || error <= 1e-15 || noise {
                (0..N).for_each(|c| total[c] += left[c] + right[c]);
            } else {
                stack.push((a, middle, left, left_part, error));
                stack.push((middle, b, right, right_part, error));
            }
        }
        if total.iter().all(|t| t.is_finite()) { Ok(total) } else { Err(refused()) }
    }
}
