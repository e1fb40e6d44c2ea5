//! Runs the experiments in a child process, which writes one JSON file for each and the page.

use xshell::cmd;

use crate::flags::Reproduce;
use crate::project::Project;

pub(crate) fn run(project: &Project, options: &Reproduce) -> anyhow::Result<()> {
    // Quick runs share their compiled dependencies with the tests; real ones are optimized fully.
    let profile = if options.quick { "ci" } else { "release" };
    let out = options.out.clone().unwrap_or_else(|| project.target.join("reproduce"));
    let (device, seed) = (&options.device, options.seed.to_string());
    let feature = match device.split(':').next() {
        Some("cuda") => Some("--features=cuda"),
        Some("metal") => Some("--features=metal"),
        _ => None,
    };
    let size = if options.quick { Some("--quick") } else { options.full.then_some("--full") };
    let data = options.data_dir.as_ref().map(|dir| format!("--data-dir={}", dir.display()));
    let names = &options.names;
    let fresh = options.fresh.then_some("--fresh");
    if let Some(("list" | "describe", rest)) = names.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        let verb = &names[0];
        cmd!(project.shell, "cargo run --quiet --profile {profile} --bin ntk-bench -- {verb} {rest...}")
            .run()?;
        return Ok(());
    }
    // No `-p`: a build of one package chooses features of its own for the dependencies, and compiles them once more.
    cmd!(
        project.shell,
        "cargo run --quiet --profile {profile} --bin ntk-bench {feature...} -- run {names...} {size...} {data...}
         --out {out} --device {device} --seed {seed} {fresh...}"
    )
    .run()?;
    Ok(())
}
