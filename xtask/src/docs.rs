//! The documentation of the crates with formulas, and the book.

use xshell::cmd;

use crate::ci::installed;
use crate::project::Project;

pub(crate) fn run(project: &Project) -> anyhow::Result<()> {
    crates(project)?;
    println!("{}", project.target.join("doc/ntk_core/index.html").display());
    if installed(project, "mdbook") {
        cmd!(project.shell, "mdbook build docs").run()?;
        println!("{}", project.root.join("target/book/index.html").display());
    } else {
        println!("mdbook is not installed: the book is left out (cargo install mdbook)");
    }
    Ok(())
}

/// Warnings are errors: a broken link or a missing sentence fails.
pub(crate) fn crates(project: &Project) -> anyhow::Result<()> {
    let header = project.root.join("docs/katex-header.html");
    let flags = format!("-D warnings --html-in-header {}", header.display());
    let doc = cmd!(project.shell, "cargo doc --profile ci --workspace --no-deps");
    Ok(doc.env("RUSTDOCFLAGS", flags).run()?)
}
