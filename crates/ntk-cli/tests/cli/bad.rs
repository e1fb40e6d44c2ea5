//! What is handed in wrong: exit code 2, one line that names the file and the remedy, nothing left behind.

use ndarray::array;

use crate::fixtures::{Folder, npy, npy_of, npz};

fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    folder.put_array("x.npy", &array![[1.0, 0.5], [-0.3, 0.8]].into_dyn());
    folder.put("y.csv", "1\n-1\n");
    folder
}

/// The message about a bad file of samples.
fn refused(folder: &Folder, file: &str) -> String {
    let text = folder.fails(2, &format!("kernel --net net.json --x1 {file} -o k.npz"));
    assert!(text.contains(file.split(':').next().unwrap()), "{text}");
    text
}

#[test]
fn truncated_arrays() {
    let folder = folder("truncated");
    let whole = npy_of(array![[1.0, 2.0], [3.0, 4.0]].into_dyn().view());
    for cut in [0, 5, 9, 60, whole.len() - 1] {
        folder.put("cut.npy", &whole[..cut]);
        refused(&folder, "cut.npy");
    }
    assert!(refused(&folder, "cut.npy").contains("[2, 2] is promised, but 31 bytes follow"));
    folder.put("long.npy", [&whole[..], &[0; 3]].concat());
    assert!(refused(&folder, "long.npy").contains("3 bytes more"));
    for compressed in [false, true] {
        let archive = npz(&[("x", whole.clone())], compressed);
        for cut in [0, 10, archive.len() / 2, archive.len() - 1] {
            folder.put("cut.npz", &archive[..cut]);
            assert!(refused(&folder, "cut.npz").contains("not a whole .npz archive"));
        }
        folder.put("inner.npz", npz(&[("x", whole[..whole.len() - 8].to_vec())], compressed));
        assert!(refused(&folder, "inner.npz").contains("24 bytes follow"));
    }
    let mut damaged = npz(&[("x", whole)], false);
    let at = damaged.windows(8).position(|bytes| bytes == 3f64.to_le_bytes()).unwrap();
    damaged[at] ^= 1;
    folder.put("damaged.npz", damaged);
    assert!(refused(&folder, "damaged.npz").contains("checksum"));
}

#[test]
fn other_kinds_of_numbers() {
    let folder = folder("kinds");
    for descr in ["'<c16'", "'<U2'", "'|O'", "'<f2'", "[('a', '<f8')]"] {
        folder.put("kind.npy", npy(descr, false, "(1, 2)", &[0; 32]));
        assert!(refused(&folder, "kind.npy").contains("x.astype(\"float64\")"));
    }
    folder.put("text.npy", "1,2\n3,4\n");
    assert!(refused(&folder, "text.npy").contains("does not begin as a .npy file does"));
    folder.put("text.npz", "1,2\n3,4\n");
    refused(&folder, "text.npz");
    folder.put("words.csv", "1,2\n3,four\n");
    assert!(refused(&folder, "words.csv").contains("line 2: \"four\" is not a number"));
    folder.put("ragged.csv", "1,2\n3\n");
    assert!(refused(&folder, "ragged.csv").contains("line 2 has 1 numbers"));
    folder.put("bytes.csv", [0xff, 0xfe]);
    refused(&folder, "bytes.csv");
    folder.put("x.mat", "");
    assert!(refused(&folder, "x.mat").contains(".npy, .npz or .csv"));
}

#[test]
fn huge_shapes_are_promises_only() {
    let folder = folder("huge");
    for shape in [
        "(1000000000000, 1000000)",
        "(18446744073709551615, 18446744073709551615)",
        "(99999999999999999999,)",
    ] {
        let content = npy("'<f8'", false, shape, &[0; 16]);
        folder.put("huge.npy", &content);
        refused(&folder, "huge.npy");
        for compressed in [false, true] {
            folder.put("huge.npz", npz(&[("x", content.clone())], compressed));
            refused(&folder, "huge.npz");
        }
    }
    // A compressed entry that claims more than it could hold.
    let mut archive = npz(&[("x", npy("'|u1'", false, "(1, 4000000000)", &[0; 9]))], true);
    let name = archive.windows(5).position(|w| w == b"x.npy").unwrap();
    let central = archive.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    for at in [name - 8, central + 24] {
        archive[at..at + 4].copy_from_slice(&4_000_000_128u32.to_le_bytes());
    }
    folder.put("bomb.npz", archive);
    refused(&folder, "bomb.npz");
    for nothing in
        ["--sample-shape 0", "--sample-shape 0,3", "--sample-shape 3,0", "--sample-shape 3 --samples 0"]
    {
        folder.fails(2, &format!("describe net.json {nothing}"));
    }
    let text = folder.fails(2, "describe net.json --sample-shape 1000000 --samples 1000000000000");
    assert!(text.contains("--samples"), "{text}");
    let text = folder.fails(1, "finite --net net.json --x1 x.npy --width 1000000000 -o f.npz");
    assert!(text.contains("of memory are needed"), "{text}");
    folder.put("wide.json", folder.text("net.json").replace("\"fixed\": 1", "\"fixed\": 1000000000000000"));
    assert!(folder.fails(1, "finite --net wide.json --x1 x.npy --width 8 -o f.npz").contains("of memory"));
    assert!(folder.fails(1, "describe wide.json --sample-shape 2").contains("of memory"));
    folder.put("ratio.json", folder.text("net.json").replace("\"hidden\": 1.0", "\"hidden\": 1e10"));
    assert!(folder.fails(1, "describe ratio.json --sample-shape 2").contains("of memory"));
    folder.put("window.json", folder.text("conv.json").replace("[3, 3]", "[65536, 65536]"));
    assert!(folder.fails(1, "describe window.json --sample-shape 4,4,1").contains("of memory"));
    let text = folder.fails(1, "kernel --net net.json --x1 x.npy --memory 10 -o k.npz");
    assert!(text.contains("--memory"), "{text}");
}

#[test]
fn arrays_that_are_not_there() {
    let folder = folder("absent");
    assert!(refused(&folder, "nowhere.npy").contains("No such file"));
    folder.fails(2, "kernel --net nowhere.json --x1 x.npy -o k.npz");
    let entry = |name| (name, npy_of(array![[1.0, 2.0]].into_dyn().view()));
    folder.put("two.npz", npz(&[entry("a"), entry("b")], false));
    assert!(refused(&folder, "two.npz").contains("it holds a, b: name one as FILE.npz:NAME"));
    assert!(refused(&folder, "two.npz:c").contains("there is no array \"c\""));
    folder.put("k.npz", npz(&[("nngp", npy_of(array![[1.0]].into_dyn().view()))], false));
    let text =
        folder.fails(2, "predict --train-kernel k.npz --test-train-kernel k.npz --targets y.csv -o p.npz");
    assert!(text.contains("\"ntk\""), "{text}");
}

#[test]
fn samples_that_do_not_fit() {
    let folder = folder("misfits");
    folder.put("nan.csv", "1,2\n3,nan\n");
    assert!(refused(&folder, "nan.csv").contains("input value NaN of sample 1, feature 1"));
    folder.put("three.csv", "1,2,3\n");
    let text = folder.fails(2, "kernel --net net.json --x1 x.npy --x2 three.csv -o k.npz");
    assert!(text.contains("x.npy and three.csv"), "{text}");
    folder.put_array("flat.npy", &array![1.0, 2.0].into_dyn());
    assert!(refused(&folder, "flat.npy").contains("reshape"));
    folder.fails(2, "kernel --net conv.json --x1 x.npy -o k.npz");
    folder.fails(2, "kernel --net conv.json --x1 x.npy --sample-shape 4,4,3 -o k.npz");
    folder.fails(2, "kernel --net net.json --x1 x.npy --vocabulary 10 -o k.npz");
    folder.put("none.npy", npy("'<f8'", false, "(0, 2)", &[]));
    refused(&folder, "none.npy");
}

#[test]
fn targets_that_do_not_fit() {
    let folder = folder("targets");
    let line = "predict --net net.json --train x.npy --test x.npy -o p.npz --targets";
    folder.put("three.csv", "1\n2\n3\n");
    let text = folder.fails(2, &format!("{line} three.csv"));
    assert!(text.contains("three.csv: there are 3 targets for the 2 train samples of x.npy"), "{text}");
    folder.put("nan.csv", "1\ninf\n");
    assert!(folder.fails(2, &format!("{line} nan.csv")).contains("inf in row 1, column 0"));
    folder.fails(2, &format!("{line} y.csv --test-targets three.csv"));
    folder.fails(2, &format!("{line} y.csv --rate 0"));
    folder.fails(2, &format!("{line} y.csv --ridge nan"));
    folder.fails(2, &format!("{line} y.csv --relative-ridge -0.5"));
    folder.fails(2, &format!("{line} y.csv --tolerance -1"));
    folder.fails(2, &format!("{line} y.csv --kind posterior --time 3"));
    let line = "train-compare --net net.json --x x.npy --targets three.csv --rate 0.1 --steps 3 --width 8";
    assert!(folder.fails(2, line).contains("three.csv"));
    let line = "train-compare --net net.json --x x.npy --targets y.csv --rate -1 --steps 3 --width 8";
    assert!(folder.fails(2, line).contains("--rate"));
}

#[test]
fn networks_that_are_none() {
    let folder = folder("networks");
    folder.put("cut.json", &folder.text("net.json")[..100]);
    let on = |net: &str| folder.fails(2, &format!("kernel --net {net} --x1 x.npy -o k.npz"));
    assert!(on("cut.json").contains("cut.json: at "));
    folder.put("name.json", folder.text("net.json").replace("relu", "rleu"));
    assert!(on("name.json").contains("name.json: at net.serial[1].activation"), "{}", on("name.json"));
    folder.put("variance.json", folder.text("net.json").replace("2.0", "-2.0"));
    assert!(on("variance.json").contains("net.serial[0].dense.weight"), "{}", on("variance.json"));
    folder.put(
        "twice.json",
        r#"{"version": 1, "net": {"serial": [{"activation": "relu"}, {"activation": "relu"}]}}"#,
    );
    on("twice.json");
    folder.put(
        "program.json",
        folder.text("program.json").replace("\"vectors\": [\"h\"]", "\"vectors\": [\"k\"]"),
    );
    assert!(
        folder
            .fails(2, "program program.json")
            .contains("program.json: line 5: k is used before it is defined")
    );
    let line = "finite --net net.json --x1 x.npy --width 8 --weights y.csv -o f.npz";
    assert!(folder.fails(2, line).contains("y.csv"));
}

#[test]
fn outputs_that_may_not_be_written() {
    let folder = folder("outputs");
    folder.put("there.npz", "precious");
    let line = "kernel --net net.json --x1 x.npy -o";
    assert!(folder.fails(2, &format!("{line} there.npz")).contains("--force"));
    assert_eq!(folder.text("there.npz"), "precious");
    folder.put("k.csv.json", "precious");
    assert!(folder.fails(2, &format!("{line} k.csv --which ntk")).contains("k.csv.json"));
    assert!(folder.fails(2, &format!("{line} k.npy")).contains("one array"));
    assert!(folder.fails(2, &format!("{line} k.mat")).contains(".npz, .npy or .csv"));
    assert!(folder.fails(2, &format!("{line} nowhere/k.npz")).contains("no such folder"));
    std::fs::create_dir(folder.path("folder.npz")).unwrap();
    assert!(folder.fails(2, &format!("{line} folder.npz --force")).contains("no regular file"));
    assert_eq!(folder.run(&format!("{line} there.npz --force")).code, 0);
    assert!(folder.text("k.csv.json") == "precious");
    folder.array("there.npz", "ntk");
    let line = "finite --net net.json --x1 x.npy --width 8 --part full -o f.csv";
    assert!(folder.fails(2, line).contains("name it .npz"));
}

#[test]
fn lines_that_are_no_commands() {
    let folder = folder("usage");
    for line in [
        "",
        "kernels",
        "kernel --net net.json",
        "kernel --net net.json --x1 x.npy -o k.npz --which all",
        "kernel --net net.json --x1 x.npy --x2 x.npy --diagonal -o k.npz",
        "predict --net net.json --targets y.csv -o p.npz",
        "predict --targets y.csv -o p.npz",
        "predict --net net.json --train x.npy --test x.npy --targets y.csv --time -1 -o p.npz",
        "predict --net net.json --train x.npy --test x.npy --targets y.csv --time soon -o p.npz",
        "finite --net net.json --x1 x.npy --width many -o f.npz",
        "kernel --net net.json --x1 x.npy --memory lots -o k.npz",
    ] {
        let before = folder.files();
        let run = folder.run(line);
        assert_eq!((run.code, folder.files()), (2, before), "{line}: {}", run.stderr);
    }
    let run = folder.run("finite --net net.json --x1 x.npy --device abacus -o f.npz");
    assert!(run.code == 2 && run.stderr.contains("--device"), "{run:?}");
}
