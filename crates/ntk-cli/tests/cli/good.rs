//! Each command against the library or a calculation by hand.

use ndarray::{Array1, Array2, Ix2, array};
use ntk_analytic::Analytic;
use ntk_core::{Batch, KernelFn, Net, Shape, Variance, Which};
use ntk_dynamics::{LearningRate, LossScale, Ridge, Time};
use ntk_empirical::{FiniteNet, Lowering, NtkOptions, TrainOptions};

use crate::fixtures::{Folder, npy, npy_of, npz, parse};

fn x() -> Array2<f64> {
    array![[1.0, 0.5], [-0.3, 0.8], [0.2, -1.0]]
}

fn t() -> Array2<f64> {
    array![[0.1, 0.2], [1.0, 1.0]]
}

fn y() -> Array1<f64> {
    array![1.0, -1.0, 0.5]
}

/// A folder with samples, targets and test samples.
fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    folder.put_array("x.npy", &x().into_dyn());
    folder.put_array("t.npy", &t().into_dyn());
    folder.put_array("y.npy", &y().into_dyn());
    folder
}

fn net(folder: &Folder) -> Net {
    Net::from_json(&folder.text("net.json")).unwrap()
}

#[test]
fn kernels_are_those_of_the_library() {
    let folder = folder("kernel_library");
    let kernel = Analytic::new(net(&folder)).unwrap();
    let report = folder.json("kernel --net net.json --x1 x.npy -o k.npz");
    assert_eq!(report["arrays"]["ntk"], serde_json::json!([3, 3]));
    let block = kernel.symmetric((&x()).into(), Which::Both).unwrap();
    assert_eq!(folder.array("k.npz", "nngp"), block.nngp.unwrap().into_dyn());
    assert_eq!(folder.array("k.npz", "ntk"), block.ntk.clone().unwrap().into_dyn());
    // Θ(x, x) of the first sample: 1.35, then 1.45 + 1.35, then 1.45 + 2.8.
    assert!((block.ntk.unwrap()[[0, 0]] - 4.25).abs() < 1e-14);

    folder.json("kernel --net net.json --x1 t.npy --x2 x.npy --which ntk -o k.npy");
    let cross = kernel.block((&t()).into(), (&x()).into(), Which::Ntk).unwrap().ntk.unwrap();
    assert_eq!(parse(&std::fs::read(folder.path("k.npy")).unwrap()), cross.clone().into_dyn());
    folder.json("kernel --net net.json --x1 t.npy --x2 x.npy --which ntk -o k.csv");
    let rows: Vec<Vec<f64>> = folder
        .text("k.csv")
        .lines()
        .map(|line| line.split(',').map(|v| v.parse().unwrap()).collect())
        .collect();
    assert_eq!(rows, cross.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>());

    folder.json("kernel --net net.json --x1 t.npy --diagonal -o d.npz");
    let diagonal = kernel.diag((&t()).into(), Which::Both).unwrap();
    assert_eq!(folder.array("d.npz", "ntk"), diagonal.ntk.unwrap().into_dyn());
}

#[test]
fn provenance_stands_beside_every_matrix() {
    let folder = folder("provenance");
    let report = folder.json("kernel --net net.json --x1 x.npy -o k.npz");
    let inside = folder.provenance("k.npz");
    assert_eq!(report["provenance"], inside);
    assert_eq!(inside["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(inside["precision"], "f64");
    assert_eq!(inside["arguments"][0], "kernel");
    let document = inside["network"]["document"].to_string();
    assert_eq!(Net::from_json(&document).unwrap(), net(&folder));
    folder.json("finite --net net.json --x1 x.npy --width 32 --seed 9 -o f.csv");
    let beside: serde_json::Value = serde_json::from_str(&folder.text("f.csv.json")).unwrap();
    assert_eq!((&beside["seed"], &beside["width"]), (&serde_json::json!(9), &serde_json::json!(32)));
}

#[test]
fn samples_are_the_same_in_every_format() {
    let folder = folder("formats");
    let floats: Vec<u8> = x().t().iter().flat_map(|v| v.to_le_bytes()).collect();
    folder.put("fortran.npy", npy("'<f8'", true, "(3, 2)", &floats));
    let entry = ("a", npy_of(x().into_dyn().view()));
    folder.put("one.npz", npz(std::slice::from_ref(&entry), false));
    folder.put("two.npz", npz(&[entry, ("b", npy_of(t().into_dyn().view()))], true));
    folder.put("x.csv", "a,b\n1,0.5\n-0.3,0.8\n0.2,-1\n");
    folder.json("kernel --net net.json --x1 x.npy -o k.npz");
    let expected = folder.array("k.npz", "ntk");
    for source in ["fortran.npy", "one.npz", "one.npz:a", "two.npz:a", "x.csv"] {
        folder.json(&format!("kernel --net net.json --x1 {source} -o k.npz --force"));
        assert_eq!(folder.array("k.npz", "ntk"), expected, "{source}");
    }
    // Single precision and integers: numbers that both hold exactly.
    let halves = array![[1.0, 0.5], [-2.0, 0.0]];
    folder.put_array("h.npy", &halves.clone().into_dyn());
    let single: Vec<u8> = halves.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect();
    folder.put("h32.npy", npy("'<f4'", false, "(2, 2)", &single));
    let run = |source: &str| {
        folder.json(&format!("kernel --net net.json --x1 {source} -o h.npz --force"));
        folder.array("h.npz", "ntk")
    };
    assert_eq!(run("h.npy"), run("h32.npy"));
    folder.put_array("i.npy", &array![[1.0, -3.0]].into_dyn());
    folder.put("i16.npy", npy("'>i2'", false, "(1, 2)", &[0, 1, 0xff, 0xfd]));
    assert_eq!(run("i.npy"), run("i16.npy"));
}

#[test]
fn images_may_come_as_rows() {
    let folder = Folder::new("images");
    let images =
        ndarray::Array4::from_shape_fn((2, 4, 4, 3), |(n, h, w, c)| ((n + 2 * h + 3 * w + c) as f64).sin());
    folder.put_array("images.npy", &images.clone().into_dyn());
    folder.put_array("rows.npy", &images.into_shape_with_order((2, 48)).unwrap().into_dyn());
    folder.json("kernel --net conv.json --x1 images.npy -o a.npz");
    folder.json("kernel --net conv.json --x1 rows.npy --sample-shape 4,4,3 -o b.npz");
    assert_eq!(folder.array("a.npz", "ntk"), folder.array("b.npz", "ntk"));
    folder.json("kernel --net conv.json --x1 images.npy --precision f32 -o c.npz");
    let (a, c) = (folder.array("a.npz", "ntk"), folder.array("c.npz", "ntk"));
    assert!((&a - &c).iter().all(|error| error.abs() < 1e-5 * a[[0, 0]]));
}

#[test]
fn tokens_are_integers_below_the_vocabulary() {
    let folder = Folder::new("tokens");
    let readout = Net::readout(2, Variance::ONE, Variance::ZERO);
    let net = Net::serial([Net::embedding(Variance::TWO), Net::global_average_pool(), readout]);
    folder.put("net.json", net.to_json());
    folder.put("tokens.csv", "0,1,1\n4,0,1\n");
    folder.json("kernel --net net.json --x1 tokens.csv --vocabulary 5 -o k.npz");
    let tokens = array![[0u32, 1, 1], [4, 0, 1]];
    let batch = Batch::tokens(tokens.view(), 5).unwrap();
    let block = Analytic::new(net).unwrap().symmetric(batch, Which::Both).unwrap();
    assert_eq!(folder.array("k.npz", "ntk"), block.ntk.unwrap().into_dyn());
    let text = folder.fails(2, "kernel --net net.json --x1 tokens.csv --vocabulary 4 -o l.npz");
    assert!(text.contains("token 4 of sample 1, position 0"), "{text}");
    assert!(folder.fails(2, "kernel --net net.json --x1 tokens.csv -o l.npz").contains("--vocabulary"));
    let report = folder.json("describe net.json --sample-shape 3 --vocabulary 5");
    // A row of 512 for each token, and a readout of 2 outputs.
    assert_eq!(report["finite_width"]["parameters"], 5.0 * 512.0 + 512.0 * 2.0);
}

#[test]
fn predictions_are_those_of_the_library() {
    let folder = folder("predict_library");
    let kernel = Analytic::new(net(&folder)).unwrap();
    let y = y().insert_axis(ndarray::Axis(1));
    let rate = LearningRate::new(0.3).unwrap();
    let (x, t) = (x(), t());
    let ensemble =
        ntk_dynamics::fit(&kernel, (&x).into(), y.view(), rate, LossScale::MeanNK, Ridge::None).unwrap();
    let test = ensemble.test(&kernel.block((&t).into(), (&x).into(), Which::Both).unwrap()).unwrap();
    let k = kernel.diag((&t).into(), Which::Nngp).unwrap().nngp.unwrap();
    let from_net = "predict --net net.json --train x.npy --targets y.npy --test t.npy --rate 0.3";
    for (time, at) in [("7.5", Time::Finite(7.5)), ("inf", Time::Infinite)] {
        folder.json(&format!("{from_net} --time {time} -o p.npz --force"));
        assert_eq!(folder.array("p.npz", "mean"), test.mean(at).unwrap().into_dyn());
        assert_eq!(folder.array("p.npz", "variance"), test.variance(at, k.view()).unwrap().into_dyn());
    }

    folder.json("kernel --net net.json --x1 x.npy -o k.npz");
    folder.json("kernel --net net.json --x1 t.npy --x2 x.npy -o kt.npz");
    folder.json("kernel --net net.json --x1 t.npy --which nngp -o kk.npz");
    let kernels = "predict --train-kernel k.npz --test-train-kernel kt.npz --targets y.npy";
    folder.json(&format!("{kernels} --test-kernel kk.npz -o q.npz"));
    assert_eq!(folder.array("q.npz", "mean"), folder.array("p.npz", "mean"));
    assert_eq!(folder.array("q.npz", "variance"), folder.array("p.npz", "variance"));
    folder.json(&format!("{kernels} --test-kernel kk.npz --covariance -o c.npz"));
    let (covariance, variance) = (folder.array("c.npz", "covariance"), folder.array("p.npz", "variance"));
    assert!((0..2).all(|i| (covariance[[i, i]] - variance[[i]]).abs() < 1e-12));
    let without = folder.json(&format!("{kernels} -o w.npz"));
    assert_eq!(without["arrays"].as_object().unwrap().len(), 1);
}

#[test]
fn predictions_by_hand_with_one_sample() {
    let folder = Folder::new("predict_hand");
    folder.put("k.npz", npz(&[("nngp", npy_of(array![[2.0]].into_dyn().view()))], false));
    folder.put("kt.npz", npz(&[("nngp", npy_of(array![[1.0]].into_dyn().view()))], false));
    folder.put("kk.npz", npz(&[("nngp", npy_of(array![3.0].into_dyn().view()))], false));
    folder.put("y.csv", "4\n");
    folder.put("z.csv", "1\n");
    let line = "predict --train-kernel k.npz --test-train-kernel kt.npz --test-kernel kk.npz --targets y.csv";
    let report = folder.json(&format!("{line} --kind posterior --ridge 0.5 --test-targets z.csv -o p.csv"));
    // 1/(2 + ½) · 4 and 3 − 1/(2 + ½).
    assert_eq!(folder.text("p.csv"), "mean,variance\n1.6,2.6\n");
    assert!((report["test_rmse"].as_f64().unwrap() - 0.6).abs() < 1e-15);
    // A readout trained for a time t: k/K (1 − e^{−ηKt}) y.
    folder.json(&format!("{line} --kind nngp --time 0.25 --rate 0.5 --loss-scale sum -o f.npz"));
    let mean = folder.array("f.npz", "mean")[[0, 0]];
    assert!((mean - 2.0 * (1.0 - (-0.25f64).exp())).abs() < 1e-14, "{mean}");
}

#[test]
fn finite_kernels_are_those_of_the_library() {
    let folder = folder("finite");
    let net = Net::from_json(&folder.text("net.json").replace("\"fixed\": 1", "\"fixed\": 2")).unwrap();
    folder.put("two.json", net.to_json());
    let lowering = Lowering { width: 32, seed: 3, ..Lowering::for_inputs(Shape::vector(2)) };
    let finite = FiniteNet::lower(&net, &lowering).unwrap();
    let (x, t) = (x(), t());
    let ntk = finite.ntk((&t).into(), Some((&x).into()), NtkOptions::default()).unwrap();
    let run = |part: &str, rest: &str| {
        folder.json(&format!(
            "finite --net two.json --x1 t.npy --x2 x.npy --width 32 --part {part} {rest} -o f.npz --force"
        ));
    };
    run("full", "--seed 3");
    assert_eq!(folder.array("f.npz", "ntk"), ntk.blocks().unwrap().into_dyn());
    run("diagonal", "--seed 3");
    assert_eq!(folder.array("f.npz", "ntk"), ntk.diagonals().unwrap().into_dyn());
    run("sum-of-logits", "--seed 3");
    assert_eq!(folder.array("f.npz", "ntk"), ntk.sum_of_logits().unwrap().into_dyn());
    run("trace", "--seed 3 --method jacobian");
    let trace = folder.array("f.npz", "ntk");
    assert!((&trace - &ntk.trace().unwrap()).iter().all(|error| error.abs() < 1e-12));
    run("layers", "--seed 3");
    let layers = ["ntk.0", "ntk.2", "ntk.4"].map(|layer| folder.array("f.npz", layer));
    assert!((&layers[0] + &layers[1] + &layers[2] - &trace).iter().all(|error| error.abs() < 1e-12));

    finite.save(folder.path("weights.safetensors")).unwrap();
    run("trace", "--weights weights.safetensors --method jacobian");
    assert_eq!(folder.array("f.npz", "ntk"), trace);
    assert_eq!(folder.provenance("f.npz")["seed"], serde_json::Value::Null);
    run("trace", "--seed 4");
    assert_ne!(folder.array("f.npz", "ntk"), trace);
}

#[test]
fn programs_by_hand() {
    let folder = Folder::new("program");
    let report = folder.json("program program.json -o k.npz");
    // E relu(h)² = ½ · 2, and the tangent kernel adds E step(h)² · E x² = ½.
    for (name, value) in [("nngp", 1.0), ("ntk", 1.5)] {
        assert!((report["kernels"][name]["value"][0][0].as_f64().unwrap() - value).abs() < 1e-12);
        assert!((folder.array("k.npz", name)[[0, 0]] - value).abs() < 1e-12);
    }
    assert_eq!(report["checks"]["simple_gia"]["holds"], true);

    // f = ⟨v, WᵀWx⟩/√n: E (Z^g)² = 2, and the two uses of W add 1 each.
    let tied = folder.json("program tied.json --particles 65536 --seed 5");
    for (name, value) in [("nngp", 2.0), ("ntk", 4.0)] {
        let kernel = &tied["kernels"][name];
        let [found, error] = ["value", "error"].map(|part| kernel[part][0][0].as_f64().unwrap());
        assert!(error > 0.0 && (found - value).abs() < 5.0 * error, "{name}: {found} ± {error}");
    }
    assert_eq!(tied["checks"]["simple_gia"]["holds"], false);
    assert!(folder.fails(2, "program tied.json").contains("--particles"));
    let printed = folder.run("program tied.json --checks");
    assert!(printed.code == 0 && printed.stdout.contains("g : G(n0) := Wᵀ h"), "{}", printed.stdout);
}

#[test]
fn networks_are_described_before_anything_is_computed() {
    let folder = Folder::new("describe");
    let report = folder.json("describe net.json --sample-shape 2 --width 512");
    // (2 + 1) · 512, (512 + 1) · 512 and 512.
    assert_eq!(report["finite_width"]["parameters"], 264_704.0);
    assert_eq!(report["finite_width"]["names"][3], "2.bias");
    assert_eq!(report["facts"]["depth"], 3);
    assert_eq!(
        (&report["infinite_width"]["known"], &report["facts"]["law"]),
        (&true.into(), &"gaussian".into())
    );
    assert_eq!(report["plan"]["result_bytes"], 2 * 8 * 1000 * 1000);
    let report = folder.json("describe conv.json --sample-shape 8,8,3 --samples 10");
    assert_eq!(report["plan"]["layers"][0]["pairs"], "all pairs");
    assert_eq!(report["shapes"]["outputs"], "10");

    let twice = r#"{"version": 1, "net": {"serial": [{"activation": "relu"}, {"activation": "relu"}]}}"#;
    folder.put("twice.json", twice);
    let report = folder.json("describe twice.json --sample-shape 2");
    assert_eq!(report["infinite_width"]["known"], false);
    assert_eq!(report["finite_width"]["known"], true);
    let text = folder.run("describe twice.json").stdout;
    assert!(text.contains("infinite width  no: "), "{text}");
}

#[test]
fn a_network_and_its_linearization_are_those_of_the_library() {
    let folder = folder("train_compare");
    let line = "train-compare --net net.json --x x.npy --targets y.npy --test t.npy --width 64 --seed 2 --rate 0.4 \
                --steps 20 --record 3";
    let report = folder.json(&format!("{line} -o run.csv"));
    let lowering = Lowering { width: 64, seed: 2, ..Lowering::for_inputs(Shape::vector(2)) };
    let mut finite = FiniteNet::lower(&net(&folder), &lowering).unwrap();
    let mut linear = finite.linearize().unwrap();
    let options = TrainOptions { record: vec![], ..TrainOptions::descent(0.4, 20) };
    let (x, y) = (x(), y().insert_axis(ndarray::Axis(1)));
    let a = finite.train(&options, (&x).into(), y.view(), |_| std::ops::ControlFlow::Continue(())).unwrap();
    let b = linear.train(&options, (&x).into(), y.view(), |_| std::ops::ControlFlow::Continue(())).unwrap();
    let table = &report["table"];
    assert_eq!(table["step"], serde_json::json!([0.0, 10.0, 20.0]));
    assert_eq!((&table["loss"][2], &table["linearized_loss"][2]), (&a.loss.into(), &b.loss.into()));
    let distance = ((&a.outputs - &b.outputs).mapv(|d| d * d).sum() / 3.0).sqrt();
    assert!((table["distance"][2].as_f64().unwrap() - distance).abs() < 1e-15);
    assert!(table["distance"][0] == 0.0 && distance > 0.0);
    let text = folder.text("run.csv");
    assert!(text.starts_with("step,loss,linearized_loss,distance,test_distance\n0.0,"), "{text}");
}

#[test]
fn the_shell_and_the_manual_know_every_command() {
    let folder = Folder::new("manual");
    let commands =
        ["kernel", "predict", "finite", "program", "describe", "train-compare", "completions", "man"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = folder.run(&format!("completions {shell}")).stdout;
        assert!(commands.iter().all(|command| text.contains(command)), "{shell}");
    }
    let program = folder.run("man").stdout;
    for command in commands {
        assert!(program.contains(&command.replace('-', "\\-")), "{command}");
        let page = folder.run(&format!("man {command}"));
        assert!(page.code == 0 && page.stdout.contains(".SH SYNOPSIS"), "{page:?}");
        assert_eq!(folder.run(&format!("{command} --help")).code, 0);
    }
    assert!(folder.fails(2, "man kernels").contains("there is no command \"kernels\""));
}

#[test]
fn quiet_says_nothing_and_answers_all_the_same() {
    let folder = folder("quiet");
    let run = folder.run("kernel --net net.json --x1 x.npy -o k.npz -q");
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", ""));
    assert!(folder.run("-q describe net.json").stdout.contains("infinite width  yes"));
    let theta = folder.array("k.npz", "ntk").into_dimensionality::<Ix2>().unwrap();
    assert_eq!(theta, theta.t());
}
