//! Sheets against sums over all taps of all pairs.

use ntk_core::Activation;

use super::*;
use crate::dual::{correlation, prepare};

/// Everything about one pair of samples, entry by entry.
struct Reference {
    sides: [usize; 2],
    torus: bool,
    /// q of both samples.
    q: [Vec<f64>; 2],
    distance: Vec<f64>,
    ntk: Vec<f64>,
}

#[derive(Clone)]
enum Layer {
    Conv { window: [usize; 2], weight: f64, direct: f64, constant: f64 },
    Activation(Activation),
    Norm,
}

impl Reference {
    fn new(sides: [usize; 2], torus: bool, x: [&[f64]; 2], channels: usize) -> Self {
        let c = channels as f64;
        let q = x.map(|x| x.chunks(channels).map(|p| p.iter().map(|v| v * v / c).sum()).collect());
        let distance = x[0].chunks(channels).flat_map(|a| {
            x[1].chunks(channels)
                .map(move |b| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / (2.0 * c))
        });
        let distance: Vec<f64> = distance.collect();
        Reference { sides, torus, q, ntk: vec![0.0; distance.len()], distance }
    }

    /// The position of each tap of the window of `p`.
    fn taps(&self, p: usize, window: [usize; 2]) -> Vec<Option<usize>> {
        let [height, width] = self.sides;
        let along = |at: usize, tap: usize, k: usize, side: usize| {
            let at = (at + tap) as isize - ((k - 1) / 2) as isize;
            if self.torus {
                Some(at.rem_euclid(side as isize) as usize)
            } else {
                (at >= 0 && at < side as isize).then_some(at as usize)
            }
        };
        (0..window[0] * window[1])
            .map(|tap| {
                let y = along(p / width, tap / window[1], window[0], height)?;
                let x = along(p % width, tap % window[1], window[1], width)?;
                Some(y * width + x)
            })
            .collect()
    }

    fn conv(&mut self, window: [usize; 2], weight: f64, direct: f64, constant: f64) {
        let n = self.sides[0] * self.sides[1];
        let share = 1.0 / (window[0] * window[1]) as f64;
        let taps: Vec<_> = (0..n).map(|p| self.taps(p, window)).collect();
        let (mut distance, mut ntk) = (vec![0.0; n * n], vec![constant; n * n]);
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            for (a, b) in taps[i].iter().zip(&taps[j]) {
                let (qa, qb) = (a.map_or(0.0, |a| self.q[0][a]), b.map_or(0.0, |b| self.q[1][b]));
                let (d, t, k) = match (*a, *b) {
                    (Some(a), Some(b)) => {
                        let d = self.distance[a * n + b];
                        (d, self.ntk[a * n + b], 0.5 * (qa + qb) - d)
                    }
                    _ => (0.5 * (qa + qb), 0.0, 0.0),
                };
                distance[i * n + j] += weight * share * d;
                ntk[i * n + j] += share * (weight * t + direct * k);
            }
        }
        let q = |side: usize| {
            taps.iter()
                .map(|taps| taps.iter().flatten().map(|&p| weight * share * self.q[side][p]).sum())
                .collect()
        };
        self.q = [q(0), q(1)];
        (self.distance, self.ntk) = (distance, ntk);
    }

    /// Maps signed gaps one by one; the exact gap is 0 where rounding alone keeps the distance from it.
    fn map(&mut self, out: [Vec<f64>; 2], f: impl Fn(usize, usize, f64) -> (f64, f64)) {
        let n = self.q[0].len();
        for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let (p, q) = (self.q[0][i], self.q[1][j]);
            let (r, s) = (p.sqrt(), q.sqrt());
            let at = &mut self.distance[i * n + j];
            let excess = *at - 0.5 * (r - s) * (r - s);
            let noise = 16.0 * f64::EPSILON;
            let gap = if r * s == 0.0 {
                1.0
            } else if excess <= noise * (*at + 0.5 * (p - q).abs()) {
                0.0
            } else if excess >= r * s {
                let rest = 2.0 * r * s - excess;
                -(if rest <= noise * (p + q) { 0.0 } else { rest / (r * s) })
            } else {
                excess / (r * s)
            };
            let (gap, slope) = f(i, j, gap);
            let (r, s) = (out[0][i].sqrt(), out[1][j].sqrt());
            *at = 0.5 * (r - s) * (r - s) + r * s * (1.0 - correlation(gap));
            if correlation(gap) > 0.0 {
                *at = 0.5 * (r - s) * (r - s) + r * s * gap;
            }
            self.ntk[i * n + j] *= slope;
        }
        self.q = out;
    }

    fn layer(&mut self, layer: &Layer) {
        match layer {
            Layer::Conv { window, weight, direct, constant } => {
                self.conv(*window, *weight, *direct, *constant);
            }
            Layer::Activation(phi) => {
                let prepared = prepare(phi, &self.q[0], &self.q[1], 1e-12).unwrap();
                let out = [prepared.variances().0.to_vec(), prepared.variances().1.to_vec()];
                self.map(out, |i, j, gap| {
                    let (mut gap, mut slope) = ([gap], [0.0]);
                    prepared.row(i, j, &mut gap, Some(&mut slope));
                    (gap[0], slope[0])
                });
            }
            Layer::Norm => {
                let factors = [0, 1].map(|side| norms(&self.q[side]));
                let out = [0, 1].map(|side: usize| {
                    self.q[side].iter().zip(&factors[side]).map(|(q, f)| q * f * f).collect()
                });
                self.map(out, |i, j, gap| (gap, factors[0][i] * factors[1][j]));
            }
        }
    }
}

fn norms(q: &[f64]) -> Vec<f64> {
    q.iter().map(|q| 1.0 / (q + 1e-3).sqrt()).collect()
}

fn roots(q: &[f64]) -> Vec<f64> {
    q.iter().map(|q| q.sqrt()).collect()
}

/// The variances and tables that a pass over the samples would have made.
struct Prepared2<T> {
    tables: Vec<[Table<T>; 2]>,
    factors: Vec<[Table<T>; 2]>,
    duals: Vec<Box<dyn Prepared>>,
}

impl<T: Real> Prepared2<T> {
    fn new(layout: &Layout, reference: &Reference, layers: &[Layer]) -> Self {
        let mut at = Reference { distance: vec![], ntk: vec![], q: reference.q.clone(), ..*reference };
        let n = at.q[0].len();
        (at.distance, at.ntk) = (vec![0.0; n * n], vec![0.0; n * n]);
        let table = |q: &[Vec<f64>; 2]| [0, 1].map(|side: usize| layout.table::<_, false>(&roots(&q[side])));
        let mut prepared = Prepared2 { tables: vec![table(&at.q)], factors: Vec::new(), duals: Vec::new() };
        for layer in layers {
            match layer {
                Layer::Activation(phi) => {
                    prepared.duals.push(prepare(phi, &at.q[0], &at.q[1], 1e-12).unwrap());
                }
                Layer::Norm => {
                    prepared
                        .factors
                        .push([0, 1].map(|side: usize| layout.table::<_, false>(&norms(&at.q[side]))));
                }
                Layer::Conv { .. } => {}
            }
            at.layer(layer);
            prepared.tables.push(table(&at.q));
        }
        prepared
    }

    fn steps(&self, layers: &[Layer]) -> Vec<Step<'_, T>> {
        let (mut duals, mut factors) = (self.duals.iter(), self.factors.iter());
        layers
            .iter()
            .zip(self.tables.windows(2))
            .map(|(layer, tables)| {
                let [input, output] = [&tables[0], &tables[1]].map(|t| [&t[0], &t[1]]);
                match layer {
                    Layer::Conv { window, weight, direct, constant } => Step::Conv {
                        window: *window,
                        weight: *weight,
                        direct: *direct,
                        constant: *constant,
                        roots: input,
                    },
                    Layer::Activation(_) => {
                        let prepared = duals.next().unwrap().as_ref();
                        Step::Activation { prepared, rows: 0, columns: 0, input, output }
                    }
                    Layer::Norm => {
                        let factors = factors.next().unwrap();
                        Step::Scale { factors: [&factors[0], &factors[1]], input, output }
                    }
                }
            })
            .collect()
    }
}

fn draw(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
        })
        .collect()
}

fn conv(k: usize) -> Layer {
    Layer::Conv { window: [k, k], weight: 2.0, direct: 2.0, constant: 0.1 }
}

fn relu() -> Layer {
    Layer::Activation(Activation::Relu)
}

/// The largest error of K and of Θ, relative to the geometric mean of the largest diagonal entries.
fn errors<T: Real>(layout: &Arc<Layout>, x: [&[f64]; 2], channels: usize, layers: &[Layer]) -> [f64; 2] {
    let run = |x: [&[f64]; 2]| {
        let mut reference = Reference::new(layout.sides(), layout.torus(), x, channels);
        let prepared = Prepared2::<T>::new(layout, &reference, layers);
        let steps = prepared.steps(layers);
        let images = x.map(|x| Image::new(layout, x, channels));
        let mut sheets = Sheets::from_input(layout, [&images[0], &images[1]], &[], true, false);
        sheets.run(&steps, false);
        for layer in layers {
            reference.layer(layer);
        }
        let (sum, of_input) =
            (sheets.totals(), totals_of_input(layout, [&images[0], &images[1]], &steps, true, true));
        assert!((sum.0 - of_input.0).abs() <= 1e-12 * sum.0 && (sum.1 - of_input.1).abs() <= 1e-12 * sum.1);
        let alone = Sheets::from_input(layout, [&images[0], &images[1]], &steps, false, true);
        assert!(alone.distance.iter().zip(&sheets.distance).all(|(a, b)| *a == *b));
        (reference, sheets)
    };
    let (reference, sheets) = run(x);
    let (distance, ntk) = sheets.to_dense();
    let same = sheets.to_same();
    assert!((0..same.0.len()).all(|p| same.0[p] == distance[p * (same.0.len() + 1)]));
    assert!((0..same.1.len()).all(|p| same.1[p] == ntk[p * (same.1.len() + 1)]));
    let again = Sheets::<T>::from_dense(layout, &distance, &ntk);
    assert!(again.distance.iter().zip(&sheets.distance).all(|(a, b)| *a == *b));
    assert!(again.ntk.iter().zip(&sheets.ntk).all(|(a, b)| *a == *b));
    let own = |side: usize| {
        let mut own = Reference::new(layout.sides(), layout.torus(), [x[side], x[side]], channels);
        layers.iter().for_each(|layer| own.layer(layer));
        let n = own.q[0].len();
        let largest = |x: f64, y: f64| if x > y { x } else { y };
        let theta = (0..n).map(|i| own.ntk[i * n + i]).fold(0.0, largest);
        (own.q[0].iter().copied().fold(0.0, largest), theta)
    };
    let (one, two) = (own(0), own(1));
    let n = reference.q[0].len();
    let mut worst = [0.0, 0.0];
    for k in 0..n * n {
        if layout.sheet(layout.place(k / n), layout.place(k % n)).is_some() {
            let error = [distance[k] - reference.distance[k], ntk[k] - reference.ntk[k]];
            let scale = [(one.0 * two.0).sqrt(), (one.1 * two.1).sqrt()];
            for (worst, (error, scale)) in worst.iter_mut().zip(error.iter().zip(scale)) {
                assert!(error.is_finite());
                *worst = f64::max(*worst, error.abs() / scale.max(f64::MIN_POSITIVE));
            }
        }
    }
    worst
}

fn full(sides: [usize; 2], window: [usize; 2], torus: bool) -> Arc<Layout> {
    Arc::new(Layout::new(sides, sides, window, torus).unwrap())
}

#[test]
fn every_pair_has_one_place() {
    for torus in [false, true] {
        for (sides, window) in
            [([4, 5], [3, 3]), ([1, 7], [1, 3]), ([3, 3], [1, 1]), ([5, 4], [2, 4]), ([1, 1], [1, 1])]
        {
            let layout = full(sides, window, torus);
            let n = layout.positions();
            let mut seen = vec![0; n * n];
            for sheet in 0..layout.sheets() {
                for run in (0..sides[0]).flat_map(|y| layout.runs(sheet, y)) {
                    for k in 0..run.len {
                        let [i, j] = run.positions.map(|p| p + k);
                        assert_eq!(layout.place(i), run.at + k);
                        assert_eq!(layout.sheet(layout.place(i), layout.place(j)), Some(sheet));
                        seen[i * n + j] += 1;
                    }
                }
            }
            assert!(seen.iter().all(|&times| times == 1), "{sides:?} {window:?} {torus}: {seen:?}");
        }
    }
    assert_eq!(Layout::new([32, 32], [0, 0], [3, 3], false).unwrap().sheets(), 1);
    assert_eq!(Layout::new([8, 8], [1, 1], [3, 3], false).unwrap().sheets(), 9);
    assert!(Layout::new([2, 8], [1, 1], [3, 3], true).is_none());
}

#[test]
fn layers_equal_the_sums_over_all_taps() {
    let gelu = Layer::Activation(Activation::Gelu);
    let flat = Layer::Conv { window: [1, 3], weight: 1.3, direct: 0.7, constant: 0.0 };
    let dense = Layer::Conv { window: [1, 1], weight: 1.5, direct: 1.0, constant: 0.2 };
    let tanh = Layer::Activation(Activation::Tanh);
    let nets: [(Vec<Layer>, f64); 7] = [
        (vec![conv(3), tanh.clone(), conv(2), tanh], 1e-12),
        (vec![conv(3), relu(), conv(3), relu(), conv(3), relu()], 1e-12),
        (vec![conv(3), relu(), conv(3)], 1e-12),
        (vec![relu(), conv(2), conv(4), relu(), dense.clone(), relu(), dense], 1e-12),
        (vec![conv(3), gelu, flat, relu()], 1e-12),
        (vec![conv(3), Layer::Norm, relu(), conv(3), Layer::Activation(Activation::Abs), Layer::Norm], 1e-12),
        (
            vec![conv(4), Layer::Activation(Activation::Erf { a: 1.0, b: 1.0, c: 0.3 }), conv(3), relu()],
            1e-12,
        ),
    ];
    for (sides, torus) in [([5, 6], false), ([5, 6], true), ([1, 9], false), ([4, 4], true), ([9, 4], false)]
    {
        let window = [4.min(sides[0]), 4];
        let layout = full(sides, window, torus);
        let n = 3 * sides[0] * sides[1];
        for (number, (layers, tolerance)) in nets.iter().enumerate() {
            if sides[0] == 1 && (torus || number != 4) {
                continue;
            }
            let layers: Vec<Layer> = if sides[0] == 1 {
                layers
                    .iter()
                    .filter(|l| !matches!(l, Layer::Conv { window: [k, _], .. } if *k > 1))
                    .cloned()
                    .collect()
            } else {
                layers.clone()
            };
            let (mut x, y) = (draw(1, n), draw(2, n));
            // A patch of zeros.
            x[..n / 3].fill(0.0);
            let scaled: Vec<f64> = y.iter().map(|y| -0.3 * y).collect();
            let constants = [vec![0.5; n], vec![0.7; n]];
            let pairs: [[&[f64]; 2]; 6] = [
                [&x, &y],
                [&y, &y],
                [&y, &scaled],
                [&constants[0], &constants[1]],
                [&x, &constants[0]],
                [&y, &y.iter().map(|y| -y).collect::<Vec<_>>()],
            ];
            for (k, pair) in pairs.into_iter().enumerate() {
                let found = errors::<f64>(&layout, pair, 3, &layers);
                assert!(
                    found.iter().all(|e| e < tolerance),
                    "net {number}, pair {k}, {sides:?}, torus {torus}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn diagonals_of_duals_equal_their_rows() {
    let activations = [
        Activation::Relu,
        Activation::Step,
        Activation::Gelu,
        Activation::Erf { a: 1.0, b: 0.1, c: 0.0 },
        Activation::Cos { a: 1.0, b: 2.0, c: 0.3 },
        Activation::RectifiedMonomial { degree: 2 },
        Activation::Tanh,
        Activation::Polynomial { coefficients: vec![0.5] },
        Activation::Hermite { degree: 3 },
        Activation::Elu { alpha: 1.0 },
    ];
    let q: [Vec<f64>; 2] = [7, 8].map(|seed| draw(seed, 21).iter().map(|q| 0.1 + q * q).collect());
    let gaps = draw(9, 21);
    for phi in activations {
        // One sample on each side has no variance.
        let (mut q1, mut q2) = (q[0].clone(), q[1].clone());
        (q1[5], q2[7]) = (0.0, 0.0);
        let prepared = prepare(&phi, &q1, &q2, 1e-12).unwrap();
        for (i, j, n) in [(0, 0, 21), (3, 5, 16), (4, 1, 9), (2, 0, 3)] {
            let (mut gap, mut slope) = (gaps[..n].to_vec(), vec![0.0; n]);
            prepared.diagonal(i, j, &mut gap, Some(&mut slope));
            let mut alone = gaps[..n].to_vec();
            prepared.diagonal(i, j, &mut alone, None);
            assert_eq!(alone, gap);
            for k in 0..n {
                let (mut expected, mut expected_slope) = ([gaps[k]], [0.0]);
                prepared.row(i + k, j + k, &mut expected, Some(&mut expected_slope));
                assert!((gap[k] - expected[0]).abs() < 1e-14, "{phi:?} gap {k}: {} {}", gap[k], expected[0]);
                assert!((slope[k] - expected_slope[0]).abs() < 1e-14, "{phi:?} slope {k}");
            }
        }
    }
}

#[test]
fn single_precision_keeps_five_digits() {
    let sides = [8, 8];
    let layout = full(sides, [3, 3], false);
    let layers: Vec<Layer> = (0..21).flat_map(|_| [conv(3), relu()]).collect();
    let n = sides[0] * sides[1];
    let smooth = |phase: f64| -> Vec<f64> {
        (0..3 * n)
            .map(|k| 0.6 + 0.3 * (0.4 * (k / 3 / 8) as f64 + 0.3 * (k / 3 % 8) as f64 + phase).sin())
            .collect()
    };
    let (x, y, flat) = (draw(3, 3 * n), draw(4, 3 * n), vec![0.3; 3 * n]);
    let near: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x + 1e-3 * y).collect();
    let pairs: [[&[f64]; 2]; 6] = [
        [&x, &y],
        [&x, &x],
        [&x, &near],
        [&smooth(0.0), &smooth(1.0)],
        [&smooth(0.0), &flat],
        [&flat, &flat],
    ];
    for (k, pair) in pairs.into_iter().enumerate() {
        let found = errors::<f32>(&layout, pair, 3, &layers);
        assert!(found.iter().all(|&e| e < 1e-5), "pair {k}: {found:?}");
    }
}

#[test]
fn blocks_are_summed() {
    let (sides, window) = ([6, 4], [3, 2]);
    let layout = full(sides, [3, 3], false);
    let (x, y) = (draw(5, 48), draw(6, 48));
    let [a, b] = [&x, &y].map(|x| Image::new(&layout, x, 2));
    let small = full([2, 2], [3, 3], false);
    let sheets = |a: &Image, b: &Image| Sheets::<f64>::from_input(&layout, [a, b], &[], true, true);
    let spread = [sheets(&a, &a), sheets(&b, &b)].map(|own| own.own_spread(window).unwrap());
    let mut both = sheets(&a, &b);
    both.ntk.copy_from_slice(&both.distance.clone());
    let pooling = Pooling { window, weight: 0.5, spread: [&spread[0], &spread[1]], layout: &small };
    assert!(pooling.fits(&layout));
    let pooled = pooling.of_sheets(&both, &[], true);
    let (distance, ntk) = pooled.to_dense();
    // The distance of the sums of what enters is that of pooled images; Θ is summed.
    let sum = |x: &[f64], s: usize, c: usize| -> f64 {
        let place = |k: usize| ((s / 2 * 3 + k / 2) * 4 + s % 2 * 2 + k % 2) * 2 + c;
        (0..6).map(|k| 0.5 * x[place(k)]).sum()
    };
    let own = Reference::new(sides, false, [&x, &y], 2).distance;
    for (s, t) in (0..4).flat_map(|s| (0..4).map(move |t| (s, t))) {
        let expected: f64 = (0..2).map(|c| 0.25 * (sum(&x, s, c) - sum(&y, t, c)).powi(2)).sum();
        assert!((distance[s * 4 + t] - expected).abs() < 1e-14, "{s} {t}");
        let place = |s: usize, k: usize| (s / 2 * 3 + k / 2) * 4 + s % 2 * 2 + k % 2;
        let pairs = (0..6).flat_map(|k| (0..6).map(move |m| (k, m)));
        let expected: f64 = pairs.map(|(k, m)| 0.25 * own[place(s, k) * 24 + place(t, m)]).sum();
        assert!((ntk[s * 4 + t] - expected).abs() < 1e-13);
    }
    let narrow = Arc::new(Layout::new(sides, [0, 0], [3, 3], false).unwrap());
    let narrow = Sheets::<f64>::from_input(
        &narrow,
        [&Image::new(&narrow, &x, 2), &Image::new(&narrow, &y, 2)],
        &[],
        false,
        false,
    );
    assert!(!pooling.fits(narrow.layout()));
    assert!(narrow.own_spread(window).is_none());
}
