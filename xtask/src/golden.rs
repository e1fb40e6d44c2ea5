//! Computes golden values again with the programs that made them. Never part of `ci`: the reference needs Python.

use anyhow::bail;
use xshell::cmd;

use crate::project::Project;

/// Each script, and what it imports. A script states in its first lines what it writes.
const SCRIPTS: &[(&str, &str)] =
    &[("xtask/golden/kernels.py", "neural_tangents"), ("xtask/golden/contract.py", "mpmath")];

pub(crate) fn run(project: &Project) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (script, module) in SCRIPTS {
        let import = format!("import {module}");
        if cmd!(project.shell, "python3 -c {import}").quiet().ignore_stderr().run().is_err() {
            missing.push(format!("{script} needs a python3 that can import {module}"));
            continue;
        }
        cmd!(project.shell, "python3 {script}").run()?;
    }
    if !missing.is_empty() {
        bail!(
            "{}\nInstall them, for example with: pip install neural-tangents jax mpmath",
            missing.join("\n")
        );
    }
    Ok(())
}
