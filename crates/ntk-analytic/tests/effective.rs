//! Effective theory of finite width against finite networks, drawn here as plain arrays.

#![allow(clippy::unwrap_used)]

use ntk_analytic::effective::{Cumulants, MeanField, critical};
use ntk_core::{Activation, Variance};

/// Standard normal numbers from a 64-bit counter, by Box and Muller.
struct Normals {
    state: u64,
    spare: Option<f64>,
}

impl Normals {
    fn new(seed: u64) -> Self {
        Normals { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0, spare: None }
    }

    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    fn vector(&mut self, n: usize, variance: f64) -> Vec<f64> {
        (0..n).map(|_| self.next() * variance.sqrt()).collect()
    }
}

fn field(phi: &Activation, weight: f64, bias: f64) -> MeanField {
    MeanField::new(phi, Variance::new(weight).unwrap(), Variance::new(bias).unwrap()).unwrap()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A mean of products of centered numbers, with its standard error.
fn covariance(a: &[f64], b: &[f64]) -> (f64, f64) {
    let (ma, mb) = (mean(a), mean(b));
    let products: Vec<f64> = a.iter().zip(b).map(|(x, y)| (x - ma) * (y - mb)).collect();
    let m = mean(&products);
    let spread = mean(&products.iter().map(|p| (p - m).powi(2)).collect::<Vec<_>>());
    (m, (spread / a.len() as f64).sqrt())
}

/// n (E G² − K²)/K² of layer l is 2(l − 1) + 2 for linear and 5(l − 1) + 2 for critical ReLU networks, with a
/// deviation of order 1/n; the fluctuation itself falls as 1/n.
#[test]
fn norms_fluctuate_as_the_vertex_says() {
    let linear = Activation::Monomial { degree: 1 };
    for (phi, weight, step) in [(linear, 1.0, 2.0), (Activation::Relu, 2.0, 5.0)] {
        let theory = field(&phi, weight, 0.0).cumulants(1.0, 5).unwrap();
        for layer in [2, 3, 5] {
            let expected = theory[layer - 1].norm_variance();
            assert!((expected - (step * (layer as f64 - 1.0) + 2.0)).abs() < 1e-10);
            let (mut x, mut y) = (Vec::new(), Vec::new());
            for n in [64usize, 128, 256, 512, 1024] {
                let mut normals = Normals::new((n * 10 + layer) as u64);
                let norms: Vec<f64> = (0..8_000)
                    .map(|_| {
                        // Given the layer before, preactivations are independent with variance G.
                        let mut g = 1.0;
                        for _ in 1..layer {
                            let z = normals.vector(n, g);
                            g = weight
                                * mean(&z.iter().map(|z| phi.eval(*z).unwrap().powi(2)).collect::<Vec<_>>());
                        }
                        mean(&normals.vector(n, g).iter().map(|z| z * z).collect::<Vec<_>>())
                    })
                    .collect();
                let (spread, error) = covariance(&norms, &norms);
                // Layers multiply independent factors, so that the exact value is known, too.
                let exact = (1.0 + step / n as f64).powi(layer as i32 - 1) * (1.0 + 2.0 / n as f64) - 1.0;
                assert!(
                    (spread - exact).abs() < 4.5 * error,
                    "{phi:?} {layer} {n}: {spread} {exact} ± {error}"
                );
                x.push((n as f64).ln());
                y.push(spread.ln());
            }
            let (mx, my) = (mean(&x), mean(&y));
            let slope = x.iter().zip(&y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
                / x.iter().map(|x| (x - mx).powi(2)).sum::<f64>();
            assert!((slope + 1.0).abs() < 0.1, "{phi:?} {layer}: {slope}");
            let coarse = y[4].exp() * 1024.0;
            assert!((coarse - expected).abs() < 0.1 * expected, "{phi:?} {layer}: {coarse} {expected}");
        }
    }
}

/// G, Θ̂₁₁, Θ̂₂₂, Θ̂₁₂ and z₁z₂ of units of the last of `depth` layers, for one draw at width n.
fn draw(
    phi: &Activation,
    [weight, bias, first]: [f64; 3],
    depth: usize,
    n: usize,
    normals: &mut Normals,
) -> [f64; 5] {
    let mut z = normals.vector(n, first);
    let (mut gains, mut layers) = (vec![first], Vec::new());
    let mut g = first;
    for layer in 1..depth {
        let a: Vec<f64> = z.iter().map(|z| phi.eval(*z).unwrap()).collect();
        g = weight * mean(&a.iter().map(|a| a * a).collect::<Vec<_>>()) + bias;
        gains.push(g);
        let slopes: Vec<f64> = z.iter().map(|z| phi.derivative(*z).unwrap()).collect();
        let rows = if layer + 1 == depth { 2 } else { n };
        let w = normals.vector(rows * n, weight / n as f64);
        z = w.chunks(n).map(|row| row.iter().zip(&a).map(|(w, a)| w * a).sum::<f64>()).collect();
        z.iter_mut().for_each(|z| *z += bias.sqrt() * normals.next());
        layers.push((w, slopes));
    }
    let product = z[0] * z[1];
    // ∂z/∂zˡ of both units, backwards; each layer's parameters contribute Gˡ ⟨∂, ∂⟩.
    let mut deltas = [vec![1.0, 0.0], vec![0.0, 1.0]];
    let mut ntk = [g, g, 0.0];
    for (l, (w, slopes)) in layers.iter().enumerate().rev() {
        deltas = deltas.map(|delta| {
            let mut back = vec![0.0; n];
            for (row, d) in w.chunks(n).zip(&delta) {
                back.iter_mut().zip(row).for_each(|(b, w)| *b += w * d);
            }
            back.iter_mut().zip(slopes).for_each(|(b, s)| *b *= s);
            back
        });
        for (entry, [i, j]) in ntk.iter_mut().zip([[0, 0], [1, 1], [0, 1]]) {
            *entry += gains[l] * deltas[i].iter().zip(&deltas[j]).map(|(a, b)| a * b).sum::<f64>();
        }
    }
    [g, ntk[0], ntk[1], ntk[2], product]
}

/// All six coefficients of 1/n: statistics at two widths, extrapolated linearly in 1/n.
#[test]
fn tangent_kernels_fluctuate_as_the_recursion_says() {
    for (phi, weight, bias, first) in [
        (Activation::Relu, 2.0, 0.0, 1.0),
        (Activation::Tanh, 1.5, 0.1, 1.3),
        (Activation::Gelu, 1.8, 0.2, 0.8),
    ] {
        let theory: Cumulants = *field(&phi, weight, bias).cumulants(first, 4).unwrap().last().unwrap();
        let expected = [
            theory.vertex,
            theory.ntk_common,
            theory.ntk_single,
            theory.ntk_variance(),
            theory.cross_common,
            theory.cross_single,
        ];
        let at = |n: usize| -> Vec<(f64, f64)> {
            let mut normals = Normals::new(n as u64);
            let draws: Vec<[f64; 5]> =
                (0..24_000).map(|_| draw(&phi, [weight, bias, first], 4, n, &mut normals)).collect();
            let column = |k: usize| draws.iter().map(|draw| draw[k]).collect::<Vec<f64>>();
            let [g, one, two, between, product] = [0, 1, 2, 3, 4].map(column);
            [(&g, &g), (&one, &two), (&between, &between), (&one, &one), (&g, &one), (&product, &between)]
                .map(|(a, b)| {
                    let (value, error) = covariance(a, b);
                    (value * n as f64, error * n as f64)
                })
                .to_vec()
        };
        let (coarse, fine) = (at(20), at(40));
        for (k, expected) in expected.iter().enumerate() {
            let found = 2.0 * fine[k].0 - coarse[k].0;
            let error = (4.0 * fine[k].1.powi(2) + coarse[k].1.powi(2)).sqrt();
            // What is left is of order 1/n².
            let allowed = 4.0 * error + 0.05 * expected;
            assert!((found - expected).abs() < allowed, "{phi:?} {k}: {found} ± {error} against {expected}");
            // Covariances are known on the scale of the variances.
            let scale = match k {
                1 => theory.ntk_variance(),
                4 => (theory.vertex * theory.ntk_variance()).sqrt(),
                _ => *expected,
            };
            assert!(error < 0.3 * scale, "{phi:?} {k}: {error}");
        }
    }
}

/// Gradients of critical networks change as a power of the depth: not at all in the scale-invariant and the half-stable
/// class, as 1/depth where the variance vanishes and φ is odd.
#[test]
fn critical_networks_keep_gradients() {
    for (phi, power) in
        [(Activation::Relu, 0.0), (Activation::ERF, -1.0), (Activation::Tanh, -1.0), (Activation::Silu, 0.0)]
    {
        let point = critical(&phi).unwrap();
        let first = point.variance.filter(|k| *k > 0.0).unwrap_or(1.0);
        let field = point.mean_field(&phi).unwrap();
        let variances = field.variances(first, 800).unwrap();
        let growth = variances[100..].iter().map(|k| field.susceptibilities(*k).unwrap().perpendicular.ln());
        let found = growth.sum::<f64>() / 8f64.ln();
        assert!((found - power).abs() < 0.03, "{phi:?} {found}");
    }
}
