//! What a registry and users will ask of a release, asked with every change: can it be packaged, does it break anyone.

use anyhow::bail;
use xshell::cmd;

use crate::ci::{LeftOut, Outcome, Passed, installed};
use crate::project::{Package, Project};

/// Limits of crates.io that cargo leaves to its answer.
const KEYWORDS: usize = 5;
const KEYWORD_LENGTH: usize = 20;

/// Packages every published crate without compiling it; what cargo warns of is an error.
pub(crate) fn packages(project: &Project) -> anyhow::Result<()> {
    let all = project.packages();
    let published: Vec<_> = all.iter().filter(|package| package.is_published()).collect();
    let cited = project.shell.read_file("CITATION.cff")?;
    let problems: Vec<_> =
        published.iter().flat_map(|package| refused(package, &published, &cited)).collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    let names = published.iter().flat_map(|package| ["-p", package.name()]);
    // Without a lock file nothing is resolved, and no index of a registry is asked for.
    let flags = ["--no-verify", "--exclude-lockfile", "--allow-dirty", "--offline"];
    let said = cmd!(project.shell, "cargo package {flags...} {names...}").ignore_status().output()?;
    let text = String::from_utf8_lossy(&said.stderr);
    if !said.status.success() || text.contains("warning: ") {
        bail!("{text}");
    }
    Ok(())
}

/// Why a release of this package would be refused, or would not fit the others.
fn refused(package: &Package<'_>, published: &[&Package<'_>], cited: &str) -> Vec<String> {
    let (name, version) = (package.name(), package.version());
    let mut problems = Vec::new();
    let keywords: Vec<_> = package.keywords().collect();
    if keywords.len() > KEYWORDS || keywords.iter().any(|word| word.len() > KEYWORD_LENGTH) {
        problems.push(format!("{name}: crates.io takes {KEYWORDS} keywords of {KEYWORD_LENGTH} letters"));
    }
    for dependency in package.dependencies().filter(|on| !(on.dev && on.versions == "*")) {
        let ours = published.iter().any(|other| other.name() == dependency.name);
        if ours && dependency.versions != format!("^{version}") {
            problems
                .push(format!("{name}: needs {} {}, not ^{version}", dependency.name, dependency.versions));
        }
    }
    if !cited.contains(&format!("\nversion: {version}\n")) {
        problems.push(format!("{name}: CITATION.cff has another version than {version}"));
    }
    problems
}

/// Whether the version number says what changed for users since the last release.
pub(crate) fn compatible(project: &Project) -> anyhow::Result<Outcome> {
    let describe = cmd!(project.shell, "git describe --tags --abbrev=0 --match v[0-9]*");
    let Ok(tag) = describe.quiet().ignore_stderr().read() else {
        return Ok(LeftOut("no release is tagged".to_owned()));
    };
    if !installed(project, "cargo-semver-checks") {
        return Ok(LeftOut("cargo-semver-checks is not installed".to_owned()));
    }
    // Not all features of that one: devices that this machine may not have.
    let check =
        |which: &[&str]| cmd!(project.shell, "cargo semver-checks --baseline-rev {tag} {which...}").run();
    check(&["--workspace", "--exclude", "ntk-empirical"])?;
    check(&["-p", "ntk-empirical", "--default-features"])?;
    Ok(Passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_registry_refuses_is_found_before() {
        let problems = |keyword: &str, versions: &str, kind: Option<&str>, cited: &str| {
            let on = json!({"name": "ntk-core", "req": versions, "kind": kind});
            let solver = json!({"name": "ntk-solver", "version": "0.2.0", "keywords": [keyword], "dependencies": [on]});
            let core = json!({"name": "ntk-core", "version": "0.2.0"});
            let (solver, core) = (Package(&solver), Package(&core));
            refused(&solver, &[&solver, &core], cited).len()
        };
        let cited = "title: ntk\nversion: 0.2.0\n";
        assert_eq!(problems("kernel", "^0.2.0", None, cited), 0);
        assert_eq!(problems("kernel", "*", Some("dev"), cited), 0);
        assert_eq!(problems("neural-tangent-kernel", "^0.2.0", None, cited), 1);
        assert_eq!(problems("kernel", "^0.1.0", None, cited), 1);
        assert_eq!(problems("kernel", "*", None, cited), 1);
        assert_eq!(problems("kernel", "^0.2.0", None, "version: 0.1.0\n"), 1);
    }
}
