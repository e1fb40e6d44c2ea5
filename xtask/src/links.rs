//! Links between pages and listings from examples: whatever they name must be there.

use std::path::{Component, Path, PathBuf};

use crate::project::Project;

/// Relative links and included listings of every page that name no file, no anchor, or a picture that says nothing.
pub(crate) fn problems(project: &Project) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    let tested = project.shell.read_file("crates/ntk-bench/src/lib.rs")?;
    for page in
        project.files(&["docs/src", "crates", "README.md", "CONTRIBUTING.md", "SECURITY.md"], &[".md"])?
    {
        let (text, relative) = (project.shell.read_file(&page)?, project.relative(&page));
        let read = |target: &str| project.shell.read_file(project.root.join(beside(relative, target))).ok();
        let exists = |target: &str| project.root.join(beside(relative, target)).exists();
        for problem in check(&text, read, exists) {
            problems.push(format!("{}: {problem}", relative.display()));
        }
        if runs_nowhere(&text) && !tested.contains(&format!("{}\"", relative.display())) {
            problems.push(format!(
                "{}: a listing that nothing runs: include it from an example",
                relative.display()
            ));
        }
    }
    Ok(problems)
}

/// `read` gives the text of a file named from the page, `exists` says whether there is one.
fn check(text: &str, read: impl Fn(&str) -> Option<String>, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    for listing in between(text, "{{#include ", "}}") {
        let (file, anchor) = listing.split_once(':').unwrap_or((listing, ""));
        match read(file) {
            None => problems.push(format!("includes {file}, which does not exist")),
            Some(code) if !anchor.is_empty() => {
                let has = |mark: &str| code.lines().any(|line| line.trim() == format!("// {mark}: {anchor}"));
                if !(has("ANCHOR") && has("ANCHOR_END")) {
                    problems.push(format!("{file} has no anchor {anchor}"));
                }
            }
            Some(_) => {}
        }
    }
    let prose = without_code(text);
    for link in between(&prose, "](", ")") {
        let file = link.split('#').next().unwrap_or_default();
        if !file.is_empty() && !file.contains(':') && !exists(file) {
            problems.push(format!("links to {file}, which does not exist"));
        }
    }
    if prose.contains("![](") {
        problems.push("a picture says nothing to those who cannot see it: ![what it shows](file)".to_owned());
    }
    problems
}

/// Whether there is a listing in Rust that is not included from a file.
fn runs_nowhere(text: &str) -> bool {
    let mut listings = text.split("```").skip(1).step_by(2);
    listings.any(|listing| listing.starts_with("rust") && !listing.contains("{{#include "))
}

/// What stands between an opening and the next closing.
fn between<'t>(text: &'t str, open: &'t str, close: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(open).skip(1).filter_map(move |rest| Some(rest.split_once(close)?.0))
}

/// The text without fenced listings and code in lines, where brackets mean other things.
fn without_code(text: &str) -> String {
    let outside = |text: &str, mark: &str| text.split(mark).step_by(2).collect::<Vec<_>>().join(" ");
    outside(&outside(text, "```"), "`")
}

/// A path as it reads from the root, named from a page.
fn beside(page: &Path, target: &str) -> PathBuf {
    let mut path = page.parent().map(Path::to_owned).unwrap_or_default();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_must_be_there() {
        let read = |file: &str| (file == "a.rs").then(|| "// ANCHOR: x\n// ANCHOR_END: x\n".to_owned());
        let problems = |text: &str| check(text, read, |file| file == "b.md").len();
        for fine in [
            "[b](b.md#part), [web](https://example.org), [here](#part), ![seen](b.md), `a[0](c.md)`",
            "```rust\nf[0](c.md);\n{{#include a.rs:x}}\n```\n{{#include a.rs}}",
        ] {
            assert_eq!(problems(fine), 0, "{fine}");
        }
        for wrong in ["[c](c.md)", "{{#include c.rs}}", "```\n{{#include a.rs:y}}\n```", "![](b.md)"] {
            assert_eq!(problems(wrong), 1, "{wrong}");
        }
    }

    #[test]
    fn listings_come_from_examples() {
        assert!(!runs_nowhere("```text\nrun\n```\n```rust,ignore\n{{#include a.rs:x}}\n```"));
        assert!(runs_nowhere("```text\nrun\n```\n```rust\nf();\n```"));
    }

    #[test]
    fn paths_are_named_from_the_page() {
        let from = |target: &str| beside(Path::new("docs/src/page.md"), target);
        assert_eq!(from("../../crates/a.rs"), Path::new("crates/a.rs"));
        assert_eq!(from("./figures/b.svg"), Path::new("docs/src/figures/b.svg"));
    }
}
