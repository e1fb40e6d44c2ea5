//! Assemblies, outputs of networks as functions of their parameters, and the recursion of the Hessian, against finite
//! differences, dense matrices and each other.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use ndarray::{Array1, Array2, array, s};
use ntk_core::{Activation, Net, Shape, Variance, Width};
use ntk_empirical::candle_core::DType;
use ntk_empirical::{
    Assembly, Coordinates, Error, FiniteNet, LayerRecursion, Lowering, NetOutput, Neuron, NonlinearOutput,
    ScalarFunction, Sphere,
};
use ntk_linalg::{Lanczos, Symmetric, eigenvalues};

/// Numbers of order one that look random.
fn numbers(n: usize, seed: f64) -> Array1<f64> {
    Array1::from_shape_fn(n, |i| (12.9898 * (i + 1) as f64 + 78.233 * seed).sin() * 1.4)
}

/// m neurons of several kinds, with signs ±1 and s = √m, in groups.
fn assembly(m: usize, d: usize, group: usize) -> Assembly<Neuron> {
    let kinds = [Activation::Tanh, Activation::ERF, Activation::Softplus, Activation::SIN];
    let neuron = |i: usize| {
        let neuron = Neuron::new(kinds[i % 4].clone(), d).unwrap();
        neuron.with_offset((i as f64).cos()).unwrap()
    };
    let signs = Array1::from_shape_fn(m, |i| if i % 3 == 0 { -1.0 } else { 1.0 });
    Assembly::in_groups((0..m).map(neuron).collect(), signs, (m as f64).sqrt(), group).unwrap()
}

fn variance(value: f64) -> Variance {
    Variance::new(value).unwrap()
}

fn mlp(depth: usize, phi: Activation, bias: f64, width: usize, seed: u64) -> FiniteNet {
    let net = Net::mlp(depth, phi, 2, variance(1.3), variance(bias));
    FiniteNet::lower(&net, &Lowering { width, seed, ..Lowering::for_inputs(Shape::vector(3)) }).unwrap()
}

fn norm(v: &Array1<f64>) -> f64 {
    v.dot(v).sqrt()
}

fn close(a: &Array1<f64>, b: &Array1<f64>, tolerance: f64) {
    let scale = norm(a).max(norm(b)).max(1e-3);
    assert!(norm(&(a - b)) <= tolerance * scale, "{:e} of {scale:e}", norm(&(a - b)));
}

/// The dense matrix of an operator.
fn dense(p: usize, operator: impl Fn(&Array1<f64>) -> Result<Array1<f64>, Error>) -> Array2<f64> {
    let mut matrix = Array2::zeros((p, p));
    for j in 0..p {
        let unit = Array1::from_shape_fn(p, |i| f64::from(u8::from(i == j)));
        matrix.column_mut(j).assign(&operator(&unit).unwrap());
    }
    matrix
}

/// Gradient and Hessian are derivatives of what comes before, and the Hessian is symmetric.
fn check_derivatives(f: &impl ScalarFunction, w: &Array1<f64>) {
    let (p, h) = (f.dimension(), 1e-3);
    let gradient = f.gradient(w).unwrap();
    let hessian = f.hessian(w).unwrap();
    for seed in [1.0, 2.0] {
        let (u, v) = (numbers(p, seed), numbers(p, seed + 0.5));
        let at = |step: f64| w + &(&v * (step / norm(&v)));
        let slope = |step: f64| (f.value(&at(step)).unwrap() - f.value(&at(-step)).unwrap()) / (2.0 * step);
        let change =
            |step: f64| (f.gradient(&at(step)).unwrap() - f.gradient(&at(-step)).unwrap()) / (2.0 * step);
        let along = gradient.dot(&v) / norm(&v);
        assert!(((4.0 * slope(h) - slope(2.0 * h)) / 3.0 - along).abs() < 1e-9, "{along}");
        let hv = hessian(&v).unwrap();
        close(&((change(h) * 4.0 - change(2.0 * h)) / 3.0), &(&hv / norm(&v)), 1e-8);
        let (left, right) = (u.dot(&hv), v.dot(&hessian(&u).unwrap()));
        assert!((left - right).abs() < 1e-10 * norm(&u) * norm(&hv), "{left} {right}");
    }
}

#[test]
fn derivatives_are_differences() {
    let x = numbers(3, 0.3);
    for group in [1, 2, 8] {
        let assembly = assembly(8, 3, group);
        let w = numbers(assembly.parameters(), 0.1);
        check_derivatives(&assembly.at(x.view()).unwrap(), &w);
        for output in [Activation::Tanh, Activation::Softplus] {
            check_derivatives(&NonlinearOutput { output, inner: assembly.at(x.view()).unwrap() }, &w);
        }
    }
    let (x, u) = (array![[0.4, -1.0, 0.7], [1.1, 0.2, -0.3]], array![[1.0, -0.5], [0.3, 2.0]]);
    for (depth, bias) in [(1, 0.0), (2, 0.2)] {
        let output =
            NetOutput::new(&mlp(depth, Activation::Tanh, bias, 6, 1), (&x).into(), u.view()).unwrap();
        check_derivatives(&output, &output.initial().unwrap());
    }
}

#[test]
fn blocks_give_the_norm_of_the_dense_hessian_and_of_lanczos() {
    let x = numbers(5, 0.9);
    for (m, group) in [(1, 1), (40, 1), (40, 4), (40, 7), (40, 40), (60, 1)] {
        let assembly = assembly(m, 5, group);
        let (p, w) = (assembly.parameters(), numbers(assembly.parameters(), 0.4));
        assert_eq!((p, assembly.blocks()), (5 * m.div_ceil(group), m.div_ceil(group)));
        let f = assembly.at(x.view()).unwrap();
        let exact = f.hessian_norm(&w, &Lanczos::new(1)).unwrap();
        let matrix = Symmetric::new(dense(p, f.hessian(&w).unwrap())).unwrap();
        let values = eigenvalues(&matrix).unwrap();
        assert!((exact - values[p - 1].max(-values[0])).abs() < 1e-13);
        let ritz = f.hessian_spectrum(&w, &Lanczos::new(p)).unwrap();
        assert!((exact - ritz.norm()).abs() < 1e-12 * exact, "{m} {group}: {exact} {}", ritz.norm());
        assert!(exact <= f.block_norms(&w).unwrap().sum());
    }
}

#[test]
fn the_hessian_of_independent_neurons_has_the_norm_of_the_largest() {
    // ‖∇²f‖ = max |φ″(aᵢ)| ‖x‖²/(d √m) with tanh″ = −2 tanh (1 − tanh²).
    let (m, d) = (50, 4);
    let neurons = vec![Neuron::new(Activation::Tanh, d).unwrap(); m];
    let signs = Array1::from_shape_fn(m, |i| if i % 2 == 0 { 1.0 } else { -1.0 });
    let assembly = Assembly::independent(neurons, signs, (m as f64).sqrt()).unwrap();
    let (x, w) = (numbers(d, 0.2), numbers(m * d, 0.6));
    let largest = (0..m).fold(0.0_f64, |most, i| {
        let t = (w.slice(s![d * i..d * (i + 1)]).dot(&x) / 2.0).tanh();
        most.max((2.0 * t * (1.0 - t * t)).abs())
    });
    let norm = assembly.at(x.view()).unwrap().hessian_norm(&w, &Lanczos::new(1)).unwrap();
    assert!((norm - largest * x.dot(&x) / (d as f64 * (m as f64).sqrt())).abs() < 1e-14);
    assert!((assembly.weakness() - (m as f64).powf(-0.5)).abs() < 1e-15);
}

#[test]
fn a_function_strays_from_its_linearization_by_half_the_curvature_at_most() {
    let (x, u) = (array![[0.4, -1.0, 0.7]], array![[1.0, 0.0]]);
    let lanczos = Lanczos::norm(60, 1e-6);
    for (depth, seed) in [(1, 0), (2, 1), (3, 2)] {
        let net = mlp(depth, Activation::Tanh, 0.1, 12, seed);
        let f = NetOutput::new(&net, (&x).into(), u.view()).unwrap();
        let w0 = f.initial().unwrap();
        for radius in [0.3, 2.0] {
            for w in (Sphere { radius, random: 3, seed }).points(&f, &w0).unwrap() {
                // The norm at nine points of the segment; between them it is not a fifth larger.
                let sup = (0..9).fold(0.0_f64, |sup, i| {
                    let at = &w0 + &((&w - &w0) * (f64::from(i) / 8.0));
                    sup.max(f.hessian_norm(&at, &lanczos).unwrap())
                });
                let error = f.linearization_error(&w0, &w).unwrap().abs();
                assert!(error <= 0.5 * radius * radius * 1.2 * sup, "{depth} {radius}: {error} {sup}");
                assert!(error > 0.0);
            }
        }
    }
}

#[test]
fn points_of_a_sphere_are_at_its_radius_and_contain_the_gradient_direction() {
    let assembly = assembly(20, 3, 1);
    let x = numbers(3, 0.3);
    let f = assembly.at(x.view()).unwrap();
    let (w0, lanczos) = (numbers(60, 0.1), Lanczos::new(60));
    let points = Sphere { radius: 1.5, random: 4, seed: 9 }.points(&f, &w0).unwrap();
    assert_eq!(points.len(), 6);
    assert!(points.iter().all(|w| (norm(&(w - &w0)) - 1.5).abs() < 1e-12));
    close(&(&points[1] - &w0), &(f.gradient(&w0).unwrap() * (1.5 / norm(&f.gradient(&w0).unwrap()))), 1e-12);
    let sup = Sphere { radius: 1.5, random: 4, seed: 9 }.hessian_norm(&f, &w0, &lanczos).unwrap();
    let largest = points.iter().map(|w| f.hessian_norm(w, &lanczos).unwrap()).fold(0.0, f64::max);
    assert_eq!(sup, largest.max(f.hessian_norm(&w0, &lanczos).unwrap()));
}

/// The coordinates of a recursion among all parameters of the network: those below, then column `output` of the last
/// weight.
fn places(net: &FiniteNet, below: usize, output: usize) -> Vec<usize> {
    let (all, width) = (net.parameter_count(), net.lowering().width);
    let bias = if net.parameter_names().iter().any(|name| name.ends_with("bias")) { 2 } else { 0 };
    let begin = all - bias - 2 * width;
    assert_eq!(begin, below);
    (0..below).chain((0..width).map(|j| begin + 2 * j + output)).collect()
}

#[test]
fn the_three_terms_add_up_to_the_hessian() {
    let x = array![[0.8, -0.6, 1.1]];
    for (depth, phi, bias) in [
        (1, Activation::Tanh, 0.0),
        (2, Activation::ERF, 0.3),
        (3, Activation::Tanh, 0.1),
        (2, Activation::Softplus, 0.0),
    ] {
        let net = mlp(depth, phi, bias, 7, 4);
        for output in [0, 1] {
            let recursion = LayerRecursion::new(&net, (&x).into(), output).unwrap();
            let u = Array2::from_shape_fn((1, 2), |(_, k)| f64::from(u8::from(k == output)));
            let whole = NetOutput::new(&net, (&x).into(), u.view()).unwrap();
            let w = whole.initial().unwrap();
            let hessian = whole.hessian(&w).unwrap();
            let places = places(&net, recursion.below().parameter_count(), output);
            assert_eq!(places.len(), recursion.dimension());
            for seed in 0..3 {
                let v = numbers(places.len(), f64::from(seed));
                let mut embedded = Array1::zeros(net.parameter_count());
                places.iter().zip(&v).for_each(|(&place, &v)| embedded[place] = v);
                let mut product = hessian(&embedded).unwrap();
                let expected: Array1<f64> = places.iter().map(|&place| product[place]).collect();
                close(&recursion.hessian(&v).unwrap(), &expected, 1e-12);
                // Nothing is left in other parameters: the output is linear in them.
                places.iter().for_each(|&place| product[place] = 0.0);
                assert!(norm(&product) < 1e-14);
            }
        }
    }
}

#[test]
fn terms_are_symmetric_and_the_cross_term_has_opposite_eigenvalues() {
    let x = array![[0.8, -0.6, 1.1]];
    let net = mlp(3, Activation::Tanh, 0.1, 5, 2);
    let recursion = LayerRecursion::new(&net, (&x).into(), 0).unwrap();
    let p = recursion.dimension();
    let matrices = [
        dense(p, |v| recursion.inherited(v)),
        dense(p, |v| recursion.curved(v)),
        dense(p, |v| recursion.crossed(v)),
    ];
    let spectra = recursion.spectra(&Lanczos::new(p)).unwrap();
    for (matrix, ritz) in matrices.into_iter().zip(&spectra) {
        let values = eigenvalues(&Symmetric::new(matrix).unwrap()).unwrap();
        assert!((values[p - 1] - ritz.max()).abs() < 1e-12 && (values[0] - ritz.min()).abs() < 1e-12);
    }
    assert!((spectra[2].max() + spectra[2].min()).abs() < 1e-13);
    // One layer down, the recursion applies to what is below; the lowest layer is affine and has no Hessian.
    let lower = LayerRecursion::new(recursion.below(), (&x).into(), 3).unwrap();
    assert!(lower.below().output_width() == 5 && lower.spectra(&Lanczos::new(9)).unwrap()[0].norm() > 0.0);
    let lowest = LayerRecursion::new(lower.below(), (&x).into(), 3).unwrap();
    assert_eq!(lowest.spectra(&Lanczos::new(9)).unwrap()[0].norm(), 0.0);
    assert!(matches!(LayerRecursion::new(lowest.below(), (&x).into(), 0), Err(Error::NotLayered)));
}

#[test]
fn the_hessian_in_the_last_layer_is_zero() {
    let (x, u) = (array![[0.4, -1.0, 0.7]], array![[1.0, -2.0]]);
    let net = mlp(2, Activation::ERF, 0.2, 6, 3);
    let last = Coordinates::named(&net, &["4.weight", "4.bias"]).unwrap();
    let output = NetOutput::of(&net, last, (&x).into(), u.view()).unwrap();
    let (w, whole) = (output.initial().unwrap(), NetOutput::new(&net, (&x).into(), u.view()).unwrap());
    assert_eq!((w.len(), output.hessian_norm(&w, &Lanczos::new(14)).unwrap()), (14, 0.0));
    // So the function of these coordinates is its own linearization, and the others have stayed where they were.
    let (moved, start) = (&w + &numbers(14, 0.0), whole.value(&whole.initial().unwrap()).unwrap());
    assert_eq!(output.value(&w).unwrap(), start);
    assert!(output.linearization_error(&w, &moved).unwrap().abs() < 1e-14);
    assert!((output.value(&moved).unwrap() - start).abs() > 0.01);
    assert!(whole.hessian_norm(&whole.initial().unwrap(), &Lanczos::new(20)).unwrap() > 0.01);
}

#[test]
fn single_precision_has_the_same_hessian_to_its_own() {
    let (x, u) = (array![[0.4, -1.0, 0.7]], array![[1.0, -2.0]]);
    let norm = |dtype| {
        let net = Net::mlp(2, Activation::Tanh, 2, Variance::ONE, Variance::ZERO);
        let lowering = Lowering { width: 12, dtype, ..Lowering::for_inputs(Shape::vector(3)) };
        let net = FiniteNet::lower(&net, &lowering).unwrap();
        let f = NetOutput::new(&net, (&x).into(), u.view()).unwrap();
        f.hessian_norm(&(f.initial().unwrap() * 1.1), &Lanczos::norm(80, 1e-6)).unwrap()
    };
    let (single, double) = (norm(DType::F32), norm(DType::F64));
    assert!((single - double).abs() < 1e-5 * double, "{single} {double}");
}

#[test]
fn a_nonlinear_output_adds_a_term_of_rank_one() {
    // exp has φ = φ′ = φ″.
    let (assembly, x) = (assembly(30, 4, 1), numbers(4, 0.5));
    let (w, lanczos) = (numbers(120, 0.2), Lanczos::new(120));
    let inner = assembly.at(x.view()).unwrap();
    let outer = NonlinearOutput { output: Activation::Exp { a: 1.0, b: 1.0 }, inner: &inner };
    let (value, gradient) = (inner.value(&w).unwrap().exp(), inner.gradient(&w).unwrap());
    assert!((outer.outer_norm(&w).unwrap() - value * gradient.dot(&gradient)).abs() < 1e-13 * value);
    let bound = value * inner.hessian_norm(&w, &lanczos).unwrap();
    let norm = outer.hessian_norm(&w, &lanczos).unwrap();
    assert!((norm - outer.outer_norm(&w).unwrap()).abs() <= bound + 1e-12, "{norm} {bound}");
}

#[test]
fn each_fault_has_its_error() {
    let neuron = || Neuron::new(Activation::Tanh, 2).unwrap();
    let custom = Activation::Custom { name: "mine".to_owned(), parameters: Vec::new() };
    assert!(
        matches!(Neuron::new(custom.clone(), 2), Err(Error::SecondDerivative { name }) if name == "mine")
    );
    assert!(matches!(Neuron::new(Activation::Tanh, 0), Err(Error::Setting { option: "inputs", .. })));
    assert!(matches!(neuron().with_offset(f64::NAN), Err(Error::Setting { option: "offset", .. })));
    let elu = Activation::Elu { alpha: f64::NAN };
    assert!(matches!(Neuron::new(elu, 2), Err(Error::Net(_))));

    let two = || vec![neuron(), neuron()];
    let refused = |result: Result<Assembly<Neuron>, Error>| matches!(result, Err(Error::Assembly { .. }));
    assert!(refused(Assembly::independent(Vec::<Neuron>::new(), array![], 1.0)));
    assert!(refused(Assembly::independent(two(), array![1.0], 1.0)));
    assert!(refused(Assembly::independent(two(), array![1.0, f64::INFINITY], 1.0)));
    assert!(refused(Assembly::shared(two(), array![1.0, 1.0], 1.0, vec![0])));
    for gap in [vec![1, 1], vec![0, 2], vec![0, usize::MAX - 1]] {
        assert!(refused(Assembly::shared(two(), array![1.0, 1.0], 1.0, gap)));
    }
    let wider = vec![neuron(), Neuron::new(Activation::Tanh, 3).unwrap()];
    assert!(refused(Assembly::independent(wider, array![1.0, 1.0], 1.0)));
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let result = Assembly::independent(two(), array![1.0, 1.0], scale);
        assert!(matches!(result, Err(Error::Setting { option: "scale", .. })));
    }
    assert!(matches!(
        Assembly::in_groups(two(), array![1.0, 1.0], 1.0, 0),
        Err(Error::Setting { option: "size", .. })
    ));

    let assembly = Assembly::independent(two(), array![1.0, 1.0], 1.0).unwrap();
    let x = array![1.0, 2.0];
    assert!(matches!(assembly.at(array![1.0].view()), Err(Error::Point { expected: 2, found: 1 })));
    assert!(matches!(assembly.at(array![1.0, f64::NAN].view()), Err(Error::Point { .. })));
    let f = assembly.at(x.view()).unwrap();
    let (short, fine) = (Array1::zeros(3), Array1::zeros(4));
    let wrong = |error: Error| assert!(matches!(error, Error::Point { expected: 4, found: 3 }), "{error}");
    wrong(f.value(&short).unwrap_err());
    wrong(f.gradient(&short).unwrap_err());
    wrong(f.hessian(&short).err().unwrap());
    wrong(f.hessian(&fine).unwrap()(&short).unwrap_err());
    wrong(f.hessian_norm(&short, &Lanczos::new(1)).unwrap_err());
    let sphere = Sphere { radius: 0.0, random: 1, seed: 0 };
    assert!(matches!(sphere.points(&f, &fine), Err(Error::Setting { option: "radius", .. })));
    let outer = NonlinearOutput { output: custom, inner: f };
    assert!(matches!(outer.value(&fine), Err(Error::SecondDerivative { .. })));

    let net = mlp(1, Activation::Tanh, 0.0, 4, 0);
    let (x, u) = (array![[1.0, 0.0, 0.0]], array![[1.0, 0.0]]);
    assert!(NetOutput::new(&net, (&x).into(), array![[1.0]].view()).is_err());
    let output = NetOutput::new(&net, (&x).into(), u.view()).unwrap();
    assert!(matches!(output.value(&short), Err(Error::Point { expected: 20, found: 3 })));
    let both = array![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
    assert!(matches!(LayerRecursion::new(&net, (&both).into(), 0), Err(Error::Targets { .. })));
    assert!(matches!(LayerRecursion::new(&net, (&x).into(), 2), Err(Error::Targets { .. })));
    let recursion = LayerRecursion::new(&net, (&x).into(), 0).unwrap();
    assert!(matches!(recursion.curved(&short), Err(Error::Point { expected: 16, found: 3 })));
    let lowering = Lowering { width: 4, ..Lowering::for_inputs(Shape::vector(3)) };
    let fixed = Net::dense_with(Width::Fixed(2), ntk_core::Affine::new(Variance::ONE, Variance::ZERO));
    let linear = FiniteNet::lower(&fixed, &lowering).unwrap();
    assert!(matches!(LayerRecursion::new(&linear, (&x).into(), 0), Err(Error::NotLayered)));
}
