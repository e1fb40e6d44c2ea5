//! Attention against its definition: plain sums, samples of logits, derivatives, and the reference.

#![allow(clippy::unwrap_used)] // Tests may.

use ntk_core::{AttentionMask, PositionCombine, PositionDecay, PositionEmbedding, Rate, Variance};

use super::*;
use crate::nodes::{normal_quantile, uniform};

/// K₀₀, K₀₁, K₁₁ of two samples, each (P, P).
type Kernels = [Array2<f64>; 3];

const PAIRS: [[usize; 2]; 3] = [[0, 0], [0, 1], [1, 1]];

fn variance(std: f64) -> Variance {
    Variance::from_std(std).unwrap()
}

/// X₁X₂ᵀ/c of random features of `samples` · P positions, scaled to a mean diagonal of `size`.
fn random_kernels(positions: usize, channels: usize, size: f64, seed: u64) -> Kernels {
    let normal = |i: usize| normal_quantile(uniform(seed * 1_000_003 + i as u64));
    let x = Array2::from_shape_fn((2 * positions, channels), |(p, c)| normal(p * channels + c));
    let k = x.dot(&x.t()) * (size / channels as f64);
    PAIRS.map(|[i, j]| {
        let at = |s: usize| s * positions..(s + 1) * positions;
        k.slice(ndarray::s![at(i), at(j)]).to_owned()
    })
}

fn limit(attention: &Attention, grid: &Grid, tolerance: f64) -> Limit {
    Limit::new("test", attention, grid, [1.0, 1.0], tolerance)
}

fn attend(limit: &Limit, kernels: &Kernels, lengths: [usize; 2], ntk: &Kernels) -> [Output; 3] {
    let samples = [0, 1].map(|i| limit.sample(&kernels[2 * i], lengths[i]).unwrap());
    [0, 1, 2].map(|k| {
        let [i, j] = PAIRS[k];
        limit.pair([&samples[i], &samples[j]], &kernels[k], Some(&ntk[k])).unwrap()
    })
}

fn root(weighting: Weighting) -> Attention {
    Attention { scaling: LogitScaling::InverseRoot, weighting, ..Attention::default() }
}

/// The images and the convolution (3, 2), SAME, σ_w = 1.5, σ_b = 0.3 of the reference values.
fn convolution() -> Kernels {
    let x = Array2::from_shape_fn((18, 2), |(p, c)| (0.7 * (2 * p + c + 1) as f64).sin());
    let k = x.dot(&x.t()) / 2.0;
    PAIRS.map(|[i, j]| {
        Array2::from_shape_fn((9, 9), |(p, q)| {
            let mut sum = 0.0;
            for (dy, dx) in (0..3).flat_map(|dy| [(dy, 0), (dy, 1)]) {
                // Of the window −1..=1 by 0..=1.
                let shift = |p: usize| {
                    let (y, x) = ((p / 3 + dy).checked_sub(1)?, p % 3 + dx);
                    (y < 3 && x < 3).then_some(3 * y + x)
                };
                if let (Some(p), Some(q)) = (shift(p), shift(q)) {
                    sum += k[[9 * i + p, 9 * j + q]];
                }
            }
            2.25 * sum / 6.0 + 0.09
        })
    })
}

/// K and Θ after the mean over positions and a dense layer with σ_w = 1.5, σ_b = 0.3.
fn readout(output: &Output) -> [f64; 2] {
    let k = 2.25 * output.kernel.mean().unwrap() + 0.09;
    [k, k + 2.25 * output.ntk.as_ref().unwrap().mean().unwrap()]
}

#[test]
fn reference_values_of_the_peer() {
    let b = Attention { bias: variance(0.2), ..Attention::default() };
    let softmax = Attention {
        key_variance: variance(1.2),
        query_variance: variance(1.1),
        value_variance: variance(0.9),
        output_variance: variance(1.3),
        ..b.clone()
    };
    let identity =
        Attention { key_variance: variance(1.2), bias: variance(0.2), ..root(Weighting::Identity) };
    let grid = Grid::new(&[3, 3]).unwrap();
    let k = convolution();
    // Embeddings with covariance 0.64/(1 + D²) added to the channels, trained as the peer does.
    let decay = PositionEmbedding::sum(Variance::ONE);
    let decay = PositionEmbedding { decay: PositionDecay::Inverse { scale: 1.0 }, ..decay };
    let embedding = Array2::from_shape_fn((9, 9), |(p, q)| {
        let distance = 1.0 / decay.correlation(&grid, p, q) - 1.0;
        0.64 / (1.0 + distance * distance)
    });
    let embedded = k.clone().map(|k| k + &embedding);
    let plain = Attention::default();
    let relu = Attention { weighting: Weighting::Relu, ..b };
    for (attention, k, expected) in [
        (
            &softmax,
            &k,
            [0.536169388838, 0.535184559346, 0.534285392798, 1.69467755535, 1.69073823738, 1.68714157119],
        ),
        (
            &relu,
            &k,
            [1.47822908464, 1.46966278005, 1.46150451628, 5.46291633854, 5.4286511202, 5.39601806514],
        ),
        (
            &identity,
            &k,
            [5.5074519104, 5.49217253959, 5.47834730102, 42.8896152832, 42.7673803167, 42.6567784081],
        ),
        (
            &plain,
            &embedded,
            [0.812282581789, 0.811557955614, 0.810894003176, 2.97913032716, 2.97623182246, 2.9735760127],
        ),
    ] {
        let outputs = attend(&limit(attention, &grid, 1e-3), k, [9, 9], k);
        for (pair, output) in outputs.iter().enumerate() {
            let [nngp, ntk] = readout(output);
            assert!((nngp / expected[pair] - 1.0).abs() < 1e-11, "{nngp} {}", expected[pair]);
            assert!((ntk / expected[pair + 3] - 1.0).abs() < 1e-11, "{ntk} {}", expected[pair + 3]);
            assert_eq!(output.error, 0.0);
        }
    }
}

/// The defining expectation by plain Monte Carlo: means and standard errors of κ_ab, and of
/// Σ E[ζζ]Θ* + Σ E[∂ζ∂ζ]K* (2K̃_abK̃ + Θ̃_abK̃ + K̃_abΘ̃), for unit variances and rate and the positions read.
fn monte_carlo(
    zeta: impl Fn(&[f64]) -> (Vec<f64>, Array2<f64>),
    k: &Kernels,
    theta: &Array2<f64>,
    [a, b]: [usize; 2],
    draws: usize,
) -> [[f64; 2]; 2] {
    let p = k[0].nrows();
    let covariance = Array2::from_shape_fn((2 * p, 2 * p), |(i, j)| match (i < p, j < p) {
        (true, true) => k[0][[a, a]] * k[0][[i, j]],
        (true, false) => k[1][[a, b]] * k[1][[i, j - p]],
        (false, true) => k[1][[a, b]] * k[1][[j, i - p]],
        (false, false) => k[2][[b, b]] * k[2][[i - p, j - p]],
    });
    let mut lower: Array2<f64> = Array2::zeros((2 * p, 2 * p));
    for i in 0..2 * p {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|n| lower[[i, n]] * lower[[j, n]]).sum();
            let rest = covariance[[i, j]] - sum;
            lower[[i, j]] = if i == j { rest.sqrt() } else { rest / lower[[j, j]] };
        }
    }
    let m = &k[1] * (2.0 * k[1][[a, b]] + theta[[a, b]]) + theta * k[1][[a, b]];
    let (mut sums, mut squares) = ([0.0; 2], [0.0; 2]);
    for draw in 0..draws {
        let z = ndarray::Array1::from_shape_fn(2 * p, |i| {
            normal_quantile(uniform((1 << 40) + (draw * 2 * p + i) as u64))
        });
        let logits = lower.dot(&z).to_vec();
        let ((s, ds), (t, dt)) = (zeta(&logits[..p]), zeta(&logits[p..]));
        let (s, t) = (ndarray::Array1::from(s), ndarray::Array1::from(t));
        let values = [s.dot(&k[1].dot(&t)), s.dot(&theta.dot(&t)) + (ds.t().dot(&k[1]).dot(&dt) * &m).sum()];
        for i in 0..2 {
            sums[i] += values[i];
            squares[i] += values[i] * values[i];
        }
    }
    let n = draws as f64;
    [0, 1].map(|i| [sums[i] / n, ((squares[i] / n - (sums[i] / n).powi(2)) / n).sqrt()])
}

fn softmax_and_slope(u: &[f64]) -> (Vec<f64>, Array2<f64>) {
    let e: Vec<f64> = u.iter().map(|u| u.exp()).collect();
    let total: f64 = e.iter().sum();
    let s: Vec<f64> = e.iter().map(|e| e / total).collect();
    let slope =
        Array2::from_shape_fn((u.len(), u.len()), |(c, d)| s[c] * (f64::from(u8::from(c == d)) - s[d]));
    (s, slope)
}

fn entrywise(f: fn(f64) -> f64, slope: fn(f64) -> f64) -> impl Fn(&[f64]) -> (Vec<f64>, Array2<f64>) {
    move |u| {
        let slopes: ndarray::Array1<f64> = u.iter().map(|&u| slope(u)).collect();
        (u.iter().map(|&u| f(u)).collect(), Array2::from_diag(&slopes))
    }
}

#[test]
fn random_logits_agree_with_monte_carlo() {
    let grid = Grid::new(&[4]).unwrap();
    let (k, theta) = (random_kernels(4, 9, 1.2, 1), random_kernels(4, 9, 2.0, 2));
    let relu = entrywise(|u| u.max(0.0), |u| f64::from(u8::from(u > 0.0)));
    let abs = entrywise(f64::abs, f64::signum);
    let identity = entrywise(|u| u, |_| 1.0);
    for weighting in [Weighting::Softmax, Weighting::Relu, Weighting::Abs, Weighting::Identity] {
        let outputs = attend(&limit(&root(weighting), &grid, 1e-3), &k, [4, 4], &theta);
        let output = &outputs[1];
        for at in [[0, 1], [2, 2], [3, 0]] {
            let draws = 40_000;
            let [kernel, tangent] = match weighting {
                Weighting::Softmax => monte_carlo(softmax_and_slope, &k, &theta[1], at, draws),
                Weighting::Relu => monte_carlo(&relu, &k, &theta[1], at, draws),
                Weighting::Abs => monte_carlo(&abs, &k, &theta[1], at, draws),
                Weighting::Identity => monte_carlo(&identity, &k, &theta[1], at, draws),
            };
            let (kappa, ntk) = (output.kernel[at], output.ntk.as_ref().unwrap()[at]);
            assert!((kappa - kernel[0]).abs() < 4.0 * kernel[1], "{weighting:?} {at:?} {kappa} {kernel:?}");
            let through = ntk - 2.0 * kappa;
            assert!(
                (through - tangent[0]).abs() < 4.0 * tangent[1],
                "{weighting:?} {at:?} {through} {tangent:?}"
            );
        }
    }
}

/// d/dε of κ along K₁₂ + εH is, by Price's theorem, what Θ makes of Θ₁₂ = H with frozen weights: E[ζζ] H from the
/// values, E[∂ζ∂ζ] K* (H_ab K̃ + K̃_ab H) from the logits.
#[test]
fn the_ntk_is_the_derivative_of_the_kernel_in_the_covariance() {
    let grid = Grid::new(&[3]).unwrap();
    let (k, other) = (random_kernels(3, 9, 1.2, 3), random_kernels(3, 9, 1.0, 4));
    for weighting in [Weighting::Softmax, Weighting::Relu, Weighting::Abs, Weighting::Identity] {
        let attention = Attention { rate: Rate::FROZEN, ..root(weighting) };
        let limit = limit(&attention, &grid, 1e-5);
        let samples = [0, 2].map(|i| limit.sample(&k[i], 3).unwrap());
        let pair = |k: &Array2<f64>, ntk| limit.pair([&samples[0], &samples[1]], k, ntk).unwrap();
        let h = 1e-4;
        let [up, down] = [h, -h].map(|h| pair(&(&k[1] + &(&other[1] * h)), None).kernel);
        let output = pair(&k[1], Some(&other[1]));
        let ntk = output.ntk.unwrap();
        let largest = |m: &Array2<f64>| m.iter().fold(0.0, |m: f64, e| m.max(e.abs()));
        let error = largest(&((up - down) / (2.0 * h) - &ntk)) / largest(&ntk);
        // Closed forms differ by the h² of the difference.
        assert!(error < output.error.max(1e-7), "{weighting:?} {error:e} {:e}", output.error);
        assert!(output.error < 1e-3 && (output.error > 0.0) == (weighting == Weighting::Softmax));
    }
}

#[test]
fn one_position_attends_to_itself() {
    let (k, theta) = (random_kernels(1, 3, 1.0, 5), random_kernels(1, 3, 1.0, 6));
    for scaling in [LogitScaling::InverseDimension, LogitScaling::InverseRoot] {
        let attention = Attention { scaling, bias: Variance::TWO, ..Attention::default() };
        let outputs = attend(&limit(&attention, &Grid::VECTOR, 1e-3), &k, [1, 1], &theta);
        for ((output, k), theta) in outputs.iter().zip(&k).zip(&theta) {
            let (nngp, ntk) = (output.kernel[[0, 0]], output.ntk.as_ref().unwrap()[[0, 0]]);
            assert!((nngp - (k[[0, 0]] + 2.0)).abs() < 1e-14 * nngp.abs() && output.error == 0.0);
            assert!((ntk - (2.0 * k[[0, 0]] + 2.0 + theta[[0, 0]])).abs() < 1e-14);
        }
    }
}

/// Every layer, with logits of both kinds.
fn all() -> impl Iterator<Item = Attention> {
    let scalings = [LogitScaling::InverseDimension, LogitScaling::InverseRoot];
    let weightings = [Weighting::Softmax, Weighting::Relu, Weighting::Abs, Weighting::Identity];
    let masks = [AttentionMask::Full, AttentionMask::Causal, AttentionMask::CausalLocal(1)];
    scalings.into_iter().flat_map(move |scaling| {
        weightings.into_iter().flat_map(move |weighting| {
            masks.into_iter().map(move |mask| Attention {
                bias: Variance::TWO,
                mask,
                scaling,
                weighting,
                ..Attention::default()
            })
        })
    })
}

fn assert_close(a: &Array2<f64>, b: &Array2<f64>, tolerance: f64) {
    let size = b.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!((a - b).iter().all(|e| e.abs() <= tolerance * size), "{a} {b}");
}

#[test]
fn swapping_the_samples_transposes() {
    let grid = Grid::new(&[3]).unwrap();
    let (k, theta) = (random_kernels(3, 4, 1.0, 7), random_kernels(3, 4, 1.0, 8));
    let t = |k: &Kernels| [k[2].clone(), k[1].t().as_standard_layout().into_owned(), k[0].clone()];
    for attention in all() {
        let limit = limit(&attention, &grid, 3e-2);
        let [_, output, _] = attend(&limit, &k, [3, 2], &theta);
        let [_, swapped, _] = attend(&limit, &t(&k), [2, 3], &t(&theta));
        assert_close(&output.kernel, &swapped.kernel.t().to_owned(), 1e-14);
        assert_close(&output.ntk.unwrap(), &swapped.ntk.unwrap().t().to_owned(), 1e-14);
    }
}

/// K₁₂ = K₁₁ gives the kernel of the sample with itself, and that is bounded by its diagonal: an estimate too is a
/// correlation.
#[test]
fn equal_and_nearly_equal_samples() {
    let grid = Grid::new(&[3]).unwrap();
    let x = Array2::from_shape_fn((3, 6), |(p, c)| normal_quantile(uniform(900 + (6 * p + c) as u64)));
    let d = Array2::from_shape_fn((3, 6), |(p, c)| normal_quantile(uniform(990 + (6 * p + c) as u64)));
    for attention in all() {
        let attention = Attention { bias: Variance::ZERO, ..attention };
        let limit = limit(&attention, &grid, 3e-2);
        let mut gaps = Vec::new();
        for delta in [0.0, 1e-5, 1e-4, 1e-3] {
            let y = &x + &(&d * delta);
            let k = [x.dot(&x.t()), x.dot(&y.t()), y.dot(&y.t())];
            let [a, b, c] = attend(&limit, &k, [3, 3], &k).map(|output| output.kernel);
            assert_close(&a, &a.t().to_owned(), 1e-14);
            let gap = |p: usize| 1.0 - b[[p, p]] / (a[[p, p]] * c[[p, p]]).sqrt();
            gaps.push((0..3).map(gap).fold(0.0, f64::max));
            assert!((0..3).all(|p| gap(p) > -1e-14), "{attention:?}");
        }
        // 1 − ρ is of second order in the distance of the samples.
        assert!(gaps[0] < 1e-14 && (gaps[3] / gaps[2] / 100.0 - 1.0).abs() < 0.05, "{attention:?} {gaps:?}");
    }
}

/// Positions beyond the length are as if they were not there, and so are those that a causal mask hides.
#[test]
fn positions_that_are_not_read_do_not_count() {
    let (long, short) = (Grid::new(&[5]).unwrap(), Grid::new(&[3]).unwrap());
    let (k, theta) = (random_kernels(5, 6, 1.0, 9), random_kernels(5, 6, 1.0, 10));
    let first = |m: &Array2<f64>| m.slice(ndarray::s![..3, ..3]).to_owned();
    for attention in all() {
        let limit = |grid| limit(&attention, grid, 3e-2);
        let cut =
            attend(&limit(&short), &k.clone().map(|k| first(&k)), [3, 3], &theta.clone().map(|k| first(&k)));
        for length in [3, 5] {
            if length == 5 && attention.mask == AttentionMask::Full {
                continue;
            }
            for (output, cut) in attend(&limit(&long), &k, [length, length], &theta).iter().zip(&cut) {
                let ntk = output.ntk.as_ref().unwrap();
                assert_close(&first(&output.kernel), &cut.kernel, 1e-14);
                assert_close(&first(ntk), cut.ntk.as_ref().unwrap(), 1e-14);
                assert!(output.kernel.slice(ndarray::s![length.., ..]).iter().all(|&k| k == 0.0));
                assert!(ntk.slice(ndarray::s![.., length..]).iter().all(|&k| k == 0.0));
            }
        }
    }
}

#[test]
fn positional_embeddings_mix_into_logits_and_values() {
    let grid = Grid::new(&[2, 2]).unwrap();
    let (k, theta) = (random_kernels(4, 6, 1.0, 11), random_kernels(4, 6, 1.0, 12));
    let position = PositionEmbedding {
        combine: PositionCombine::Sum,
        variance: Variance::new(0.7).unwrap(),
        decay: PositionDecay::Exponential { scale: 2.0 },
        power: 1.0,
        values: true,
    };
    let at = |p: usize| [(p / 2) as f64, (p % 2) as f64];
    let r = Array2::from_shape_fn((4, 4), |(p, q)| {
        let distance = (at(p)[0] - at(q)[0]).abs() + (at(p)[1] - at(q)[1]).abs();
        0.7 * (-0.5 * distance).exp()
    });
    let [share, rest] = [0.8, 0.2];
    let mixed = k.clone().map(|k| share * k + rest * &r);
    // Embeddings learn: their covariance is a tangent kernel too.
    let scaled = theta.clone().map(|theta| share * theta + rest * &r);
    for attention in all() {
        let with = |values| Attention {
            position: Some(PositionEmbedding { values, ..position }),
            ..attention.clone()
        };
        let limit = |attention: &Attention| Limit::new("test", attention, &grid, [share, rest], 3e-2);
        let embedded = attend(&limit(&with(true)), &k, [4, 4], &theta);
        let plain = attend(&Limit::new("test", &attention, &grid, [1.0, 1.0], 3e-2), &mixed, [4, 4], &scaled);
        for (embedded, plain) in embedded.iter().zip(&plain) {
            assert_close(&embedded.kernel, &plain.kernel, 1e-13);
            assert_close(embedded.ntk.as_ref().unwrap(), plain.ntk.as_ref().unwrap(), 1e-13);
        }
        // Weights of K̃ on values of covariance K: linear in the values where the logits are constants.
        if attention.scaling == LogitScaling::InverseDimension {
            let [_, alone, _] = attend(&limit(&with(false)), &k, [4, 4], &theta);
            let limit = limit(&with(true));
            let samples = [0, 2].map(|i| limit.sample(&k[i], 4).unwrap());
            let zero = Array2::zeros((4, 4));
            let pair = |k: &Array2<f64>| limit.pair([&samples[0], &samples[1]], k, None).unwrap().kernel;
            let expected = (pair(&k[1]) - pair(&zero)) / share + 2.0;
            assert_close(&alone.kernel, &expected, 1e-13);
        }
    }
}

#[test]
fn softmax_of_flat_logits_is_the_mean() {
    let grid = Grid::new(&[4]).unwrap();
    let k = random_kernels(4, 9, 1.0, 13);
    let attention = Attention { query_variance: Variance::new(1e-12).unwrap(), ..root(Weighting::Softmax) };
    let [_, output, _] = attend(&limit(&attention, &grid, 1e-3), &k, [4, 4], &k);
    let mean = Array2::from_elem((4, 4), k[1].mean().unwrap());
    assert_close(&output.kernel, &mean, 1e-10);
    assert_close(&output.ntk.unwrap(), &(3.0 * mean), 1e-10);
}

/// The spread over shifts bounds the distance to an integral with more nodes.
#[test]
fn the_error_of_the_integral_is_what_it_says() {
    let grid = Grid::new(&[4]).unwrap();
    let (k, theta) = (random_kernels(4, 7, 1.5, 14), random_kernels(4, 7, 1.0, 15));
    let outputs = |tolerance: f64| {
        let limit = limit(&root(Weighting::Softmax), &grid, tolerance);
        let samples = [0, 2].map(|i| limit.sample(&k[i], 4).unwrap());
        let own = [0, 1].map(|i| limit.pair([&samples[i], &samples[i]], &k[2 * i], None).unwrap().kernel);
        (own, limit.pair([&samples[0], &samples[1]], &k[1], Some(&theta[1])).unwrap())
    };
    let (own, fine) = outputs(2e-3);
    let (_, coarse) = outputs(3e-2);
    assert!(fine.error < 4e-3 && coarse.error > 1e-2, "{} {}", fine.error, coarse.error);
    for ((a, b), k) in coarse.kernel.indexed_iter() {
        let norm = (own[0][[a, a]] * own[1][[b, b]]).sqrt();
        assert!((k - fine.kernel[[a, b]]).abs() < (coarse.error + fine.error) * norm);
        let [x, y] = [&coarse, &fine].map(|output| output.ntk.as_ref().unwrap()[[a, b]]);
        assert!((x - y).abs() < (coarse.error + fine.error) * y.abs().max(2.0 * norm));
    }
}

#[test]
fn infinite_logits_are_refused() {
    let grid = Grid::new(&[2]).unwrap();
    let k = random_kernels(2, 3, 1e160, 16);
    let limit = limit(&root(Weighting::Softmax), &grid, 1e-3);
    assert!(matches!(limit.sample(&k[0], 2), Err(Error::Overflow { .. })));
}
