//! The list of steps that must pass. Continuous integration is this list and nothing else.

use std::env;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use xshell::cmd;

use crate::project::Project;
use crate::{browser, codegen, docs, flags, release, reproduce, tidy};

pub(crate) enum Outcome {
    Passed,
    LeftOut(String),
}
pub(crate) use Outcome::{LeftOut, Passed};

struct Step {
    name: &'static str,
    run: fn(&Project) -> anyhow::Result<Outcome>,
}

/// Cheap first; a machine with nothing but Rust passes all that are not left out by name.
const STEPS: &[Step] = &[
    Step { name: "format", run: |p| passed(cmd!(p.shell, "cargo fmt --all --check").run()) },
    Step { name: "tidy", run: |p| tidy::run(p).map(|()| Passed) },
    Step { name: "packages", run: |p| release::packages(p).map(|()| Passed) },
    Step { name: "spelling", run: |p| if_installed(p, "typos", || cmd!(p.shell, "typos").run()) },
    Step {
        name: "licenses and sources",
        run: |p| {
            let check = cmd!(p.shell, "cargo deny --offline check bans licenses sources");
            if_installed(p, "cargo-deny", || check.run())
        },
    },
    Step {
        name: "unused dependencies",
        run: |p| if_installed(p, "cargo-machete", || cmd!(p.shell, "cargo machete").run()),
    },
    Step { name: "book", run: |p| if_installed(p, "mdbook", || cmd!(p.shell, "mdbook build docs").run()) },
    Step {
        name: "lints",
        run: |p| {
            passed(cmd!(p.shell, "cargo clippy --profile ci --workspace --all-targets -- -D warnings").run())
        },
    },
    Step { name: "lints by feature", run: lints_by_feature },
    Step { name: "documentation", run: |p| docs::crates(p).map(|()| Passed) },
    Step { name: "compatibility with the last release", run: release::compatible },
    Step { name: "type check for cuda", run: check_cuda },
    Step { name: "examples", run: examples },
    Step { name: "generated files", run: |p| codegen::run(p, true).map(|()| Passed) },
    Step { name: "reproduce --quick", run: reproduce_quick },
    Step {
        name: "page in a browser",
        run: |p| match browser::check(p, &page_directory(p).join("index.html"))? {
            true => Ok(Passed),
            false => Ok(LeftOut("no chromium is installed".to_owned())),
        },
    },
    // Last, so that its counts stand at the end of what is printed.
    Step { name: "tests", run: |p| passed(cmd!(p.shell, "cargo test --profile ci --workspace").run()) },
];

pub(crate) fn run(project: &Project) -> anyhow::Result<()> {
    let (started, mut left_out) = (Instant::now(), Vec::new());
    for (done, step) in STEPS.iter().enumerate() {
        println!("\n=== {} ({} of {})", step.name, done + 1, STEPS.len());
        let began = Instant::now();
        let outcome = (step.run)(project);
        let seconds = began.elapsed().as_secs_f64();
        match outcome {
            Ok(Passed) => println!("=== {}: passed, {seconds:.1} s", step.name),
            Ok(LeftOut(reason)) => {
                println!("=== {}: left out, {reason}", step.name);
                left_out.push(format!("{} ({reason})", step.name));
            }
            Err(error) => {
                println!("=== {}: FAILED, {seconds:.1} s", step.name);
                let (passed, rest) = (done - left_out.len(), STEPS.len() - done - 1);
                println!("\nci: {passed} steps passed, 1 failed ({}), {rest} not run", step.name);
                return Err(error.context(format!("step \"{}\"", step.name)));
            }
        }
    }
    let (passed, seconds) = (STEPS.len() - left_out.len(), started.elapsed().as_secs());
    let without = if left_out.is_empty() { "none".to_owned() } else { left_out.join(", ") };
    println!("\nci: {passed} steps passed, 0 failed, in {seconds} s; left out: {without}");
    Ok(())
}

fn passed(result: Result<(), xshell::Error>) -> anyhow::Result<Outcome> {
    Ok(result.map(|()| Passed)?)
}

fn if_installed(
    project: &Project,
    program: &str,
    run: impl FnOnce() -> Result<(), xshell::Error>,
) -> anyhow::Result<Outcome> {
    if installed(project, program) {
        passed(run())
    } else {
        Ok(LeftOut(format!("{program} is not installed")))
    }
}

pub(crate) fn installed(project: &Project, program: &str) -> bool {
    cmd!(project.shell, "{program} --version").quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

/// What a user gets who depends on some of the crates, and building the whole workspace at once would hide.
///
/// With `xtask` among them, other dependencies mostly have the features of the workspace and need not be checked again.
fn lints_by_feature(project: &Project) -> anyhow::Result<Outcome> {
    let sets = [
        "-p ntk-core -p ntk-dynamics -p ntk-empirical",
        "-p ntk-cli -p ntk-testkit",
        "-p ntk-linalg -p ntk-analytic -p ntk-empirical --no-default-features",
    ];
    for set in sets {
        let set = set.split(' ');
        cmd!(project.shell, "cargo clippy --profile ci -p xtask {set...} -- -D warnings").run()?;
    }
    Ok(Passed)
}

/// Checks the types of the device code without a device: a stand-in for the compiler of kernels writes empty ones.
///
/// They must never be found by a real build, so they get a target directory of their own.
fn check_cuda(project: &Project) -> anyhow::Result<Outcome> {
    if !cfg!(unix) {
        return Ok(LeftOut("the stand-in for nvcc is a shell script".to_owned()));
    }
    let stub = project.root.join("xtask/stub");
    let path = env::var_os("PATH").context("there is no PATH")?;
    let path = env::join_paths([stub.clone()].into_iter().chain(env::split_paths(&path)))?;
    let target = project.target.join("cuda-stub");
    let check =
        cmd!(project.shell, "cargo check --profile ci -p ntk-bench --features cuda --target-dir {target}");
    passed(check.env("PATH", path).env("NVCC", stub.join("nvcc")).env("CUDA_COMPUTE_CAP", "80").run())
}

/// No `-p`: a build of one package chooses features of its own for the dependencies, and compiles them once more.
fn examples(project: &Project) -> anyhow::Result<Outcome> {
    // All at once, on all cores; then one after another.
    cmd!(project.shell, "cargo build --quiet --profile ci --workspace --examples").run()?;
    for package in project.packages() {
        for example in package.targets("example") {
            cmd!(project.shell, "cargo run --quiet --profile ci --example {example}").run()?;
        }
    }
    Ok(Passed)
}

fn reproduce_quick(project: &Project) -> anyhow::Result<Outcome> {
    let quick = flags::Reproduce {
        names: Vec::new(),
        fresh: true,
        quick: true,
        full: false,
        data_dir: None,
        out: Some(page_directory(project)),
        device: "cpu".to_owned(),
        seed: 0,
    };
    reproduce::run(project, &quick).map(|()| Passed)
}

fn page_directory(project: &Project) -> PathBuf {
    project.target.join("reproduce-quick")
}
