//! Runs criterion targets and makes one table of them: the median time in each benchmark's own unit, beside what the
//! machine would allow.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use xshell::cmd;

use crate::project::Project;

pub(crate) fn run(project: &Project, names: &[String], json: Option<&Path>) -> anyhow::Result<()> {
    let notes = project.target.join("criterion-meta");
    project.shell.remove_path(&notes)?;
    let packages = project.packages();
    let targets = packages.iter().flat_map(|package| package.targets("bench"));
    let known: Vec<&str> = targets.collect();
    for name in names {
        anyhow::ensure!(
            known.contains(&name.as_str()),
            "no bench is called \"{name}\"; there are: {}",
            known.join(", ")
        );
    }
    for bench in known.iter().filter(|bench| names.is_empty() || names.iter().any(|name| name == *bench)) {
        // Where the notes and criterion's numbers go, whatever the directory the child runs in.
        cmd!(project.shell, "cargo bench --bench {bench}").env("CARGO_TARGET_DIR", &project.target).run()?;
    }
    let mut lines = Vec::new();
    for note in project.files(&[&notes.to_string_lossy()], &[".json"])? {
        lines.push(result(project, &note).with_context(|| format!("benchmark of {}", note.display()))?);
    }
    print_table(&lines);
    if let Some(path) = json {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        project.shell.write_file(path, text)?;
    }
    Ok(())
}

/// The line of a benchmark, from its note and criterion's estimates.
fn result(project: &Project, note: &Path) -> anyhow::Result<Value> {
    let read =
        |path: &Path| -> anyhow::Result<Value> { Ok(serde_json::from_str(&project.shell.read_file(path)?)?) };
    let note = read(note)?;
    let name = note["name"].as_str().context("the note has no name")?;
    line(&note, &read(&project.target.join("criterion").join(name).join("new/estimates.json"))?)
}

/// `{"name", "value", "unit", "roofline", "threads"}`: criterion's median is in nanoseconds, the divisor in seconds.
fn line(note: &Value, estimates: &Value) -> anyhow::Result<Value> {
    let nanoseconds = estimates["median"]["point_estimate"].as_f64().context("criterion gives no median")?;
    let divide_by = note["divide_by"].as_f64().context("the note has no divisor")?;
    let value = nanoseconds * 1e-9 / divide_by;
    let (name, unit, roofline, threads) = (&note["name"], &note["unit"], &note["roofline"], &note["threads"]);
    Ok(json!({ "name": name, "value": value, "unit": unit, "roofline": roofline, "threads": threads }))
}

fn print_table(lines: &[Value]) {
    println!("{:64} {:>12} {:4} {:>12} {:>7}", "benchmark", "median", "unit", "roofline", "threads");
    for line in lines {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| line[key].as_f64().map_or("–".to_owned(), |x| format!("{x:.4}"));
        let (name, unit, threads) = (text("name"), text("unit"), &line["threads"]);
        println!("{name:64} {:>12} {unit:4} {:>12} {threads:>7}", number("value"), number("roofline"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_median_in_the_benchmark_s_unit() {
        // 3 ms for 500 things of 1 µs each: 6 µs a thing.
        let note = json!({ "name": "b", "unit": "µs", "divide_by": 5e-4, "roofline": null, "threads": 2 });
        let estimates = json!({ "mean": { "point_estimate": 1.0 }, "median": { "point_estimate": 3e6 } });
        let line = line(&note, &estimates).unwrap();
        assert!((line["value"].as_f64().unwrap() - 6.0).abs() < 1e-12);
        assert_eq!((&line["unit"], &line["threads"]), (&json!("µs"), &json!(2)));
        assert!(super::line(&note, &json!({})).is_err());
    }
}
