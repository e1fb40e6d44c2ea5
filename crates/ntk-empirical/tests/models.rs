//! Models written in candle: hand formulas, parts and tiles that agree, and every way a model can be unfit refused.

#![allow(clippy::unwrap_used)] // Helpers are not tests in clippy's eyes.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use candle_core::{
    CpuStorage, CustomOp1, D, DType, Device, Layout, Module, ModuleT, Result, Shape, Tensor, Var,
};
use candle_nn::{VarBuilder, VarMap};
use ndarray::{Array1, Array2, Array3, Axis, array, s};
use ntk_core::{Activation, Batch, KernelFn, Net, Progress, Variance, Which};
use ntk_empirical::{
    Autograd, Error, FiniteNet, Lowering, Model, Parameters, VarModel, channels_first, load_weights,
};

mod common;
use common::{close, numbers};

/// A map whose variables hold fixed numbers as soon as a module has made them.
fn built<M>(dtype: DType, build: impl FnOnce(VarBuilder<'_>) -> Result<M>) -> (VarMap, M) {
    let map = VarMap::new();
    let module = build(VarBuilder::from_varmap(&map, dtype, &Device::Cpu)).unwrap();
    for (name, var) in map.data().lock().unwrap().iter() {
        if !name.contains("running") {
            let values = numbers(1, var.elem_count(), name.len() as u64) * 0.6;
            let values = Tensor::from_iter(values, &Device::Cpu).unwrap();
            var.set(&values.to_dtype(dtype).unwrap().reshape(var.shape()).unwrap()).unwrap();
        }
    }
    (map, module)
}

/// A network with three outputs, smooth, of two hidden layers.
fn mlp(dtype: DType) -> Autograd<VarModel<impl Module>> {
    let (map, module) = built(dtype, |vb| {
        let layer = |i, o, name| candle_nn::linear(i, o, vb.pp(name));
        Ok(candle_nn::seq()
            .add(layer(4, 9, "0")?)
            .add(candle_nn::Activation::Silu)
            .add(layer(9, 7, "1")?)
            .add(|x: &Tensor| x.tanh())
            .add(layer(7, 3, "2")?))
    });
    Autograd::new(VarModel::new(&map, module)).unwrap()
}

#[test]
fn kernel_of_a_linear_layer_is_the_inner_product() {
    let (map, module) = built(DType::F64, |vb| candle_nn::linear(4, 2, vb));
    let model = Autograd::new(VarModel::new(&map, module)).unwrap();
    let (a, b) = (numbers(3, 4, 0), numbers(5, 4, 1));
    let expected = a.dot(&b.t()) + 1.0;
    let blocks = model.ntk_blocks((&a).into(), (&b).into()).unwrap();
    for (c, other) in [(0, 0), (1, 1)] {
        close("blocks", &blocks.slice(s![.., .., c, other]).to_owned(), &expected, 1e-14);
    }
    assert!(blocks.slice(s![.., .., 0, 1]).iter().all(|v| *v == 0.0));
    let sum = model.ntk_sum_of_logits((&a).into(), (&b).into()).unwrap();
    close("sum of logits", &sum, &expected, 1e-14);
}

#[test]
fn kernel_of_low_rank_adapters_is_the_hand_formula() {
    // f(x) = W x + s B A x with W frozen: Θ_cc′ = s² (⟨A x, A x′⟩ δ_cc′ + (B Bᵀ)_cc′ ⟨x, x′⟩).
    let (rank, inputs, outputs, scale) = (2, 5, 3, 0.7);
    let (map, (base, down, up)) = built(DType::F64, |vb| {
        Ok((
            candle_nn::linear(inputs, outputs, vb.pp("base"))?,
            candle_nn::linear_no_bias(inputs, rank, vb.pp("lora_a"))?,
            candle_nn::linear_no_bias(rank, outputs, vb.pp("lora_b"))?,
        ))
    });
    let weight = |name: &str| {
        let tensor = map.data().lock().unwrap()[name].as_detached_tensor();
        let mut parameters = Parameters::new();
        parameters.insert(name, tensor);
        parameters.array(name).unwrap()
    };
    let (a, b) = (weight("lora_a.weight"), weight("lora_b.weight"));
    let model =
        VarModel::new(&map, |x: &Tensor| base.forward(x)? + (up.forward(&down.forward(x)?)? * scale)?);
    let model = Autograd::new(model.select(|name| name.starts_with("lora"))).unwrap();
    assert_eq!(model.parameter_count(), rank * (inputs + outputs));
    let (x, y) = (numbers(4, inputs, 2), numbers(3, inputs, 6));
    let blocks = model.ntk_blocks((&x).into(), (&y).into()).unwrap();
    let (adapted, plain, mixing) = (x.dot(&a.t()).dot(&y.dot(&a.t()).t()), x.dot(&y.t()), b.dot(&b.t()));
    for c in 0..outputs {
        for other in 0..outputs {
            let same = if c == other { 1.0 } else { 0.0 };
            let expected = (&adapted * same + &plain * mixing[[c, other]]) * scale * scale;
            close("block", &blocks.slice(s![.., .., c, other]).to_owned(), &expected, 1e-13);
        }
    }
}

#[test]
fn parts_blocks_diagonals_and_traces_agree() {
    let model = mlp(DType::F64);
    let (a, b) = (numbers(5, 4, 0), numbers(4, 4, 3));
    for (x1, x2) in [(&a, &b), (&a, &a)] {
        let (x1, x2): (Batch<'_>, Batch<'_>) = (x1.into(), x2.into());
        let blocks = model.ntk_blocks(x1, x2).unwrap();
        let diagonal = model.ntk_diagonals(x1, x2).unwrap();
        let expected = Array3::from_shape_fn(diagonal.dim(), |(i, j, c)| blocks[[i, j, c, c]]);
        assert!((&diagonal - &expected).iter().all(|d| d.abs() < 1e-13));
        let trace = diagonal.mean_axis(Axis(2)).unwrap();
        close("trace", &model.block(x1, x2, Which::Ntk).unwrap().ntk.unwrap(), &trace, 1e-13);
        let parts = model.ntk_parts(x1, x2).unwrap();
        assert_eq!(parts.len(), 6);
        let sum = parts.iter().fold(Array2::zeros(trace.dim()), |sum: Array2<f64>, (_, part)| sum + part);
        close("parts", &sum, &trace, 1e-13);
        let all = blocks.sum_axis(Axis(3)).sum_axis(Axis(2)) / 3.0;
        close("sum of logits", &model.ntk_sum_of_logits(x1, x2).unwrap(), &all, 1e-13);
    }
    let diag = model.diag((&a).into(), Which::Both).unwrap();
    let whole = model.symmetric((&a).into(), Which::Both).unwrap();
    for (diag, whole) in [(diag.ntk, whole.ntk), (diag.nngp, whole.nngp)] {
        let (diag, whole): (Array1<f64>, Array2<f64>) = (diag.unwrap(), whole.unwrap());
        assert_eq!(whole, whole.t());
        assert!(diag.iter().zip(whole.diag()).all(|(a, b)| (a - b).abs() < 1e-13 * b));
    }
}

#[test]
fn laws_of_kernels_hold() {
    ntk_testkit::laws::check_kernel_fn(&mlp(DType::F64), (&numbers(6, 4, 0)).into()).unwrap();
}

#[test]
fn a_bound_on_memory_changes_nothing_but_the_sweeps() {
    let (x, y) = (numbers(11, 4, 0), numbers(5, 4, 3));
    let free = mlp(DType::F64);
    let sample = 8 * 3 * free.parameter_count();
    let expected = [free.ntk_blocks((&x).into(), (&x).into()), free.ntk_blocks((&x).into(), (&y).into())];
    // With k samples at a time: k − 1 rows and one column.
    for (k, sweeps) in
        [(2, [66, 66]), (4, [4 * 11 - 18, 11 + 4 * 5]), (9, [11 + 3, 11 + 2 * 5]), (400, [11, 16])]
    {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let model = mlp(DType::F64).with_memory(k * sample).with_observer(move |progress| {
            seen.lock().unwrap().push(progress);
            ControlFlow::Continue(())
        });
        for ((other, expected), total) in [&x, &y].into_iter().zip(&expected).zip(sweeps) {
            let blocks = model.ntk_blocks((&x).into(), other.into()).unwrap();
            let difference =
                (&blocks - expected.as_ref().unwrap()).iter().fold(0.0, |m: f64, d| m.max(d.abs()));
            assert!(difference < 1e-13, "{k}: {difference:e}");
            let calls = std::mem::take(&mut *calls.lock().unwrap());
            let expected: Vec<Progress> = (1..=total).map(|done| Progress { done, total }).collect();
            assert_eq!(calls, expected, "{k} samples at a time");
        }
    }
    let stopped = mlp(DType::F64).with_observer(|progress| match progress.done {
        3 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let error = stopped.symmetric((&x).into(), Which::Ntk).unwrap_err();
    assert!(matches!(error, Error::Net(ntk_core::Error::Cancelled { done: 3, total: 11 })), "{error}");
    let error = mlp(DType::F64).with_memory(2 * sample - 1).symmetric((&x).into(), Which::Ntk).unwrap_err();
    assert!(matches!(error, Error::ModelMemory { needed, .. } if needed == 2 * sample), "{error}");
}

#[test]
fn f32_follows_f64() {
    let x = numbers(6, 4, 0);
    let [single, double] =
        [DType::F32, DType::F64].map(|dtype| mlp(dtype).ntk_blocks((&x).into(), (&x).into()).unwrap());
    let scale = double.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    assert!((single - &double).iter().all(|d| d.abs() < 1e-5 * scale));
}

#[test]
fn selected_parameters_of_a_network_are_its_layers() {
    let net = Net::mlp(2, Activation::Tanh, 2, Variance::TWO, Variance::ONE);
    let net =
        FiniteNet::lower(&net, &Lowering { width: 7, ..Lowering::for_inputs(ntk_core::Shape::vector(4)) })
            .unwrap();
    let x = numbers(3, 4, 0);
    for (path, share) in net.ntk_layers((&x).into(), (&x).into()).unwrap() {
        let layer = (&net).select(|name| name.starts_with(&format!("{path}.")));
        let ntk = Autograd::new(layer).unwrap().symmetric((&x).into(), Which::Ntk).unwrap().ntk.unwrap();
        close(&path, &ntk, &share, 1e-12);
    }
}

#[test]
fn images_come_with_their_channels_last() {
    let images = numbers(3, 2 * 4 * 5, 0);
    let x = Tensor::from_iter(images.iter().copied(), &Device::Cpu).unwrap().reshape((3, 40)).unwrap();
    let y: Vec<f64> = channels_first(&x, &[2, 4]).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let first = images.into_shape_with_order((3, 2, 4, 5)).unwrap();
    assert!(first.permuted_axes([0, 3, 1, 2]).iter().eq(y.iter()));
    assert!(channels_first(&x, &[3, 4]).is_err() && channels_first(&x, &[0]).is_err());
    // A convolution whose window is the image is a linear layer.
    let (map, conv) = built(DType::F64, |vb| candle_nn::conv2d(5, 2, 2, Default::default(), vb));
    let module = |x: &Tensor| conv.forward(&channels_first(x, &[2, 2])?)?.flatten_from(1);
    let images = numbers(3, 20, 4).into_shape_with_order((3, 2, 2, 5)).unwrap();
    let model = Autograd::new(VarModel::new(&map, module)).unwrap();
    let ntk = model.symmetric(Batch::grid(images.view()).unwrap(), Which::Ntk).unwrap().ntk.unwrap();
    let rows = images.into_shape_with_order((3, 20)).unwrap();
    close("convolution", &ntk, &(rows.dot(&rows.t()) + 1.0), 1e-13);
}

/// Checks the gradients of a model made of one operation between two layers.
fn check(dtype: DType, middle: impl Fn(&Tensor) -> Result<Tensor>) -> std::result::Result<(), Error> {
    let (map, (first, last)) = built(dtype, |vb| {
        Ok((candle_nn::linear(3, 16, vb.pp("first"))?, candle_nn::linear(16, 2, vb.pp("last"))?))
    });
    let module = |x: &Tensor| last.forward(&middle(&first.forward(x)?)?);
    let model = Autograd::new(VarModel::new(&map, module))?;
    model.check_gradients((&numbers(4, 3, 0)).into(), if dtype == DType::F64 { 1e-5 } else { 0.05 })
}

type Middle = fn(&Tensor) -> Result<Tensor>;

fn as_images(x: &Tensor) -> Result<Tensor> {
    x.reshape(((), 1, 4, 4))
}

#[test]
fn gradients_of_common_operations_are_derivatives() {
    let right: [(&str, Middle); 10] = [
        ("sum", |x| x.sum_keepdim(1)?.broadcast_as(x.shape())? * x),
        ("softmax", |x| candle_nn::ops::softmax(x, D::Minus1)),
        ("log_softmax", |x| candle_nn::ops::log_softmax(x, 1)),
        ("silu, sigmoid, tanh", |x| (x.silu()? * candle_nn::ops::sigmoid(x)?)? + x.tanh()?),
        ("gelu", |x| x.gelu_erf()),
        ("average pooling", |x| as_images(x)?.avg_pool2d(2)?.repeat((1, 4, 1, 1))?.flatten_from(1)),
        ("gather", |x| {
            x.gather(
                &Tensor::from_iter((0..x.elem_count() as u32).map(|i| (i * i) % 16), x.device())?
                    .reshape(x.shape())?,
                1,
            )
        }),
        ("index_select", |x| x.index_select(&Tensor::from_iter((0..16u32).map(|i| i % 5), x.device())?, 1)),
        ("concatenation", |x| Tensor::cat(&[&x.narrow(1, 8, 8)?, &x.narrow(1, 0, 8)?], 1)? * x),
        ("where", |x| x.ge(0.1)?.where_cond(&x.sqr()?, &(x * 0.5)?)),
    ];
    for (name, middle) in right {
        check(DType::F64, middle).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    check(DType::F32, |x| candle_nn::ops::softmax(x, 1)).unwrap();
}

#[test]
fn wrong_gradients_are_found() {
    let cut = |result: std::result::Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::CutVariable { name } if name.starts_with("first")), "{error}");
    };
    cut(check(DType::F64, candle_nn::ops::softmax_last_dim));
    cut(check(DType::F64, |x| Ok(x.detach())));
    let norm = candle_nn::LayerNorm::new(
        Tensor::ones(16, DType::F32, &Device::Cpu).unwrap(),
        Tensor::zeros(16, DType::F32, &Device::Cpu).unwrap(),
        1e-5,
    );
    cut(check(DType::F32, |x| norm.forward(x)));
    let wrong = |result: std::result::Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::WrongGradient { name, .. } if name.starts_with("first")), "{error}");
    };
    wrong(check(DType::F64, |x| as_images(x)?.max_pool2d(2)?.repeat((1, 4, 1, 1))?.flatten_from(1)));
    wrong(check(DType::F64, |x| x.tanh()? + x.detach().sin()?));
    wrong(check(DType::F64, |x| {
        let small = as_images(x)?.narrow(2, 0, 2)?.narrow(3, 0, 2)?.contiguous()?;
        let large = small.upsample_nearest2d(4, 4)?;
        (large * small.repeat((1, 1, 2, 2))?)?.flatten_from(1)
    }));
}

#[test]
fn gradients_of_embeddings_are_derivatives() {
    // Tokens that repeat within a sample: their gradients must add up.
    let tokens = array![[0u32, 1, 1, 4], [4, 4, 4, 2]];
    let batch = Batch::tokens(tokens.view(), 5).unwrap();
    let (map, (table, last)) = built(DType::F64, |vb| {
        Ok((candle_nn::embedding(5, 3, vb.pp("tokens"))?, candle_nn::linear(3, 2, vb.pp("last"))?))
    });
    let module = |x: &Tensor| last.forward(&table.forward(x)?.sin()?.sum(1)?);
    Autograd::new(VarModel::new(&map, module)).unwrap().check_gradients(batch, 1e-7).unwrap();
    // f = the mean of the embeddings: Θ counts common tokens.
    let mean = Autograd::new(
        VarModel::new(&map, |x: &Tensor| table.forward(x)?.mean(1)).select(|n| n == "tokens.weight"),
    );
    let ntk = mean.unwrap().symmetric(batch, Which::Ntk).unwrap().ntk.unwrap();
    close("tokens", &ntk, &(array![[6.0, 3.0], [3.0, 10.0]] / 16.0), 1e-14);
}

#[test]
fn batch_normalization_is_taken_in_evaluation_mode() {
    let x = numbers(5, 3, 0);
    let (map, (first, norm)) = built(DType::F64, |vb| {
        Ok((candle_nn::linear(3, 4, vb.pp("first"))?, candle_nn::batch_norm(4, 1e-5, vb.pp("norm"))?))
    });
    let module = |train| {
        let (first, norm) = (&first, &norm);
        VarModel::new(&map, move |x: &Tensor| norm.forward_t(&first.forward(x)?, train))
    };
    let evaluation = Autograd::new(module(false)).unwrap();
    let names: Vec<String> = evaluation.model().named_vars().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["first.bias", "first.weight", "norm.bias", "norm.weight"]);
    evaluation.check_gradients((&x).into(), 1e-7).unwrap();
    let error = Autograd::new(module(true)).unwrap().symmetric((&x).into(), Which::Ntk).unwrap_err();
    assert!(matches!(error, Error::BatchDependence { .. }), "{error}");
    let dropout = candle_nn::Dropout::new(0.5);
    let noisy = VarModel::new(&map, |x: &Tensor| dropout.forward_t(&first.forward(x)?, true));
    let error = Autograd::new(noisy).unwrap().symmetric((&x).into(), Which::Ntk).unwrap_err();
    assert!(matches!(error, Error::Randomness { .. }), "{error}");
}

/// The identity, alive as long as a graph holds it.
struct Held(#[allow(dead_code)] Arc<()>);

impl CustomOp1 for Held {
    fn name(&self) -> &'static str {
        "held"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let values =
            storage.as_slice::<f64>()?[layout.start_offset()..][..layout.shape().elem_count()].to_vec();
        Ok((CpuStorage::F64(values), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(gradient.clone()))
    }
}

#[test]
fn graphs_end_with_their_samples() {
    let count = Arc::new(());
    let most = Mutex::new(0);
    let (map, layer) = built(DType::F64, |vb| candle_nn::linear(4, 3, vb));
    let module = |x: &Tensor| {
        let mut most = most.lock().unwrap();
        *most = Arc::strong_count(&count).max(*most);
        layer.forward(x)?.apply_op1(Held(count.clone()))?.tanh()
    };
    let model = Autograd::new(VarModel::new(&map, module)).unwrap();
    let x = numbers(20, 4, 0);
    model.ntk_blocks((&x).into(), (&x).into()).unwrap();
    assert_eq!(Arc::strong_count(&count), 1);
    // One graph at a time; before the first kernel, that of two samples and the model's look at one of them.
    assert!(*most.lock().unwrap() <= 2, "{} graphs at a time", *most.lock().unwrap() - 1);
}

struct Variables(Vec<(&'static str, Var)>);

impl Model for Variables {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }

    fn named_vars(&self) -> Vec<(String, Var)> {
        self.0.iter().map(|(name, var)| ((*name).to_owned(), var.clone())).collect()
    }
}

#[test]
fn variables_that_do_not_fit_are_named() {
    let var = |dtype| Var::ones((2, 2), dtype, &Device::Cpu).unwrap();
    let double = || var(DType::F64);
    let shared = double();
    let infinite = Var::new(&[1.0, f64::INFINITY], &Device::Cpu).unwrap();
    let refusal = |vars: Vec<(&'static str, Var)>| Autograd::new(Variables(vars)).err().unwrap();
    let error = refusal(vec![("a", double()), ("b", var(DType::F32))]);
    assert!(
        matches!(&error, Error::MixedVariables { first, name, .. } if first == "a" && name == "b"),
        "{error}"
    );
    assert!(error.to_string().contains("f64") && error.to_string().contains("f32"), "{error}");
    let error = refusal(vec![("a", double()), ("a", double())]);
    assert!(matches!(&error, Error::RepeatedVariable { .. }), "{error}");
    let error = refusal(vec![("a", shared.clone()), ("b", shared)]);
    assert!(
        matches!(&error, Error::RepeatedVariable { name, other } if name == "b" && other == "a"),
        "{error}"
    );
    let error = refusal(vec![("a", double()), ("b", infinite)]);
    assert!(matches!(&error, Error::NonFiniteParameter { name } if name == "b"), "{error}");
    let error = refusal(vec![("a", var(DType::U32))]);
    assert!(matches!(error, Error::DType { dtype: "u32", .. }), "{error}");
    let error = Autograd::new(Variables(vec![("a", double())]).select(|_| false)).err().unwrap();
    assert!(matches!(error, Error::ModelVariables { vars: 0, .. }), "{error}");
}

#[test]
fn weights_are_checked_name_by_name() {
    let build = || built(DType::F64, |vb| candle_nn::linear(2, 3, vb.pp("layer"))).0;
    let value =
        |map: &VarMap| -> Vec<Vec<f64>> { map.data().lock().unwrap()["layer.weight"].to_vec2().unwrap() };
    let folder = std::env::temp_dir().join(format!("ntk-empirical-models-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(format!("{name}.safetensors"));
    let ones = |shape: &[usize], dtype| Tensor::ones(shape, dtype, &Device::Cpu).unwrap();
    let write = |name: &str, tensors: &[(&str, Tensor)]| {
        let mut parameters = Parameters::new();
        tensors.iter().for_each(|(name, tensor)| parameters.insert(*name, tensor.clone()));
        parameters.save(path(name)).unwrap();
        path(name)
    };
    let (map, before) = (build(), value(&build()));
    let weight = || ("layer.weight", ones(&[3, 2], DType::F32));
    let bias = || ("layer.bias", ones(&[3], DType::F32));
    let file = write(
        "names",
        &[weight(), ("extra", ones(&[1], DType::F32)), ("layer.mass", ones(&[3], DType::F32))],
    );
    let error = load_weights(&map, file).unwrap_err();
    let expected = (vec!["layer.bias".to_owned()], vec!["extra".to_owned(), "layer.mass".to_owned()]);
    assert!(
        matches!(&error, Error::WeightNames { missing, surplus } if (missing, surplus) == (&expected.0, &expected.1))
    );
    assert!(error.to_string().contains("layer.bias") && error.to_string().contains("extra"), "{error}");
    let file = write("shape", &[("layer.weight", ones(&[2, 3], DType::F64)), bias()]);
    assert!(
        matches!(load_weights(&map, file), Err(Error::ParameterShape { name, .. }) if name == "layer.weight")
    );
    let infinite = (ones(&[3], DType::F64) * f64::INFINITY).unwrap();
    let file = write("finite", &[weight(), ("layer.bias", infinite)]);
    assert!(
        matches!(load_weights(&map, file), Err(Error::NonFiniteParameter { name }) if name == "layer.bias")
    );
    let good = write("good", &[weight(), bias()]);
    let bytes = std::fs::read(&good).unwrap();
    for length in [0, 7, 20, bytes.len() - 1] {
        std::fs::write(path("truncated"), &bytes[..length]).unwrap();
        assert!(matches!(load_weights(&map, path("truncated")), Err(Error::File { .. })), "{length} bytes");
    }
    assert!(matches!(load_weights(&map, path("absent")), Err(Error::File { .. })));
    assert_eq!(value(&map), before);
    load_weights(&map, &good).unwrap();
    assert_eq!(value(&map), vec![vec![1.0; 2]; 3]);
    std::fs::remove_dir_all(&folder).unwrap();
}
