//! The functions ϕ₀ … ϕ₄ of exponential integrators, of the 2 × 2 matrix that one mode of training is.

/// A 2 × 2 matrix by rows. One mode of gradient flow uses its first entry alone.
pub(super) type Square = [[f64; 2]; 2];

/// Terms of the Taylor series, enough for a norm of one: 1/20! < 1e-18.
const TERMS: u32 = 16;

const IDENTITY: Square = [[1.0, 0.0], [0.0, 1.0]];

/// What one mode obeys, linearized: u′ = M u with an eigenvalue λ of the curvature times the kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// a′ = −λ a.
    Flow,
    /// a″ = −γ a′ − λ a, of position and velocity.
    HeavyBall {
        /// γ > 0.
        friction: f64,
    },
}

impl Mode {
    /// ϕ₀(hM) … ϕ₄(hM) with ϕ₀ = exp and ϕₖ₊₁(z) = (ϕₖ(z) − 1/k!)/z; h > 0.
    pub(super) fn phi(self, h: f64, lambda: f64) -> [Square; 5] {
        match self {
            Mode::Flow => functions([[-h * lambda, 0.0], [0.0, 0.0]]),
            Mode::HeavyBall { friction } => {
                // Velocities in units of s, in which M is nearly normal.
                let s = lambda.abs().sqrt().max(friction);
                let phi = functions([[0.0, h * s], [-h * lambda / s, -h * friction]]);
                phi.map(|p| [[p[0][0], p[0][1] / s], [p[1][0] * s, p[1][1]]])
            }
        }
    }
}

/// By Taylor series of z/2^j, and ϕₖ(2z) = 2⁻ᵏ (ϕ₀(z) ϕₖ(z) + Σᵢ ϕᵢ(z)/(k − i)!), i = 1 … k.
fn functions(z: Square) -> [Square; 5] {
    let norm = z.iter().map(|row| row[0].abs() + row[1].abs()).fold(0.0, f64::max);
    let doublings = if norm > 1.0 { norm.log2().ceil() as i32 } else { 0 };
    let small = map(z, |v| v * 0.5_f64.powi(doublings));
    // ϕ₄ = Σᵢ zⁱ/(i + 4)!, by Horner's rule; the others from it.
    let mut last = map(IDENTITY, |v| v / factorial(TERMS + 4));
    for i in (0..TERMS).rev() {
        last = add(multiply(small, last), map(IDENTITY, |v| v / factorial(i + 4)));
    }
    let mut phi = [last; 5];
    for k in (0..4).rev() {
        phi[k] = add(multiply(small, phi[k + 1]), map(IDENTITY, |v| v / factorial(k as u32)));
    }
    for _ in 0..doublings {
        let before = phi;
        for (k, doubled) in phi.iter_mut().enumerate() {
            let mut sum = multiply(before[0], before[k]);
            for (i, part) in before.iter().enumerate().take(k + 1).skip(1) {
                sum = add(sum, map(*part, |v| v / factorial((k - i) as u32)));
            }
            *doubled = map(sum, |v| v * 0.5_f64.powi(k as i32));
        }
    }
    phi
}

fn factorial(k: u32) -> f64 {
    (1..=k).map(f64::from).product()
}

fn map(a: Square, f: impl Fn(f64) -> f64) -> Square {
    a.map(|row| row.map(&f))
}

fn add(a: Square, b: Square) -> Square {
    [[a[0][0] + b[0][0], a[0][1] + b[0][1]], [a[1][0] + b[1][0], a[1][1] + b[1][1]]]
}

fn multiply(a: Square, b: Square) -> Square {
    let entry = |i: usize, j: usize| a[i][0] * b[0][j] + a[i][1] * b[1][j];
    [[entry(0, 0), entry(0, 1)], [entry(1, 0), entry(1, 1)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mode_of_flow_is_the_exponential() {
        for x in [1e-9, 0.3, 1.0, 7.0, 1e3, 1e8] {
            let phi = Mode::Flow.phi(2.0, x / 2.0).map(|p| p[0][0]);
            assert!((phi[0] - (-x).exp()).abs() < 1e-15);
            let first = -(-x).exp_m1() / x;
            assert!((phi[1] / first - 1.0).abs() < 1e-13, "{x}");
            for k in 1..4 {
                // Stable for large x; for small ones the functions are near 1/k!.
                let next = (1.0 / factorial(k as u32) - phi[k]) / x;
                let tolerance = if x < 1.0 { 1e-6 } else { 1e-13 };
                assert!(x < 1e-3 || (phi[k + 1] / next - 1.0).abs() < tolerance, "{k} {x}");
                assert!((phi[k + 1] * factorial(k as u32 + 1) - 1.0).abs() < x);
            }
        }
    }

    #[test]
    fn one_mode_of_the_heavy_ball_solves_its_equation() {
        // exp(hM) is position and velocity from unit starts; the sum of its integrals closes: M h ϕ₁ = ϕ₀ − 1.
        for (friction, lambda) in [(0.1_f64, 4.0), (0.5, 0.0625), (1.0, 1e-6), (0.2, -0.5), (0.1, 1e4)] {
            for h in [1e-3, 1.0, 30.0] {
                let phi = Mode::HeavyBall { friction }.phi(h, lambda);
                let m = [[0.0, h], [-h * lambda, -h * friction]];
                for k in 0..4 {
                    let closed = add(multiply(m, phi[k + 1]), map(IDENTITY, |v| v / factorial(k as u32)));
                    for (a, b) in closed.as_flattened().iter().zip(phi[k].as_flattened()) {
                        let size = 1.0 + phi[k].as_flattened().iter().fold(0.0_f64, |m, v| m.max(v.abs()));
                        assert!((a - b).abs() < 1e-11 * size, "{friction} {lambda} {h} {k}: {a} {b}");
                    }
                }
                let determinant = phi[0][0][0] * phi[0][1][1] - phi[0][0][1] * phi[0][1][0];
                let size = phi[0][0][0].abs().max(1.0).powi(2);
                assert!((determinant - (-friction * h).exp()).abs() < 1e-11 * size);
            }
        }
    }
}
