//! Simple recurrent networks by their recursion over pairs of steps: a program of all steps would integrate pair by pair,
//! while here all pairs of steps of all pairs of sequences advance together.
//!
//! s_t = φ(W s_{t−1} + U ξ_t + b), s₀ = 0. With C and Θ the kernels of the states of two sequences at steps t and t′,
//!
//! H_tt′ = σ_u² ξ_tᵀξ̄_t′/d + σ_b² + σ_w² C_{t−1,t′−1}, C_tt′ = V_φ(H),
//! Θ_tt′ = V_φ′(H) (λ_u ξ_tᵀξ̄_t′/d + λ_b + λ_w C_{t−1,t′−1} + σ_w² Θ_{t−1,t′−1}),
//!
//! and zero before the first step. Sources: \[yang2019wide\], \[yang2020tensor\] appendix E.2, whose backward recursion it
//! is the adjoint of.

use ndarray::Array2;
use ntk_core::Activation;
use ntk_core::program::networks::{Rates, Readout, Weights};
#[cfg(feature = "rayon")]
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::error::Error;
use crate::Cov2;
use crate::dual::{Prepared, TOLERANCE, correlation, prepare};

/// NNGP and NTK of a simple recurrent network, for all pairs of sequences.
///
/// `gram` holds ξᵀξ̄/d with a row for each token of each sequence in order, `lengths` how many tokens each has. The network is
/// that of [`ntk_core::program::networks::rnn`]; `readout` says which states the output reads, with variance σ_v². Values
/// are exact to 10⁻¹⁰ relative to √(K₁₁K₂₂), also for sequences that differ little.
///
/// Costs O(P) dual activations for P pairs of tokens; memory is one row of `gram` for each sequence.
///
/// ```
/// use ndarray::array;
/// use ntk_analytic::program::rnn_kernels;
/// use ntk_core::Activation;
/// use ntk_core::program::networks::{Rates, Readout, Weights};
///
/// let weights = Weights { weight: 2.0, input: 1.0, bias: 0.0, readout: 1.0, rates: Rates::Unit };
/// // One sequence of two equal tokens: E s₁² = ½, then E s₂² = ½(1 + 2 · ½) = 1.
/// let gram = array![[1.0, 1.0], [1.0, 1.0]];
/// let [nngp, _] = rnn_kernels(&Activation::Relu, &weights, &gram, &[2], Readout::Last)?;
/// assert_eq!(nngp, array![[1.0]]);
/// # Ok::<(), ntk_analytic::program::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for lengths that are 0 or do not add up to the rows of `gram`, and for variances that are negative or not
/// finite; [`Error::Dual`] for what is no Gram matrix, or an activation without a dual.
pub fn rnn_kernels(
    phi: &Activation,
    weights: &Weights,
    gram: &Array2<f64>,
    lengths: &[usize],
    readout: Readout,
) -> Result<[Array2<f64>; 2], Error> {
    let network = Network::new(phi, weights, gram, lengths)?;
    let longest = network.alive.len();
    let n = lengths.len();
    let mut out = [Array2::zeros((n, n)), Array2::zeros((n, n))];
    // What a pair of states contributes to the output.
    let share = |a: Token, b: Token| {
        let [t, s] = [lengths[a.sequence], lengths[b.sequence]];
        match readout {
            Readout::Last => f64::from(u8::from(a.step + 1 == t && b.step + 1 == s)),
            Readout::Average => 1.0 / (t as f64 * s as f64),
            Readout::Each if a.step == b.step => 1.0 / longest as f64,
            Readout::Each => 0.0,
        }
    };
    network.run(|a, b, state| {
        let share = share(a, b);
        for (out, value) in out.iter_mut().zip(state) {
            out[[a.sequence, b.sequence]] += share * value;
        }
    })?;
    let [states, tangents] = out;
    let ntk = &states * network.rate(weights.readout) + tangents * weights.readout;
    Ok([states * weights.readout, ntk])
}

/// C = E s_t s̄_t′ and the tangent kernel Θ of the states of a simple recurrent network, for all pairs of tokens of all
/// sequences: matrices like `gram`. Outputs at every step by one readout have σ_v² C and λ_v C + σ_v² Θ.
///
/// # Errors
/// As [`rnn_kernels`].
pub fn rnn_states(
    phi: &Activation,
    weights: &Weights,
    gram: &Array2<f64>,
    lengths: &[usize],
) -> Result<[Array2<f64>; 2], Error> {
    let mut out = [Array2::zeros(gram.dim()), Array2::zeros(gram.dim())];
    Network::new(phi, weights, gram, lengths)?.run(|a, b, state| {
        for (out, value) in out.iter_mut().zip(state) {
            out[[a.row, b.row]] = value;
        }
    })?;
    Ok(out)
}

/// A step of a sequence.
#[derive(Clone, Copy)]
struct Token {
    sequence: usize,
    /// From 0 on.
    step: usize,
    /// Its row of the Gram matrix.
    row: usize,
}

/// Tokens stand step by step, and in each step the longest sequences first, so that the sequences that have a step are the
/// first ones of the step before.
struct Network<'a> {
    phi: &'a Activation,
    weights: &'a Weights,
    gram: &'a Array2<f64>,
    tokens: Vec<Token>,
    /// Sequences that have a step, by step.
    alive: Vec<usize>,
    /// The first token of each step.
    starts: Vec<usize>,
}

/// The variances of all preactivations and states, and the shares of the input, the bias and the state before in the standard
/// deviation of the former.
struct Variances {
    before: Vec<f64>,
    after: Vec<f64>,
    shares: Vec<[f64; 3]>,
}

/// The states of one step against those of this and all later steps, row by row: signed gaps 1 − |ρ| and tangent kernels.
type Wave = Vec<[Vec<f64>; 2]>;

impl<'a> Network<'a> {
    fn new(
        phi: &'a Activation,
        weights: &'a Weights,
        gram: &'a Array2<f64>,
        lengths: &[usize],
    ) -> Result<Self, Error> {
        let total: usize = lengths.iter().sum();
        if gram.dim() != (total, total) || lengths.is_empty() || lengths.contains(&0) {
            let reason = format!(
                "sequences of {lengths:?} tokens need a Gram matrix of {total} rows and columns and no empty sequence, not {:?}",
                gram.dim()
            );
            return Err(Error::Shape { reason });
        }
        let variances = [weights.weight, weights.input, weights.bias, weights.readout];
        if let Some(value) = variances.iter().find(|v| !(**v >= 0.0 && v.is_finite())) {
            let reason = format!("a variance is a finite number of at least 0, not {value}");
            return Err(Error::Shape { reason });
        }
        phi.check().map_err(crate::Error::from)?;
        let rows: Vec<usize> =
            lengths.iter().scan(0, |end, n| Some(std::mem::replace(end, *end + n))).collect();
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&k| std::cmp::Reverse(lengths[k]));
        let (mut tokens, mut alive, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..lengths[order[0]] {
            starts.push(tokens.len());
            let now = order.iter().take_while(|&&k| lengths[k] > step);
            tokens.extend(now.map(|&sequence| Token { sequence, step, row: rows[sequence] + step }));
            alive.push(tokens.len() - starts[step]);
        }
        Ok(Network { phi, weights, gram, tokens, alive, starts })
    }

    fn rate(&self, variance: f64) -> f64 {
        match self.weights.rates {
            Rates::Unit => 1.0,
            Rates::Variance => variance,
        }
    }

    /// The same sequence a step before.
    fn last(&self, token: usize) -> Option<usize> {
        let step = self.tokens[token].step;
        Some(token - self.starts[step] + self.starts[step.checked_sub(1)?])
    }

    fn variances(&self) -> Result<Variances, Error> {
        let Weights { weight, input, bias, .. } = *self.weights;
        let mut all = Variances { before: Vec::new(), after: Vec::new(), shares: Vec::new() };
        for (&start, &count) in self.starts.iter().zip(&self.alive) {
            for token in start..start + count {
                let row = self.tokens[token].row;
                let own = Cov2::new(self.gram[[row, row]], self.gram[[row, row]], self.gram[[row, row]])?;
                let back = self.last(token).map_or(0.0, |last| all.after[last]);
                let parts = [input * own.q11, bias, weight * back];
                let sum: f64 = parts.iter().sum();
                all.before.push(sum);
                all.shares.push(parts.map(|part| if part > 0.0 { (part / sum).sqrt() } else { 0.0 }));
            }
            let now = &all.before[start..];
            all.after.extend_from_slice(prepare(self.phi, now, now, TOLERANCE)?.variances().0);
        }
        Ok(all)
    }

    /// Calls `each` with C and Θ of all ordered pairs of tokens.
    fn run(&self, mut each: impl FnMut(Token, Token, [f64; 2])) -> Result<(), Error> {
        let variances = self.variances()?;
        let mut wave: Wave = Vec::new();
        for step in 0..self.alive.len() {
            wave = self.advance(step, &wave, &variances)?;
            let start = self.starts[step];
            for (i, [gaps, tangents]) in wave.iter().enumerate() {
                let a = self.tokens[start + i];
                for (j, (&gap, &tangent)) in gaps.iter().zip(tangents).enumerate() {
                    let b = self.tokens[start + j];
                    let state = [variances.covariance(start + i, start + j, gap), tangent];
                    each(a, b, state);
                    if b.step > a.step {
                        each(b, a, state);
                    }
                }
            }
        }
        Ok(())
    }

    /// The states of a step from those of the step before.
    fn advance(&self, step: usize, wave: &Wave, variances: &Variances) -> Result<Wave, Error> {
        let (start, count) = (self.starts[step], self.alive[step]);
        let q = &variances.before;
        let dual = prepare(self.phi, &q[start..start + count], &q[start..], TOLERANCE)?;
        let row = |i: usize| self.row(step, i, wave, variances, dual.as_ref());
        #[cfg(feature = "rayon")]
        return (0..count).into_par_iter().map(row).collect();
        #[cfg(not(feature = "rayon"))]
        return (0..count).map(row).collect();
    }

    fn row(
        &self,
        step: usize,
        i: usize,
        wave: &Wave,
        variances: &Variances,
        dual: &dyn Prepared,
    ) -> Result<[Vec<f64>; 2], Error> {
        let Weights { weight, input, bias, .. } = *self.weights;
        let [weight_rate, input_rate, bias_rate] = [weight, input, bias].map(|v| self.rate(v));
        let start = self.starts[step];
        let (a, columns) = (start + i, self.tokens.len() - start);
        let (mut gaps, mut tangents) = (Vec::with_capacity(columns), Vec::with_capacity(columns));
        for b in start..self.tokens.len() {
            let (x, y) = (self.tokens[a].row, self.tokens[b].row);
            let g = Cov2::new(self.gram[[x, x]], self.gram[[y, y]], self.gram[[x, y]])?;
            // The states a step before are those of the wave before.
            let (mut back, mut tangent) = (1.0, input_rate * g.q12 + bias_rate);
            if let (Some(last), Some(other)) = (self.last(a), self.last(b)) {
                let [gaps, tangents] = &wave[i];
                let at = other - self.starts[step - 1];
                back = gaps[at];
                tangent += weight_rate * variances.covariance(last, other, back) + weight * tangents[at];
            }
            let [first, second] = [a, b].map(|token| &variances.shares[token]);
            gaps.push(mixed(first, second, [g.signed_gap()?, 0.0, back]));
            tangents.push(tangent);
        }
        let mut slopes = vec![0.0; columns];
        dual.row(i, 0, &mut gaps, Some(&mut slopes));
        tangents.iter_mut().zip(&slopes).for_each(|(tangent, slope)| *tangent *= slope);
        Ok([gaps, tangents])
    }
}

impl Variances {
    /// C of two states.
    fn covariance(&self, a: usize, b: usize, gap: f64) -> f64 {
        let (p, q) = (self.after[a], self.after[b]);
        // √p·√p may differ from p in the last digit.
        correlation(gap) * if p == q { p } else { p.sqrt() * q.sqrt() }
    }
}

/// The signed gap of sums of independent parts with these shares in their standard deviations, from those of the parts:
/// 1 ∓ ρ = ½ Σ(αₖ − βₖ)² + Σ αₖβₖ(1 ∓ ρₖ), where no term cancels another. Without variance, 1.
fn mixed(alpha: &[f64; 3], beta: &[f64; 3], gaps: [f64; 3]) -> f64 {
    if [alpha, beta].iter().any(|shares| shares.iter().all(|share| *share == 0.0)) {
        return 1.0;
    }
    let distance = |sign: f64| -> f64 {
        let part = |k: usize| {
            let (a, b, gap) = (alpha[k], beta[k], gaps[k].abs());
            let own = if gaps[k].is_sign_negative() == (sign < 0.0) { gap } else { 2.0 - gap };
            0.5 * (a - b).powi(2) + a * b * own
        };
        (0..3).map(part).sum()
    };
    let below = distance(1.0);
    if below <= 1.0 { below } else { -distance(-1.0) }
}

#[cfg(test)]
mod tests;
