//! What goes wrong while a command works: exit code 1, and nothing left behind.

use ndarray::{Array2, array};

use crate::fixtures::{Folder, npy_of, npz};

#[test]
fn computations_without_a_result() {
    let folder = Folder::new("no_result");
    folder.put_array("x.npy", &array![[1.0, 0.5], [-0.3, 0.8]].into_dyn());
    folder.put("y.csv", "1\n-1\n");
    let line =
        "train-compare --net net.json --x x.npy --targets y.csv --rate 1e6 --steps 100 --width 16 -o t.npz";
    folder.fails(1, line);
    // Twice the same sample with different targets: no kernel without a ridge fits them.
    let same = npz(&[("nngp", npy_of(array![[1.0, 1.0], [1.0, 1.0]].into_dyn().view()))], false);
    folder.put("same.npz", same);
    let line = "predict --kind posterior --train-kernel same.npz --test-train-kernel same.npz --targets y.csv -o p.npz";
    assert!(folder.fails(1, line).contains("idge"));
}

#[cfg(unix)]
mod unix {
    use std::process::Command;

    use super::*;
    use crate::fixtures::finish;

    fn shell(folder: &Folder, line: &str) -> crate::fixtures::Run {
        let mut command = Command::new("sh");
        command.current_dir(folder.path("")).env("NTK", env!("CARGO_BIN_EXE_ntk")).args(["-c", line]);
        finish(&mut command)
    }

    /// A bound on the size of files stands for a disk that is full: writes fail half-way in the same manner.
    #[test]
    fn nothing_is_left_on_a_full_disk() {
        let folder = Folder::new("full_disk");
        let x = Array2::from_shape_fn((80, 2), |(i, j)| ((3 * i + 7 * j) as f64).sin());
        folder.put_array("x.npy", &x.into_dyn());
        let before = folder.files();
        for output in ["k.npz", "k.npy", "k.csv"] {
            let line = format!(
                "trap '' XFSZ; ulimit -f 8; exec \"$NTK\" kernel --net net.json --x1 x.npy --which ntk -o {output}"
            );
            let run = shell(&folder, &line);
            assert_eq!(run.code, 1, "{run:?}");
            assert!(run.stderr.starts_with(&format!(
                "error: {output} could not be written, and nothing was left behind: "
            )));
            assert_eq!((run.stderr.lines().count(), folder.files()), (1, before.clone()), "{run:?}");
        }
        // What was there before is there still.
        folder.put("k.npz", "precious");
        let line =
            "trap '' XFSZ; ulimit -f 8; exec \"$NTK\" kernel --net net.json --x1 x.npy -o k.npz --force";
        assert_eq!((shell(&folder, line).code, folder.text("k.npz").as_str()), (1, "precious"));
    }

    #[test]
    fn standard_output_may_be_full_or_gone() {
        let folder = Folder::new("stdout");
        if std::path::Path::new("/dev/full").exists() {
            for line in ["describe net.json", "man", "completions bash"] {
                let run = shell(&folder, &format!("exec \"$NTK\" {line} > /dev/full"));
                assert_eq!(run.code, 1, "{run:?}");
                assert!(run.stderr.starts_with("error: standard output could not be written: "), "{run:?}");
            }
        }
        let run = shell(&folder, "\"$NTK\" completions bash | head -c 1; exit 0");
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    }

    /// Every command of the session, and what the page shows of its output.
    #[test]
    fn the_session_of_the_book_goes_as_it_is_told() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/command-line.md");
        let page = std::fs::read_to_string(page).unwrap();
        let folder = Folder::new("session");
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_ntk")).parent().unwrap().to_str().unwrap();
        let mut commands = 0;
        for block in page.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
            for (command, shown) in block.split("$ ").skip(1).map(|part| part.split_once('\n').unwrap()) {
                let run = shell(&folder, &format!("PATH=\"{program}:$PATH\"; {command}"));
                assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{command}");
                let shown = shown.trim_end().trim_end_matches("...");
                assert!(run.stdout.starts_with(shown), "{command} gives\n{}", run.stdout);
                commands += 1;
            }
        }
        assert!(commands >= 10, "{commands} commands");
    }
}
