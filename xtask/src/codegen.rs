//! Files that are made, not typed: each is committed, says which command makes it, and is compared by `ci`.

mod polynomials;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use xshell::cmd;

use crate::project::Project;

pub(crate) fn run(project: &Project, check: bool) -> anyhow::Result<()> {
    let path = |path: &str| project.root.join(path);
    let polynomials = polynomials::generate()?;
    ensure_file_contents(&path("crates/ntk-analytic/src/generated/polynomials.rs"), &polynomials, check)?;
    packaged(project, check)?;
    figures(project, check)?;
    ensure_file_contents(&path("docs/src/support.md"), &described(project, "--support")?, check)?;
    ensure_file_contents(&path("docs/src/net.schema.json"), &described(project, "--schema")?, check)
}

/// Writes the file, or fails where it is not as it would be written.
fn ensure_file_contents(path: &Path, text: &str, check: bool) -> anyhow::Result<()> {
    let found = fs::read_to_string(path).unwrap_or_default();
    if found == text {
        return Ok(());
    }
    if check {
        bail!("{} is not up to date: run `cargo xtask codegen`", path.display());
    }
    println!("writing {}", path.display());
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A package holds nothing from outside of its directory, so licenses and the header for docs.rs lie in each.
fn packaged(project: &Project, check: bool) -> anyhow::Result<()> {
    for package in project.packages().iter().filter(|package| package.is_published()) {
        let header = package.targets("lib").next().map(|_| "docs/katex-header.html");
        for file in ["LICENSE-APACHE", "LICENSE-MIT"].into_iter().chain(header) {
            let from = project.root.join(file);
            let to =
                project.root.join("crates").join(package.name()).join(from.file_name().unwrap_or_default());
            ensure_file_contents(&to, &project.shell.read_file(&from)?, check)?;
        }
    }
    Ok(())
}

/// The pictures of the book, drawn from kernels and networks by an example.
fn figures(project: &Project, check: bool) -> anyhow::Result<()> {
    let scratch = project.shell.create_temp_dir()?;
    let drawn = scratch.path();
    cmd!(project.shell, "cargo run --quiet --profile ci --example figures -- {drawn}").run()?;
    for path in project.shell.read_dir(drawn)? {
        let name = path.file_name().context("a figure has a name")?;
        let text = project.shell.read_file(&path)?;
        let path = project.root.join("docs/src/figures").join(name);
        // Trained networks end a rounding apart on another processor: less than a pixel is the same picture.
        let same = fs::read_to_string(&path).is_ok_and(|found| is_near(&found, &text, 1.0));
        if !(check && same) {
            ensure_file_contents(&path, &text, check)?;
        }
    }
    Ok(())
}

/// What the program itself says about the project.
fn described(project: &Project, what: &str) -> anyhow::Result<String> {
    let text =
        cmd!(project.shell, "cargo run --quiet --profile ci --bin ntk-bench -- describe {what}").read()?;
    Ok(text + "\n")
}

/// Whether two texts are the same up to their numbers, and these are within `slack` of each other.
fn is_near(a: &str, b: &str, slack: f64) -> bool {
    let numeric = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    let parts = |text: &str| -> Vec<String> {
        let mut parts = Vec::<String>::new();
        for c in text.chars() {
            match parts.last_mut().filter(|part| part.chars().all(|last| numeric(last) == numeric(c))) {
                Some(part) => part.push(c),
                None => parts.push(c.to_string()),
            }
        }
        parts
    };
    let (a, b) = (parts(a), parts(b));
    let near = |(a, b): (&String, &String)| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => (x - y).abs() <= slack,
        _ => a == b,
    };
    a.len() == b.len() && a.iter().zip(&b).all(near)
}

#[cfg(test)]
mod tests {
    use super::is_near;

    #[test]
    fn pictures_are_compared_by_their_numbers() {
        let svg = |x: &str| format!("<path d=\"M{x},7 L2.5,-3\"/>");
        assert!(is_near(&svg("10.25"), &svg("10.5"), 1.0));
        assert!(!is_near(&svg("10.25"), &svg("12"), 1.0));
        assert!(!is_near(&svg("10.25"), "<path/>", 1.0));
    }
}
