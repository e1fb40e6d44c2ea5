//! Where variances and correlations settle with depth, and at what rate: order, chaos and the edge between them.

use ndarray::Array2;
use ntk_core::Variance;

use super::MeanField;
use crate::Error;
use crate::dual::correlation;

/// Numbers that are 1 to this are taken as 1.
const ONE: f64 = 1e-9;

/// A map x ↦ x is told from others by this much, relatively.
const SAME: f64 = 1e-12;

/// Where Kˡ⁺¹/Kˡ − 1 is below this, fixed points are looked for in this many pieces of a step.
const FLAT: f64 = 1e-2;
const PIECES: i32 = 16;

/// What becomes of two inputs at great depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// χ_⊥ < 1: inputs become alike and gradients vanish.
    Ordered,
    /// χ_⊥ = 1 to 10⁻⁹: the edge of chaos, where depth scales diverge.
    Critical,
    /// χ_⊥ > 1: close inputs separate, and gradients explode.
    Chaotic,
    /// The variance grows without bound.
    Divergent,
}

/// What becomes of variances near a fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stability {
    /// |χ_∥| < 1.
    Stable,
    /// |χ_∥| = 1 to 10⁻⁹: approached algebraically, perhaps from one side only.
    Marginal,
    /// |χ_∥| > 1.
    Unstable,
}

/// A variance K* = σ_b² + σ_w² E φ².
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedPoint {
    /// K*.
    pub variance: f64,
    /// χ_∥(K*) = dKˡ⁺¹/dKˡ.
    pub parallel: f64,
    /// χ_⊥(K*) = σ_w² E φ′².
    pub perpendicular: f64,
}

impl FixedPoint {
    /// Whether variances nearby come closer.
    pub fn stability(&self) -> Stability {
        match self.parallel.abs() - 1.0 {
            excess if excess.abs() <= ONE => Stability::Marginal,
            excess if excess < 0.0 => Stability::Stable,
            _ => Stability::Unstable,
        }
    }
}

/// The limit of great depth for inputs of one variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Propagation {
    /// Order or chaos.
    pub phase: Phase,
    /// K*, or ∞.
    pub variance: f64,
    /// χ_∥(K*); where the variance diverges, at the largest variance looked at.
    pub parallel: f64,
    /// χ_⊥(K*), likewise.
    pub perpendicular: f64,
    /// The correlation c* of two different inputs; none where K* is 0 or ∞.
    pub correlation: Option<f64>,
    /// ξ_q = 1/|ln χ_∥|: layers in which a deviation of the variance changes by a factor e.
    pub variance_depth: f64,
    /// ξ_c = 1/|ln χ|, χ = σ_w² E φ′(u)φ′(v) at c*: layers in which a deviation of the correlation changes by a factor e.
    /// Signals and gradients reach about this deep, \[schoenholz2017deep\].
    pub correlation_depth: f64,
}

impl MeanField {
    /// All isolated fixed points of the variance between 10⁻¹⁰ and 10¹⁰, and 0 if it is one, in increasing order.
    ///
    /// Sign changes of Kˡ⁺¹/Kˡ − 1 are looked for at eight points a decade, and at sixteen times as many where it is below
    /// 1 %, there with zeros where it turns. A critical
    /// scale-invariant network, where every K is fixed, has no isolated one.
    ///
    /// # Errors
    /// As [`MeanField::next`].
    pub fn fixed_points(&self) -> Result<Vec<FixedPoint>, Error> {
        let mut roots = Vec::new();
        let table = self.moments.table();
        let growth: Vec<f64> = table.iter().map(|[q, v]| (self.bias + self.weight * v) / q - 1.0).collect();
        if self.bias == 0.0 && self.weight * self.moments.at_zero().0 == 0.0 {
            roots.push(0.0);
        }
        if growth.iter().all(|g| g.abs() <= SAME) {
            return roots.into_iter().map(|k| self.fixed(k)).collect();
        }
        for (j, pair) in growth.windows(2).enumerate() {
            self.roots([table[j][0], table[j + 1][0]], [pair[0], pair[1]], &mut roots)?;
        }
        roots.into_iter().map(|k| self.fixed(k)).collect()
    }

    /// Adds the fixed points in (low, high] to `roots`, given Kˡ⁺¹/Kˡ − 1 at the ends.
    fn roots(&self, [low, high]: [f64; 2], ends: [f64; 2], roots: &mut Vec<f64>) -> Result<(), Error> {
        let growth = |k: f64| Ok(self.next(k)? / k - 1.0);
        if ends[0].abs().min(ends[1].abs()) > FLAT {
            if ends[0] * ends[1] < 0.0 {
                roots.push(bisect([low, high], ends[0], growth)?);
            }
            return Ok(());
        }
        // Where the map nearly touches the diagonal, fixed points lie close together, or two have just merged.
        let turn = |k: f64| Ok(self.susceptibilities(k)?.parallel - self.next(k)? / k);
        let at = |i: i32| low * (high / low).powf(f64::from(i) / f64::from(PIECES));
        let mut before = [ends[0], turn(low)?];
        for i in 1..=PIECES {
            let bracket = [at(i - 1), at(i)];
            let here = [growth(bracket[1])?, turn(bracket[1])?];
            if here[0] == 0.0 {
                roots.push(bracket[1]);
            } else if before[0] * here[0] < 0.0 {
                roots.push(bisect(bracket, before[0], growth)?);
            } else if before[0] != 0.0 && before[1] * here[1] < 0.0 {
                let k = bisect(bracket, before[1], turn)?;
                if growth(k)?.abs() < ONE {
                    roots.push(k);
                }
            }
            before = here;
        }
        Ok(())
    }

    fn fixed(&self, variance: f64) -> Result<FixedPoint, Error> {
        let chi = self.susceptibilities(variance)?;
        Ok(FixedPoint { variance, parallel: chi.parallel, perpendicular: chi.perpendicular })
    }

    /// The fixed point that inputs whose preactivations have the variance `first` come to; none if they diverge.
    fn attractor(&self, first: f64) -> Result<Option<FixedPoint>, Error> {
        let next = self.next(first)?;
        if (next - first).abs() <= SAME * first {
            return Ok(Some(self.fixed(first)?));
        }
        let points = self.fixed_points()?;
        let table = self.moments.table();
        if table.windows(2).all(|pair| pair[1][1] >= pair[0][1] * (1.0 - SAME)) {
            // A map that increases moves every variance toward the next fixed point.
            let beyond = |point: &&FixedPoint| (point.variance > first) == (next > first);
            let found =
                if next > first { points.iter().find(beyond) } else { points.iter().rev().find(beyond) };
            if found.is_some() || next > first {
                return Ok(found.copied());
            }
        }
        let mut k = next;
        for _ in 0..4000 {
            let before = k;
            k = self.next(before)?;
            if (k - before).abs() <= ONE * k {
                break;
            }
        }
        let distance = |point: &FixedPoint| (point.variance - k).abs();
        let nearest = points.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        match nearest {
            Some(point) if distance(point) <= 1e-3 * k.max(1e-3) => Ok(Some(*point)),
            _ => Err(Error::NoFixedPoint { activation: self.moments.name().to_owned(), variance: k }),
        }
    }

    /// Where networks of these variances take inputs whose first preactivations have the variance `first` = K¹.
    ///
    /// # Errors
    /// [`Error::NoFixedPoint`] for a variance that goes round in circles, and as [`MeanField::next`].
    pub fn propagation(&self, first: f64) -> Result<Propagation, Error> {
        Variance::new(first)?;
        let depth = |chi: f64| 1.0 / chi.abs().ln().abs();
        let Some(FixedPoint { variance, parallel, perpendicular }) = self.attractor(first)? else {
            // Slopes may exist less far than values do.
            let mut table = self.moments.table().iter().rev();
            let chi = table.find_map(|[q, _]| self.susceptibilities(*q).ok());
            let chi = match chi {
                Some(chi) => chi,
                None => self.susceptibilities(first)?,
            };
            return Ok(Propagation {
                phase: Phase::Divergent,
                variance: f64::INFINITY,
                parallel: chi.parallel,
                perpendicular: chi.perpendicular,
                correlation: None,
                variance_depth: depth(chi.parallel),
                correlation_depth: depth(chi.perpendicular),
            });
        };
        let phase = match perpendicular - 1.0 {
            excess if excess.abs() <= ONE => Phase::Critical,
            excess if excess < 0.0 => Phase::Ordered,
            _ => Phase::Chaotic,
        };
        let (correlation, chi) = match phase {
            _ if variance == 0.0 => (None, perpendicular),
            Phase::Chaotic => {
                let (correlation, chi) = self.settled_correlation(variance)?;
                (Some(correlation), chi)
            }
            _ => (Some(1.0), perpendicular),
        };
        let scale = |chi: f64| if (chi - 1.0).abs() <= ONE { f64::INFINITY } else { depth(chi) };
        Ok(Propagation {
            phase,
            variance,
            parallel,
            perpendicular,
            correlation,
            variance_depth: scale(parallel),
            correlation_depth: scale(chi),
        })
    }

    /// c* < 1 and σ_w² E φ′φ′ there, at a fixed point K* with χ_⊥ > 1.
    ///
    /// The map of correlations is a power series with positive coefficients: convex on [0, 1], with one fixed point
    /// besides 1. In u = 1 − c it reads u ↦ σ_w² V (1 − ρ′)/K*.
    fn settled_correlation(&self, variance: f64) -> Result<(f64, f64), Error> {
        let prepared = self.moments.prepare(variance)?;
        let output = prepared.variances().0[0];
        let at = |u: f64| {
            let (mut gap, mut slope) = ([u], [0.0]);
            prepared.row(0, 0, &mut gap, Some(&mut slope));
            // 1 − ρ′ from the signed gap, without cancellation near 1.
            let distance = if gap[0].is_sign_positive() { gap[0] } else { 1.0 - correlation(gap[0]) };
            (self.weight * output * distance / variance, self.weight * slope[0])
        };
        let ratio = |log: f64| Ok(at(log.exp()).0 / log.exp() - 1.0);
        // An odd function without bias keeps the correlation 0.
        if ratio(0.0)?.abs() <= SAME {
            return Ok((0.0, at(1.0).1));
        }
        let log = bisect([1e-15f64.ln(), 0.0], 1.0, ratio)?;
        Ok((-log.exp_m1(), at(log.exp()).1))
    }

    /// The propagation of every pair of a weight variance (rows) and a bias variance (columns), from K¹ = `first`.
    ///
    /// # Errors
    /// As [`MeanField::propagation`].
    pub fn phase_diagram(
        &self,
        weights: &[Variance],
        biases: &[Variance],
        first: f64,
    ) -> Result<Array2<Propagation>, Error> {
        let cells = weights.iter().flat_map(|&weight| biases.iter().map(move |&bias| (weight, bias)));
        let cells = cells.map(|(weight, bias)| self.with_variances(weight, bias).propagation(first));
        let cells = cells.collect::<Result<Vec<_>, Error>>()?;
        // As many cells as the shape has.
        Ok(Array2::from_shape_fn((weights.len(), biases.len()), |(i, j)| cells[i * biases.len() + j]))
    }
}

/// The sign change of f in a bracket, where f has the sign of `left` at its lower end, to the last digits.
pub(super) fn bisect(
    bracket: [f64; 2],
    left: f64,
    f: impl Fn(f64) -> Result<f64, Error>,
) -> Result<f64, Error> {
    let [mut low, mut high] = bracket;
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if (f(middle)? > 0.0) == (left > 0.0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(0.5 * (low + high))
}
